//! TCP connections with a deadline, direct or through a proxy.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::address::host_and_port;
use super::bind::Origin;
use super::error::{Error, Phase, socket_error};
use super::options::ConnectOptions;
use super::proxy::{Proxy, ProxyTarget};
use super::resolve::resolve;
use super::tcp::{connect, connect_to_any, share};

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
