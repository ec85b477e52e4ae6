//! Recognition of services that are not FTP, for a clear error instead of a timeout.
//!
//! Most services greet the client. A web server says nothing until the client does, so a silent
//! server is asked for a page, on another connection: a server of FTP that is only slow, because it
//! looks up the client's name first, must not receive anything before its greeting (RFC 959 §5.4).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::connect::control_connection;
use super::control::Control;
use super::error::Error;
use super::options::ConnectOptions;
use super::text::escaped;
use super::tls::Tls;

/// What other services say first, and their names.
const GREETINGS: [(&[u8], &str); 5] = [
    (b"SSH-", "SSH"),
    (b"RFB ", "VNC"),
    (b"+OK", "POP3"),
    (b"* OK", "IMAP"),
    (b"HTTP/", "HTTP"),
];

/// Ports of web servers, and how long a server there may be silent before it is asked for a page.
const WEB_PORTS: [u16; 4] = [80, 443, 8000, 8080];
const WEB_SILENCE: Duration = Duration::from_secs(1);
/// How long a server at another port may be silent before it is asked for a page.
const SILENCE: Duration = Duration::from_secs(5);
/// Time for the connection and for the page.
const PAGE_PATIENCE: Duration = Duration::from_secs(3);
/// Maximum length of the status line in bytes, as far as it is shown.
const STATUS_LINE: usize = 80;

/// Recognises the first line that a server sends.
pub(super) fn by_greeting(line: &[u8]) -> Option<Error> {
    let (_, service) = GREETINGS
        .iter()
        .find(|(start, _)| line.starts_with(start))?;
    Some(Error::OtherService {
        service,
        line: escaped(line),
    })
}

/// Waits for the first byte of the greeting, and finds out whether a server that sends none is a
/// web server. Returns after half of the timeout at the latest, whether a byte has arrived or not.
///
/// A server that has accepted a login before is not probed.
///
/// # Errors
/// The server speaks HTTP, or the connection failed.
pub(super) fn check_silence(control: &mut Control, options: &ConnectOptions) -> Result<(), Error> {
    if options.profile.has_logged_in() || matches!(options.tls, Tls::Implicit(_)) {
        return Ok(());
    }
    let silence = if WEB_PORTS.contains(&options.port) {
        WEB_SILENCE
    } else {
        SILENCE
    };
    // Half for the silence and the page, so that the greeting can still arrive in the other.
    let quarter = options.timeout / 4;
    if control.hears_greeting(silence.min(quarter))? {
        return Ok(());
    }
    match status_line(options, PAGE_PATIENCE.min(quarter)) {
        Some(line) => by_greeting(&line).map_or(Ok(()), Err),
        None => Ok(()),
    }
}

/// Asks for a page over a new connection. Returns the beginning of the first line of the answer, if
/// there is one within `patience`.
fn status_line(options: &ConnectOptions, patience: Duration) -> Option<Vec<u8>> {
    let deadline = Instant::now() + patience;
    let (mut stream, _) = control_connection(options, patience).ok()?;
    log::debug!("the server is silent; asking for a page, in case it is a web server");
    stream.set_write_timeout(Some(patience)).ok()?;
    stream.write_all(b"HEAD / HTTP/1.0\r\n\r\n").ok()?;
    let mut line = Vec::new();
    while line.len() < STATUS_LINE && !line.contains(&b'\n') {
        receive(&mut stream, &mut line, deadline)?;
    }
    let end = line.iter().position(|byte| *byte == b'\n');
    line.truncate(end.unwrap_or(STATUS_LINE));
    Some(line.trim_ascii_end().to_vec())
}

fn receive(stream: &mut TcpStream, line: &mut Vec<u8>, deadline: Instant) -> Option<()> {
    let left = deadline.checked_duration_since(Instant::now())?;
    stream
        .set_read_timeout(Some(left.max(Duration::from_millis(1))))
        .ok()?;
    let mut chunk = [0; STATUS_LINE];
    let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
    line.extend_from_slice(chunk.get(..count)?);
    Some(())
}
