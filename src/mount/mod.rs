//! The life of a mount: checks, connection, mount, service, unmount.
//!
//! What a read or a write does is not known here.

mod kernel;
mod mountinfo;
mod mountpoint;
mod privileged;
mod requirements;
mod state;
pub mod status;

use std::io;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use log::{info, warn};

use crate::ftp::{self, ConnectOptions, Kind, RemotePath};
use crate::fuse::FuseFs;
use crate::guarded;
use crate::journal::{Journal, JournalError};
use crate::remote::{self, ErrorKind, Remote, RemoteOptions};
use crate::source::{SourceError, StartPath};
use crate::sys::Signals;
use crate::vfs::write::recovery;
use crate::vfs::{Vfs, VfsOptions};

pub use kernel::{KernelOptions, Sharing};
pub use mountpoint::{Mountpoint, MountpointError};
pub use privileged::Privileged;
pub use requirements::{LocalPaths, RequirementError, check};
pub use state::StateOptions;
use status::{MountIdentity, Socket, Sockets};

/// How long the last users of a busy mount may take to leave once it was asked to end.
const BUSY_GRACE: Duration = Duration::from_secs(3);

/// A server that has said nothing for so long when the mount ends is asked for a greeting, for
/// which it has as long.
const SIGN_OF_LIFE: Duration = Duration::from_secs(3);

/// All that a mount needs.
#[derive(Debug, Clone)]
pub struct MountOptions {
    /// The server.
    pub remote: RemoteOptions,
    /// The directory on it.
    pub path: StartPath,
    /// How files are shown and kept.
    pub vfs: VfsOptions,
    /// What is kept for the next mount.
    pub state: StateOptions,
    /// Where `ftpfs status` asks; none where it cannot.
    pub sockets: Option<Sockets>,
    /// What the kernel is told.
    pub kernel: KernelOptions,
}

/// Why there is no mount, or why it ended badly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The mountpoint cannot be one.
    #[error(transparent)]
    Mountpoint(#[from] MountpointError),
    /// Something this machine needs for mounting is missing.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
    /// The directory for written files that was asked for cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is no place for what writeback must keep.
    #[error(
        "writeback needs a directory for what is not stored yet: set HOME or XDG_STATE_HOME, or leave the option out"
    )]
    NoState,
    /// No session with the server.
    #[error("{}", login_hint(.0))]
    Connect(#[from] ftp::Error),
    /// The server did not tell of the directory.
    #[error(transparent)]
    Remote(#[from] remote::Error),
    /// The path cannot be one.
    #[error(transparent)]
    Path(#[from] SourceError),
    /// The directory is not there.
    #[error("there is no directory {0} on the server")]
    NoDirectory(RemotePath),
    /// It is not a directory.
    #[error("{0} on the server is not a directory")]
    NotADirectory(RemotePath),
    /// The kernel or fusermount3 refused.
    #[error("cannot mount: {0}")]
    Mount(io::Error),
    /// A thread or a signal mask was refused.
    #[error("cannot start: {0}")]
    Start(io::Error),
    /// The kernel would not take privileges away.
    #[error("cannot give up privileges: {0}")]
    Privilege(io::Error),
    /// Ended by a signal before it was mounted.
    #[error("interrupted before the mount was ready")]
    Interrupted,
    /// The connection to the kernel broke.
    #[error("the mount ended with an error: {0}")]
    Service(io::Error),
    /// A second signal came while files were still being stored.
    #[error("interrupted while files were still being stored: the server may not have them")]
    Abandoned,
    /// The server died before it had everything.
    #[error(
        "the server does not answer: what it has not acknowledged is left to the next mount of it"
    )]
    ServerGone,
}

/// A mount that answers.
#[derive(Debug)]
pub struct Mount {
    mountpoint: PathBuf,
    vfs: Arc<Vfs>,
    events: Receiver<MountEvent>,
    sender: Sender<MountEvent>,
    privileged: Privileged,
    /// How the server is reached.
    server: ConnectOptions,
    socket: Option<Socket>,
}

/// Ends a [`Mount`] from another thread.
#[derive(Debug, Clone)]
pub struct Stopper(Sender<MountEvent>);

/// What the thread that owns the mount waits for.
#[derive(Debug)]
enum MountEvent {
    /// The server was reached, or not.
    Connected(Box<Result<(Remote, RemotePath), Error>>),
    /// A signal came, or [`Stopper::stop`].
    Stop,
    /// The kernel's last request was answered.
    Ended(io::Result<()>),
    /// All is stored.
    Stored,
    /// … and every session ended.
    ShutDown(io::Result<()>),
}

