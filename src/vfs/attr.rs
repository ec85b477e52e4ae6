//! File attributes as stat(2) shows them: a listed entry completed by the mount's options.

use std::time::{Duration, SystemTime};

use crate::cache::Attributes;
use crate::ftp::{Kind, Precision, Version};

use super::VfsOptions;
use super::table::ino::Ino;

/// Mode of a directory if the server does not report it.
pub(super) const DIRECTORY_MODE: u32 = 0o755;
/// Mode of a file if the server does not report it.
const FILE_MODE: u32 = 0o644;
/// Mode of a symbolic link, as on Linux.
const SYMLINK_MODE: u32 = 0o777;

/// The attributes of one inode, as the kernel requests them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attr {
    /// Inode number.
    pub ino: Ino,
    /// Tells it from files that had its number before (`-o export`), otherwise 0.
    pub generation: u32,
    /// Its kind; an unknown kind is shown as a file.
    pub kind: Kind,
    /// Size in bytes.
    pub size: u64,
    /// Modification time; also shown as access and change time, which FTP does not have.
    pub modified: SystemTime,
    /// Permission bits.
    pub mode: u32,
    /// Number of names: one, even for directories (find(1) takes that to mean that subdirectories
    /// are not counted); zero after removal.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A result with the time for which the kernel may cache it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WithTtl<T> {
    /// The result.
    pub value: T,
    /// How long it is valid.
    pub ttl: Duration,
}

impl Attributes {
    /// Replaces size, time and identity with those of `version`.
    pub(super) fn of_version(self, version: Version) -> Self {
        Self {
            size: version.size,
            modified: version.modified,
            unique: version.unique,
            ..self
        }
    }
}

impl Attr {
    /// Applies `options` to `attributes`. `mounted` is shown as a time that the server does not
    /// report, and `has_modes` says whether the server has Unix modes for directories.
    pub(super) fn new(
        ino: Ino,
        attributes: &Attributes,
        options: &VfsOptions,
        mounted: SystemTime,
        has_modes: bool,
    ) -> Self {
        Self {
            ino,
            generation: 0,
            kind: attributes.kind,
            size: shown_size(attributes),
            modified: attributes
                .modified
                .map_or(mounted, |(seconds, _)| from_seconds(seconds)),
            mode: shown_mode(attributes, options, has_modes),
            links: 1,
            uid: options.uid,
            gid: options.gid,
        }
    }
}

/// Returns the attributes of a file just created through the mount, whose time on the server is
/// unknown.
pub(super) fn made_now(kind: Kind, size: Option<u64>, mode: Option<u32>) -> Attributes {
    let now = to_seconds(SystemTime::now());
    let modified = Some((now, Precision::Second));
    Attributes {
        kind,
        size,
        modified,
        mode,
        target: None,
        unique: 0,
        perm: None,
    }
}

/// Returns seconds since the epoch, negative before it.
pub(super) fn to_seconds(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        // Rounds down, as for times after 1970.
        Err(before) => {
            let before = before.duration();
            let whole = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            -whole - i64::from(before.subsec_nanos() > 0)
        }
    }
}

fn from_seconds(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

fn shown_size(attributes: &Attributes) -> u64 {
    match (attributes.kind, &attributes.target) {
        // POSIX: the size of a link is the length of its target.
        (Kind::Symlink, Some(target)) => target.len() as u64,
        (Kind::Directory, _) => 0,
        _ => attributes.size.unwrap_or(0),
    }
}

fn shown_mode(attributes: &Attributes, options: &VfsOptions, has_modes: bool) -> u32 {
    let known = attributes.mode.map(|mode| mode & 0o7777);
    match attributes.kind {
        Kind::Symlink => SYMLINK_MODE,
        Kind::Directory => options.directory_mode.unwrap_or_else(|| match known {
            Some(mode) if has_modes => mode,
            Some(mode) => enterable(mode),
            None => DIRECTORY_MODE,
        }),
        Kind::File | Kind::Special | Kind::Unknown => {
            options.file_mode.or(known).unwrap_or(FILE_MODE)
        }
    }
}

/// Returns the mode of a directory in which each class that may read may also enter. Servers
/// without Unix modes show `drw-rw-rw-` or `drwxr--r--` for every directory, and without an `x` the
/// kernel lets only root enter.
fn enterable(mode: u32) -> u32 {
    mode | (mode & 0o444) >> 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_can_be_read_can_be_entered() {
        for (reported, shown) in [
            (0o666, 0o777),
            (0o644, 0o755),
            (0o600, 0o700),
            (0o744, 0o755),
            (0o640, 0o750),
            (0o711, 0o711),
            (0o1666, 0o1777),
            (0, 0),
        ] {
            assert_eq!(enterable(reported), shown, "{reported:o}");
        }
    }

    #[test]
    fn times_before_1970_survive_the_round_trip() {
        for seconds in [i64::MIN + 1, -86_401, -1, 0, 1, 1_795_608_000, i64::MAX] {
            assert_eq!(to_seconds(from_seconds(seconds)), seconds);
        }
    }

    #[test]
    fn a_fraction_of_a_second_belongs_to_the_second_it_is_in() {
        let late = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        let early = SystemTime::UNIX_EPOCH - Duration::from_millis(1_500);
        assert_eq!((to_seconds(late), to_seconds(early)), (1, -2));
    }
}
