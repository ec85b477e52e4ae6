//! A name in an open directory of the served tree, and the operations on it.
//!
//! Each operation takes one component below a descriptor and follows no symlink.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rustix::fs::{
    Access, AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, accessat,
    fstat, fstatvfs, mkdirat, openat, readlinkat, renameat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

/// Opening a FIFO or a device must not block the session.
const OPEN: OFlags = OFlags::NOFOLLOW
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK);

/// The place of an existing or new file.
pub(super) struct Place {
    directory: Arc<OwnedFd>,
    name: Vec<u8>,
}

/// The data of one name for a listing.
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) stat: Stat,
    /// Target of a symlink.
    pub(super) target: Option<Vec<u8>>,
}

/// A file opened for an upload.
pub(super) struct Upload {
    pub(super) file: File,
    /// The file did not exist before.
    pub(super) created: bool,
}

impl Place {
    pub(super) fn new(directory: Arc<OwnedFd>, name: Vec<u8>) -> Self {
        Self { directory, name }
    }

    /// Returns the entry at this place, with the given name.
    pub(super) fn entry(&self, name: &[u8]) -> io::Result<Entry> {
        Ok(entry(&self.directory, &self.name, name)?)
    }

    pub(super) fn stat(&self) -> io::Result<Stat> {
        Ok(statat(
            &self.directory,
            self.name.as_slice(),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Returns the `stat` of the containing directory.
    pub(super) fn stat_directory(&self) -> io::Result<Stat> {
        Ok(fstat(&self.directory)?)
    }

    /// Returns the `stat` of a regular file.
    pub(super) fn stat_file(&self) -> io::Result<Stat> {
        let stat = self.stat()?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(stat),
            FileType::Directory => Err(Errno::ISDIR.into()),
            _ => Err(not_regular()),
        }
    }

    /// Checks that this can be a working directory: a directory with search permission.
    pub(super) fn check_searchable(&self) -> io::Result<()> {
        if !is_directory(&self.stat()?) {
            return Err(Errno::NOTDIR.into());
        }
        Ok(accessat(
            &self.directory,
            self.name.as_slice(),
            Access::EXEC_OK,
            AtFlags::empty(),
        )?)
    }

    pub(super) fn open_to_read(&self) -> io::Result<File> {
        let file = File::from(self.open(OFlags::RDONLY, Mode::empty())?);
        check_regular(&file)?;
        Ok(file)
    }

    /// Opens the file for writing and creates it if missing. Its contents remain until the upload
    /// begins.
    pub(super) fn open_to_write(&self) -> io::Result<Upload> {
        let mode = Mode::from_raw_mode(0o666);
        let (file, created) = match self.open(OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, mode)
        {
            Err(Errno::EXIST) => (self.open(OFlags::WRONLY, mode)?, false),
            opened => (opened?, true),
        };
        let file = File::from(file);
        check_regular(&file)?;
        Ok(Upload { file, created })
    }

    /// Iterates over the entries of the directory without `.` and `..`. Skips names with a line
    /// end: no command can contain them, and a listing would show them as two.
    pub(super) fn entries(&self) -> io::Result<impl Iterator<Item = io::Result<Entry>> + use<>> {
        let directory = self.open(OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let names = Dir::read_from(&directory)?;
        Ok(names.filter_map(move |found| {
            let found = match found {
                Ok(found) => found,
                Err(error) => return Some(Err(error.into())),
            };
            let name = found.file_name().to_bytes();
            let dots = matches!(name, b"." | b"..");
            if dots || name.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
                return None;
            }
            match entry(&directory, name, name) {
                // It was removed after its name was read.
                Err(Errno::NOENT) => None,
                result => Some(result.map_err(io::Error::from)),
            }
        }))
    }

    pub(super) fn make_directory(&self) -> io::Result<()> {
        Ok(mkdirat(
            &self.directory,
            self.name.as_slice(),
            Mode::from_raw_mode(0o777),
        )?)
    }

    pub(super) fn make_link(&self, target: &[u8]) -> io::Result<()> {
        Ok(symlinkat(target, &self.directory, self.name.as_slice())?)
    }

    pub(super) fn remove_file(&self) -> io::Result<()> {
        Ok(unlinkat(
            &self.directory,
            self.name.as_slice(),
            AtFlags::empty(),
        )?)
    }

    pub(super) fn remove_directory(&self) -> io::Result<()> {
        Ok(unlinkat(
            &self.directory,
            self.name.as_slice(),
            AtFlags::REMOVEDIR,
        )?)
    }

    /// Renames, replacing a file at `to`.
    pub(super) fn rename(&self, to: &Self) -> io::Result<()> {
        Ok(renameat(
            &self.directory,
            self.name.as_slice(),
            &to.directory,
            to.name.as_slice(),
        )?)
    }

    /// Sets the modification time, in seconds since the epoch.
    pub(super) fn set_modified(&self, seconds: i64) -> io::Result<()> {
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: seconds,
                tv_nsec: 0,
            },
        };
        Ok(utimensat(
            &self.directory,
            self.name.as_slice(),
            &times,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    pub(super) fn set_mode(&self, mode: u32) -> io::Result<()> {
        let opened = self.open(OFlags::PATH, Mode::empty())?;
        if FileType::from_raw_mode(fstat(&opened)?.st_mode) == FileType::Symlink {
            return Err(Errno::OPNOTSUPP.into());
        }
        // fchmod(2) does not accept O_PATH descriptors, and fchmodat(2) follows symlinks. This path
        // refers to the descriptor only.
        let path = format!("/proc/self/fd/{}", opened.as_raw_fd());
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    /// Number of bytes that an unprivileged user can still write here.
    pub(super) fn available(&self) -> io::Result<u64> {
        let space = fstatvfs(self.open(OFlags::PATH, Mode::empty())?)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn open(&self, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        openat(&self.directory, self.name.as_slice(), flags | OPEN, mode)
    }
}

pub(super) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn entry(directory: &OwnedFd, name: &[u8], shown: &[u8]) -> Result<Entry, Errno> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let target = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => Some(readlinkat(directory, name, Vec::new())?.into_bytes()),
        _ => None,
    };
    Ok(Entry {
        name: shown.to_vec(),
        stat,
        target,
    })
}

fn check_regular(file: &File) -> io::Result<()> {
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    if kind.is_file() {
        Ok(())
    } else {
        Err(not_regular())
    }
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "Not a regular file")
}
