//! What an error means to a program: the one place where a failed operation becomes an errno.

use std::fmt;

use crate::ftp::PathError;
use crate::remote::{self, ErrorKind};

use super::file::fill::FillError;
use super::local::spool::SpoolError;

/// An errno, as the kernel takes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// No such file or directory.
    pub const NOENT: Self = Self(libc::ENOENT);
    /// The name exists.
    pub const EXIST: Self = Self(libc::EEXIST);
    /// Input or output failed.
    pub const IO: Self = Self(libc::EIO);
    /// Not a handle that is open.
    pub const BADF: Self = Self(libc::EBADF);
    /// Cannot be expressed in FTP, whoever asks.
    pub const PERM: Self = Self(libc::EPERM);
    /// Permission denied.
    pub const ACCES: Self = Self(libc::EACCES);
    /// The mount is read-only.
    pub const ROFS: Self = Self(libc::EROFS);
    /// A directory where a file is needed.
    pub const ISDIR: Self = Self(libc::EISDIR);
    /// A file where a directory is needed.
    pub const NOTDIR: Self = Self(libc::ENOTDIR);
    /// A directory that is not empty.
    pub const NOTEMPTY: Self = Self(libc::ENOTEMPTY);
    /// An argument that means nothing here.
    pub const INVAL: Self = Self(libc::EINVAL);
    /// The inode's name is gone.
    pub const STALE: Self = Self(libc::ESTALE);
    /// The program that asked was interrupted.
    pub const INTR: Self = Self(libc::EINTR);
    /// No room.
    pub const NOSPC: Self = Self(libc::ENOSPC);
    /// A deadline passed.
    pub const TIMEDOUT: Self = Self(libc::ETIMEDOUT);
    /// The server has no command for this.
    pub const OPNOTSUPP: Self = Self(libc::EOPNOTSUPP);

    /// The number, positive.
    pub fn code(self) -> i32 {
        self.0
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }
}

impl From<ErrorKind> for Errno {
    fn from(kind: ErrorKind) -> Self {
        Self(match kind {
            ErrorKind::NotFound => libc::ENOENT,
            ErrorKind::AlreadyExists => libc::EEXIST,
            ErrorKind::NotEmpty => libc::ENOTEMPTY,
            ErrorKind::IsDirectory => libc::EISDIR,
            ErrorKind::NotDirectory => libc::ENOTDIR,
            ErrorKind::PermissionDenied | ErrorKind::LoginRefused => libc::EACCES,
            ErrorKind::NoSpace => libc::ENOSPC,
            ErrorKind::QuotaExceeded => libc::EDQUOT,
            ErrorKind::FileTooLarge => libc::EFBIG,
            ErrorKind::InvalidName => libc::EINVAL,
            ErrorKind::NameTooLong => libc::ENAMETOOLONG,
            ErrorKind::Busy => libc::EBUSY,
            ErrorKind::Unsupported => libc::EOPNOTSUPP,
            ErrorKind::TimedOut => libc::ETIMEDOUT,
            ErrorKind::Unreachable => libc::EHOSTUNREACH,
            ErrorKind::Changed => libc::ESTALE,
            ErrorKind::Protocol | ErrorKind::NotSecure => libc::EPROTO,
            ErrorKind::ConnectionLost
            | ErrorKind::Truncated
            | ErrorKind::OtherWay
            | ErrorKind::Local
            | ErrorKind::Other => libc::EIO,
        })
    }
}

/// Logs the server's words, which no errno can carry, and keeps the errno.
impl From<remote::Error> for Errno {
    fn from(error: remote::Error) -> Self {
        match error.kind {
            ErrorKind::NotFound => log::debug!("{error}"),
            _ => log::warn!("{error}"),
        }
        error.kind.into()
    }
}

impl From<PathError> for Errno {
    fn from(error: PathError) -> Self {
        match error {
            PathError::TooLong => Self(libc::ENAMETOOLONG),
            PathError::Unsendable | PathError::NotAName | PathError::NotInCharset(_) => Self::INVAL,
        }
    }
}

impl From<SpoolError> for Errno {
    fn from(error: SpoolError) -> Self {
        match error {
            // A writer may wait and try again; when it does not, its program is told.
            SpoolError::NoSpace => log::debug!("{error}"),
            _ => log::warn!("{error}"),
        }
        match error {
            SpoolError::NoSpace => Self::NOSPC,
            SpoolError::QuotaExceeded => Self(libc::EDQUOT),
            SpoolError::TooLarge => Self(libc::EFBIG),
            SpoolError::Io(error) => Self(error.raw_os_error().unwrap_or(libc::EIO)),
        }
    }
}

impl From<FillError> for Errno {
    fn from(error: FillError) -> Self {
        match error {
            FillError::Spool(error) => error.into(),
            FillError::Remote(error) => error.into(),
        }
    }
}
