//! The life of a mount: checks, connection, mount, service, unmount.
//!
//! This module does not know what reads and writes do.

mod connection;
pub(crate) mod control;
mod fusermount;
mod hang_up;
mod kernel;
mod mountinfo;
mod mountpoint;
mod privileged;
mod progress;
mod requirements;
mod state;
pub(crate) mod status;
mod supervisor;

use std::io;
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use log::{info, warn};

use crate::disk_cache::{DiskCache, DiskCacheOptions, InodeNumbers, NumbersError};
use crate::ftp::{self, Cause, ConnectOptions, RemotePath, Reply};
use crate::fuse::{FuseFs, Kernel};
use crate::guarded;
use crate::journal::JournalError;
use crate::remote::{self, Remote, RemoteOptions};
use crate::source::{SourceError, StartPath};
use crate::sys::{Signal, Signals};
use crate::vfs::write::recovery;
use crate::vfs::{MountRoot, Vfs, VfsOptions};

use connection::{connect, connect_or_work_offline, first_access};
use control::{ControlSocket, Sockets};
pub(crate) use hang_up::HangUp;
pub(crate) use kernel::{KernelOptions, REPLY_LOG, Sharing, unmount_idle as unmount};
pub(crate) use mountpoint::{Mountpoint, MountpointError, is_dead};
pub(crate) use privileged::Privileged;
use progress::Progress;
pub(crate) use requirements::{LocalPaths, RequirementError, check};
pub(crate) use state::StateOptions;
use status::MountIdentity;
use supervisor::Supervision;
pub(crate) use supervisor::Supervisor;

/// How long the last users of a busy mount may take to leave after it was asked to end.
const BUSY_GRACE: Duration = Duration::from_secs(3);

/// How long a server that responds may take nothing when the mount ends. One that is full answers
/// each attempt, and might do so for ever.
const NO_PROGRESS: Duration = Duration::from_secs(300);

/// If the server has been silent for this long when the mount ends, it is asked for a greeting, for
/// which it has the same time.
const SIGN_OF_LIFE: Duration = Duration::from_secs(3);

/// The options of a mount.
#[derive(Debug, Clone)]
pub(crate) struct MountOptions {
    /// The server.
    pub remote: RemoteOptions,
    /// The directory on the server.
    pub path: StartPath,
    /// Whether the server is contacted only when a program needs it.
    pub delay_connect: bool,
    /// How files are shown and stored.
    pub vfs: VfsOptions,
    /// What is stored for the next mount.
    pub state: StateOptions,
    /// Where what is read is kept; `None` keeps it in memory only.
    pub cache: Option<DiskCacheOptions>,
    /// Whether file handles survive the mount. Requires a cache.
    pub exports: bool,
    /// Where `ftpfs status` connects; `None` disables it.
    pub sockets: Option<Sockets>,
    /// What SIGHUP does.
    pub hang_up: HangUp,
    /// The service manager to notify.
    pub supervisor: Option<Supervisor>,
    /// The mount options for the kernel.
    pub kernel: KernelOptions,
}

