//! The local syslog daemon (RFC 3164).

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;

use log::Level;

/// The socket of the local syslog daemon.
const SYSLOG_SOCKET: &str = "/dev/log";

/// Facility `daemon` (RFC 3164 §4.1.1).
pub(super) const FACILITY: u8 = 3;

/// Sends one datagram per record.
pub(super) struct Syslog(UnixDatagram);

impl Syslog {
    /// Opens a socket. The daemon may start later.
    ///
    /// # Errors
    /// There is no free descriptor.
    pub(super) fn new() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }
}

impl Write for Syslog {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        // If syslog is missing or stuck, the record is lost, because logging must not block.
        let _ = self.0.send_to(record, SYSLOG_SOCKET);
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns what a record of this level begins with: its priority, and the name and the ID of the
/// process.
pub(super) fn header(level: Level) -> String {
    let priority = FACILITY * 8 + severity(level);
    format!("<{priority}>ftpfs[{}]: ", std::process::id())
}

/// Returns the severity of a level (RFC 3164 §4.1.1).
pub(super) fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}
