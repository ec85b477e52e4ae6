//! The local end of connections: the address or interface they come from, and the ports used in
//! active mode.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::time::Duration;

use std::hash::{BuildHasher, RandomState};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

/// Options for the local end of connections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalOptions {
    /// Source of all connections; `None` leaves the choice to the routing table.
    pub bind: Option<Bind>,
    /// Ports to listen on in active mode; `None` leaves the choice to the kernel.
    pub active_ports: Option<RangeInclusive<u16>>,
    /// Address announced to the server in active mode; `None` means that of the control connection.
    pub active_address: Option<IpAddr>,
}

/// Source of outgoing connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// A local address.
    Address(IpAddr),
    /// A network interface (SO_BINDTODEVICE, socket(7)).
    Interface(String),
}

/// The local address or interface of a new connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origin {
    address: Option<SocketAddr>,
    interface: Option<String>,
}

impl std::fmt::Display for Bind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Interface(name) => f.write_str(name),
        }
    }
}

impl Bind {
    /// Checks that connections can be bound this way.
    ///
    /// # Errors
    /// The reason why they cannot.
    pub fn check(&self) -> io::Result<()> {
        let origin = Origin::of(Some(self));
        let like = match self {
            Self::Address(address) => SocketAddr::new(*address, 0),
            Self::Interface(_) => SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        origin.socket(like).map(drop)
    }
}

impl Origin {
    /// Returns the origin of control connections.
    pub(super) fn of(bind: Option<&Bind>) -> Self {
        match bind {
            None => Self::default(),
            Some(Bind::Address(address)) => Self {
                address: Some(SocketAddr::new(*address, 0)),
                interface: None,
            },
            Some(Bind::Interface(name)) => Self {
                address: None,
                interface: Some(name.clone()),
            },
        }
    }

    /// Returns the origin of data connections for a control connection from `local`: servers only
    /// accept data connections from the same address.
    pub(super) fn for_data(local: SocketAddr, bind: Option<&Bind>) -> Self {
        let mut address = local;
        address.set_port(0);
        Self {
            address: Some(address),
            ..Self::of(bind)
        }
    }

    /// Whether a connection to `address` can come from this origin.
    pub(super) fn reaches(&self, address: &SocketAddr) -> bool {
        self.address
            .is_none_or(|own| own.is_ipv4() == address.is_ipv4())
    }

    /// Creates a bound socket for a connection to `address`.
    pub(super) fn socket(&self, address: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if let Some(name) = &self.interface {
            socket.bind_device(Some(name.as_bytes()))?;
        }
        if let Some(own) = self.address.filter(|_| self.reaches(&address)) {
            // Otherwise a local port that a closed connection still occupies could not be used for
            // another server port.
            socket.set_reuse_address(true)?;
            socket.bind(&own.into())?;
        }
        Ok(socket)
    }

    /// Connects to `address`.
    pub(super) fn connect(&self, address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        let socket = self.socket(address)?;
        socket.connect_timeout(&address.into(), timeout.max(Duration::from_millis(1)))?;
        Ok(socket.into())
    }
}

/// Listens on `address`, on one of `ports` if given.
///
/// # Errors
/// `AddrInUse` if none of the ports is free.
pub(super) fn listen(
    address: IpAddr,
    ports: Option<&RangeInclusive<u16>>,
) -> io::Result<TcpListener> {
    let Some(ports) = ports else {
        return TcpListener::bind(SocketAddr::new(address, 0));
    };
    // Start with a different port each time: a firewall may still remember the last one.
    let count = usize::from(ports.end().saturating_sub(*ports.start())) + 1;
    let start = RandomState::new().hash_one(0) as usize % count;
    let turned = ports.clone().skip(start).chain(ports.clone().take(start));
    for port in turned {
        match TcpListener::bind(SocketAddr::new(address, port)) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::ADDRINUSE) => {}
            outcome => return outcome,
        }
    }
    let (first, last) = (ports.start(), ports.end());
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        format!("all ports from {first} to {last} (active_ports) are in use"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_come_from_where_they_are_bound() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let own = "127.0.0.2".parse().unwrap();
        let origins = [
            Origin::of(Some(&Bind::Address(own))),
            Origin::for_data(SocketAddr::new(own, 5), None),
        ];
        for origin in origins {
            let stream = origin.connect(address, Duration::from_secs(10)).unwrap();
            assert_eq!(stream.local_addr().unwrap().ip(), own);
            let (_, from) = listener.accept().unwrap();
            assert_eq!(from, stream.local_addr().unwrap());
        }
        assert!(Bind::Address(own).check().is_ok());
        assert!(Bind::Address("192.0.2.1".parse().unwrap()).check().is_err());
        assert!(Bind::Interface("none-such".into()).check().is_err());
    }

    #[test]
    fn one_of_the_ports_is_listened_at_while_one_is_free() {
        let address = "127.0.0.3".parse().unwrap();
        // Two adjacent unused ports.
        let (first, second) = (40_000_u16..)
            .step_by(2)
            .find_map(|port| {
                let ports = port..=port + 1;
                let first = listen(address, Some(&ports)).ok()?;
                Some((first, listen(address, Some(&ports)).ok()?))
            })
            .unwrap();
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let (low, high) = (
            port(&first).min(port(&second)),
            port(&first).max(port(&second)),
        );
        assert_eq!(low + 1, high);
        let full = listen(address, Some(&(low..=high))).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::AddrInUse);
        assert!(full.to_string().contains("active_ports"), "{full}");
        drop(first);
        listen(address, Some(&(low..=high))).unwrap();
    }
}
