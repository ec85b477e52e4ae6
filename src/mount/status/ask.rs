//! The client of the control socket: finds a mount's socket and requests its status.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Form, Sockets};
use crate::mount::mountinfo;

/// Maximum time for a reply.
const PATIENCE: Duration = Duration::from_secs(10);
/// Maximum size of a reply in bytes: room for a thousand paths of maximum length and more.
const ANSWER: u64 = 64 << 20;

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// Nothing is mounted there.
    #[error("nothing is mounted at {}", .0.display())]
    NotMounted(PathBuf),
    /// Another file system is mounted there.
    #[error(
        "no ftpfs of yours answers for {}: {kind} {from} is mounted there", mountpoint.display()
    )]
    NotOurs {
        /// The directory.
        mountpoint: PathBuf,
        /// The type of the file system.
        kind: String,
        /// The source of the file system.
        from: String,
    },
    /// Its ftpfs was killed.
    #[error("the ftpfs of {path} has ended; unmount it: fusermount3 -u {path}", path = .0.display())]
    Gone(PathBuf),
    /// It does not respond.
    #[error("the ftpfs of {} does not answer: {error}", of.display())]
    Silent {
        /// Its mountpoint or its socket.
        of: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The directory of the sockets cannot be read.
    #[error("cannot look for mounts: {0}")]
    Sockets(io::Error),
}

/// The reply in the requested format.
pub(crate) type StatusAnswer = String;

/// Requests the status of the mount at `mountpoint`.
///
/// # Errors
/// No mount of this user is there, or it does not respond.
pub(crate) fn at(
    sockets: &Sockets,
    mountpoint: &Path,
    form: Form,
) -> Result<StatusAnswer, AskError> {
    let silent = |error| AskError::Silent {
        of: mountpoint.to_owned(),
        error,
    };
    let absolute = std::path::absolute(mountpoint).map_err(silent)?;
    let mounted = mountinfo::at(&absolute)
        .or_else(|| mountinfo::at(&fs::canonicalize(&absolute).ok()?))
        .ok_or_else(|| AskError::NotMounted(absolute.clone()))?;
    let found = match sockets.of_device(&mounted.device) {
        Err(error) if !is_no_socket(&error) => return Err(AskError::Sockets(error)),
        found => found.unwrap_or_default(),
    };
    let mut was_killed = false;
    for socket in found {
        match ask(&socket, form) {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => was_killed = true,
            // The mount has ended in the meantime.
            Err(error) if is_no_socket(&error) => {}
            Err(error) => return Err(silent(error)),
        }
    }
    if was_killed {
        return Err(AskError::Gone(absolute));
    }
    Err(AskError::NotOurs {
        mountpoint: absolute,
        kind: mounted.kind,
        from: mounted.source,
    })
}

/// Whether no process listens at `socket` any more.
pub(super) fn is_dead(socket: &Path) -> bool {
    UnixStream::connect(socket).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Removes the socket of a mount that was killed. Another client may have removed it first.
pub(super) fn remove(socket: &Path) {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::debug!("{}: {error}", socket.display());
        }
        Ok(()) | Err(_) => {}
    }
}

/// Requests the status of all mounts of this user, including those that are unmounted and still
/// store files.
///
/// # Errors
/// One of them does not respond.
pub(crate) fn all(sockets: &Sockets, form: Form) -> Result<Vec<StatusAnswer>, AskError> {
    let mut answers = Vec::new();
    for socket in sockets.all().map_err(AskError::Sockets)? {
        match ask(&socket, form) {
            Ok(answer) => answers.extend(answer),
            // The mount has ended in the meantime.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(AskError::Silent { of: socket, error }),
        }
    }
    Ok(answers)
}

/// Requests the status from one socket. If its mount was killed, removes the socket and returns
/// `None`.
fn ask(socket: &Path, form: Form) -> io::Result<Option<StatusAnswer>> {
    let mut connection = match UnixStream::connect(socket) {
        Ok(connection) => connection,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            remove(socket);
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    writeln!(connection, "{}", form.word())?;
    let mut answer = String::new();
    connection.take(ANSWER).read_to_string(&mut answer)?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(answer))
}

/// Only root may access another user's directory; for others it counts as missing.
fn is_no_socket(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
    )
}