impl Mount {
    /// Connects, logs in, looks at the directory, mounts it and serves it.
    ///
    /// Everything but the mounting itself is done with the calling thread's privileges.
    ///
    /// # Errors
    /// Nothing is mounted then.
    pub fn start(
        mountpoint: &Mountpoint,
        options: MountOptions,
        signals: Signals,
        privileged: Privileged,
    ) -> Result<Self, Error> {
        let (sender, events) = mpsc::channel();
        let to_signal = sender.clone();
        spawn("signals", move || forward_signals(signals, &to_signal))?;
        let to_connect = sender.clone();
        let MountOptions {
            remote,
            path,
            vfs,
            state,
            sockets,
            kernel,
        } = options;
        let server = remote.pool.connect.clone();
        let identity = MountIdentity {
            mountpoint: mountpoint.path().to_owned(),
            source: kernel.name.clone(),
            host: server.host.clone(),
            port: server.port,
            user: server.user.clone(),
        };
        let journal = state.open()?;
        let to_note = journal.clone();
        spawn("connect", move || {
            // The receiver is gone when a signal came first; then nobody needs the outcome.
            let outcome =
                catch_unwind(AssertUnwindSafe(|| connect(remote, &path, to_note, &state)));
            let outcome = outcome.unwrap_or_else(|_| Err(Error::Start(panicked())));
            let _ = to_connect.send(MountEvent::Connected(Box::new(outcome)));
        })?;
        let (remote, directory) = match events.recv() {
            Ok(MountEvent::Connected(outcome)) => (*outcome)?,
            Ok(
                MountEvent::Stop
                | MountEvent::Ended(_)
                | MountEvent::Stored
                | MountEvent::ShutDown(_),
            )
            | Err(_) => {
                return Err(Error::Interrupted);
            }
        };
        let vfs = Vfs::new(remote, directory, vfs, journal);
        serve(
            Arc::clone(&vfs),
            mountpoint,
            &kernel,
            sender.clone(),
            &privileged,
        )?;
        let device = mountinfo::at(mountpoint.path()).map(|mounted| mounted.device);
        if let Some(device) = &device {
            kernel::raise_read_ahead(device);
        }
        let socket = open_socket(sockets.as_ref(), device.as_deref(), identity, &vfs);
        info!("mounted {} at {}", kernel.name, mountpoint.path().display());
        Ok(Self {
            mountpoint: mountpoint.path().to_owned(),
            vfs,
            events,
            sender,
            privileged,
            server,
            socket,
        })
    }

    /// What ends this mount from elsewhere.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.sender.clone())
    }

    /// Serves until the mount is unmounted or a signal comes, then stores what is not stored yet,
    /// for as long as the server shows signs of life.
    ///
    /// # Errors
    /// The service broke; a second signal or the server's silence cut the storing short.
    pub fn wait(mut self) -> Result<(), Error> {
        let served = self.serve_to_the_end();
        if let Some(socket) = &mut self.socket {
            socket.unmounted();
        }
        let (vfs, sender) = (Arc::clone(&self.vfs), self.sender.clone());
        spawn("shut-down", move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                vfs.drain();
                let _ = sender.send(MountEvent::Stored);
                vfs.disconnect();
            }));
            let outcome = outcome.map_err(|_| panicked());
            let _ = sender.send(MountEvent::ShutDown(outcome));
        })?;
        let mut is_stored = false;
        loop {
            match self.events.recv_timeout(SIGN_OF_LIFE) {
                Ok(MountEvent::Stored) => is_stored = true,
                Ok(MountEvent::ShutDown(stored)) => {
                    return served.and(stored).map_err(Error::Service);
                }
                Ok(MountEvent::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.vfs.log_pending();
                    return Err(Error::Abandoned);
                }
                Ok(MountEvent::Connected(_) | MountEvent::Ended(_)) => {}
                Err(RecvTimeoutError::Timeout) if self.is_server_alive() => {}
                Err(RecvTimeoutError::Timeout) if is_stored => {
                    warn!("the server does not answer: its sessions end without a goodbye");
                    return served.map_err(Error::Service);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.vfs.log_pending();
                    return Err(Error::ServerGone);
                }
            }
        }
    }

    fn is_server_alive(&self) -> bool {
        ftp::probe(&self.server, SIGN_OF_LIFE)
    }

    /// Until the kernel has sent its last request, or the users of a busy mount had their time.
    fn serve_to_the_end(&self) -> io::Result<()> {
        loop {
            match self.events.recv() {
                Ok(MountEvent::Ended(outcome)) => return outcome,
                Ok(MountEvent::Stop) => break,
                Ok(MountEvent::Connected(_) | MountEvent::Stored | MountEvent::ShutDown(_)) => {}
                Err(_) => return Ok(()),
            }
        }
        kernel::unmount_by(&self.privileged, &self.mountpoint);
        match self.events.recv_timeout(BUSY_GRACE) {
            Ok(MountEvent::Ended(outcome)) => outcome,
            Ok(
                MountEvent::Stop
                | MountEvent::Connected(_)
                | MountEvent::Stored
                | MountEvent::ShutDown(_),
            )
            | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                warn!("files are still open; what was not closed is not stored");
                Ok(())
            }
        }
    }
}

