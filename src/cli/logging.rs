//! The destination of the log: the terminal, a file, or syslog (RFC 3164) for a mount in the
//! background.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use env_logger::{Builder, Target};
use log::{Level, LevelFilter};

use super::Failure;
use super::early_warnings::{EarlyWarnings, WithEarlyWarnings};
use super::log_limit::Limited;

/// The socket of the local syslog daemon.
const SYSLOG_SOCKET: &str = "/dev/log";

/// Mode of a new log file, which only this user may read, because it contains file names.
const PRIVATE_FILE: u32 = 0o600;

/// Facility `daemon`, times eight (RFC 3164 §4.1.1).
const DAEMON: u8 = 3 << 3;

/// Opens the log. Must be called only once. Returns the warnings since then, which the terminal
/// does not show in the background.
///
/// # Errors
/// The log file cannot be written.
pub(super) fn start(
    level: LevelFilter,
    file: Option<&Path>,
    background: bool,
) -> Result<EarlyWarnings, Failure> {
    let mut builder = Builder::new();
    builder.filter_level(level);
    if let Some(path) = file {
        builder.target(Target::Pipe(Box::new(open(path)?)));
    } else if background {
        builder.target(Target::Pipe(Box::new(Syslog::new()?)));
        builder.format(|line, record| {
            let priority = DAEMON | severity(record.level());
            let process = std::process::id();
            write!(line, "<{priority}>ftpfs[{process}]: {}", record.args())
        });
    } else {
        builder.format_target(false);
    }
    let log = builder.build();
    log::set_max_level(log.filter());
    let warnings = EarlyWarnings::new(background);
    let log = WithEarlyWarnings::new(log, warnings.clone());
    log::set_boxed_logger(Box::new(Limited::new(log)))?;
    Ok(warnings)
}

fn open(path: &Path) -> Result<File, Failure> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(PRIVATE_FILE)
        .open(path);
    file.map_err(|error| format!("cannot write the log file {}: {error}", path.display()).into())
}

/// RFC 3164 §4.1.1.
fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Sends one datagram per record.
struct Syslog(UnixDatagram);

impl Syslog {
    fn new() -> io::Result<Self> {
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
