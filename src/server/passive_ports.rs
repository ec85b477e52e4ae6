//! Ports of passive data connections (RFC 959 §3.3, RFC 2428): any free port, or one of a range
//! that a firewall or NAT lets through.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, TcpListener};
use std::ops::RangeInclusive;

use ring::rand::{SecureRandom, SystemRandom};

/// Ports to choose from if the user gives none: the dynamic ones (RFC 6335 §6) that Linux uses,
/// too (ip_local_port_range), so that a firewall that lets those through lets these through.
const DYNAMIC_PORTS: RangeInclusive<u16> = 49_152..=60_999;
/// Number of them to try before the system chooses a port.
const TRIES: usize = 16;

/// Reason why no port can be listened on.
#[derive(Debug, thiserror::Error)]
pub(super) enum PassiveListenError {
    /// Every port of the range is in use.
    #[error("All passive ports ({}-{}) are in use, try again later", .0.start(), .0.end())]
    AllInUse(RangeInclusive<u16>),
    /// The system refuses to listen.
    #[error("Cannot listen: {}", super::reply::reason(.0))]
    Io(#[from] io::Error),
}

/// Checks a range of ports before the server uses it.
///
/// # Errors
///
/// The range is empty, contains port 0, or its first port is not permitted on `local`.
pub(super) fn check(local: IpAddr, ports: &RangeInclusive<u16>) -> io::Result<()> {
    let (first, last) = (*ports.start(), *ports.end());
    if first == 0 || last < first {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            format!("{first}-{last} is not a range of ports from 1 to 65535"),
        ));
    }
    match TcpListener::bind((local, first)) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(io::Error::new(
            ErrorKind::PermissionDenied,
            format!("cannot listen on the passive port {first}: {error}; use ports from 1024 on"),
        )),
        // Another program may use the port now and not later.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Listens on a port of `ports`, or on any free one. Tries each port of the range once.
///
/// The first port to try is random: an attacker must not predict the next data connection (RFC 2577
/// §8), and a client must not meet the remains of an earlier one.
pub(super) fn listen(
    local: IpAddr,
    ports: Option<&RangeInclusive<u16>>,
) -> Result<TcpListener, PassiveListenError> {
    let Some(ports) = ports else {
        return Ok(listen_on_any(local, random()?)?);
    };
    for port in rotated(ports, random()?) {
        match TcpListener::bind((local, port)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            result => return Ok(result?),
        }
    }
    Err(PassiveListenError::AllInUse(ports.clone()))
}

/// Listens on any free port. A port of which closed connections remain (TIME_WAIT) can be listened
/// on again, but the system does not choose it. After ten thousand transfers in a minute, it takes
/// milliseconds to find another one.
fn listen_on_any(local: IpAddr, turn: u32) -> io::Result<TcpListener> {
    let mut ports = rotated(&DYNAMIC_PORTS, turn).take(TRIES);
    match ports.find_map(|port| TcpListener::bind((local, port)).ok()) {
        Some(listener) => Ok(listener),
        None => TcpListener::bind((local, 0)),
    }
}

/// Returns each port of the range once. The first one depends on `turn`.
fn rotated(ports: &RangeInclusive<u16>, turn: u32) -> impl Iterator<Item = u16> + use<> {
    let (first, last) = (*ports.start(), *ports.end());
    let length = u32::from(last.saturating_sub(first)) + 1;
    let middle = first.saturating_add((turn % length) as u16);
    (middle..=last).chain(first..middle)
}

fn random() -> io::Result<u32> {
    let mut bytes = [0; 4];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("no random numbers"))?;
    Ok(u32::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpStream};

    #[test]
    fn each_port_is_tried_once_from_any_start() {
        let tried = |ports: RangeInclusive<u16>, turn| rotated(&ports, turn).collect::<Vec<_>>();
        assert_eq!(tried(5000..=5003, 0), [5000, 5001, 5002, 5003]);
        assert_eq!(tried(5000..=5003, 6), [5002, 5003, 5000, 5001]);
        assert_eq!(tried(7..=7, u32::MAX), [7]);
        let all = tried(1..=u16::MAX, 70_000);
        assert_eq!((all.len(), all[0], all.last()), (65535, 4466, Some(&4465)));
    }

    #[test]
    fn ports_of_closed_connections_are_listened_on_again() {
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        let listens_again = || {
            let turn = random().unwrap();
            let first = listen_on_any(local, turn).unwrap();
            let port = first.local_addr().unwrap().port();
            assert!(DYNAMIC_PORTS.contains(&port));
            // The side that closes first keeps the connection for a while (TIME_WAIT).
            let client = TcpStream::connect((local, port)).unwrap();
            drop(first.accept().unwrap());
            drop(client);
            drop(first);
            let again = listen_on_any(local, turn).unwrap();
            again.local_addr().unwrap().port() == port
        };
        // Another program may take the port in between.
        assert!((0..5).any(|_| listens_again()));
    }

    #[test]
    fn a_range_without_ports_is_refused() {
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        let empty = RangeInclusive::new(6, 5);
        for bad in [0..=0, 0..=5, empty] {
            let error = check(local, &bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad:?}");
        }
        assert!(check(local, &(50_000..=65_535)).is_ok());
    }
}