impl Stopper {
    /// Unmounts, as a signal would. A mount that has ended already is left alone.
    pub fn stop(&self) {
        let _ = self.0.send(MountEvent::Stop);
    }
}

fn spawn(name: &'static str, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    guarded::spawn(name, run).map(drop).map_err(Error::Start)
}

/// A thread's panic ends the mount; it must not leave the others waiting.
fn panicked() -> io::Error {
    io::Error::other("a thread panicked")
}

fn forward_signals(signals: Signals, to: &Sender<MountEvent>) {
    loop {
        match signals.wait() {
            Ok(signal) => info!("ending: {signal:?}"),
            Err(error) => return warn!("cannot wait for signals: {error}"),
        }
        if to.send(MountEvent::Stop).is_err() {
            return;
        }
    }
}

fn connect(
    options: RemoteOptions,
    path: &StartPath,
    journal: Journal,
    state: &StateOptions,
) -> Result<(Remote, RemotePath), Error> {
    let remote = Remote::connect(options, journal)?;
    // A server that does not tell where a login starts is mounted by an absolute path.
    let home = match path {
        StartPath::Absolute(_) => remote.home().ok(),
        StartPath::Relative(_) => Some(remote.home()?),
    };
    let directory = path.resolve(home.as_ref().unwrap_or(&RemotePath::root()))?;
    // A login starts in a directory, and the root is one.
    if home.as_ref() != Some(&directory) && !directory.is_root() {
        check_directory(&remote, &directory)?;
    }
    if let Some(place) = &state.place {
        recovery::recover(&remote, place);
    }
    Ok((remote, directory))
}

fn check_directory(remote: &Remote, directory: &RemotePath) -> Result<(), Error> {
    let judge = |error: remote::Error| match error.kind {
        ErrorKind::NotFound => Error::NoDirectory(directory.clone()),
        ErrorKind::NotDirectory => Error::NotADirectory(directory.clone()),
        _ => Error::Remote(error),
    };
    match remote.stat(directory).map_err(judge)?.kind {
        Kind::Directory => Ok(()),
        Kind::File | Kind::Special => Err(Error::NotADirectory(directory.clone())),
        // Only listing it tells where a link leads.
        Kind::Symlink | Kind::Unknown => remote.list(directory).map(drop).map_err(judge),
    }
}

fn serve(
    vfs: Arc<Vfs>,
    mountpoint: &Mountpoint,
    options: &KernelOptions,
    ended: Sender<MountEvent>,
    privileged: &Privileged,
) -> Result<(), Error> {
    let filesystem = FuseFs::new(vfs);
    let memory = filesystem.kernel();
    let (path, config) = (mountpoint.path().to_owned(), kernel::config(options));
    let mounted = privileged.run(move || fuser::Session::new(filesystem, path, &config));
    let session = mounted.and_then(|mounted| mounted).map_err(Error::Mount)?;
    memory.attach(session.notifier());
    let session = session.spawn().map_err(|error| {
        kernel::unmount_by(privileged, mountpoint.path());
        Error::Mount(error)
    })?;
    // fuser 0.18 takes a mount that is gone for one that is there, and on its drop would unmount
    // what somebody mounted at the same place since. So it is never dropped; see `unmount`.
    let mut session = ManuallyDrop::new(session);
    let placeholder = thread::spawn(|| Ok(()));
    let serving = std::mem::replace(&mut session.guard, placeholder);
    spawn("ended", move || {
        let outcome = serving.join().unwrap_or_else(|_| Err(panicked()));
        let _ = ended.send(MountEvent::Ended(outcome));
    })
}

/// Nothing but `ftpfs status` depends on it.
fn open_socket(
    sockets: Option<&Sockets>,
    device: Option<&str>,
    identity: MountIdentity,
    vfs: &Arc<Vfs>,
) -> Option<Socket> {
    match Socket::open(sockets?, device?, identity, vfs) {
        Ok(socket) => Some(socket),
        Err(error) => {
            info!("ftpfs status will not find this mount: {error}");
            None
        }
    }
}

fn login_hint(error: &ftp::Error) -> String {
    match error {
        ftp::Error::Login(_) => format!("{error} (wrong user or password?)"),
        other => other.to_string(),
    }
}
