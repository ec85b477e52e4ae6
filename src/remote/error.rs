//! Errors and the one place that classifies failures: by the reply code (RFC 959 §4.2.1), then its
//! text, then the operation.

use std::io;

use super::error_kind::ErrorKind;
use super::reply_text;
use crate::ftp::{
    self, Capability, Cause, PathError, ProxyProblem, RemotePath, Reply, ServerProfile, Transience,
};
use crate::pool;

/// A failed operation on a path.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {operation} {path}: {reason}")]
pub struct Error {
    /// The kind of the failure.
    pub kind: ErrorKind,
    /// The operation, in the imperative: `read`, `store`, `list`, `rename`.
    pub operation: &'static str,
    /// The path on the server.
    pub path: RemotePath,
    /// The cause: the server's reply or the socket error. Never contains a secret.
    pub reason: String,
    /// The server's reply, if `reason` repeats one.
    pub reply: Option<Reply>,
}

/// The operation in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Home,
    Stat,
    List,
    ReadLink,
    Read,
    Store,
    Append,
    MakeDirectory,
    RemoveDirectory,
    Delete,
    Rename,
    SetTime,
    SetMode,
    SetGroup,
    MakeLink,
    Copy,
    Digest,
}

impl Cause for Error {
    fn quoted_reply(&self) -> Option<&Reply> {
        self.reply.as_ref()
    }
}

impl Operation {
    fn in_words(self) -> &'static str {
        match self {
            Self::Home => "find the home directory",
            Self::Stat => "look up",
            Self::List => "list",
            Self::ReadLink => "read the link",
            Self::Read => "read",
            Self::Store => "store",
            Self::Append => "append to",
            Self::MakeDirectory => "make the directory",
            Self::RemoveDirectory => "remove the directory",
            Self::Delete => "delete",
            Self::Rename => "rename",
            Self::SetTime => "set the time of",
            Self::SetMode => "set the mode of",
            Self::SetGroup => "set the group of",
            Self::MakeLink => "make the link",
            Self::Copy => "copy",
            Self::Digest => "get the digest of",
        }
    }
}

/// The operation and path that an error names.
#[derive(Debug, Clone, Copy)]
pub(super) struct ErrorContext<'a> {
    pub(super) operation: Operation,
    pub(super) path: &'a RemotePath,
}

impl<'a> ErrorContext<'a> {
    pub(super) fn new(operation: Operation, path: &'a RemotePath) -> Self {
        Self { operation, path }
    }

    pub(super) fn error(&self, kind: ErrorKind, reason: &(impl Cause + ?Sized)) -> Error {
        Error {
            kind,
            operation: self.operation.in_words(),
            path: self.path.clone(),
            reason: reason.to_string(),
            reply: reason.quoted_reply().cloned(),
        }
    }

    /// Returns an error of this operation for the reason of `error`.
    pub(super) fn error_because(&self, kind: ErrorKind, error: &Error) -> Error {
        Error {
            kind,
            operation: self.operation.in_words(),
            path: self.path.clone(),
            reason: error.reason.clone(),
            reply: error.reply.clone(),
        }
    }
}

/// Returns the server's refusal, if `fault` is one.
pub(super) fn refusal(fault: &pool::Error) -> Option<&Reply> {
    match fault {
        pool::Error::Session(error) => match &**error {
            ftp::Error::Refused { reply, .. } => Some(reply),
            _ => None,
        },
        pool::Error::Unavailable(_)
        | pool::Error::Offline(_)
        | pool::Error::Exhausted(_)
        | pool::Error::Closed
        | pool::Error::Cancelled => None,
    }
}

/// Whether the server does not know the command, or not in this form.
pub(super) fn is_unsupported(fault: &pool::Error) -> bool {
    refusal(fault).is_some_and(|reply| reply.code().means_unsupported())
}

/// Whether the server refused, and may not refuse later.
pub(super) fn is_passing(fault: &pool::Error, path: &RemotePath) -> bool {
    let is_later = |kind: ErrorKind| kind.transience() == Transience::Later;
    refusal(fault).is_some() && meaning(fault, path).is_some_and(is_later)
}

