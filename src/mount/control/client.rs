//! The client of the control socket: finds the socket of a mount and sends a request.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{ControlRequest, Sockets};
use crate::mount::mountinfo::{self, Mounted};
use crate::sys;

/// Maximum time for a part of a reply.
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

/// A connection to the ftpfs of a mount.
#[derive(Debug)]
struct ControlConnection {
    stream: UnixStream,
}

/// Requests the status of the mount at `mountpoint`.
///
/// # Errors
/// No mount of this user is there, or it does not respond.
pub(crate) fn at(
    sockets: &Sockets,
    mountpoint: &Path,
    request: &ControlRequest,
) -> Result<String, AskError> {
    let silent = |error| AskError::Silent {
        of: mountpoint.to_owned(),
        error,
    };
    let absolute = std::path::absolute(mountpoint).map_err(silent)?;
    let mounted = mountinfo::at(&absolute)
        .or_else(|| mountinfo::at(&fs::canonicalize(&absolute).ok()?))
        .ok_or_else(|| AskError::NotMounted(absolute.clone()))?;
    let connection = connect_to(sockets, &mounted)?;
    connection.ask(request).map_err(silent)
}

/// The replies of several mounts.
#[derive(Debug)]
pub(crate) struct Answers {
    /// The replies.
    pub replies: Vec<String>,
    /// Why the other mounts did not reply.
    pub failures: Vec<AskError>,
}

/// Requests the status of all mounts of this user, including those that are unmounted and still
/// store files.
///
/// # Errors
/// The mounts cannot be found.
pub(crate) fn all(sockets: &Sockets, request: &ControlRequest) -> Result<Answers, AskError> {
    let (mut replies, mut failures) = (Vec::new(), Vec::new());
    for socket in sockets.all().map_err(AskError::Sockets)? {
        let answer = match ControlConnection::open(&socket) {
            Ok(None) => continue,
            Ok(Some(connection)) => connection.ask(request),
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) => replies.push(answer),
            // The mount has ended in the meantime.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => failures.push(AskError::Silent { of: socket, error }),
        }
    }
    Ok(Answers { replies, failures })
}

fn connect_to(sockets: &Sockets, mounted: &Mounted) -> Result<ControlConnection, AskError> {
    let mountpoint = mounted.mountpoint.clone();
    let found = match sockets.of_device(&mounted.device) {
        Err(error) if !is_no_socket(&error) => return Err(AskError::Sockets(error)),
        found => found.unwrap_or_default(),
    };
    let mut was_killed = false;
    for socket in found {
        match ControlConnection::open(&socket) {
            Ok(Some(connection)) => return Ok(connection),
            Ok(None) => was_killed = true,
            // The mount has ended in the meantime.
            Err(error) if is_no_socket(&error) => {}
            Err(error) => {
                return Err(AskError::Silent {
                    of: mountpoint,
                    error,
                });
            }
        }
    }
    if was_killed {
        return Err(AskError::Gone(mountpoint));
    }
    Err(AskError::NotOurs {
        mountpoint,
        kind: mounted.kind.clone(),
        from: mounted.source.clone(),
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

impl ControlConnection {
    /// Connects to `socket`. If its mount was killed, removes the socket and returns `None`.
    fn open(socket: &Path) -> io::Result<Option<Self>> {
        let stream = match UnixStream::connect(socket) {
            Ok(stream) => stream,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                remove(socket);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let (user, _) = sys::peer_of(&stream)?;
        if user != sys::effective_uid() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Some(Self { stream }))
    }

    /// Sends `request` and returns the whole reply.
    fn ask(mut self, request: &ControlRequest) -> io::Result<String> {
        self.stream.write_all(request.format().as_bytes())?;
        let mut answer = String::new();
        self.stream.take(ANSWER).read_to_string(&mut answer)?;
        if answer.is_empty() {
            let reason = format!("it does not support {}, or is too busy", request.verb());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        Ok(answer)
    }
}

/// Only root may access another user's directory; for others it counts as missing.
fn is_no_socket(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
    )
}
