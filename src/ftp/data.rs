//! Data connections: EPSV or else PASV, in active mode EPRT or else PORT (RFC 959 §3.2, RFC 2428).

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use super::address::{
    extended_passive_port, extended_port_argument, passive_address, port_argument,
};
use super::bind::{LocalOptions, listen};
use super::control::Control;
use super::error::{Error, Phase};
use super::pending::{DataOptions, PendingConnection};
use super::profile::{Capability, ServerProfile};
use super::reply::Reply;
use super::text::escaped;

/// Sets up a data connection with the server.
pub(super) fn open(
    control: &mut Control,
    options: &mut DataOptions,
) -> Result<PendingConnection, Error> {
    if options.active {
        return Ok(PendingConnection::Listening(listen_for(control, options)?));
    }
    let may_be_v4 = may_be_v4(control, options)?;
    // Only a PASV reply contains the address that the user trusts.
    let skips_extended = options.trust_pasv_address && may_be_v4;
    if options.profile.has(Capability::Epsv) && !skips_extended {
        match extended_passive(control, options) {
            Ok(stream) => {
                options.profile.works(Capability::Epsv);
                return Ok(PendingConnection::Connected(stream));
            }
            Err(error) if may_be_v4 && may_fall_back(&error, control) => {
                give_up_extended(&options.profile, &error);
            }
            Err(error) if may_be_v4 && is_out_of_ports(&error) => {
                // A server without a free port also refuses PASV.
                let stream = passive(control, options)?;
                if !options.profile.is_proven(Capability::Epsv) {
                    options.profile.fails(Capability::Epsv, &error);
                }
                return Ok(PendingConnection::Connected(stream));
            }
            Err(error) => {
                // Some servers close the connection on an unknown EPSV: use PASV in the next
                // session.
                let hung_up = matches!(error, Error::Closed(_)) && !control.is_interrupted();
                if hung_up && may_be_v4 && !options.profile.is_proven(Capability::Epsv) {
                    options.profile.fails(Capability::Epsv, &error);
                }
                return Err(error);
            }
        }
    }
    match passive(control, options) {
        Ok(stream) => Ok(PendingConnection::Connected(stream)),
        Err(error) => {
            // EPSV may have failed for the moment alone: it is all that such a server has.
            if matches!(&error, Error::Refused { reply, .. } if reply.code().means_unsupported()) {
                options.profile.forget_failure(Capability::Epsv);
            }
            Err(error)
        }
    }
}

/// Stops using EPSV after `error`, unless EPSV worked before and this is a network error. Returns
/// whether it was given up.
pub(super) fn give_up_extended(profile: &ServerProfile, error: &Error) -> bool {
    let is_refused = matches!(error, Error::Refused { .. } | Error::Malformed { .. });
    let is_given_up = is_refused || !profile.is_proven(Capability::Epsv);
    if is_given_up {
        profile.fails(Capability::Epsv, error);
    }
    is_given_up
}

/// Whether PASV, which is limited to IPv4, can work. How a proxy reaches the server is unknown.
fn may_be_v4(control: &Control, options: &DataOptions) -> Result<bool, Error> {
    Ok(!options.route.is_direct() || is_v4(control)?)
}

pub(super) fn is_v4(control: &Control) -> Result<bool, Error> {
    Ok(control.peer()?.ip().to_canonical().is_ipv4())
}

/// Whether EPSV was refused, or blocked by a firewall, while the session is intact.
pub(super) fn may_fall_back(error: &Error, control: &Control) -> bool {
    let of_the_data_connection = match error {
        Error::Refused { reply, .. } => {
            reply.code().means_unsupported() || matches!(reply.code().0, 501 | 522)
        }
        Error::Malformed { .. } | Error::Proxy { .. } => true,
        Error::Timeout(phase) | Error::Io { phase, .. } => *phase == Phase::DataConnect,
        _ => false,
    };
    of_the_data_connection && control.is_usable()
}

