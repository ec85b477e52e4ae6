//! The life of a mount: checks, connection, mount, service, unmount.
//!
//! What a read or a write does is not known here.

mod mountinfo;
mod mountpoint;
mod requirements;
mod state;
pub mod status;

use std::io;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use fuser::{Config, MountOption, SessionACL};
use log::{debug, info, warn};

use crate::ftp::{self, Kind, RemotePath, Tls};
use crate::fuse::FuseFs;
use crate::journal::{Journal, JournalError};
use crate::remote::{self, ErrorKind, Remote, RemoteOptions};
use crate::source::{SourceError, StartPath};
use crate::sys::{self, Signals};
use crate::vfs::{Vfs, VfsOptions, recovery};

pub use mountpoint::{Mountpoint, MountpointError};
pub use requirements::{LocalPaths, RequirementError, check};
pub use state::StateOptions;
use status::{Identity, Socket, Sockets};

/// How long the last users of a busy mount may take to leave once it was asked to end.
const BUSY_GRACE: Duration = Duration::from_secs(3);

/// A server that has said nothing for so long when the mount ends is asked for a greeting, for which it has as long.
const SIGN_OF_LIFE: Duration = Duration::from_secs(3);

/// The largest read-ahead asked of the kernel, in KiB: its largest request, 1 MiB.
const KERNEL_READ_AHEAD: &str = "1024";

/// Who may use the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// The user who mounts, and nobody else, not even root: FUSE's way.
    Owner,
    /// That user and root.
    OwnerAndRoot,
    /// All users.
    Everyone,
}

/// What the kernel is told about the mount.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "mount(2)'s flags are independent"
)]
pub struct KernelOptions {
    /// Shown as the mount's source.
    pub name: String,
    /// Shown behind `fuse.` as the mount's type.
    pub subtype: String,
    /// MS_RDONLY.
    pub read_only: bool,
    /// MS_NOEXEC.
    pub no_exec: bool,
    /// MS_NOATIME.
    pub no_atime: bool,
    /// MS_SYNCHRONOUS.
    pub sync: bool,
    /// MS_DIRSYNC.
    pub dir_sync: bool,
    /// Who may use it.
    pub sharing: Sharing,
    /// The kernel judges by the modes shown.
    pub default_permissions: bool,
    /// fusermount3 stays and unmounts when this process is gone.
    pub auto_unmount: bool,
    /// Threads that take the kernel's requests.
    pub threads: usize,
}

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
    events: Receiver<Event>,
    sender: Sender<Event>,
    /// The server's host and port, and how it is spoken to there.
    server: (String, u16, Tls),
    socket: Option<Socket>,
}

/// Ends a [`Mount`] from another thread.
#[derive(Debug, Clone)]
pub struct Stopper(Sender<Event>);

/// What the thread that owns the mount waits for.
#[derive(Debug)]
enum Event {
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
    /// # Errors
    /// Nothing is mounted then.
    pub fn start(
        mountpoint: &Mountpoint,
        options: MountOptions,
        signals: Signals,
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
        let how = &remote.pool.connect;
        let server = (how.host.clone(), how.port, how.tls.clone());
        let identity = Identity {
            mountpoint: mountpoint.path().to_owned(),
            source: kernel.name.clone(),
            host: how.host.clone(),
            port: how.port,
            user: how.user.clone(),
        };
        let journal = state.open()?;
        let to_note = journal.clone();
        spawn("connect", move || {
            // The receiver is gone when a signal came first; then nobody needs the outcome.
            let outcome =
                catch_unwind(AssertUnwindSafe(|| connect(remote, &path, to_note, &state)));
            let outcome = outcome.unwrap_or_else(|_| Err(Error::Start(panicked())));
            let _ = to_connect.send(Event::Connected(Box::new(outcome)));
        })?;
        let (remote, directory) = match events.recv() {
            Ok(Event::Connected(outcome)) => (*outcome)?,
            Ok(Event::Stop | Event::Ended(_) | Event::Stored | Event::ShutDown(_)) | Err(_) => {
                return Err(Error::Interrupted);
            }
        };
        let vfs = Vfs::new(remote, directory, vfs, journal);
        serve(Arc::clone(&vfs), mountpoint, &kernel, sender.clone())?;
        let device = mountinfo::at(mountpoint.path()).map(|mounted| mounted.device);
        if let Some(device) = &device {
            raise_kernel_read_ahead(device);
        }
        let socket = open_socket(sockets.as_ref(), device.as_deref(), identity, &vfs);
        info!("mounted {} at {}", kernel.name, mountpoint.path().display());
        Ok(Self {
            mountpoint: mountpoint.path().to_owned(),
            vfs,
            events,
            sender,
            server,
            socket,
        })
    }

