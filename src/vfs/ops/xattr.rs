//! Extended attributes: what ftpfs knows about a file, and digests that the server computes.
//!
//! All names but those of [`ExtendedAttribute`] are refused without asking anything: the kernel
//! requests `security.capability` before a program writes to a file, and `ls -l` requests others.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cache::Attributes;
use crate::cancel::Blocking;
use crate::disk_cache::CachedShare;
use crate::ftp::time::timestamp;
use crate::ftp::{Algorithm, Kind, Version};
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::local_share::LocalShare;
use crate::vfs::table::ino::Ino;
use crate::vfs::table::inode::NodeKind;

/// What all names of ftpfs begin with.
const PREFIX: &[u8] = b"user.ftpfs.";
/// How long a digest is reused. Programs request the length of an attribute first.
const DIGEST_TTL: Duration = Duration::from_secs(5);
/// Maximum number of remembered digests.
const MAX_DIGESTS: usize = 16;

/// An extended attribute of ftpfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExtendedAttribute {
    /// `user.ftpfs.url`: the URL, without a password.
    Url,
    /// `user.ftpfs.facts`: the known facts as in MLST (RFC 3659 §7.5).
    Facts,
    /// `user.ftpfs.cached`: how much of the contents is on this machine: `none`, `part` or `whole`.
    Cached,
    /// `user.ftpfs.upload`: `none`, `waiting`, or `failed` and why.
    Upload,
    /// `user.ftpfs.sha256` and others: a digest, computed by the server.
    Digest(Algorithm),
}

impl ExtendedAttribute {
    /// Returns the attribute with this name.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        Some(match name.strip_prefix(PREFIX)? {
            b"url" => Self::Url,
            b"facts" => Self::Facts,
            b"cached" => Self::Cached,
            b"upload" => Self::Upload,
            b"sha512" => Self::Digest(Algorithm::Sha512),
            b"sha256" => Self::Digest(Algorithm::Sha256),
            b"sha1" => Self::Digest(Algorithm::Sha1),
            b"md5" => Self::Digest(Algorithm::Md5),
            b"crc32" => Self::Digest(Algorithm::Crc32),
            _ => return None,
        })
    }

    /// Returns the error for a name that is not one of ours. `OPNOTSUPP` makes ls(1) not ask again
    /// for other files; the kernel takes both for "none".
    pub(crate) fn absent(name: &[u8]) -> Errno {
        if name.starts_with(b"user.") {
            Errno::NODATA
        } else {
            Errno::OPNOTSUPP
        }
    }

    /// Returns the names that are listed, each followed by NUL. Listed digests would make
    /// `getfattr -d` and `rsync -X` compute them for whole trees.
    fn listed(kind: NodeKind) -> &'static [u8] {
        match kind {
            NodeKind::Directory => b"user.ftpfs.url\0user.ftpfs.facts\0",
            NodeKind::Leaf => {
                b"user.ftpfs.url\0user.ftpfs.facts\0user.ftpfs.cached\0user.ftpfs.upload\0"
            }
        }
    }
}

/// Digests that the server has computed recently.
#[derive(Debug, Default)]
pub(in crate::vfs) struct RecentDigests(Mutex<Vec<RecentDigest>>);

#[derive(Debug)]
struct RecentDigest {
    ino: Ino,
    version: Version,
    algorithm: Algorithm,
    digits: String,
    at: Instant,
}

impl RecentDigests {
    fn find(
        &self,
        (ino, version, algorithm): (Ino, Version, Algorithm),
        now: Instant,
    ) -> Option<String> {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|it| now.saturating_duration_since(it.at) < DIGEST_TTL);
        let found = recent
            .iter()
            .find(|it| (it.ino, it.version, it.algorithm) == (ino, version, algorithm));
        found.map(|it| it.digits.clone())
    }

    /// Forgets the digests of `ino`.
    pub(in crate::vfs) fn remove(&self, ino: Ino) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|it| it.ino != ino);
    }

    fn add(
        &self,
        (ino, version, algorithm): (Ino, Version, Algorithm),
        digits: String,
        at: Instant,
    ) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= MAX_DIGESTS {
            recent.remove(0);
        }
        recent.push(RecentDigest {
            ino,
            version,
            algorithm,
            digits,
            at,
        });
    }
}

