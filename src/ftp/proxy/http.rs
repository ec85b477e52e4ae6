//! HTTP CONNECT (RFC 9110 §9.3.6) in HTTP/1.1 (RFC 9112), with Basic authentication (RFC 7617).

use base64::prelude::{BASE64_STANDARD, Engine};

use super::{ProxyConversation, ProxyTarget};
use crate::ftp::error::ProxyProblem;
use crate::ftp::password::Password;
use crate::ftp::text::escaped;

/// Maximum size of a response head in bytes.
const MAX_HEAD: usize = 16 * 1024;
const FOREIGN: ProxyProblem = ProxyProblem::Foreign("HTTP");

/// Asks the proxy to connect to `port` of `target`.
pub(super) fn ask(
    proxy: &mut ProxyConversation,
    login: Option<&(String, Password)>,
    target: &ProxyTarget,
    port: u16,
) -> Result<(), ProxyProblem> {
    let target = target.with_port(port);
    // The name must fit into a request line.
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ProxyProblem::Unsendable(
            "a host name that is not ASCII over HTTP",
        ));
    }
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some((user, password)) = login {
        let pair = BASE64_STANDARD.encode(format!("{user}:{}", password.reveal()));
        request.push_str("Proxy-Authorization: Basic ");
        request.push_str(&pair);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    proxy.send(request.as_bytes())?;

    let head = head(proxy)?;
    let status = head.split(|byte| *byte == b'\n').next();
    let status = status.unwrap_or_default().trim_ascii_end();
    match (status_code(status).ok_or(FOREIGN)?, login) {
        // A successful CONNECT has no body, regardless of its head.
        (200..=299, _) => Ok(()),
        (407, None) => Err(ProxyProblem::WantsLogin),
        (407, Some(_)) => Err(ProxyProblem::LoginRefused),
        (_, login) => Err(ProxyProblem::Refused {
            target,
            reason: without_password(escaped(status), login),
        }),
    }
}

/// Removes the password from text of the proxy, which may repeat the request.
fn without_password(text: String, login: Option<&(String, Password)>) -> String {
    match login.map(|(_, password)| password.reveal()) {
        Some(password) if !password.is_empty() => text.replace(password, "****"),
        _ => text,
    }
}

/// Reads the response head up to its empty line and no further, because the server's greeting may
/// follow immediately.
fn head(proxy: &mut ProxyConversation) -> Result<Vec<u8>, ProxyProblem> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        let [byte] = proxy.receive_array()?;
        head.push(byte);
        // A different beginning is another protocol, which need not have an empty line.
        let beginning = b"HTTP/1.".get(..head.len()).unwrap_or(b"HTTP/1.");
        if head.len() > MAX_HEAD || !head.starts_with(beginning) {
            return Err(FOREIGN);
        }
    }
    Ok(head)
}

/// Parses the status line (RFC 9112 §4).
fn status_code(line: &[u8]) -> Option<u16> {
    let code = line.split(|byte| *byte == b' ').nth(1)?;
    let text = std::str::from_utf8(code).ok()?;
    text.parse().ok().filter(|code| (100..600).contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_gives_its_code() {
        assert_eq!(
            status_code(b"HTTP/1.1 200 Connection established"),
            Some(200)
        );
        assert_eq!(status_code(b"HTTP/1.0 407"), Some(407));
        for bad in [
            b"HTTP/1.1".as_slice(),
            b"HTTP/1.1 ok",
            b"HTTP/1.1 -20",
            b"HTTP/1.1 20",
            b"",
        ] {
            assert_eq!(status_code(bad), None);
        }
    }
}