    /// What ends this mount from elsewhere.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.sender.clone())
    }

    /// Serves until the mount is unmounted or a signal comes, then stores what is not stored yet, for as long as the
    /// server shows signs of life.
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
                vfs.finish_stores();
                let _ = sender.send(Event::Stored);
                vfs.take_leave();
            }));
            let outcome = outcome.map_err(|_| panicked());
            let _ = sender.send(Event::ShutDown(outcome));
        })?;
        let mut is_stored = false;
        loop {
            match self.events.recv_timeout(SIGN_OF_LIFE) {
                Ok(Event::Stored) => is_stored = true,
                Ok(Event::ShutDown(stored)) => return served.and(stored).map_err(Error::Service),
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.vfs.tell_waiting();
                    return Err(Error::Abandoned);
                }
                Ok(Event::Connected(_) | Event::Ended(_)) => {}
                Err(RecvTimeoutError::Timeout) if self.is_server_alive() => {}
                Err(RecvTimeoutError::Timeout) if is_stored => {
                    warn!("the server does not answer: its sessions end without a goodbye");
                    return served.map_err(Error::Service);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.vfs.tell_waiting();
                    return Err(Error::ServerGone);
                }
            }
        }
    }

    fn is_server_alive(&self) -> bool {
        let (host, port, tls) = &self.server;
        ftp::greets(host, *port, tls, SIGN_OF_LIFE)
    }

    /// Until the kernel has sent its last request, or the users of a busy mount had their time.
    fn serve_to_the_end(&self) -> io::Result<()> {
        loop {
            match self.events.recv() {
                Ok(Event::Ended(outcome)) => return outcome,
                Ok(Event::Stop) => break,
                Ok(Event::Connected(_) | Event::Stored | Event::ShutDown(_)) => {}
                Err(_) => return Ok(()),
            }
        }
        unmount(&self.mountpoint);
        match self.events.recv_timeout(BUSY_GRACE) {
            Ok(Event::Ended(outcome)) => outcome,
            Ok(Event::Stop | Event::Connected(_) | Event::Stored | Event::ShutDown(_))
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
        let _ = self.0.send(Event::Stop);
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let builder = thread::Builder::new().name(name.to_owned());
    builder.spawn(run).map(drop).map_err(Error::Start)
}

/// A thread's panic ends the mount; it must not leave the others waiting.
fn panicked() -> io::Error {
    io::Error::other("a thread panicked")
}

fn forward_signals(signals: Signals, to: &Sender<Event>) {
    loop {
        match signals.wait() {
            Ok(signal) => info!("ending: {signal:?}"),
            Err(error) => return warn!("cannot wait for signals: {error}"),
        }
        if to.send(Event::Stop).is_err() {
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
    kernel: &KernelOptions,
    ended: Sender<Event>,
) -> Result<(), Error> {
    let filesystem = FuseFs::new(vfs);
    let memory = filesystem.kernel();
    let session = fuser::Session::new(filesystem, mountpoint.path(), &fuser_config(kernel))
        .map_err(Error::Mount)?;
    memory.reach_by(session.notifier());
    let session = session.spawn().map_err(Error::Mount)?;
    // fuser 0.18 takes a mount that is gone for one that is there, and on its drop would unmount
    // what somebody mounted at the same place since. So it is never dropped; see `unmount`.
    let mut session = ManuallyDrop::new(session);
    let placeholder = thread::spawn(|| Ok(()));
    let serving = std::mem::replace(&mut session.guard, placeholder);
    spawn("ended", move || {
        let outcome = serving.join().unwrap_or_else(|_| Err(panicked()));
        let _ = ended.send(Event::Ended(outcome));
    })
}

fn fuser_config(kernel: &KernelOptions) -> Config {
    // fuser's own Subtype is lost where it calls mount(2) itself; the kernel takes it as an option.
    let mut options = vec![
        MountOption::FSName(escaped_for_fusermount(&kernel.name, kernel.auto_unmount)),
        MountOption::CUSTOM(format!("subtype={}", kernel.subtype)),
        MountOption::NoSuid,
        MountOption::NoDev,
    ];
    let flags = [
        (kernel.read_only, MountOption::RO),
        (kernel.no_exec, MountOption::NoExec),
        (kernel.no_atime, MountOption::NoAtime),
        (kernel.sync, MountOption::Sync),
        (kernel.dir_sync, MountOption::DirSync),
        (kernel.default_permissions, MountOption::DefaultPermissions),
        (kernel.auto_unmount, MountOption::AutoUnmount),
    ];
    options.extend(
        flags
            .into_iter()
            .filter(|(set, _)| *set)
            .map(|(_, option)| option),
    );
    let mut config = Config::default();
    config.mount_options = options;
    config.n_threads = Some(kernel.threads);
    config.acl = match kernel.sharing {
        Sharing::Owner => SessionACL::Owner,
        Sharing::OwnerAndRoot => SessionACL::RootAndOwner,
        Sharing::Everyone => SessionACL::All,
    };
    config
}

/// fusermount3 reads a list of options, mount(2) a name as it is.
fn escaped_for_fusermount(name: &str, auto_unmount: bool) -> String {
    if requirements::needs_fusermount(auto_unmount) {
        name.replace('\\', r"\\").replace(',', r"\,")
    } else {
        name.to_owned()
    }
}

/// Takes the mount out of the tree: at once where it is idle, else as soon as its last user leaves.
fn unmount(mountpoint: &std::path::Path) {
    let outcome = match sys::unmount(mountpoint, false) {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            warn!(
                "{} is in use: unmounted when its last user leaves",
                mountpoint.display()
            );
            sys::unmount(mountpoint, true)
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            fusermount(mountpoint, "-u").or_else(|_| fusermount(mountpoint, "-uz"))
        }
        outcome => outcome,
    };
    // Somebody else may have unmounted it meanwhile: then the service ends by itself.
    if let Err(error) = outcome {
        warn!("cannot unmount {}: {error}", mountpoint.display());
    }
}

fn fusermount(mountpoint: &std::path::Path, flags: &str) -> io::Result<()> {
    let program = requirements::find_fusermount().ok_or(io::ErrorKind::NotFound)?;
    let output = Command::new(program)
        .arg(flags)
        .arg("--")
        .arg(mountpoint)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}

/// Nothing but `ftpfs status` depends on it.
fn open_socket(
    sockets: Option<&Sockets>,
    device: Option<&str>,
    identity: Identity,
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

/// Only root may, and only speed depends on it.
fn raise_kernel_read_ahead(device: &str) {
    let file = format!("/sys/class/bdi/{device}/read_ahead_kb");
    match std::fs::write(&file, KERNEL_READ_AHEAD) {
        Ok(()) => debug!("{file} is now {KERNEL_READ_AHEAD}"),
        Err(error) => debug!("the kernel's read-ahead stays as it is: {file}: {error}"),
    }
}

fn login_hint(error: &ftp::Error) -> String {
    match error {
        ftp::Error::Login(_) => format!("{error} (wrong user or password?)"),
        other => other.to_string(),
    }
}