/// Why mounting failed, or why the mount ended with an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The mountpoint cannot be used.
    #[error(transparent)]
    Mountpoint(#[from] MountpointError),
    /// This machine lacks something that mounting requires.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
    /// The requested spool directory cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is no directory for the files of writeback.
    #[error(
        "writeback needs a directory for files that are not stored yet: set HOME or XDG_STATE_HOME, or omit the option"
    )]
    NoState,
    /// The inode numbers cannot be kept.
    #[error("cannot export the mount: {0}")]
    Export(#[from] NumbersError),
    /// There is no directory for the inode numbers.
    #[error("cannot export the mount: its cache directory cannot be used (cache_dir)")]
    NoNumbers,
    /// No session with the server could be opened.
    #[error(transparent)]
    Connect(#[from] ftp::Error),
    /// The server did not report on the directory.
    #[error(transparent)]
    Remote(#[from] remote::Error),
    /// The path is invalid.
    #[error(transparent)]
    Path(#[from] SourceError),
    /// The directory does not exist.
    #[error("there is no directory {0} on the server")]
    NoDirectory(RemotePath),
    /// It is not a directory.
    #[error("{0} on the server is not a directory")]
    NotADirectory(RemotePath),
    /// The kernel or fusermount3 refused.
    #[error("cannot mount: {0}")]
    Mount(io::Error),
    /// A thread could not be started, or a signal mask not set.
    #[error("cannot start: {0}")]
    Start(io::Error),
    /// The kernel refused to drop privileges.
    #[error("cannot drop privileges: {0}")]
    Privilege(io::Error),
    /// A signal arrived before the mount was ready.
    #[error("interrupted before the mount was ready")]
    Interrupted,
    /// The connection to the kernel failed.
    #[error("the mount ended with an error: {0}")]
    Service(io::Error),
    /// A second signal arrived while files were still being stored.
    #[error("interrupted while files were still being stored; the server may not have them")]
    Abandoned,
    /// The server stopped responding before it had everything.
    #[error(
        "the server does not respond; files that it has not acknowledged are left to its next mount"
    )]
    ServerGone,
}

impl Cause for Error {
    fn quoted_reply(&self) -> Option<&Reply> {
        match self {
            Self::Connect(error) => error.quoted_reply(),
            Self::Remote(error) => error.quoted_reply(),
            _ => None,
        }
    }
}

/// A mount that is ready.
#[derive(Debug)]
pub(crate) struct Mount {
    mountpoint: PathBuf,
    vfs: Arc<Vfs>,
    events: Receiver<MountEvent>,
    sender: Sender<MountEvent>,
    privileged: Privileged,
    /// How to reach the server.
    server: ConnectOptions,
    socket: Option<ControlSocket>,
    supervision: Option<Supervision>,
}

/// Ends a [`Mount`] from another thread.
#[derive(Debug, Clone)]
pub(crate) struct Stopper(Sender<MountEvent>);

/// Events for which the thread that owns the mount waits.
#[derive(Debug)]
enum MountEvent {
    /// The server was reached, or not.
    Connected(Box<Result<(Remote, RemotePath), Error>>),
    /// A signal arrived, or [`Stopper::stop`] was called.
    Stop,
    /// The kernel's last request was answered.
    Ended(io::Result<()>),
    /// Everything is stored.
    Stored,
    /// Everything is stored and all sessions are closed.
    ShutDown(io::Result<()>),
}

impl Mount {
    /// Connects, logs in, checks the directory, mounts it and serves it.
    ///
    /// Everything except the mounting itself runs with the privileges of the calling thread.
    ///
    /// # Errors
    /// Nothing is mounted then.
    pub(crate) fn start(
        mountpoint: &Mountpoint,
        options: MountOptions,
        signals: Signals,
        privileged: Privileged,
    ) -> Result<Self, Error> {
        let (sender, events) = mpsc::channel();
        let to_signal = sender.clone();
        let hang_up = options.hang_up.clone();
        spawn("signals", move || {
            forward_signals(signals, &hang_up, &to_signal);
        })?;
        let to_connect = sender.clone();
        let MountOptions {
            remote,
            path,
            delay_connect,
            vfs,
            state,
            cache,
            exports,
            sockets,
            hang_up: _,
            supervisor,
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
        if let Some(supervisor) = &supervisor {
            supervisor.status(&format!("connecting to {}", server.host));
        }
        let cache = cache.as_ref().and_then(open_cache);
        if exports && cache.is_none() {
            return Err(Error::NoNumbers);
        }
        let journal = state.open()?;
        let vfs = if delay_connect {
            let remote = Remote::unconnected(remote, journal.clone());
            let root = MountRoot::Later(first_access(path, state, cache.clone()));
            Vfs::new(remote.handle().clone(), root, vfs, journal, cache)
        } else {
            let for_thread = journal.clone();
            let known = cache.clone().filter(|_| remote.pool.works_offline);
            spawn("connect", move || {
                // The receiver no longer exists if a signal arrived first, and nothing needs the
                // result then.
                let connect = AssertUnwindSafe(|| match known {
                    Some(cache) => connect_or_work_offline(remote, &path, for_thread, &cache),
                    None => connect(remote, &path, for_thread),
                });
                let outcome = catch_unwind(connect);
                let outcome = outcome.unwrap_or_else(|_| Err(Error::Start(panicked())));
                let _ = to_connect.send(MountEvent::Connected(Box::new(outcome)));
            })?;
            let (remote, directory) = match events.recv() {
                Ok(MountEvent::Connected(outcome)) => (*outcome).inspect_err(|_| journal.end())?,
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
            let root = match cache.as_ref().filter(|_| exports) {
                Some(cache) => exported_root(directory, cache).inspect_err(|_| journal.end())?,
                None => MountRoot::Known(directory),
            };
            let vfs = Vfs::new(remote.handle().clone(), root, vfs, journal, cache);
            take_over_what_is_left(&vfs, &state);
            vfs
        };
        let memory = serve(
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
        let device = device.as_deref();
        let socket = open_socket(sockets.as_ref(), device, identity.clone(), &vfs, memory);
        info!("mounted {} at {}", kernel.name, mountpoint.path().display());
        let supervision =
            supervisor.map(|supervisor| Supervision::start(supervisor, identity, &vfs));
        Ok(Self {
            mountpoint: mountpoint.path().to_owned(),
            vfs,
            events,
            sender,
            privileged,
            server,
            socket,
            supervision,
        })
    }

    /// Returns a handle that ends this mount from another thread.
    pub(crate) fn stopper(&self) -> Stopper {
        Stopper(self.sender.clone())
    }

    /// Serves until the mount is unmounted or a signal arrives, then stores the remaining files
    /// while the server responds.
    ///
    /// # Errors
    /// The service failed, or a second signal or an unresponsive server ended the storing early.
    pub(crate) fn wait(mut self) -> Result<(), Error> {
        let outcome = self.serve_and_store();
        if let Some(socket) = &self.socket {
            let stored = outcome.as_ref().map_err(ToString::to_string);
            socket.ended(stored.copied(), &self.vfs);
        }
        // No later look replaces the outcome as the last status.
        self.supervision = None;
        outcome
    }

    fn serve_and_store(&mut self) -> Result<(), Error> {
        let served = self.serve_to_the_end();
        self.stopping();
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
        let mut progress = Progress::new(self.stored_so_far());
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
                Err(RecvTimeoutError::Timeout)
                    if progress.elapsed() < NO_PROGRESS && self.is_server_alive() =>
                {
                    if progress.has_advanced(self.stored_so_far())
                        && let Some(supervision) = &self.supervision
                    {
                        supervision.extend();
                    }
                }
                Err(RecvTimeoutError::Timeout) if is_stored => {
                    warn!("the server does not respond; closing its sessions without QUIT");
                    return served.map_err(Error::Service);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.vfs.log_pending();
                    return Err(Error::ServerGone);
                }
            }
        }
    }

    fn stopping(&self) {
        if let Some(supervision) = &self.supervision {
            supervision.stopping();
        }
    }

    /// Returns the number of bytes sent and of files that are still to be stored.
    fn stored_so_far(&self) -> (u64, usize) {
        (self.server.traffic.sent(), self.vfs.summary().waiting)
    }

    fn is_server_alive(&self) -> bool {
        ftp::probe(&self.server, SIGN_OF_LIFE)
    }

    /// Waits until the kernel has sent its last request, or the grace period of a busy mount has
    /// passed.
    fn serve_to_the_end(&self) -> io::Result<()> {
        loop {
            match self.events.recv() {
                Ok(MountEvent::Ended(outcome)) => return outcome,
                Ok(MountEvent::Stop) => break,
                Ok(MountEvent::Connected(_) | MountEvent::Stored | MountEvent::ShutDown(_)) => {}
                Err(_) => return Ok(()),
            }
        }
        self.stopping();
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
                warn!("files are still open; files that were not closed are not stored");
                Ok(())
            }
        }
    }
}

