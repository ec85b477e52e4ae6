//! What `stat` shows: a listed entry's attributes, completed by the mount's options.

use std::time::{Duration, SystemTime};

use crate::cache::Attributes;
use crate::ftp::{Kind, Precision};
use crate::remote::Version;

use super::VfsOptions;
use super::table::inode::Ino;

/// Mode of a directory whose server does not tell.
pub(super) const DIRECTORY_MODE: u32 = 0o755;
/// Mode of a file whose server does not tell.
const FILE_MODE: u32 = 0o644;
/// Mode of a symbolic link, as Linux shows it everywhere.
const SYMLINK_MODE: u32 = 0o777;

/// The attributes of one inode, as the kernel asks for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: Ino,
    /// What it is; an unknown kind is shown as a file.
    pub kind: Kind,
    /// Size in bytes.
    pub size: u64,
    /// Time of last modification; stands for the access and change times, too, which FTP does not
    /// have.
    pub modified: SystemTime,
    /// Permission bits.
    pub mode: u32,
    /// Names: one, for directories, too (find(1) takes it to mean that nobody counts
    /// subdirectories); none once removed.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// An answer of the vfs and for how long the kernel may keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WithTtl<T> {
    /// The answer.
    pub value: T,
    /// How long it is good.
    pub ttl: Duration,
}

impl From<&Attributes> for Version {
    fn from(attributes: &Attributes) -> Self {
        Self {
            size: attributes.size,
            modified: attributes.modified,
            unique: attributes.unique,
        }
    }
}

impl Attributes {
    /// These, of contents that are `version`.
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
    /// What `options` make of `attributes`; `mounted` stands for a time that the server does not
    /// tell, and `has_modes` says that the server has Unix modes for directories.
    pub(super) fn new(
        ino: Ino,
        attributes: &Attributes,
        options: &VfsOptions,
        mounted: SystemTime,
        has_modes: bool,
    ) -> Self {
        Self {
            ino,
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

/// The attributes of something just made through the mount, whose server-side time is not known.
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
    }
}

/// Seconds since the epoch, negative before.
pub(super) fn to_seconds(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        // The second that holds the time is the one before it, as with times after 1970.
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
        // POSIX: a link's size is its target's length.
        (Kind::Symlink, Some(target)) => target.len() as u64,
        (Kind::Directory, _) => 0,
        _ => attributes.size.unwrap_or(0),
    }
}

fn shown_mode(attributes: &Attributes, options: &VfsOptions, has_modes: bool) -> u32 {
    let (default, mask) = match attributes.kind {
        Kind::Symlink => return SYMLINK_MODE,
        Kind::Directory => (DIRECTORY_MODE, options.dmask),
        Kind::File | Kind::Special | Kind::Unknown => (FILE_MODE, options.fmask),
    };
    let mode = attributes.mode.unwrap_or(default) & 0o7777;
    let mode = match attributes.kind {
        Kind::Directory if !has_modes => enterable(mode),
        _ => mode,
    };
    mode & !mask.unwrap_or(0)
}

/// The mode of a directory that somebody can enter. Servers without Unix modes show `drw-rw-rw-`
/// for every directory, and the kernel lets no user but root through one without an x.
fn enterable(mode: u32) -> u32 {
    if mode & 0o111 == 0 {
        mode | (mode & 0o444) >> 2
    } else {
        mode
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_can_be_read_can_be_entered() {
        for (told, shown) in [
            (0o666, 0o777),
            (0o644, 0o755),
            (0o600, 0o700),
            (0o744, 0o744),
            (0o711, 0o711),
            (0o1666, 0o1777),
            (0, 0),
        ] {
            assert_eq!(enterable(told), shown, "{told:o}");
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
