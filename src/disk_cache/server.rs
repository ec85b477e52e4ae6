//! Which server a cache was filled from. Another one may have its address now.
//!
//! ```text
//! server      what identifies the server
//! ```
//!
//! What the cache has of another server is removed, unless its version is exact: a size and a time
//! to the second, or a `unique` fact, show whether this server has the same file.

use std::io::{self, Read, Write};
use std::sync::PoisonError;

use super::DiskCache;
use super::entry::EntryName;
use super::header::EntryHeader;
use super::place::CacheDir;
use super::trim;
use crate::ftp::{Precision, ServerProfile};
use crate::sys::private_files::open_to_read;

/// The file with the identity.
const SERVER: &str = "server";
/// Maximum length in bytes of an identity.
const MOST: u64 = 4096;

impl DiskCache {
    /// Compares the server that `profile` describes with the one that the cache was filled from,
    /// now and whenever the cache is used.
    pub(crate) fn set_server(&self, profile: &ServerProfile) {
        // A second mount in one process would have a cache of its own.
        let _ = self.profile.set(profile.clone());
        self.recognise();
    }

    /// Removes what is of another server, if this one is not the one that was there before. Returns
    /// false if that cannot be found out: then nothing is of use.
    pub(super) fn recognise(&self) -> bool {
        let Some(now) = self.profile.get().and_then(ServerProfile::host) else {
            return true;
        };
        // Held during local I/O, so that other threads do not read what is being removed.
        let recognised = self.recognised.lock();
        let mut recognised = recognised.unwrap_or_else(PoisonError::into_inner);
        if recognised.as_ref() == Some(&now) {
            return true;
        }
        match recognise(&self.directory, now.as_bytes()) {
            Ok(false) => {}
            Ok(true) => {
                self.end_fills(|_| true);
                if !std::mem::replace(&mut *self.has_warned(), true) {
                    log::warn!(
                        "another server than before answers at this address: what the cache in {} has is used only \
                         where its version is exact",
                        self.directory.path().display()
                    );
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut *self.has_warned(), true) {
                    log::warn!(
                        "the cache in {} is not used, because it cannot be checked which server it is of: {error}",
                        self.directory.path().display()
                    );
                }
                return false;
            }
        }
        *recognised = Some(now);
        true
    }
}

/// Compares the server with the one that is stored. Returns whether it is another one; then only
/// exact versions are left, and no listings.
fn recognise(directory: &CacheDir, now: &[u8]) -> io::Result<bool> {
    let stored = match open_to_read(&directory.path().join(SERVER)) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(MOST).read_to_end(&mut bytes)?;
            Some(bytes)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if stored.as_deref() == Some(now) {
        return Ok(false);
    }
    let is_other = stored.is_some();
    if is_other {
        trim::visit_headers(directory, &mut |header| {
            if !is_exact(&header) {
                EntryName::of(directory, &header.path).remove();
            }
        })?;
        trim::clear_listings(directory)?;
    }
    // Last, so that a killed process leaves it to the next one.
    let mut file = tempfile::NamedTempFile::new_in(directory.temporary())?;
    file.write_all(now)?;
    file.persist(directory.path().join(SERVER))
        .map_err(|error| error.error)?;
    Ok(is_other)
}

fn is_exact(header: &EntryHeader) -> bool {
    header.unique != 0 || header.modified.1 == Precision::Second
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::entry::{CachedFile, new_nonce};
    use super::super::{CachePlace, StoredListing};
    use super::*;
    use crate::ftp::{RemotePath, Version};

    #[test]
    fn only_exact_versions_of_another_server_are_left() {
        let base = tempfile::tempdir().unwrap();
        let directory = CachePlace::of(base.path(), "a", "h", 1).open().unwrap();
        let version = |precision, unique| Version {
            size: Some(3),
            modified: Some((1, precision)),
            unique,
        };
        let files = [
            ("/exact", version(Precision::Second, 0), true),
            ("/minute", version(Precision::Minute, 0), false),
            ("/unique", version(Precision::Day, 7), true),
        ];
        for (path, version, _) in &files {
            let path = RemotePath::new(path.as_bytes()).unwrap();
            let header = EntryHeader::new(&path, version, 0, new_nonce()).unwrap();
            CachedFile::create_whole(&directory, header, b"old").unwrap();
        }
        let listing = StoredListing {
            listed: SystemTime::now(),
            bytes: b"names".to_vec(),
        };
        let root = RemotePath::root();
        directory.write_listing(&root, &listing).unwrap();
        let left = || {
            let is_there = |(path, version, _): &(&str, Version, bool)| {
                let path = RemotePath::new(path.as_bytes()).unwrap();
                CachedFile::open(&directory, &path, version)
                    .unwrap()
                    .is_some()
            };
            files.iter().filter(|it| is_there(it)).count()
        };
        for (server, is_other) in [("one", false), ("one", false), ("two", true)] {
            assert_eq!(left(), 3);
            assert_eq!(recognise(&directory, server.as_bytes()).unwrap(), is_other);
        }
        assert_eq!(left(), files.iter().filter(|it| it.2).count());
        assert_eq!(directory.read_listing(&root).unwrap(), None);
        assert!(!recognise(&directory, b"two").unwrap());
    }
}
