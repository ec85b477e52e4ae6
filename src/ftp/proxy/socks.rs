//! SOCKS5: method selection (RFC 1928 §3), user and password (RFC 1929), CONNECT (RFC 1928 §4 to
//! §6).

use std::net::IpAddr;

use super::{ProxyConversation, ProxyTarget};
use crate::ftp::error::ProxyProblem;
use crate::ftp::password::Password;

const VERSION: u8 = 5;
/// Version of the login protocol (RFC 1929).
const LOGIN_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const FOREIGN: ProxyProblem = ProxyProblem::Foreign("SOCKS5");

const NO_LOGIN: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;

const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Asks the proxy to connect to `port` of `target`.
pub(super) fn ask(
    proxy: &mut ProxyConversation,
    login: Option<&(String, Password)>,
    target: &ProxyTarget,
    port: u16,
) -> Result<(), ProxyProblem> {
    // Report what cannot be expressed before anything is sent.
    let request = request(target, port)?;
    let login = login.map(login_request).transpose()?;
    let methods: &[u8] = match login {
        None => &[VERSION, 1, NO_LOGIN],
        Some(_) => &[VERSION, 2, NO_LOGIN, USER_AND_PASSWORD],
    };
    proxy.send(methods)?;
    match (proxy.receive_array()?, login) {
        ([VERSION, NO_LOGIN], _) => {}
        ([VERSION, USER_AND_PASSWORD], Some(login)) => log_in(proxy, &login)?,
        ([VERSION, NO_METHOD], None) => return Err(ProxyProblem::WantsLogin),
        ([VERSION, NO_METHOD], Some(_)) => return Err(ProxyProblem::LoginRefused),
        _ => return Err(FOREIGN),
    }
    proxy.send(&request)?;
    answer(proxy, target, port)
}

fn login_request((user, password): &(String, Password)) -> Result<Vec<u8>, ProxyProblem> {
    let mut request = vec![LOGIN_VERSION];
    for text in [user.as_str(), password.reveal()] {
        let length = u8::try_from(text.len());
        let too_long =
            |_| ProxyProblem::Unsendable("a user or password of more than 255 bytes over SOCKS5");
        request.push(length.map_err(too_long)?);
        request.extend_from_slice(text.as_bytes());
    }
    Ok(request)
}

fn log_in(proxy: &mut ProxyConversation, request: &[u8]) -> Result<(), ProxyProblem> {
    proxy.send(request)?;
    match proxy.receive_array()? {
        // Some proxies send version 5 here.
        [LOGIN_VERSION | VERSION, 0] => Ok(()),
        [LOGIN_VERSION | VERSION, _] => Err(ProxyProblem::LoginRefused),
        _ => Err(FOREIGN),
    }
}

fn request(target: &ProxyTarget, port: u16) -> Result<Vec<u8>, ProxyProblem> {
    let mut request = vec![VERSION, CONNECT, 0];
    match target {
        ProxyTarget::Address(IpAddr::V4(address)) => {
            request.push(IPV4);
            request.extend(address.octets());
        }
        ProxyTarget::Address(IpAddr::V6(address)) => {
            request.push(IPV6);
            request.extend(address.octets());
        }
        ProxyTarget::Name(name) => {
            let length = u8::try_from(name.len());
            let too_long =
                |_| ProxyProblem::Unsendable("a host name of more than 255 bytes over SOCKS5");
            request.extend([NAME, length.map_err(too_long)?]);
            request.extend_from_slice(name.as_bytes());
        }
    }
    request.extend(port.to_be_bytes());
    Ok(request)
}

/// Reads the answer and skips the address in it, which is the proxy's own.
fn answer(
    proxy: &mut ProxyConversation,
    target: &ProxyTarget,
    port: u16,
) -> Result<(), ProxyProblem> {
    let [version, code, _, kind] = proxy.receive_array()?;
    if version != VERSION {
        return Err(FOREIGN);
    }
    if code != 0 {
        return Err(ProxyProblem::Refused {
            target: target.with_port(port),
            reason: reason(code),
        });
    }
    match kind {
        IPV4 => proxy.receive_array::<4>().map(drop)?,
        IPV6 => proxy.receive_array::<16>().map(drop)?,
        NAME => {
            let [length] = proxy.receive_array()?;
            proxy.receive(&mut vec![0; usize::from(length)])?;
        }
        _ => return Err(FOREIGN),
    }
    proxy.receive_array::<2>().map(drop)
}

/// Describes a reply code (RFC 1928 §6).
fn reason(code: u8) -> String {
    let words = match code {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "it has no CONNECT",
        8 => "it does not support this kind of address (socks5h:// makes it look up names)",
        _ => "unknown reason",
    };
    format!("{words} (SOCKS5 reply {code})")
}