impl Vfs {
    /// Returns the names of the extended attributes of `ino`, each followed by NUL.
    pub(crate) fn extended_attributes(&self, ino: Ino) -> Result<&'static [u8], Errno> {
        Ok(ExtendedAttribute::listed(self.inodes.kind(ino)?))
    }

    /// Returns the value of an extended attribute of `ino`.
    ///
    /// # Errors
    /// `NODATA` if the file has none, `OPNOTSUPP` if the server does not compute this digest.
    pub(crate) fn extended_attribute(
        &self,
        ino: Ino,
        attribute: ExtendedAttribute,
        may: Blocking<'_>,
    ) -> Result<Vec<u8>, Errno> {
        let is_directory = self.inodes.kind(ino)?.is_directory();
        Ok(match attribute {
            ExtendedAttribute::Url => self.remote.url(&self.inodes.path(ino)?).into_bytes(),
            ExtendedAttribute::Facts => facts(&self.known_attributes(ino, may)?).into_bytes(),
            _ if is_directory => return Err(Errno::NODATA),
            ExtendedAttribute::Cached => self.local_share(ino, may)?.in_words().into(),
            ExtendedAttribute::Upload => self.upload_in_words(ino).into_bytes(),
            ExtendedAttribute::Digest(algorithm) => self.digest(ino, algorithm, may)?.into_bytes(),
        })
    }

    /// Removes an extended attribute, which has no effect: the values are not stored. rsync removes
    /// all that the file has and its source has not, and would report a refusal.
    pub(crate) fn remove_extended_attribute(&self, ino: Ino, name: &[u8]) -> Result<(), Errno> {
        self.inodes.kind(ino)?;
        match ExtendedAttribute::named(name) {
            Some(ExtendedAttribute::Digest(_)) | None => Err(ExtendedAttribute::absent(name)),
            Some(_) => Ok(()),
        }
    }

    /// Returns how much of the contents of `ino` is on this machine: of an open file in memory and
    /// in its spool, of any file in the persistent cache.
    fn local_share(&self, ino: Ino, may: Blocking<'_>) -> Result<LocalShare, Errno> {
        let open = self.inodes.open_file(ino);
        let held = open.map_or(LocalShare::None, |file| file.local_share());
        if held == LocalShare::Whole || self.services.disk.is_none() {
            return Ok(held);
        }
        // Looking into the cache takes a moment of the local disk.
        may.cancel()?;
        let attributes = self.known_attributes(ino, may)?;
        let kept = match self.cached_share(&self.inodes.path(ino)?, &attributes) {
            CachedShare::None => LocalShare::None,
            CachedShare::Part(_) => LocalShare::Part,
            CachedShare::Whole => LocalShare::Whole,
        };
        Ok(held.max(kept))
    }

    /// Returns the attributes that programs see.
    fn known_attributes(&self, ino: Ino, may: Blocking<'_>) -> Result<Attributes, Errno> {
        if let Some(known) = self
            .inodes
            .open_file(ino)
            .and_then(|file| file.attributes())
        {
            return Ok(known);
        }
        if ino == Ino::ROOT {
            return Ok(crate::vfs::attr::made_now(Kind::Directory, None, None)).map(|root| {
                Attributes {
                    modified: None,
                    ..root
                }
            });
        }
        let (directory, name) = self.location(ino)?;
        Ok(self.attributes_of(&directory, &name, may)?.value)
    }

    fn upload_in_words(&self, ino: Ino) -> String {
        let waiting = self.writeback.statuses();
        let waiting = waiting.into_iter().find(|it| it.file.ino() == ino);
        if let Some(failure) = waiting.and_then(|it| it.failure) {
            return format!("failed: {}", failure.reason);
        }
        match self.inodes.open_file(ino) {
            Some(file) => file.upload_in_words(),
            None => "none".to_owned(),
        }
    }

    fn digest(&self, ino: Ino, algorithm: Algorithm, may: Blocking<'_>) -> Result<String, Errno> {
        let open = self.inodes.open_file(ino);
        // The server has other contents than programs see.
        if open.is_some_and(|file| file.is_dirty() || file.has_sealed()) {
            return Err(Errno::NODATA);
        }
        let attributes = self.known_attributes(ino, may)?;
        if attributes.kind != Kind::File {
            return Err(Errno::NODATA);
        }
        let key = (ino, Version::from(&attributes), algorithm);
        if let Some(digits) = self.digests.find(key, Instant::now()) {
            return Ok(digits);
        }
        self.settle_inode(ino, may)?;
        let remote = self.remote.with(may.cancel()?);
        let size = attributes.size.unwrap_or(0);
        let digest = remote.digest(&self.inodes.path(ino)?, algorithm, size)?;
        let digits = digest.hexadecimal();
        self.digests.add(key, digits.clone(), Instant::now());
        Ok(digits)
    }
}

