//! The other end of the control socket: finds a mount's and asks it.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Form, Sockets};
use crate::mount::mountinfo;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer, bytes: a thousand paths of the longest, and then some.
const ANSWER: u64 = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nothing is mounted there.
    #[error("nothing is mounted at {}", .0.display())]
    NotMounted(PathBuf),
    /// Something else is.
    #[error(
        "no ftpfs of yours answers for {}: {kind} {from} is mounted there", mountpoint.display()
    )]
    NotOurs {
        /// Where.
        mountpoint: PathBuf,
        /// Its type.
        kind: String,
        /// Its source.
        from: String,
    },
    /// Its ftpfs was killed.
    #[error("the ftpfs of {path} is gone; unmount it: fusermount3 -u {path}", path = .0.display())]
    Gone(PathBuf),
    /// It says nothing.
    #[error("the ftpfs of {} does not answer: {error}", of.display())]
    Silent {
        /// Its mountpoint, or its socket.
        of: PathBuf,
        /// How that shows.
        error: io::Error,
    },
    /// The sockets cannot be looked at.
    #[error("cannot look for mounts: {0}")]
    Sockets(io::Error),
}

/// What was answered, in the form that was asked for.
pub type StatusAnswer = String;

/// Asks the mount at `mountpoint`.
///
/// # Errors
/// None of this user's mounts is there, or it does not answer.
pub fn at(sockets: &Sockets, mountpoint: &Path, form: Form) -> Result<StatusAnswer, AskError> {
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
            // It ended meanwhile.
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

/// Removes the socket of a mount that was killed. Another asker may be faster.
pub(super) fn remove(socket: &Path) {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::debug!("{}: {error}", socket.display());
        }
        Ok(()) | Err(_) => {}
    }
}

/// Asks all mounts of this user, also those that are unmounted and store what is left.
///
/// # Errors
/// One of them does not answer.
pub fn all(sockets: &Sockets, form: Form) -> Result<Vec<StatusAnswer>, AskError> {
    let mut answers = Vec::new();
    for socket in sockets.all().map_err(AskError::Sockets)? {
        match ask(&socket, form) {
            Ok(answer) => answers.extend(answer),
            // It ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(AskError::Silent { of: socket, error }),
        }
    }
    Ok(answers)
}

/// None where its mount was killed; the socket is removed then.
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

/// Root alone may look into another's directory; for others there is nothing to be seen.
fn is_no_socket(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
    )
}
