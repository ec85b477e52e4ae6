//! The service manager that runs the mount (systemd's Type=notify, sd_notify(3)).
//!
//! A mount tells it when it is ready, what it does, when it begins to end, and while it ends that
//! it still makes progress. Without a service manager, there is no thread and no wake-up.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::status::{self, MountIdentity};
use crate::guarded;
use crate::vfs::Vfs;

/// How often the status is compared with the one that was sent.
const INTERVAL: Duration = Duration::from_secs(3);

/// Time for which the service manager waits after each sign that the end makes progress. Signs are
/// a few seconds apart.
const EXTENSION: Duration = Duration::from_secs(30);

/// Maximum length of a status in characters. systemd ignores messages of more than 4096 bytes.
const MAX_STATUS: usize = 500;

/// Maximum time for sending a message. The service manager reads them promptly.
const PATIENCE: Duration = Duration::from_secs(2);

/// The address of a service manager.
#[derive(Debug, Clone)]
pub(crate) struct Supervisor(SocketAddr);

impl Supervisor {
    /// Parses an address: a path, or `@` and a name in the abstract namespace of sockets.
    ///
    /// # Errors
    /// It is neither, or too long.
    pub(crate) fn new(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self(address))
    }

    /// Sends the assignments in `message`, one per line. A failure changes nothing for the mount.
    /// Returns whether the service manager has the message.
    fn send(&self, message: &str) -> bool {
        let send = || {
            let socket = UnixDatagram::unbound()?;
            socket.set_write_timeout(Some(PATIENCE))?;
            socket.send_to_addr(message.as_bytes(), &self.0)
        };
        match send() {
            Ok(_) => true,
            Err(error) => {
                log::debug!("cannot notify the service manager: {error}");
                false
            }
        }
    }

    /// Reports what the mount does. Returns whether the service manager has the message.
    pub(crate) fn status(&self, status: &str) -> bool {
        self.send(&assignment(status))
    }
}

/// The reports of a mount to its service manager. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Supervision {
    supervisor: Supervisor,
    is_ending: Arc<AtomicBool>,
    /// Makes the thread look immediately. Dropping it ends the thread.
    look: Option<Sender<()>>,
    reports: Option<JoinHandle<()>>,
}

impl Drop for Supervision {
    fn drop(&mut self) {
        self.look = None;
        // A status that is being sent must not come after what is sent from now on.
        if let Some(reports) = self.reports.take() {
            let _ = reports.join();
        }
    }
}

impl Supervision {
    /// Reports that the mount is ready, and starts to report what it does.
    pub(super) fn start(supervisor: Supervisor, identity: MountIdentity, vfs: &Arc<Vfs>) -> Self {
        let (look, looks) = mpsc::channel();
        let is_ending = Arc::new(AtomicBool::new(false));
        let first = status::line(&identity, false, &vfs.summary());
        let owes_ready = !supervisor.send(&ready(&first));
        if owes_ready {
            log::warn!("the service manager does not read that the mount is ready; trying again");
        }
        let reports = StatusReports {
            supervisor: supervisor.clone(),
            identity,
            vfs: Arc::downgrade(vfs),
            is_ending: Arc::clone(&is_ending),
            owes_ready,
            sent: first,
        };
        let reports = guarded::spawn("supervision", move || reports.run(&looks));
        if let Err(error) = &reports {
            log::warn!("the service manager will not see the status: {error}");
        }
        Self {
            supervisor,
            is_ending,
            look: Some(look),
            reports: reports.ok(),
        }
    }

    /// Reports that the mount begins to end.
    pub(super) fn stopping(&self) {
        if self.is_ending.swap(true, Ordering::Relaxed) {
            return;
        }
        self.supervisor
            .send(&format!("STOPPING=1\n{}", extension()));
        if let Some(look) = &self.look {
            let _ = look.send(());
        }
    }

    /// Asks the service manager to wait, because the server is alive and files are being stored.
    pub(super) fn extend(&self) {
        self.supervisor.send(&extension());
    }
}

/// Returns a message with this status, as one line that is not too long.
fn assignment(status: &str) -> String {
    let line = status::shown(status);
    format!(
        "STATUS={}",
        line.chars().take(MAX_STATUS).collect::<String>()
    )
}

fn ready(status: &str) -> String {
    format!("READY=1\n{}", assignment(status))
}

fn extension() -> String {
    format!("EXTEND_TIMEOUT_USEC={}", EXTENSION.as_micros())
}

/// The thread that reports changes of the status.
struct StatusReports {
    supervisor: Supervisor,
    identity: MountIdentity,
    vfs: Weak<Vfs>,
    is_ending: Arc<AtomicBool>,
    /// Whether the service manager does not know yet that the mount is ready.
    owes_ready: bool,
    sent: String,
}

impl StatusReports {
    fn run(mut self, looks: &Receiver<()>) {
        loop {
            match looks.recv_timeout(INTERVAL) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let Some(vfs) = self.vfs.upgrade() else {
                return;
            };
            let is_ending = self.is_ending.load(Ordering::Relaxed);
            let status = status::line(&self.identity, is_ending, &vfs.summary());
            if self.owes_ready {
                self.owes_ready = !self.supervisor.send(&ready(&status));
            } else if status != self.sent && self.supervisor.status(&status) {
                self.sent = status;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_at_paths_and_at_abstract_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("ftpfs-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let at_name = UnixDatagram::bind_addr(&address).unwrap();
        for (typed, socket) in [
            (path.into_os_string(), at_path),
            (format!("@{name}").into(), at_name),
        ] {
            socket
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            let supervisor = Supervisor::new(&typed).unwrap();
            supervisor.status("works\nREADY=1");
            let mut message = [0; 4097];
            let length = socket.recv(&mut message).unwrap();
            assert_eq!(&message[..length], b"STATUS=works?READY=1");
            supervisor.status(&"\u{10000}".repeat(5000));
            assert!(socket.recv(&mut message).unwrap() <= 4096);
        }
        assert!(Supervisor::new(OsStr::new("vsock:2:1")).is_err());
        // A service manager that is gone is no reason to fail.
        Supervisor::new(OsStr::new("/nonexistent"))
            .unwrap()
            .status("lost");
    }
}
