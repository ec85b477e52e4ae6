//! The thread that accepts clients, and a thread for each of them.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::dialogue;
use super::open_sessions::OpenSessions;
use super::serving::Serving;
use super::tls::TlsMode;

/// Pause after a failed accept (for lack of file descriptors) before the next attempt.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time limit for sending 421 to a refused client.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(1);

/// Starts the thread that accepts clients until the server stops.
pub(super) fn spawn_acceptor(serving: &Arc<Serving>) -> io::Result<JoinHandle<()>> {
    let serving = Arc::clone(serving);
    thread::Builder::new()
        .name("ftp-accept".into())
        .spawn(move || accept_clients(&serving))
}

fn accept_clients(serving: &Arc<Serving>) {
    while !serving.stopping() {
        match serving.accept() {
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
            log::info!("server: refused {peer}: too many sessions");
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
        .spawn(move || dialogue::serve(serving, stream, slot));
    if let Err(error) = spawned {
        log::warn!("server: no thread for {peer}: {error}");
    }
}

fn refuse(serving: &Serving, mut stream: &TcpStream, reply: &str) {
    if matches!(&serving.tls, Some(tls) if tls.mode == TlsMode::Implicit) {
        // The client expects a TLS handshake and would not understand plaintext.
        return;
    }
    let sent = stream
        .set_write_timeout(Some(REFUSAL_DEADLINE))
        .and_then(|()| stream.write_all(reply.as_bytes()));
    if let Err(error) = sent {
        log::debug!("server: cannot send the refusal to a client: {error}");
    }
}
