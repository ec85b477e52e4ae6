//! Connections through a proxy: SOCKS5 (`socks`: RFC 1928, RFC 1929) or HTTP CONNECT (`http`: RFC
//! 9110 §9.3.6).
//!
//! The whole conversation with a proxy has one deadline and a size limit. Errors contain the
//! proxy's address, but never the password.

mod http;
mod socks;

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use super::address::host_and_port;
use super::bind::Origin;
use super::error::{Error, ProxyProblem};
use super::password::Password;
use super::resolve::resolve;
use super::tcp::connect_to_any;

/// Protocol of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// SOCKS5 with names looked up locally (`socks5://`).
    Socks5,
    /// SOCKS5 with names looked up by the proxy (`socks5h://`).
    Socks5h,
    /// HTTP CONNECT with names looked up by the proxy (`http://`).
    Http,
}

/// A proxy for the control and data connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Protocol.
    pub kind: ProxyKind,
    /// Host name or address (IPv6 addresses without brackets).
    pub host: String,
    /// Port.
    pub port: u16,
    /// User and password, if required.
    pub login: Option<(String, Password)>,
}

/// The target of a connection through a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ProxyTarget {
    Address(IpAddr),
    Name(String),
}

impl std::fmt::Display for Proxy {
    /// Formats the URL without the login.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match self.kind {
            ProxyKind::Socks5 => "socks5",
            ProxyKind::Socks5h => "socks5h",
            ProxyKind::Http => "http",
        };
        write!(f, "{scheme}://{}", host_and_port(&self.host, self.port))
    }
}

impl ProxyTarget {
    fn with_port(&self, port: u16) -> String {
        match self {
            Self::Address(address) => host_and_port(&address.to_string(), port),
            Self::Name(name) => host_and_port(name, port),
        }
    }
}

impl Proxy {
    /// Whether names are looked up locally.
    pub(super) fn wants_addresses(&self) -> bool {
        self.kind == ProxyKind::Socks5
    }

    /// Connects to `port` of `target` through this proxy within `timeout`.
    pub(super) fn connect(
        &self,
        target: &ProxyTarget,
        port: u16,
        origin: &Origin,
        timeout: Duration,
    ) -> Result<TcpStream, Error> {
        let outcome = self.try_connect(target, port, origin, Instant::now() + timeout);
        outcome.map_err(|problem| Error::Proxy {
            proxy: self.to_string(),
            problem,
        })
    }

    fn try_connect(
        &self,
        target: &ProxyTarget,
        port: u16,
        origin: &Origin,
        deadline: Instant,
    ) -> Result<TcpStream, ProxyProblem> {
        let mut talk = ProxyConversation {
            stream: self.connect_to_proxy(origin, deadline)?,
            deadline,
        };
        log::debug!("asking the proxy {self} for {}", target.with_port(port));
        let login = self.login.as_ref();
        match self.kind {
            ProxyKind::Socks5 | ProxyKind::Socks5h => {
                socks::ask(&mut talk, login, target, port)?;
            }
            ProxyKind::Http => http::ask(&mut talk, login, target, port)?,
        }
        talk.end()
    }

    /// Connects to the proxy itself, trying all its addresses in turn.
    fn connect_to_proxy(
        &self,
        origin: &Origin,
        deadline: Instant,
    ) -> Result<TcpStream, ProxyProblem> {
        let left = deadline.saturating_duration_since(Instant::now());
        let found = resolve(&self.host, self.port, left);
        let addresses = found.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => ProxyProblem::Slow,
            _ => ProxyProblem::Unknown(error),
        })?;
        connect_to_any(&addresses, origin, deadline).map_err(|last| match last.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ProxyProblem::Slow,
            _ => ProxyProblem::Unreachable(last),
        })
    }
}

/// The conversation with the proxy, before the connection belongs to the server.
struct ProxyConversation {
    stream: TcpStream,
    deadline: Instant,
}

impl ProxyConversation {
    fn send(&mut self, bytes: &[u8]) -> Result<(), ProxyProblem> {
        let left = self.remaining()?;
        let written = self.stream.set_write_timeout(Some(left));
        written
            .and_then(|()| self.stream.write_all(bytes))
            .map_err(broken)
    }

    /// Fills `bytes` and reads nothing beyond, which would belong to the server.
    fn receive(&mut self, bytes: &mut [u8]) -> Result<(), ProxyProblem> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let left = self.remaining()?;
            self.stream.set_read_timeout(Some(left)).map_err(broken)?;
            match self.stream.read(rest) {
                Ok(0) => return Err(ProxyProblem::Closed),
                Ok(count) => rest = rest.get_mut(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(error)),
            }
        }
        Ok(())
    }

    fn receive_array<const N: usize>(&mut self) -> Result<[u8; N], ProxyProblem> {
        let mut bytes = [0; N];
        self.receive(&mut bytes)?;
        Ok(bytes)
    }

    fn remaining(&self) -> Result<Duration, ProxyProblem> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ProxyProblem::Slow),
            left => Ok(left),
        }
    }

    /// Returns the connection, which now belongs to the server.
    fn end(self) -> Result<TcpStream, ProxyProblem> {
        let unlimited = self.stream.set_read_timeout(None);
        unlimited
            .and_then(|()| self.stream.set_write_timeout(None))
            .map_err(broken)?;
        Ok(self.stream)
    }
}

fn broken(error: io::Error) -> ProxyProblem {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ProxyProblem::Slow,
        _ => ProxyProblem::Broken(error),
    }
}

#[cfg(test)]
mod tests;
