//! What an error means, as far as callers distinguish it.

/// The kind of a failure, in file system terms. The vfs maps each kind to an errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No such file or directory.
    NotFound,
    /// The name already exists.
    AlreadyExists,
    /// A directory that is not empty.
    NotEmpty,
    /// A directory where a file is required.
    IsDirectory,
    /// A file where a directory is required.
    NotDirectory,
    /// The server denies access to this user.
    PermissionDenied,
    /// The server is full (452, 552).
    NoSpace,
    /// The user's quota is exceeded (a 552 that says so).
    QuotaExceeded,
    /// The file is larger than the server accepts.
    FileTooLarge,
    /// The name cannot be sent, or the server does not accept it.
    InvalidName,
    /// The name is too long.
    NameTooLong,
    /// The file is in use on the server (450).
    Busy,
    /// The server has no command for this operation.
    Unsupported,
    /// The server refused the user name or the password.
    LoginRefused,
    /// TLS is not available on this server, or its certificate is not trusted.
    NotSecure,
    /// A deadline passed.
    TimedOut,
    /// No route, unknown host, or the server closed the connection during the login.
    Unreachable,
    /// Nothing listens at the server's port.
    ConnectionRefused,
    /// The server does not answer, or no session became free within the lease timeout.
    NoConnection,
    /// The mount works offline, because the server cannot be reached.
    Offline,
    /// The connection was lost, and retrying did not help.
    ConnectionLost,
    /// The file is no longer the version that was opened.
    Changed,
    /// The server sent a malformed reply.
    Protocol,
    /// The data ended before the end of the file, or the stored size differs from the number of
    /// bytes sent.
    Truncated,
    /// The server does not support this method. The profile remembers that, and the next attempt
    /// uses another one.
    OtherWay,
    /// The request was cancelled before anything was sent.
    Interrupted,
    /// A local file (the spool) could not be read.
    Local,
    /// Any other refusal that is temporary by its code (4yz, RFC 959 §4.2.1).
    TryLater,
    /// Any other refusal.
    Other,
}
