//! Warnings during the start of a mount in the background. Its log goes to a file or to syslog,
//! where people do not look, so the terminal shows them as well before ftpfs leaves it.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use log::{Level, Log, Metadata, Record};

/// Maximum number of warnings that are shown.
const MOST: usize = 20;

/// A log that also collects warnings until they are printed.
pub(super) struct WithEarlyWarnings<L> {
    log: L,
    warnings: EarlyWarnings,
}

/// The warnings since the start. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct EarlyWarnings(Arc<Mutex<Option<Vec<String>>>>);

impl EarlyWarnings {
    /// Collects warnings if `is_wanted`.
    pub(super) fn new(is_wanted: bool) -> Self {
        Self(Arc::new(Mutex::new(is_wanted.then(Vec::new))))
    }

    /// Prints the warnings on the standard error and stops collecting them.
    pub(super) fn print(&self) {
        let warnings = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        for warning in warnings.into_iter().flatten() {
            let _ = writeln!(std::io::stderr(), "ftpfs: warning: {warning}");
        }
    }

    fn collect(&self, record: &Record<'_>) {
        if let Some(warnings) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)
            && warnings.len() < MOST
        {
            warnings.push(record.args().to_string());
        }
    }
}

impl<L: Log> WithEarlyWarnings<L> {
    /// Passes everything on to `log`.
    pub(super) fn new(log: L, warnings: EarlyWarnings) -> Self {
        Self { log, warnings }
    }
}

impl<L: Log> Log for WithEarlyWarnings<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.log.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() <= Level::Warn && self.log.enabled(record.metadata()) {
            self.warnings.collect(record);
        }
        self.log.log(record);
    }

    fn flush(&self) {
        self.log.flush();
    }
}
