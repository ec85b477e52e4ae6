//! Why data could not be kept on the local disk.

use std::io;

/// Why data could not be spooled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    /// The spool files would exceed their limit, or their disk is full.
    #[error("no space left for data that is not stored yet")]
    NoSpace,
    /// The local user's quota is exceeded.
    #[error("local disk quota exceeded")]
    QuotaExceeded,
    /// Beyond the maximum file size of the local file system.
    #[error("the file is too large")]
    TooLarge,
    /// The bytes were sent and discarded, to make room for those after them.
    #[error("the beginning of the file was sent already and is no longer on the local disk")]
    Discarded,
    /// The spool file cannot be created, read or written.
    #[error("spool file error: {0}")]
    Io(io::Error),
}

impl From<io::Error> for SpoolError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull => Self::NoSpace,
            io::ErrorKind::QuotaExceeded => Self::QuotaExceeded,
            io::ErrorKind::FileTooLarge => Self::TooLarge,
            _ => Self::Io(error),
        }
    }
}