/// Returns the meaning of `fault` for an operation on `path`, or `None` if the server refused
/// without a reason.
pub(super) fn meaning(fault: &pool::Error, path: &RemotePath) -> Option<ErrorKind> {
    match fault {
        pool::Error::Session(error) => session_meaning(error, path),
        pool::Error::Unavailable(error) => Some(unavailable(error, path)),
        pool::Error::Offline(_) => Some(ErrorKind::Offline),
        pool::Error::Exhausted(_) => Some(ErrorKind::NoConnection),
        pool::Error::Closed => Some(ErrorKind::ConnectionLost),
        pool::Error::Cancelled => Some(ErrorKind::Interrupted),
    }
}

/// Returns the meaning of a session that could not be made. The pool has waited for the server
/// already, so that a later attempt is up to the layers above.
fn unavailable(error: &ftp::Error, path: &RemotePath) -> ErrorKind {
    match error {
        ftp::Error::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
            ErrorKind::ConnectionRefused
        }
        ftp::Error::Refused { .. } => ErrorKind::Unreachable,
        _ => match session_meaning(error, path) {
            Some(ErrorKind::TimedOut) => ErrorKind::NoConnection,
            Some(kind) if !kind.transience().passes_by_itself() => kind,
            Some(_) | None => ErrorKind::Unreachable,
        },
    }
}

fn session_meaning(error: &ftp::Error, path: &RemotePath) -> Option<ErrorKind> {
    let kind = match error {
        ftp::Error::Refused { reply, .. } => return reply_meaning(reply, path),
        ftp::Error::Timeout(_)
        | ftp::Error::TooSlow(_)
        | ftp::Error::Proxy {
            problem: ProxyProblem::Slow,
            ..
        } => ErrorKind::TimedOut,
        ftp::Error::Login(_)
        | ftp::Error::Proxy {
            problem: ProxyProblem::WantsLogin | ProxyProblem::LoginRefused,
            ..
        } => ErrorKind::LoginRefused,
        ftp::Error::ActiveByProxy
        | ftp::Error::Proxy {
            problem: ProxyProblem::Unsendable(_),
            ..
        } => ErrorKind::Unsupported,
        ftp::Error::Resolve { .. }
        | ftp::Error::Connect { .. }
        | ftp::Error::Proxy { .. }
        | ftp::Error::TooManySessions(_) => ErrorKind::Unreachable,
        ftp::Error::Io { .. } | ftp::Error::Closed(_) | ftp::Error::OutOfStep(_) => {
            ErrorKind::ConnectionLost
        }
        ftp::Error::TlsRefused { .. }
        | ftp::Error::TlsDemanded { .. }
        | ftp::Error::PlaintextInjected
        | ftp::Error::Certificate(_)
        | ftp::Error::Tls(_)
        | ftp::Error::NotTls => ErrorKind::NotSecure,
        ftp::Error::NoCloseNotify => ErrorKind::Truncated,
        ftp::Error::NoTransfer { .. }
        | ftp::Error::ListingTooLarge(_)
        | ftp::Error::OtherService { .. }
        | ftp::Error::Malformed { .. }
        | ftp::Error::TooLong { .. } => ErrorKind::Protocol,
        ftp::Error::Path(PathError::TooLong) => ErrorKind::NameTooLong,
        ftp::Error::Path(
            PathError::Unsendable | PathError::NotAName | PathError::NotInCharset(_),
        )
        | ftp::Error::Unrepresentable(_) => ErrorKind::InvalidName,
        ftp::Error::LocalFile(_) => ErrorKind::Local,
    };
    Some(kind)
}

/// Returns the meaning of the refusal `reply` for an operation on `path`, or `None` if it gives no
/// reason.
pub(super) fn reply_meaning(reply: &Reply, path: &RemotePath) -> Option<ErrorKind> {
    let said = || reply_text::reason(reply.lines(), path);
    match reply.code().0 {
        _ if reply.code().means_unsupported() => Some(ErrorKind::Unsupported),
        // A completion before the end of the data.
        200..=299 => Some(ErrorKind::Truncated),
        421 | 425 | 426 => Some(ErrorKind::ConnectionLost),
        430 | 530 | 532 => Some(ErrorKind::PermissionDenied),
        450 => said().or(Some(ErrorKind::Busy)),
        452 | 552 => match said() {
            Some(kind @ (ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)) => Some(kind),
            _ => Some(ErrorKind::NoSpace),
        },
        501 => said().or(Some(ErrorKind::InvalidName)),
        521 | 522 | 534 | 536 => Some(ErrorKind::Protocol),
        550 | 553 => said(),
        400..=499 => said().or(Some(ErrorKind::TryLater)),
        _ => said().or(Some(ErrorKind::Other)),
    }
}

