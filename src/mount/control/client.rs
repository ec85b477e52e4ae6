//! The client of the control socket: finds the socket of a mount and sends a request.

use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::replies::ReplyLine;
use super::{ControlRequest, Sockets};
use crate::mount::mountinfo::{self, Mounted};
use crate::sys;

/// Maximum time for a part of a reply.
const PATIENCE: Duration = Duration::from_secs(30);
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
    /// The path cannot be resolved.
    #[error("cannot find {}: {error}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// It could not do what was requested.
    #[error("{0}")]
    Failed(String),
    /// It ended without a result.
    #[error("the ftpfs of {} has ended without saying whether it did it", .0.display())]
    Ended(PathBuf),
    /// The directory of the sockets cannot be read.
    #[error("cannot look for mounts: {0}")]
    Sockets(io::Error),
}

/// A connection to the ftpfs of a mount.
#[derive(Debug)]
struct ControlConnection {
    stream: UnixStream,
}

/// A mount and the connection to its process.
#[derive(Debug)]
pub(crate) struct MountProcess {
    mountpoint: PathBuf,
    connection: ControlConnection,
}

/// A request that the process of a mount performs.
#[derive(Debug)]
pub(crate) struct RunningRequest {
    mountpoint: PathBuf,
    verb: &'static str,
    reader: BufReader<UnixStream>,
    has_begun: bool,
}

/// A step of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestStep {
    /// How far the work is.
    Progress(String),
    /// Something that the user should know.
    Note(String),
    /// It was performed.
    Done(String),
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
    let MountProcess {
        mountpoint,
        connection,
    } = mount_at(sockets, mountpoint)?;
    let answer = connection.ask(request);
    answer.map_err(|error| AskError::Silent {
        of: mountpoint,
        error,
    })
}

/// Connects to the mount at `mountpoint`.
///
/// # Errors
/// No mount of this user is there, or it does not respond.
pub(crate) fn mount_at(sockets: &Sockets, mountpoint: &Path) -> Result<MountProcess, AskError> {
    let absolute = absolute(mountpoint)?;
    let mounted = mountinfo::at(&absolute)
        .or_else(|| mountinfo::at(&fs::canonicalize(&absolute).ok()?))
        .ok_or_else(|| AskError::NotMounted(absolute.clone()))?;
    connect_to(sockets, &mounted)
}

/// Connects to the mount that contains `path`. Returns the path relative to the root of its file
/// system, too. Does not access the mount, unless `path` contains `..`.
///
/// # Errors
/// No mount of this user contains it, or it does not respond.
pub(crate) fn mount_of(
    sockets: &Sockets,
    path: &Path,
) -> Result<(MountProcess, Vec<u8>), AskError> {
    let absolute = absolute(path)?;
    let is_plain = |path: &Path| path.components().all(|part| part != Component::ParentDir);
    let typed = mountinfo::containing(&absolute).filter(|_| is_plain(&absolute));
    let outcome = typed.map(|(mounted, below)| Ok((connect_to(sockets, &mounted)?, below)));
    match outcome {
        Some(Err(AskError::NotOurs { .. })) | None => {}
        Some(outcome) => return outcome,
    }
    // A link may lead to a mount.
    let resolved = fs::canonicalize(&absolute).map_err(|error| AskError::Path {
        path: absolute.clone(),
        error,
    })?;
    let found = mountinfo::containing(&resolved);
    let (mounted, below) = found.ok_or(AskError::NotMounted(absolute))?;
    Ok((connect_to(sockets, &mounted)?, below))
}

/// Connects to all mounts of this user, including those that are unmounted and still store files.
///
/// # Errors
/// The mounts cannot be found.
pub(crate) fn all_mounts(sockets: &Sockets) -> Result<Vec<MountProcess>, AskError> {
    let mut mounts = Vec::new();
    for socket in sockets.all().map_err(AskError::Sockets)? {
        match ControlConnection::open(&socket) {
            Ok(Some(connection)) => mounts.push(MountProcess {
                mountpoint: socket,
                connection,
            }),
            Ok(None) => {}
            Err(error) if is_no_socket(&error) => {}
            Err(error) => return Err(AskError::Silent { of: socket, error }),
        }
    }
    Ok(mounts)
}