/// Whether the server reports that it cannot open a data connection now.
fn is_out_of_ports(error: &Error) -> bool {
    matches!(error, Error::Refused { reply, .. } if reply.code().0 == 425)
}

fn extended_passive(control: &mut Control, options: &DataOptions) -> Result<TcpStream, Error> {
    let reply = ask(control, "EPSV", b"EPSV")?;
    dial(extended_passive_target(&reply, control)?, false, options)
}

/// Returns the address from an EPSV reply.
pub(super) fn extended_passive_target(
    reply: &Reply,
    control: &Control,
) -> Result<SocketAddr, Error> {
    let port = reply
        .lines()
        .iter()
        .find_map(|line| extended_passive_port(line));
    let port = port.ok_or_else(|| malformed(reply, "an EPSV reply with a port"))?;
    Ok(SocketAddr::new(control.peer()?.ip(), port))
}

fn passive(control: &mut Control, options: &DataOptions) -> Result<TcpStream, Error> {
    let reply = ask(control, "PASV", b"PASV")?;
    let target = passive_target(&reply, control, options)?;
    dial(target, options.trust_pasv_address, options)
}

/// Returns the address from a PASV reply.
pub(super) fn passive_target(
    reply: &Reply,
    control: &Control,
    options: &DataOptions,
) -> Result<SocketAddr, Error> {
    let address = reply.lines().iter().find_map(|line| passive_address(line));
    let address = address.ok_or_else(|| malformed(reply, "a PASV reply with an address"))?;
    // Servers behind address translation report private addresses, and hostile ones those of third
    // parties (RFC 2577 §3).
    let host = match control.peer()?.ip() {
        _ if options.trust_pasv_address && !address.ip().is_unspecified() => {
            IpAddr::V4(*address.ip())
        }
        peer => peer,
    };
    Ok(SocketAddr::new(host, address.port()))
}

/// Connects to `address`. `is_named` marks a trusted address that the server reported.
fn dial(address: SocketAddr, is_named: bool, options: &DataOptions) -> Result<TcpStream, Error> {
    let route = &options.route;
    route.data_connection(address, is_named, &options.origin, options.connect_timeout)
}

fn listen_for(control: &mut Control, options: &mut DataOptions) -> Result<TcpListener, Error> {
    let failed = |source| Error::Io {
        phase: Phase::DataConnect,
        source,
    };
    let LocalOptions {
        active_ports,
        active_address,
        ..
    } = &options.local;
    let listener = listen(control.local()?.ip(), active_ports.as_ref()).map_err(failed)?;
    let mut address = listener.local_addr().map_err(failed)?;
    if let Some(announced) = active_address {
        address.set_ip(*announced);
    }
    let plain = match address {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    };
    if !options.extended_port_refused {
        let line = format!("EPRT {}", extended_port_argument(address));
        match (ask(control, "EPRT", line.as_bytes()), plain) {
            (Ok(_), _) => return Ok(listener),
            (Err(error), Some(_)) if may_fall_back(&error, control) => {
                options.extended_port_refused = true;
            }
            (Err(error), _) => return Err(error),
        }
    }
    if let Some(plain) = plain {
        ask(
            control,
            "PORT",
            format!("PORT {}", port_argument(plain)).as_bytes(),
        )?;
    }
    Ok(listener)
}

fn ask(control: &mut Control, verb: &'static str, line: &[u8]) -> Result<Reply, Error> {
    log::debug!("> {}", String::from_utf8_lossy(line));
    control.send(line)?;
    let reply = control.reply(Phase::Reply)?;
    if reply.is_completion() {
        Ok(reply)
    } else {
        Err(Error::Refused {
            command: verb,
            reply,
        })
    }
}

fn malformed(reply: &Reply, expected: &'static str) -> Error {
    Error::Malformed {
        expected,
        line: escaped(reply.to_string().as_bytes()),
    }
}
