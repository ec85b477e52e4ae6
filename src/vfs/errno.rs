//! The one place where a failed operation becomes an errno.

use std::fmt;

use crate::cancel::WouldBlock;
use crate::ftp::PathError;
use crate::remote::{self, ErrorKind};

use super::file::fill::FillError;
use super::local::error::SpoolError;
use super::write::uploader::Unchangeable;

/// An errno in the kernel's form.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Errno(i32);

impl Errno {
    /// No such file or directory.
    pub(crate) const NOENT: Self = Self(libc::ENOENT);
    /// The name already exists.
    pub(crate) const EXIST: Self = Self(libc::EEXIST);
    /// I/O error.
    pub(crate) const IO: Self = Self(libc::EIO);
    /// Not an open handle.
    pub(crate) const BADF: Self = Self(libc::EBADF);
    /// Not possible with FTP for any user.
    pub(crate) const PERM: Self = Self(libc::EPERM);
    /// Permission denied.
    pub(crate) const ACCES: Self = Self(libc::EACCES);
    /// The mount is read-only.
    pub(crate) const ROFS: Self = Self(libc::EROFS);
    /// A directory where a file is required.
    pub(crate) const ISDIR: Self = Self(libc::EISDIR);
    /// A file where a directory is required.
    pub(crate) const NOTDIR: Self = Self(libc::ENOTDIR);
    /// A directory that is not empty.
    pub(crate) const NOTEMPTY: Self = Self(libc::ENOTEMPTY);
    /// Invalid argument.
    pub(crate) const INVAL: Self = Self(libc::EINVAL);
    /// The inode no longer has a name.
    pub(crate) const STALE: Self = Self(libc::ESTALE);
    /// The calling program was interrupted.
    pub(crate) const INTR: Self = Self(libc::EINTR);
    /// The operation would have to wait, and must not. No program gets it: the operation is
    /// repeated where it may wait.
    pub(crate) const WOULD_BLOCK: Self = Self(libc::EWOULDBLOCK);
    /// In use.
    pub(crate) const BUSY: Self = Self(libc::EBUSY);
    /// A program that is running is executed from the file.
    pub(crate) const TXTBSY: Self = Self(libc::ETXTBSY);
    /// No space left.
    pub(crate) const NOSPC: Self = Self(libc::ENOSPC);
    /// Larger than a file can be.
    pub(crate) const FBIG: Self = Self(libc::EFBIG);
    /// Not possible here. Programs and the kernel then do without.
    pub(crate) const OPNOTSUPP: Self = Self(libc::EOPNOTSUPP);
    /// No such extended attribute.
    pub(crate) const NODATA: Self = Self(libc::ENODATA);
    /// The mount works offline, and has no answer.
    pub(crate) const NETUNREACH: Self = Self(libc::ENETUNREACH);
    /// A deadline passed.
    pub(crate) const TIMEDOUT: Self = Self(libc::ETIMEDOUT);

    /// Whether the operation failed because of the server, the network or the disk, and not because
    /// this is the answer, as for a name that does not exist.
    pub(crate) fn is_failure(self) -> bool {
        matches!(
            self.0,
            libc::EIO
                | libc::ETIMEDOUT
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ECONNREFUSED
                | libc::EPROTO
                | libc::ENOSPC
                | libc::EDQUOT
                | libc::EFBIG
                | libc::EBUSY
        )
    }

    /// Returns the number, which is positive.
    pub(crate) fn code(self) -> i32 {
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
            ErrorKind::TimedOut | ErrorKind::NoConnection => libc::ETIMEDOUT,
            ErrorKind::Unreachable => libc::EHOSTUNREACH,
            ErrorKind::Offline => libc::ENETUNREACH,
            ErrorKind::ConnectionRefused => libc::ECONNREFUSED,
            ErrorKind::Changed => libc::ESTALE,
            ErrorKind::Interrupted => libc::EINTR,
            ErrorKind::Protocol | ErrorKind::NotSecure => libc::EPROTO,
            ErrorKind::ConnectionLost
            | ErrorKind::Truncated
            | ErrorKind::OtherWay
            | ErrorKind::Local
            | ErrorKind::TryLater
            | ErrorKind::Other => libc::EIO,
        })
    }
}

/// Logs the server's text, which no errno can carry.
impl From<remote::Error> for Errno {
    fn from(error: remote::Error) -> Self {
        match error.kind {
            ErrorKind::NotFound | ErrorKind::Interrupted | ErrorKind::Offline => {
                log::debug!(path = error.path, reply = error.reply; "{error}");
            }
            _ => {
                log::warn!(path = error.path, reply = error.reply; "{error}");
            }
        }
        error.kind.into()
    }
}

impl From<WouldBlock> for Errno {
    fn from(WouldBlock: WouldBlock) -> Self {
        Self::WOULD_BLOCK
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
            // A writer may wait and try again. If it does not, its program gets the errno.
            SpoolError::NoSpace => log::debug!("{error}"),
            _ => log::warn!("{error}"),
        }
        match error {
            SpoolError::NoSpace | SpoolError::Discarded => Self::NOSPC,
            SpoolError::QuotaExceeded => Self(libc::EDQUOT),
            SpoolError::TooLarge => Self(libc::EFBIG),
            SpoolError::Io(error) => Self(error.raw_os_error().unwrap_or(libc::EIO)),
        }
    }
}

impl From<Unchangeable> for Errno {
    fn from(error: Unchangeable) -> Self {
        match error {
            Unchangeable::Sent(error) => error.into(),
            Unchangeable::Lost(error) => error.into(),
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
