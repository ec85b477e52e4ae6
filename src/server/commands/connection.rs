//! PASV, PORT, ABOR (RFC 959), EPSV, EPRT (RFC 2428), with protection against bounce attacks (RFC
//! 2577).

use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use crate::server::address::{BadAddress, epsv_text, parse_eprt, parse_port, pasv_text};
use crate::server::data::{DataSetup, Passive};
use crate::server::passive_ports::PassiveListenError;
use crate::server::reply::{Answer, Reply, Stop, refused};
use crate::server::session::{RestartMarker, Session};

/// Lower ports belong to services on which no client listens (RFC 2577 §3).
const FIRST_USER_PORT: u16 = 1024;

pub(super) fn epsv(session: &mut Session, argument: &[u8]) -> Answer {
    if argument.eq_ignore_ascii_case(b"ALL") {
        session.epsv_only = true;
        return Ok(Reply::new(200, "Only EPSV from now on"));
    }
    let own = protocol(session.local);
    if !argument.is_empty() && argument != own.as_bytes() {
        return Err(other_protocol(session));
    }
    let port = listen(session)?;
    Ok(Reply::new(229, epsv_text(port)))
}

pub(super) fn pasv(session: &mut Session, _: &[u8]) -> Answer {
    check_not_epsv_only(session)?;
    let IpAddr::V4(local) = session.local else {
        return Err(refused(
            522,
            "PASV has no room for an IPv6 address, use EPSV",
        ));
    };
    let announced = session.serving.options.public_address.unwrap_or(local);
    let port = listen(session)?;
    Ok(Reply::new(
        227,
        pasv_text(SocketAddrV4::new(announced, port)),
    ))
}

pub(super) fn eprt(session: &mut Session, argument: &[u8]) -> Answer {
    check_not_epsv_only(session)?;
    let address = parse_eprt(argument).map_err(|bad| match bad {
        BadAddress::Protocol => other_protocol(session),
        BadAddress::Syntax => refused(501, "Not an address"),
    })?;
    connect_later(session, address)
}

pub(super) fn port(session: &mut Session, argument: &[u8]) -> Answer {
    check_not_epsv_only(session)?;
    let address = parse_port(argument).map_err(|_| refused(501, "Not an address"))?;
    connect_later(session, address)
}

/// Discards the data connection that was set up. A transfer in progress has already seen the
/// command and ended with 426.
pub(super) fn abor(session: &mut Session, _: &[u8]) -> Answer {
    session.data = DataSetup::Unset;
    session.marker = RestartMarker::default();
    Ok(Reply::new(226, "Nothing is under way any more"))
}

/// Listens for a data connection and returns the port.
fn listen(session: &mut Session) -> Result<u16, Stop> {
    let cannot = |error: PassiveListenError| {
        log::warn!("server: no passive port for {}: {error}", session.peer);
        // 421, the temporary refusal of RFC 959 §5.4, would end the session.
        refused(425, error.to_string())
    };
    // The new connection may need the port of the one that it replaces.
    session.data = DataSetup::Unset;
    let ports = session.serving.options.passive_ports.as_ref();
    let passive = Passive::listen(session.local, session.peer, ports).map_err(cannot)?;
    let port = passive.port().map_err(|error| cannot(error.into()))?;
    session.data = DataSetup::Passive(passive);
    Ok(port)
}

fn connect_later(session: &mut Session, address: SocketAddr) -> Answer {
    if address.ip().to_canonical() != session.peer || address.port() < FIRST_USER_PORT {
        log::warn!(
            "server: {} asked for a data connection to {address}",
            session.peer
        );
        return Err(refused(504, "Only your own address and ports from 1024 on"));
    }
    session.data = DataSetup::Active(address);
    Ok(Reply::new(200, "The data connection will be opened there"))
}

fn check_not_epsv_only(session: &Session) -> Result<(), Stop> {
    if session.epsv_only {
        Err(refused(501, "EPSV ALL is in force"))
    } else {
        Ok(())
    }
}

fn other_protocol(session: &Session) -> Stop {
    refused(
        522,
        format!(
            "Network protocol not supported, use ({})",
            protocol(session.local)
        ),
    )
}

/// Returns the number of the address family in RFC 2428.
fn protocol(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "1",
        IpAddr::V6(_) => "2",
    }
}