impl Stopper {
    /// Unmounts, as a signal does. Has no effect on a mount that has already ended.
    pub(crate) fn stop(&self) {
        let _ = self.0.send(MountEvent::Stop);
    }
}

fn spawn(name: &'static str, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    guarded::spawn(name, run).map(drop).map_err(Error::Start)
}

/// The error for a thread that panicked. It ends the mount and does not leave the other threads
/// waiting.
fn panicked() -> io::Error {
    io::Error::other("a thread panicked")
}

fn forward_signals(signals: Signals, hang_up: &HangUp, to: &Sender<MountEvent>) {
    loop {
        match signals.wait() {
            Ok(signal) => {
                if let (Signal::HangUp, HangUp::Call(call)) = (signal, hang_up) {
                    call();
                    continue;
                }
                info!("ending: {signal:?}");
            }
            Err(error) => return warn!("cannot wait for signals: {error}"),
        }
        if to.send(MountEvent::Stop).is_err() {
            return;
        }
    }
}

/// Opens the persistent cache. Without one, the mount works at the server's speed.
fn open_cache(options: &DiskCacheOptions) -> Option<Arc<DiskCache>> {
    match DiskCache::open(options) {
        Ok(cache) => Some(Arc::new(cache)),
        Err(error) => {
            warn!(
                "{error}; what is read is not kept for the next mount (cache_dir names another directory)"
            );
            None
        }
    }
}

