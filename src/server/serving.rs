//! State shared by all sessions.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use socket2::SockRef;

use super::ServerOptions;
use super::command_log::CommandLog;
use super::misbehave::Faults;
use super::open_sessions::OpenSessions;
use super::passive_ports;
use super::tls::Tls;
use super::tree::Tree;

/// The server's state that outlives any one session.
pub(super) struct Serving {
    pub(super) options: ServerOptions,
    /// `None` if the server does not support TLS.
    pub(super) tls: Option<Tls>,
    pub(super) tree: Tree,
    pub(super) log: CommandLog,
    pub(super) faults: Faults,
    pub(super) sessions: Arc<OpenSessions>,
    listener: TcpListener,
    address: SocketAddr,
    stopping: AtomicBool,
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Serving {
    pub(super) fn new(listener: TcpListener, options: ServerOptions) -> io::Result<Self> {
        let address = listener.local_addr()?;
        if let Some(ports) = &options.passive_ports {
            passive_ports::check(address.ip(), ports)?;
        }
        if let Some(public) = options.public_address
            && (public.is_unspecified() || public.is_multicast() || public.is_broadcast())
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("no client can connect to the public address {public}"),
            ));
        }
        Ok(Self {
            tls: options.tls.as_ref().map(Tls::new).transpose()?,
            tree: Tree::open(&options.root)?,
            options,
            log: CommandLog::default(),
            faults: Faults::default(),
            sessions: Arc::new(OpenSessions::default()),
            listener,
            address,
            stopping: AtomicBool::new(false),
            stopped: Mutex::new(false),
            changed: Condvar::new(),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the next client.
    pub(super) fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.listener.accept()
    }

    pub(super) fn wait(&self) {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        // The flag is set once and never cleared, so a poisoned lock does no harm.
        drop(self.changed.wait_while(stopped, |stopped| !*stopped));
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        // On Linux this unblocks accept(2). std has no function for it.
        if let Err(error) = SockRef::from(&self.listener).shutdown(Shutdown::Both) {
            log::debug!("server: the listening socket was closed already: {error}");
        }
        self.sessions.close_all();
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Whether the server is shutting down.
    pub(super) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}
