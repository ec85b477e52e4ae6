//! Files and directories for this user only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;

/// A directory that cannot be created, or that others could write to.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub(crate) struct PrivateFileError {
    /// The directory.
    pub(crate) path: PathBuf,
    /// The cause.
    pub(crate) source: io::Error,
}

/// Other users must not read files in transit.
pub(crate) const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIRECTORY: u32 = 0o700;

/// Write permission for group and others.
pub(crate) const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Do not follow a symlink in place of the file (open(2)).
pub(crate) const NO_LINK: i32 = OFlags::NOFOLLOW.bits() as i32;

/// Creates `path` and its missing parents, for this user only.
pub(crate) fn new_directories(path: &Path) -> Result<(), PrivateFileError> {
    let made = DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIRECTORY)
        .create(path);
    made.map_err(|source| PrivateFileError {
        path: path.to_owned(),
        source,
    })
}

/// Creates `directory` and its parent. Both must belong to this user alone.
pub(crate) fn private_directories(directory: &Path) -> Result<(), PrivateFileError> {
    for directory in directory.parent().into_iter().chain([directory]) {
        new_directories(directory)?;
        check_private(directory)?;
    }
    Ok(())
}

/// Creates `path`, which must not exist yet, for this user only.
pub(crate) fn new_directory(path: &Path) -> Result<(), PrivateFileError> {
    let made = DirBuilder::new().mode(PRIVATE_DIRECTORY).create(path);
    made.map_err(|source| PrivateFileError {
        path: path.to_owned(),
        source,
    })
}

/// Checks that no one else can have created `directory` or can write to it: its files are trusted,
/// and uploaded under this user's login.
pub(crate) fn check_private(directory: &Path) -> Result<(), PrivateFileError> {
    let error = |source| PrivateFileError {
        path: directory.to_owned(),
        source,
    };
    let refuse = |words: &str| {
        Err(error(io::Error::new(
            io::ErrorKind::PermissionDenied,
            words,
        )))
    };
    let own = geteuid().as_raw();
    let itself = fs::symlink_metadata(directory).map_err(error)?;
    if itself.is_symlink() && itself.uid() != own {
        return refuse("it is another user's link");
    }
    let leads_to = fs::metadata(directory).map_err(error)?;
    if leads_to.uid() != own {
        return refuse("it belongs to another user");
    }
    if leads_to.mode() & WRITABLE_BY_OTHERS != 0 {
        return refuse("others can write to it (chmod go-w)");
    }
    Ok(())
}

/// Whether `path` is a directory of this user, and not a symlink to one.
pub(crate) fn is_own_directory(path: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(path)?;
    Ok(metadata.is_dir() && metadata.uid() == geteuid().as_raw())
}

/// Creates a file for this user only, open for reading and writing.
pub(crate) fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(PRIVATE_FILE)
        .open(path)
}

/// Opens a file for reading. In place of a file, a pipe does not block.
pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(NO_LINK | OFlags::NONBLOCK.bits() as i32)
        .open(path)
}

/// Opens a file for locking.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE_FILE)
        .custom_flags(NO_LINK)
        .open(path)
}