/// Formats facts as in MLST.
fn facts(attributes: &Attributes) -> String {
    let kind = match attributes.kind {
        Kind::File => "file",
        Kind::Directory => "dir",
        Kind::Symlink => "OS.unix=symlink",
        Kind::Special => "OS.unix=special",
        Kind::Unknown => "unknown",
    };
    let modified = attributes
        .modified
        .and_then(|(seconds, _)| timestamp(seconds));
    let facts = [
        Some(format!("type={kind};")),
        attributes.size.map(|size| format!("size={size};")),
        modified.map(|modified| format!("modify={modified};")),
        attributes
            .mode
            .map(|mode| format!("UNIX.mode={:04o};", mode & 0o7777)),
    ];
    facts.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::Precision;

    #[test]
    fn every_listed_name_is_one_of_ours_and_no_digest() {
        for kind in [NodeKind::Directory, NodeKind::Leaf] {
            let listed = ExtendedAttribute::listed(kind).strip_suffix(b"\0").unwrap();
            for name in listed.split(|byte| *byte == 0) {
                let found = ExtendedAttribute::named(name).unwrap();
                assert!(!matches!(found, ExtendedAttribute::Digest(_)));
            }
        }
    }

    #[test]
    fn other_names_are_refused_as_programs_expect() {
        for (name, errno) in [
            (b"security.capability".as_slice(), Errno::OPNOTSUPP),
            (b"system.posix_acl_access", Errno::OPNOTSUPP),
            (b"trusted.x", Errno::OPNOTSUPP),
            (b"user.mime_type", Errno::NODATA),
            (b"user.ftpfs.", Errno::NODATA),
            (b"user.ftpfs.sha3", Errno::NODATA),
        ] {
            assert_eq!(ExtendedAttribute::named(name), None);
            assert_eq!(ExtendedAttribute::absent(name), errno);
        }
    }

    #[test]
    fn facts_look_as_in_a_listing() {
        let mut attributes = Attributes {
            kind: Kind::File,
            size: Some(7),
            modified: Some((1_709_341_323, Precision::Second)),
            mode: Some(0o100_644),
            target: None,
            unique: 5,
            perm: None,
        };
        let full = "type=file;size=7;modify=20240302010203;UNIX.mode=0644;";
        assert_eq!(facts(&attributes), full);
        (attributes.kind, attributes.size) = (Kind::Directory, None);
        (attributes.modified, attributes.mode) = (None, None);
        assert_eq!(facts(&attributes), "type=dir;");
    }

    #[test]
    fn a_digest_is_reused_for_a_moment_and_for_its_version_only() {
        let (recent, start) = (RecentDigests::default(), Instant::now());
        let sized = |size| Version {
            size: Some(size),
            ..Version::default()
        };
        let key = |size| (Ino(2), sized(size), Algorithm::Sha256);
        recent.add(key(1), "ab".to_owned(), start);
        assert_eq!(recent.find(key(1), start).as_deref(), Some("ab"));
        assert_eq!(recent.find(key(2), start), None);
        assert_eq!(recent.find((Ino(2), sized(1), Algorithm::Md5), start), None);
        assert_eq!(recent.find(key(1), start + DIGEST_TTL), None);
        for size in 0..100 {
            recent.add(key(size), String::new(), start);
        }
        assert_eq!(recent.0.lock().unwrap().len(), MAX_DIGESTS);
    }
}
