//! AUTH, PBSZ, PROT (RFC 2228 §3, RFC 4217).

use crate::server::reply::{Answer, Reply, refused};
use crate::server::session::Session;

/// Verbs of this file. A server without TLS does not know them.
pub(in crate::server) const VERBS: [&str; 3] = ["AUTH", "PBSZ", "PROT"];

/// Accepts TLS. The handshake follows the reply.
pub(super) fn auth(session: &mut Session, argument: &[u8]) -> Answer {
    // TLS-C is an alias (RFC 4217 §17).
    let is_known = [b"TLS".as_slice(), b"TLS-C"]
        .iter()
        .any(|name| argument.eq_ignore_ascii_case(name));
    if !is_known {
        return Err(refused(504, "Only AUTH TLS is known"));
    }
    if session.control.is_secure() {
        return Err(refused(503, "TLS has begun already"));
    }
    Ok(Reply::new(234, "Begin the TLS handshake"))
}

/// Accepts any buffer size and replies 0, because TLS has no protection buffers (RFC 4217 §9).
pub(super) fn pbsz(session: &mut Session, argument: &[u8]) -> Answer {
    if !session.control.is_secure() {
        return Err(refused(503, "Say AUTH TLS first"));
    }
    let is_number = argument.iter().all(u8::is_ascii_digit) && !argument.is_empty();
    if !is_number {
        return Err(refused(501, "Not a size"));
    }
    session.security.has_buffer_size = true;
    Ok(Reply::new(200, "PBSZ=0"))
}

pub(super) fn prot(session: &mut Session, argument: &[u8]) -> Answer {
    if !session.security.has_buffer_size {
        return Err(refused(503, "Say PBSZ 0 first"));
    }
    match argument.to_ascii_uppercase().as_slice() {
        b"P" => session.security.is_private = true,
        b"C" if session.security.is_required() => {
            return Err(refused(534, "TLS is required on data connections"));
        }
        b"C" => session.security.is_private = false,
        b"S" | b"E" => return Err(refused(536, "TLS knows the levels C and P only")),
        _ => return Err(refused(504, "Not a level of protection")),
    }
    Ok(Reply::new(200, "Data connections are protected so"))
}
