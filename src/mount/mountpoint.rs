//! Checks whether a directory can be mounted on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::kernel::unmount_idle;
use super::mountinfo;

/// A directory that can be mounted on: it exists, is empty, and is not a mountpoint yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mountpoint(PathBuf);

/// Why a directory cannot be mounted on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountpointError {
    /// It does not exist.
    #[error("there is no directory {} to mount at", .0.display())]
    Missing(PathBuf),
    /// Not a directory.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// It contains files, which would be hidden.
    #[error("{} is not empty (-o nonempty hides what is in it)", .0.display())]
    NotEmpty(PathBuf),
    /// A file system is already mounted there.
    #[error("{} is in use: {kind} {from} is mounted there", mountpoint.display())]
    Busy {
        /// The directory.
        mountpoint: PathBuf,
        /// The type of the file system.
        kind: String,
        /// The source of the file system.
        from: String,
    },
    /// A FUSE file system whose process has ended is still mounted there.
    #[error(
        "{path} is a mount whose program has ended; unmount it first: fusermount3 -u {path}",
        path = .0.display()
    )]
    Stale(PathBuf),
    /// It cannot be accessed.
    #[error("cannot use {}: {source}", mountpoint.display())]
    Unusable {
        /// The directory.
        mountpoint: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl Mountpoint {
    /// Checks the directory like [`check`](Self::check). If an ftpfs that was killed has left a
    /// mount of `source` there, removes it first, so that a service manager can start the mount
    /// again.
    ///
    /// # Errors
    /// The reason why it cannot be mounted on.
    pub(crate) fn take(
        typed: &Path,
        nonempty: bool,
        source: &str,
    ) -> Result<Self, MountpointError> {
        match Self::check(typed, nonempty) {
            Err(MountpointError::Stale(path)) if is_mounted_from(&path, source) => {
                match unmount_idle(&path) {
                    Ok(()) => Self::check(typed, nonempty),
                    Err(_) => Err(MountpointError::Stale(path)),
                }
            }
            outcome => outcome,
        }
    }

    /// Checks the directory. Accepts one with files in it only if `nonempty` is set.
    ///
    /// # Errors
    /// The reason why it cannot be mounted on.
    pub(crate) fn check(typed: &Path, nonempty: bool) -> Result<Self, MountpointError> {
        let named = |error| explain(typed, error);
        check_nothing_mounted(&std::path::absolute(typed).map_err(named)?)?;
        let path = fs::canonicalize(typed).map_err(named)?;
        check_nothing_mounted(&path)?;
        if !fs::metadata(&path).map_err(named)?.is_dir() {
            return Err(MountpointError::NotADirectory(path));
        }
        if !nonempty && fs::read_dir(&path).map_err(named)?.next().is_some() {
            return Err(MountpointError::NotEmpty(path));
        }
        Ok(Self(path))
    }

    /// Returns its absolute path, without links.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Whether `directory` is this one or below it. Files that ftpfs itself needs must not be,
    /// because it would wait for itself.
    pub(crate) fn contains(&self, directory: &Path) -> bool {
        fs::canonicalize(directory).is_ok_and(|directory| directory.starts_with(&self.0))
    }
}

/// An automounter's own mount (autofs) exists to be mounted on.
fn check_nothing_mounted(path: &Path) -> Result<(), MountpointError> {
    match mountinfo::at(path) {
        None => Ok(()),
        Some(mounted) if mounted.kind == "autofs" => Ok(()),
        Some(_) if is_stale(path) => Err(MountpointError::Stale(path.to_owned())),
        Some(mounted) => Err(busy(path, mounted)),
    }
}

/// Whether an ftpfs has mounted `source` there.
fn is_mounted_from(path: &Path, source: &str) -> bool {
    mountinfo::at(path)
        .is_some_and(|mounted| mounted.source == source && mounted.kind.starts_with("fuse."))
}

fn busy(path: &Path, mounted: mountinfo::Mounted) -> MountpointError {
    MountpointError::Busy {
        mountpoint: path.to_owned(),
        kind: mounted.kind,
        from: mounted.source,
    }
}

/// Whether a mount of an ftpfs that was killed is at `path`, which is absolute.
pub(crate) fn is_dead(path: &Path) -> bool {
    mountinfo::at(path).is_some_and(|mounted| mounted.kind.starts_with("fuse.")) && is_stale(path)
}

fn is_stale(path: &Path) -> bool {
    let outcome = fs::metadata(path);
    outcome.is_err_and(|error| error.raw_os_error() == Some(libc::ENOTCONN))
}

fn explain(path: &Path, source: io::Error) -> MountpointError {
    match source.kind() {
        io::ErrorKind::NotFound => MountpointError::Missing(path.to_owned()),
        io::ErrorKind::NotADirectory => MountpointError::NotADirectory(path.to_owned()),
        io::ErrorKind::NotConnected => MountpointError::Stale(path.to_owned()),
        _ => MountpointError::Unusable {
            mountpoint: path.to_owned(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(typed: &Path) -> String {
        Mountpoint::check(typed, false).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_directory_will_do() {
        let directory = tempfile::tempdir().unwrap();
        let mountpoint = Mountpoint::check(directory.path(), false).unwrap();
        assert!(mountpoint.contains(directory.path()));
        assert!(!mountpoint.contains(Path::new("/")));
    }

    #[test]
    fn what_will_not_do_is_told_why() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(message(&directory.path().join("none")).starts_with("there is no directory"));
        assert!(message(&file).ends_with("is not a directory"));
        assert!(message(&file.join("below")).ends_with("is not a directory"));
        assert!(message(directory.path()).contains("is not empty"));
        assert!(Mountpoint::check(directory.path(), true).is_ok());
        assert!(message(Path::new("/proc")).contains("proc proc is mounted there"));
    }
}
