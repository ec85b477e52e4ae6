//! TCP connections: one of several addresses before a deadline, and the options of all of them.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};

use super::bind::Origin;

/// Interval of TCP keep-alives. The control connection is idle during a transfer, and address
/// translators drop idle connections after minutes.
const KEEP_ALIVE: Duration = Duration::from_secs(45);

/// Connects from `origin` to the first of `addresses` that accepts, trying all of them before
/// `deadline`.
pub(super) fn connect_to_any(
    addresses: &[SocketAddr],
    origin: &Origin,
    deadline: Instant,
) -> io::Result<TcpStream> {
    let reached: Vec<_> = addresses.iter().filter(|it| origin.reaches(it)).collect();
    let none = if addresses.is_empty() {
        "the name has no address"
    } else {
        "the host has no address of the same family as the one that connections are bound to"
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, none);
    for (index, address) in reached.iter().enumerate() {
        match connect(**address, origin, share(deadline, reached.len() - index)) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Divides the time until `deadline` among the remaining attempts, so that a dead first address
/// leaves time for the next.
pub(super) fn share(deadline: Instant, left_to_try: usize) -> Duration {
    let left = deadline.saturating_duration_since(Instant::now());
    left / u32::try_from(left_to_try).unwrap_or(1).max(1)
}

/// Connects to one address.
pub(super) fn connect(
    address: SocketAddr,
    origin: &Origin,
    timeout: Duration,
) -> io::Result<TcpStream> {
    let stream = origin.connect(address, timeout)?;
    prepare(&stream)?;
    Ok(stream)
}

/// Sets the options of every connection: send commands immediately (TCP_NODELAY), and detect dead
/// peers.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keep_alive = TcpKeepalive::new()
        .with_time(KEEP_ALIVE)
        .with_interval(KEEP_ALIVE / 3);
    SockRef::from(stream).set_tcp_keepalive(&keep_alive)
}

/// Acknowledges what has arrived without the usual delay of 40 ms. A server that sends its replies
/// without TCP_NODELAY keeps a completion reply back until the 150 before it is acknowledged, and
/// the client has nothing to send that would carry the acknowledgement (tcp(7)).
pub(super) fn acknowledge(stream: &TcpStream) {
    // Without it, the acknowledgement is only later.
    let _ = SockRef::from(stream).set_tcp_quickack(true);
}
