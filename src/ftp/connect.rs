//! TCP connections made with a deadline.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};

use super::error::{Error, Phase};

/// The control connection is silent during a transfer; address translators forget silent
/// connections after minutes, so the kernel is asked to speak up.
const KEEP_ALIVE: Duration = Duration::from_secs(45);

/// Connects to `host`: all its addresses are tried in turn, within `timeout` together.
pub(super) fn control_connection(
    host: &str,
    port: u16,
    timeout: Duration,
) -> Result<TcpStream, Error> {
    let resolved = |source| Error::Resolve {
        host: host.to_owned(),
        source,
    };
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(resolved)?.collect();
    let deadline = Instant::now() + timeout;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (index, address) in addresses.iter().enumerate() {
        // What is left is shared among the addresses left, so that a dead first one leaves time for the next.
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(1);
        match connect(*address, share) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    let address = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    match last.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Err(Error::Timeout(Phase::Connect)),
        _ => Err(Error::Connect {
            address,
            source: last,
        }),
    }
}

/// Connects to one address.
pub(super) fn connect(address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, timeout.max(Duration::from_millis(1)))?;
    prepare(&stream)?;
    Ok(stream)
}

/// Options every connection has: commands go out at once, and a dead peer is noticed.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keep_alive = TcpKeepalive::new()
        .with_time(KEEP_ALIVE)
        .with_interval(KEEP_ALIVE / 3);
    SockRef::from(stream).set_tcp_keepalive(&keep_alive)
}
