//! TCP connections with a deadline, direct or through a proxy.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};

use super::bind::Origin;
use super::control::socket_error;
use super::error::{Error, Phase};
use super::options::ConnectOptions;
use super::proxy::{Proxy, ProxyTarget, host_and_port};
use super::resolve::resolve;

/// Interval of TCP keep-alives. The control connection is idle during a transfer, and address
/// translators drop idle connections after minutes.
const KEEP_ALIVE: Duration = Duration::from_secs(45);

/// How connections to the server are made. Data connections use the route of the control
/// connection.
#[derive(Debug, Clone)]
pub(super) enum Route {
    /// Directly, to the peer of the control connection.
    Straight,
    /// Through a proxy, with the target of the control connection.
    By(Box<(Proxy, ProxyTarget)>),
}

/// Opens the control connection within `timeout`. Also returns its route.
pub(super) fn control_connection(
    options: &ConnectOptions,
    timeout: Duration,
) -> Result<(TcpStream, Route), Error> {
    let (host, port) = (options.host.as_str(), options.port);
    let origin = Origin::of(options.local.bind.as_ref());
    let Some(proxy) = &options.proxy else {
        return direct(host, port, &origin, timeout).map(|stream| (stream, Route::Straight));
    };
    let mut last = None;
    let targets = targets(proxy, host, port, timeout)?;
    let deadline = Instant::now() + timeout;
    for (index, target) in targets.iter().enumerate() {
        match proxy.connect(
            target,
            port,
            &origin,
            share(deadline, targets.len() - index),
        ) {
            Ok(stream) => {
                let route = Route::By(Box::new((proxy.clone(), target.clone())));
                return Ok((stream, route));
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| no_address(host)))
}

/// The targets to try in order when connecting through a proxy.
fn targets(
    proxy: &Proxy,
    host: &str,
    port: u16,
    timeout: Duration,
) -> Result<Vec<ProxyTarget>, Error> {
    if let Ok(address) = host.parse() {
        return Ok(vec![ProxyTarget::Address(address)]);
    }
    if !proxy.wants_addresses() {
        return Ok(vec![ProxyTarget::Name(host.to_owned())]);
    }
    let addresses = look_up(host, port, timeout)?;
    let addresses = addresses.iter().map(SocketAddr::ip);
    Ok(addresses.map(ProxyTarget::Address).collect())
}

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

/// Connects to `host` within `timeout` for all its addresses together. The lookup has the same
/// limit.
fn direct(host: &str, port: u16, origin: &Origin, timeout: Duration) -> Result<TcpStream, Error> {
    let addresses = look_up(host, port, timeout)?;
    let last = match connect_to_any(&addresses, origin, Instant::now() + timeout) {
        Ok(stream) => return Ok(stream),
        Err(error) => error,
    };
    match last.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Err(Error::Timeout(Phase::Connect)),
        _ => Err(Error::Connect {
            address: host_and_port(host, port),
            source: last,
        }),
    }
}

fn look_up(host: &str, port: u16, timeout: Duration) -> Result<Vec<SocketAddr>, Error> {
    resolve(host, port, timeout).map_err(|source| match source.kind() {
        io::ErrorKind::TimedOut => Error::Timeout(Phase::Resolve),
        _ => Error::Resolve {
            host: host.to_owned(),
            source,
        },
    })
}

fn no_address(host: &str) -> Error {
    Error::Resolve {
        host: host.to_owned(),
        source: io::Error::new(io::ErrorKind::NotFound, "the name has no address"),
    }
}

/// Divides the time until `deadline` among the remaining attempts, so that a dead first address
/// leaves time for the next.
fn share(deadline: Instant, left_to_try: usize) -> Duration {
    let left = deadline.saturating_duration_since(Instant::now());
    left / u32::try_from(left_to_try).unwrap_or(1).max(1)
}

impl Route {
    /// Opens a data connection to `address`. A proxy connects to that port of the server instead,
    /// unless the address comes from the server itself and is trusted (`is_named`).
    pub(super) fn data_connection(
        &self,
        address: SocketAddr,
        is_named: bool,
        origin: &Origin,
        timeout: Duration,
    ) -> Result<TcpStream, Error> {
        match self {
            Self::Straight => connect(address, origin, timeout)
                .map_err(|error| socket_error(Phase::DataConnect, error)),
            Self::By(way) => {
                let (proxy, server) = &**way;
                let named = is_named.then(|| ProxyTarget::Address(address.ip()));
                let target = named.as_ref().unwrap_or(server);
                proxy.connect(target, address.port(), origin, timeout)
            }
        }
    }

    /// Whether the peer of the control connection is the server.
    pub(super) fn is_direct(&self) -> bool {
        matches!(self, Self::Straight)
    }
}

/// Connects to one address.
fn connect(address: SocketAddr, origin: &Origin, timeout: Duration) -> io::Result<TcpStream> {
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
