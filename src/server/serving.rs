//! State shared by all sessions, and the thread that accepts them.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use super::ServerOptions;
use super::command_log::CommandLog;
use super::commands::{digest, security};
use super::misbehave::Faults;
use super::open_sessions::OpenSessions;
use super::session;
use super::tls::{Tls, TlsMode};
use super::tree::Tree;

/// Pause after a failed accept (for lack of file descriptors) before the next attempt.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time limit for sending 421 to a refused client.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(1);

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

    /// Whether the verb or feature is disabled.
    pub(super) fn disabled(&self, name: &str) -> bool {
        let is_withheld = (!self.options.digests && digest::VERBS.contains(&name))
            || (self.tls.is_none() && security::VERBS.contains(&name));
        is_withheld || self.options.disabled.contains(name)
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

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

/// Starts the thread that accepts clients until the server stops.
pub(super) fn spawn_acceptor(serving: &Arc<Serving>) -> io::Result<JoinHandle<()>> {
    let serving = Arc::clone(serving);
    thread::Builder::new()
        .name("ftp-accept".into())
        .spawn(move || accept_clients(&serving))
}

fn accept_clients(serving: &Arc<Serving>) {
    while !serving.stopping() {
        match serving.listener.accept() {
            Ok((stream, peer)) => welcome(serving, stream, peer),
            Err(_) if serving.stopping() => return,
            Err(error) => {
                log::warn!("server: cannot accept a client: {error}");
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

fn welcome(serving: &Arc<Serving>, stream: TcpStream, peer: SocketAddr) {
    let slot = match OpenSessions::enter(&serving.sessions, &stream, serving.options.max_sessions) {
        Ok(Some(slot)) => slot,
        Ok(None) => {
            return refuse(
                serving,
                &stream,
                "421 Too many sessions, try again later\r\n",
            );
        }
        Err(error) => return log::warn!("server: cannot serve {peer}: {error}"),
    };
    // A client accepted during shutdown would miss the closing of all sessions.
    if serving.stopping() {
        return;
    }
    let serving = Arc::clone(serving);
    let spawned = thread::Builder::new()
        .name("ftp-session".into())
        .spawn(move || session::serve(serving, stream, slot));
    if let Err(error) = spawned {
        log::warn!("server: no thread for {peer}: {error}");
    }
}

fn refuse(serving: &Serving, mut stream: &TcpStream, reply: &str) {
    if matches!(&serving.tls, Some(tls) if tls.mode == TlsMode::Implicit) {
        // The client expects a TLS handshake and would not understand plaintext.
        return log::info!("server: refused a client: {reply}");
    }
    let sent = stream
        .set_write_timeout(Some(REFUSAL_DEADLINE))
        .and_then(|()| stream.write_all(reply.as_bytes()));
    if let Err(error) = sent {
        log::debug!("server: cannot send the refusal to a client: {error}");
    }
}
