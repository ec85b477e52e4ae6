//! The destination of the log: the terminal, a file, or syslog (RFC 3164) for a mount in the
//! background.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// A log file that can be opened again, after another program has renamed or removed it. Clones
/// share it.
#[derive(Debug, Clone)]
pub(super) struct LogFile {
    path: PathBuf,
    file: Arc<Mutex<File>>,
}

/// Opens the log. Must be called only once. Returns the log file, if there is one, and the warnings
/// since then, which the terminal does not show in the background.
///
/// # Errors
/// The log file cannot be written.
pub(super) fn start(
    level: LevelFilter,
    file: Option<&Path>,
    background: bool,
) -> Result<(Option<LogFile>, EarlyWarnings), Failure> {
    let mut builder = Builder::new();
    // The level of the log crate, which can be changed, is the only filter.
    builder.filter_level(LevelFilter::Trace);
    let file = file.map(LogFile::open).transpose()?;
    if let Some(file) = &file {
        builder.target(Target::Pipe(Box::new(file.clone())));
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
    log::set_max_level(level);
    let warnings = EarlyWarnings::new(background);
    let log = WithEarlyWarnings::new(builder.build(), warnings.clone());
    log::set_boxed_logger(Box::new(Limited::new(log)))?;
    Ok((file, warnings))
}

impl LogFile {
    fn open(path: &Path) -> Result<Self, Failure> {
        let file = open(path)
            .map_err(|error| format!("cannot write the log file {}: {error}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file: Arc::new(Mutex::new(file)),
        })
    }

    /// Opens the file at its path, and creates it if it does not exist. If that fails, the log
    /// continues in the old file.
    pub(super) fn reopen(&self) {
        match open(&self.path) {
            Ok(file) => {
                *self.lock() = file;
                log::info!("reopened the log file {}", self.path.display());
            }
            Err(error) => {
                log::error!(
                    "cannot reopen the log file {}: {error}",
                    self.path.display()
                );
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(PRIVATE_FILE)
        .open(path)
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