/// Converts a refusal to `None`. A server that does not know the command is not asked again for
/// what needs `capability`.
pub(super) fn unless_refused<T>(
    answer: Result<T, ftp::Error>,
    profile: &ServerProfile,
    capability: Capability,
) -> Result<Option<T>, ftp::Error> {
    match answer {
        Ok(reported) => Ok(Some(reported)),
        Err(ftp::Error::Refused { reply, .. }) if reply.code().means_unsupported() => {
            profile.fails(capability, &reply);
            Ok(None)
        }
        Err(ftp::Error::Refused { reply, .. }) if reply.code().0 != 421 => Ok(None),
        // A malformed time, for a file that has none.
        Err(ftp::Error::Malformed { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::{Phase, ReplyCode};

    fn refused(code: u16, text: &str) -> pool::Error {
        let reply = Reply::new(ReplyCode(code), vec![text.as_bytes().to_vec()]);
        let command = "DELE";
        pool::Error::from(ftp::Error::Refused { command, reply })
    }

    #[test]
    fn real_servers_refusals_mean_what_they_mean() {
        let path = RemotePath::new(b"/x").unwrap();
        for (code, text, kind) in [
            (
                550,
                "x: No such file or directory",
                Some(ErrorKind::NotFound),
            ),
            (
                450,
                "/x: No such file or directory",
                Some(ErrorKind::NotFound),
            ),
            (450, "/x: File busy", Some(ErrorKind::Busy)),
            (
                451,
                "Rename/move failure: Directory not empty",
                Some(ErrorKind::NotEmpty),
            ),
            (451, "Local error in processing", Some(ErrorKind::TryLater)),
            (504, "Not for that parameter", Some(ErrorKind::Unsupported)),
            (452, "Error writing file", Some(ErrorKind::NoSpace)),
            (
                552,
                "Transfer aborted. Disk quota exceeded",
                Some(ErrorKind::QuotaExceeded),
            ),
            (552, "Exceeded storage allocation", Some(ErrorKind::NoSpace)),
            (552, "x: File too large", Some(ErrorKind::FileTooLarge)),
            (
                550,
                "Maximum file size exceeded",
                Some(ErrorKind::FileTooLarge),
            ),
            (500, "Unknown SITE command.", Some(ErrorKind::Unsupported)),
            (502, "Command not implemented", Some(ErrorKind::Unsupported)),
            (
                501,
                "Invalid number of arguments",
                Some(ErrorKind::InvalidName),
            ),
            (
                530,
                "Please login with USER and PASS.",
                Some(ErrorKind::PermissionDenied),
            ),
            (553, "Could not create file.", None),
            (
                553,
                "Can't open that file: No such file or directory",
                Some(ErrorKind::NotFound),
            ),
            (550, "Delete operation failed.", None),
            (
                425,
                "Can't open data connection.",
                Some(ErrorKind::ConnectionLost),
            ),
        ] {
            assert_eq!(meaning(&refused(code, text), &path), kind, "{code} {text}");
        }
    }

    #[test]
    fn failures_without_a_reply_have_their_kinds() {
        let path = RemotePath::root();
        let timeout = pool::Error::from(ftp::Error::Timeout(Phase::Reply));
        assert_eq!(meaning(&timeout, &path), Some(ErrorKind::TimedOut));
        let closed = pool::Error::from(ftp::Error::Closed(Phase::Reply));
        assert_eq!(meaning(&closed, &path), Some(ErrorKind::ConnectionLost));
        assert!(!is_unsupported(&closed));
        assert!(is_unsupported(&refused(502, "no")));
    }

    #[test]
    fn an_error_names_operation_path_and_the_servers_words() {
        let path = RemotePath::new(b"/a/b").unwrap();
        let error = ErrorContext::new(Operation::Store, &path)
            .error(ErrorKind::QuotaExceeded, &refused(552, "quota exceeded"));
        assert_eq!(
            error.to_string(),
            "cannot store /a/b: DELE: 552 quota exceeded"
        );
        let context = ErrorContext::new(Operation::Rename, &path);
        let other = context.error_because(ErrorKind::OtherWay, &error);
        assert_eq!(
            other.to_string(),
            "cannot rename /a/b: DELE: 552 quota exceeded"
        );
        let reply = other.quoted_reply().map(ToString::to_string);
        assert_eq!(reply.as_deref(), Some("552 quota exceeded"));
    }
}
