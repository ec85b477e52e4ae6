//! The control socket of a running mount, and its client.
//!
//! The socket is in a directory that only the user can access ([`place`]). Its name contains the
//! mount's device number, so that it is found without accessing the mount, and the process id,
//! because the kernel may give the number to another mount while the first one is still ending.
//!
//! Each connection carries one request, a line ([`request`]). The reply to a request for the status
//! is the status. The reply to another one is a series of lines ([`replies`]), of which the last
//! says whether it was performed ([`perform`]). A client that hangs up ends the work. Each
//! connection has its own thread, so a request that takes long does not delay others.

mod client;
mod ending;
mod perform;
mod place;
mod replies;
mod request;

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::status::{self, MountIdentity, size};
use crate::fuse::Kernel;
use crate::guarded::{self, OnDrop};
use crate::sys;
use crate::vfs::Vfs;

pub(crate) use client::{
    Answers, AskError, RequestStep, RunningRequest, all, all_mounts, at, mount_at, mount_of,
};
pub(crate) use place::{Sockets, socket_directories};
pub(crate) use request::{ControlRequest, LimitChange};

use ending::EndNotice;
use replies::{Replies, ReplyLine};
use request::MAX_REQUEST;

/// How long a client may take to send its request, and to receive a part of the reply.
const PATIENCE: Duration = Duration::from_secs(2);
/// Maximum number of connections that are served simultaneously. Further ones are closed.
const MAX_CONNECTIONS: usize = 32;
/// Pause after a failure to accept a connection, for example because there is no free descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The socket of this mount. Dropping it removes the socket.
#[derive(Debug)]
pub(super) struct ControlSocket {
    path: PathBuf,
    end: Arc<EndNotice>,
}

/// The parts of a mount that serve requests.
#[derive(Debug)]
struct MountParts {
    identity: MountIdentity,
    kernel: Kernel,
    end: Arc<EndNotice>,
    /// Number of connections that are being served.
    connections: AtomicUsize,
}

impl ControlSocket {
    /// Creates the socket of the mount whose device number is `device`.
    ///
    /// # Errors
    /// No directory for sockets can be used, or no thread started.
    pub(super) fn open(
        sockets: &Sockets,
        device: &str,
        identity: MountIdentity,
        vfs: &Arc<Vfs>,
        kernel: Kernel,
    ) -> io::Result<Self> {
        let directory = sockets.make()?;
        // Mounts that were killed left these.
        for old in sockets.of_device(device)? {
            if client::is_dead(&old) {
                client::remove(&old);
            }
        }
        let path = place::of_mount(&directory, device, std::process::id());
        let listener = listen(&path)?;
        let end = Arc::new(EndNotice::new());
        let socket = Self {
            path,
            end: Arc::clone(&end),
        };
        let parts = Arc::new(MountParts {
            identity,
            kernel,
            end,
            connections: AtomicUsize::new(0),
        });
        let vfs = Arc::downgrade(vfs);
        guarded::spawn("control", move || {
            for connection in listener.incoming() {
                let Some(vfs) = vfs.upgrade() else { return };
                match connection {
                    Ok(connection) => parts.start(connection, vfs),
                    Err(error) => {
                        log::debug!("cannot accept a connection to the control socket: {error}");
                        std::thread::sleep(ACCEPT_PAUSE);
                    }
                }
            }
        })?;
        Ok(socket)
    }

    /// Stops replying to requests for this mountpoint after the unmount, because its device number
    /// may soon belong to another mount. Requests for all mounts are still answered.
    pub(super) fn unmounted(&mut self) {
        self.end.unmounted();
        let Some(directory) = self.path.parent() else {
            return;
        };
        let path = place::of_process(directory, std::process::id());
        match fs::rename(&self.path, &path) {
            Ok(()) => self.path = path,
            Err(error) => log::debug!("{}: {error}", self.path.display()),
        }
    }
}

impl ControlSocket {
    /// Tells clients that wait for the end how the mount ended: everything is stored, or an error
    /// says why not. Files that wait in `vfs` are not stored.
    pub(super) fn ended(&self, outcome: Result<(), String>, vfs: &Vfs) {
        self.end
            .ended(outcome.and_then(|()| perform::unstored(vfs)));
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            log::debug!("{}: {error}", self.path.display());
        }
    }
}

impl MountParts {
    /// Serves `connection` in its own thread, unless there are too many.
    fn start(self: &Arc<Self>, connection: UnixStream, vfs: Arc<Vfs>) {
        if self.connections.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            log::debug!("too many clients of the control socket");
            return;
        }
        let parts = Arc::clone(self);
        let serve = move || {
            let _ended = OnDrop::new(|| {
                parts.connections.fetch_sub(1, Ordering::Relaxed);
            });
            if let Err(error) = parts.serve(connection, &vfs) {
                log::debug!("cannot serve a client of the control socket: {error}");
            }
        };
        if let Err(error) = guarded::spawn("client", serve) {
            // The closure was dropped without running, so the count is corrected here.
            self.connections.fetch_sub(1, Ordering::Relaxed);
            log::debug!("no thread for a client of the control socket: {error}");
        }
    }

    fn serve(&self, mut connection: UnixStream, vfs: &Arc<Vfs>) -> io::Result<()> {
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_write_timeout(Some(PATIENCE))?;
        let (user, _) = sys::peer_of(&connection)?;
        if user != 0 && user != sys::effective_uid() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let request = read_request(&connection)?;
        if let ControlRequest::Status(form) = request {
            let is_ending = self.end.is_ending();
            let text = status::render(form, &self.identity, is_ending, &vfs.report());
            return connection.write_all(text.as_bytes());
        }
        let mut replies = Replies::new(connection);
        if request == ControlRequest::AwaitEnd {
            self.await_end(vfs, &mut replies);
            return Ok(());
        }
        let last = match self.perform(request, vfs, &mut replies) {
            Ok(done) => ReplyLine::Done(done),
            Err(reason) => ReplyLine::Error(reason),
        };
        replies.send(&last)
    }
}

/// For the owner alone. systemd-tmpfiles does not remove old files with the sticky bit, and does
/// not recognize a socket in use that was renamed.
const SOCKET_MODE: u32 = 0o1600;

/// Creates a socket at `path` that accepts connections from the first moment: clients take a socket
/// that refuses them for that of a killed mount.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let unready = path.with_extension("new");
    client::remove(&unready);
    let listener = UnixListener::bind(&unready)?;
    let shown = fs::set_permissions(&unready, fs::Permissions::from_mode(SOCKET_MODE))
        .and_then(|()| fs::rename(&unready, path));
    if let Err(error) = shown {
        client::remove(&unready);
        return Err(error);
    }
    Ok(listener)
}

fn read_request(connection: &UnixStream) -> io::Result<ControlRequest> {
    let mut line = Vec::new();
    BufReader::new(connection.take(MAX_REQUEST)).read_until(b'\n', &mut line)?;
    ControlRequest::parse(&line).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