fn absolute(path: &Path) -> Result<PathBuf, AskError> {
    std::path::absolute(path).map_err(|error| AskError::Path {
        path: path.to_owned(),
        error,
    })
}

impl MountProcess {
    /// Returns the mountpoint.
    pub(crate) fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Returns a handle of the process, with which its end can be awaited.
    ///
    /// # Errors
    /// The process has ended.
    pub(crate) fn process(&self) -> io::Result<sys::ProcessHandle> {
        sys::ProcessHandle::open(sys::peer_of(&self.connection.stream)?.1)
    }

    /// Sends a request other than for the status.
    ///
    /// # Errors
    /// The process does not respond.
    pub(crate) fn request(self, request: &ControlRequest) -> Result<RunningRequest, AskError> {
        let mut stream = self.connection.stream;
        match stream.write_all(request.format().as_bytes()) {
            Ok(()) => Ok(RunningRequest {
                mountpoint: self.mountpoint,
                verb: request.verb(),
                reader: BufReader::new(stream),
                has_begun: false,
            }),
            Err(error) => Err(AskError::Silent {
                of: self.mountpoint,
                error,
            }),
        }
    }
}

impl RunningRequest {
    /// Waits for the next step.
    ///
    /// # Errors
    /// It was not performed, or the process does not respond.
    pub(crate) fn step(&mut self) -> Result<RequestStep, AskError> {
        let silent = |error| AskError::Silent {
            of: self.mountpoint.clone(),
            error,
        };
        let line = ReplyLine::read(&mut self.reader).map_err(silent)?;
        let step = match line {
            Some(ReplyLine::Progress(text)) => RequestStep::Progress(text),
            Some(ReplyLine::Note(text)) => RequestStep::Note(text),
            Some(ReplyLine::Done(text)) => RequestStep::Done(text),
            Some(ReplyLine::Error(reason)) => return Err(AskError::Failed(reason)),
            None if self.has_begun => return Err(AskError::Ended(self.mountpoint.clone())),
            None => return Err(silent(unsupported(self.verb))),
        };
        self.has_begun = true;
        Ok(step)
    }
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

fn connect_to(sockets: &Sockets, mounted: &Mounted) -> Result<MountProcess, AskError> {
    let mountpoint = mounted.mountpoint.clone();
    let found = match sockets.of_device(&mounted.device) {
        Err(error) if !is_no_socket(&error) => return Err(AskError::Sockets(error)),
        found => found.unwrap_or_default(),
    };
    let mut was_killed = false;
    for socket in found {
        match ControlConnection::open(&socket) {
            Ok(Some(connection)) => {
                return Ok(MountProcess {
                    mountpoint,
                    connection,
                });
            }
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
    // The kernel may have given the device number of a killed mount to another file system.
    if was_killed && mounted.kind == "fuse.ftpfs" {
        return Err(AskError::Gone(mountpoint));
    }
    Err(AskError::NotOurs {
        mountpoint,
        kind: safe_for_terminal(&mounted.kind),
        from: safe_for_terminal(&mounted.source),
    })
}

/// Replaces what another user could have put into a mount's source to steer a terminal.
fn safe_for_terminal(text: &str) -> String {
    text.replace(char::is_control, "?")
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
            return Err(unsupported(request.verb()));
        }
        Ok(answer)
    }
}

/// The error of a process that closes the connection without a reply.
fn unsupported(verb: &str) -> io::Error {
    let reason = format!("it does not support {verb}, or is too busy");
    io::Error::new(io::ErrorKind::UnexpectedEof, reason)
}

/// Only root may access another user's directory; for others it counts as missing.
fn is_no_socket(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
    )
}
