//! What a failed operation means, decided once: the reply code says which family, its text
//! sometimes which member, the operation the rest.

use crate::ftp::RemotePath;

/// What went wrong, in words a file system understands; each has its own errno in the vfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No such file or directory.
    NotFound,
    /// The name exists already.
    AlreadyExists,
    /// A directory that is not empty.
    NotEmpty,
    /// A directory where a file is needed.
    IsDirectory,
    /// A file where a directory is needed.
    NotDirectory,
    /// The server refuses this user.
    PermissionDenied,
    /// The server is full (452, 552).
    NoSpace,
    /// The user's quota is used up (552 that says so).
    QuotaExceeded,
    /// The name cannot be sent, or the server does not take it.
    InvalidName,
    /// The name is too long.
    NameTooLong,
    /// The server is busy with this file (450).
    Busy,
    /// The server has no command for this.
    Unsupported,
    /// User or password refused.
    LoginRefused,
    /// A deadline passed.
    TimedOut,
    /// No route, no host, refused.
    Unreachable,
    /// The connection broke, and trying again did not help.
    ConnectionLost,
    /// The file is no longer the one that was opened.
    Changed,
    /// The server's words made no sense.
    Protocol,
    /// Data ended before the file did, or the stored size is not the sent one.
    Truncated,
    /// A local file (the spool) could not be read.
    Local,
    /// Any other refusal.
    Other,
}

/// A failed operation on a path.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {operation} {path}: {reason}")]
pub struct Error {
    /// What it means.
    pub kind: ErrorKind,
    /// In the imperative: `read`, `store`, `list`, `rename`.
    pub operation: &'static str,
    /// On what.
    pub path: RemotePath,
    /// The cause in words: the server's reply, the socket's error.
    pub reason: String,
}
