//! The control socket of a running mount and its client, `ftpfs status`.
//!
//! The socket is in a directory that only the user can access. Its name contains the mount's device
//! number, so that it is found without accessing the mount, and the process id, because the kernel
//! may give the number to another mount while the first one is still ending. Each connection
//! carries one request, a line with `text` or `json`. The reply is a [`Report`] in that format.

mod ask;
mod json;
mod place;
mod text;

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::guarded;
use crate::vfs::{Report, Vfs};

pub(crate) use ask::{all, at};
pub(crate) use place::{Sockets, runtime_home};

/// How long a client may take to send its request and to receive the reply.
const PATIENCE: Duration = Duration::from_secs(2);
/// Maximum size of a request in bytes.
const QUESTION: u64 = 16;

/// Properties of a mount that do not change.
#[derive(Debug, Clone)]
pub(super) struct MountIdentity {
    pub(super) mountpoint: PathBuf,
    /// Shown as the mount's source.
    pub(super) source: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
}

/// The format of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The content of a status reply.
struct StatusContent<'a> {
    identity: &'a MountIdentity,
    /// Whether it is unmounted and still storing files.
    is_ending: bool,
    report: &'a Report,
}

impl Form {
    fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// The socket of this mount. Dropping it removes the socket.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    sockets: Sockets,
    is_ending: Arc<AtomicBool>,
}

impl Socket {
    /// Creates the socket of the mount whose device number is `device`.
    pub(super) fn open(
        sockets: &Sockets,
        device: &str,
        identity: MountIdentity,
        vfs: &Arc<Vfs>,
    ) -> io::Result<Self> {
        sockets.make()?;
        // Mounts that were killed left these.
        for old in sockets.of_device(device)? {
            if ask::is_dead(&old) {
                ask::remove(&old);
            }
        }
        let path = sockets.of_mount(device, std::process::id());
        let listener = listen(&path)?;
        let is_ending = Arc::new(AtomicBool::new(false));
        let socket = Self {
            path: path.clone(),
            sockets: sockets.clone(),
            is_ending: Arc::clone(&is_ending),
        };
        let vfs = Arc::downgrade(vfs);
        guarded::spawn("status", move || {
            for connection in listener.incoming() {
                let Some(vfs) = vfs.upgrade() else { return };
                let is_ending = is_ending.load(Ordering::Relaxed);
                let answered = guarded::catch("an answer of the status", || {
                    connection.and_then(|connection| answer(connection, &identity, is_ending, &vfs))
                });
                if let Some(Err(error)) = answered {
                    log::debug!("cannot reply to a status request: {error}");
                }
            }
        })?;
        Ok(socket)
    }

    /// Stops replying to requests for this mountpoint after the unmount, because its device number
    /// may soon belong to another mount. Requests for all mounts are still answered.
    pub(super) fn unmounted(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        let path = self.sockets.of_process(std::process::id());
        match fs::rename(&self.path, &path) {
            Ok(()) => self.path = path,
            Err(error) => log::debug!("{}: {error}", self.path.display()),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            log::debug!("{}: {error}", self.path.display());
        }
    }
}

/// Creates a socket at `path` that accepts connections from the first moment: clients take a socket
/// that refuses them for that of a killed mount.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let unready = path.with_extension("new");
    ask::remove(&unready);
    let listener = UnixListener::bind(&unready)?;
    let shown = fs::set_permissions(&unready, fs::Permissions::from_mode(0o600))
        .and_then(|()| fs::rename(&unready, path));
    if let Err(error) = shown {
        ask::remove(&unready);
        return Err(error);
    }
    Ok(listener)
}

fn answer(
    mut connection: UnixStream,
    identity: &MountIdentity,
    is_ending: bool,
    vfs: &Vfs,
) -> io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let form = question(&mut connection)?;
    let status = StatusContent {
        identity,
        is_ending,
        report: &vfs.report(),
    };
    let text = match form {
        Form::Text => text::of(&status),
        Form::Json => json::of(&status),
    };
    connection.write_all(text.as_bytes())
}

/// Reads the requested format: a line that ends with a line feed.
fn question(connection: &mut UnixStream) -> io::Result<Form> {
    let mut line = String::new();
    BufReader::new(connection.take(QUESTION)).read_line(&mut line)?;
    let forms = [Form::Text, Form::Json];
    let asked = forms
        .into_iter()
        .find(|form| line.strip_suffix('\n') == Some(form.word()));
    asked.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Returns a path that is not UTF-8 in the closest readable form.
fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
