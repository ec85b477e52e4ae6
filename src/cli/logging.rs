//! The destination of the log: the terminal, a file, systemd's journal or syslog.
//!
//! Records go to the log file, if there is one. Otherwise they go to the journal if the standard
//! error is connected to it, or if the mount is in the background and there is a journal. Without a
//! journal, a mount in the background logs to syslog, and everything else to the standard error.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use env_logger::{Builder, Target};
use jiff::Timestamp;
use log::{LevelFilter, Log};

use super::Failure;
use super::early_warnings::{EarlyWarnings, WithEarlyWarnings};
use super::journald::{self, JournaldLog};
use super::log_json::JsonLines;
use super::log_limit::Limited;
use super::syslog::{self, Syslog};

/// Mode of a new log file, which only this user may read, because it contains file names.
const PRIVATE_FILE: u32 = 0o600;

/// The format of the log. The journal has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The options of the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogOptions<'a> {
    /// The level until it is changed.
    pub(super) level: LevelFilter,
    /// The log file.
    pub(super) file: Option<&'a Path>,
    /// The format.
    pub(super) format: LogFormat,
    /// The mount that logs.
    pub(super) mountpoint: Option<&'a Path>,
    /// Whether the terminal will not show the log.
    pub(super) background: bool,
}

impl LogOptions<'_> {
    /// Returns the options of a log at the terminal.
    pub(super) fn at_terminal(level: LevelFilter) -> Self {
        Self {
            level,
            file: None,
            format: LogFormat::Text,
            mountpoint: None,
            background: false,
        }
    }
}

/// An open log.
#[derive(Debug)]
pub(super) struct OpenLog {
    /// The log file, if there is one.
    pub(super) file: Option<LogFile>,
    /// The warnings since the start, which the terminal does not show in the background.
    pub(super) warnings: EarlyWarnings,
    /// Whether an error belongs to the log and not on the standard error, where a program reads
    /// records, or which is the journal.
    pub(super) takes_errors: bool,
}

/// A log file that can be opened again, after another program has renamed or removed it. Clones
/// share it.
#[derive(Debug, Clone)]
pub(super) struct LogFile {
    path: PathBuf,
    file: Arc<Mutex<File>>,
}

/// Opens the log. Must be called only once.
///
/// # Errors
/// The log file cannot be written.
pub(super) fn start(options: LogOptions<'_>) -> Result<OpenLog, Failure> {
    let file = options.file.map(LogFile::open).transpose()?;
    let (log, takes_errors) = destination(options, file.as_ref())?;
    log::set_max_level(options.level);
    let warnings = EarlyWarnings::new(options.background);
    let log = WithEarlyWarnings::new(log, warnings.clone());
    log::set_boxed_logger(Box::new(Limited::new(log)))?;
    Ok(OpenLog {
        file,
        warnings,
        takes_errors,
    })
}

/// Returns the log, and whether it takes the place of the standard error.
fn destination(
    options: LogOptions<'_>,
    file: Option<&LogFile>,
) -> io::Result<(Box<dyn Log>, bool)> {
    let wants_journal = options.background || journald::has_standard_error();
    if file.is_none()
        && wants_journal
        && let Some(journal) = JournaldLog::open(options.mountpoint)?
    {
        return Ok((Box::new(journal), !options.background));
    }
    let mut builder = Builder::new();
    // The level of the log crate, which can be changed, is the only filter.
    builder.filter_level(LevelFilter::Trace);
    let json = match options.format {
        LogFormat::Text => None,
        LogFormat::Json => Some(JsonLines::new(options.mountpoint)),
    };
    let is_terminal = file.is_none() && !options.background;
    let takes_errors = is_terminal && json.is_some();
    if let Some(file) = file {
        builder.target(Target::Pipe(Box::new(file.clone())));
    } else if options.background {
        builder.target(Target::Pipe(Box::new(Syslog::new()?)));
    } else {
        builder.format_target(false);
    }
    let is_syslog = file.is_none() && options.background;
    match json {
        Some(json) if is_syslog => builder.format(move |line, record| {
            let object = json.format(record, Timestamp::now());
            write!(line, "{}{object}", syslog::header(record.level()))
        }),
        Some(json) => builder.format(move |line, record| {
            writeln!(line, "{}", json.format(record, Timestamp::now()))
        }),
        None if is_syslog => builder.format(|line, record| {
            write!(line, "{}{}", syslog::header(record.level()), record.args())
        }),
        None => &mut builder,
    };
    Ok((Box::new(builder.build()), takes_errors))
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