/// Opens the inode numbers of the mounted directory.
fn exported_root(directory: RemotePath, cache: &DiskCache) -> Result<MountRoot, Error> {
    let numbers = InodeNumbers::open(cache.directory(), &directory)?;
    Ok(MountRoot::Exported(directory, numbers))
}

/// Takes over what killed mounts left, or says that something waits.
fn take_over_what_is_left(vfs: &Arc<Vfs>, state: &StateOptions) {
    match &state.place {
        Some(place) if state.is_read_only => recovery::report(place),
        Some(place) => recovery::recover(vfs, place),
        None => {}
    }
}

fn serve(
    vfs: Arc<Vfs>,
    mountpoint: &Mountpoint,
    options: &KernelOptions,
    ended: Sender<MountEvent>,
    privileged: &Privileged,
) -> Result<Kernel, Error> {
    let filesystem = FuseFs::new(vfs, privileged.runner());
    let memory = filesystem.kernel();
    let (path, config) = (mountpoint.path().to_owned(), kernel::config(options));
    let mounted = privileged.run(move || fuser::Session::new(filesystem, path, &config));
    let session = mounted.and_then(|mounted| mounted).map_err(Error::Mount)?;
    if options.auto_unmount {
        // Like the session, it ends with the process.
        mem::forget(kernel::number_above_sockets(&session));
    }
    memory.attach(session.notifier());
    let session = session.spawn().map_err(|error| {
        kernel::unmount_by(privileged, mountpoint.path());
        Error::Mount(error)
    })?;
    // fuser 0.18 takes a mount that has ended for an existing one, and would on drop unmount
    // another file system that was mounted at the same place since. So it is never dropped; see
    // `unmount`.
    let mut session = ManuallyDrop::new(session);
    let placeholder = thread::spawn(|| Ok(()));
    let serving = mem::replace(&mut session.guard, placeholder);
    spawn("ended", move || {
        let outcome = serving.join().unwrap_or_else(|_| Err(panicked()));
        let _ = ended.send(MountEvent::Ended(outcome));
    })?;
    Ok(memory)
}

/// Opens the control socket. Only `ftpfs status` and the commands that control a mount need it.
fn open_socket(
    sockets: Option<&Sockets>,
    device: Option<&str>,
    identity: MountIdentity,
    vfs: &Arc<Vfs>,
    memory: Kernel,
) -> Option<ControlSocket> {
    match ControlSocket::open(sockets?, device?, identity, vfs, memory) {
        Ok(socket) => Some(socket),
        Err(error) => {
            warn!("ftpfs status will not find this mount: {error}");
            None
        }
    }
}
