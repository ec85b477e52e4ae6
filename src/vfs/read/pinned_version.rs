//! What a file was when it was opened, so that a later transfer never continues in another one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::RangeSource;
use crate::cancel::Cancel;
use crate::ftp::Version;
use crate::remote::{Error, ErrorKind};

/// How long a version counts as confirmed for a program that jumps in the file: FTP's times do not
/// distinguish two changes within a second.
const CONFIRMED: Duration = Duration::from_secs(1);

/// The version of a file that is read, and when the server last said that it still has it.
#[derive(Debug)]
pub(in crate::vfs) struct PinnedVersion {
    version: Version,
    /// The size, where that of the version was found to be wrong.
    corrected: OnceLock<u64>,
    confirmed: Mutex<Instant>,
    /// The server was found to have another version: what a transfer brought may be of either.
    changed: AtomicBool,
}

impl PinnedVersion {
    /// The server has just said `version`, or what has been read so far is of it.
    pub(in crate::vfs) fn new(version: Version) -> Self {
        Self {
            version,
            corrected: OnceLock::new(),
            confirmed: Mutex::new(Instant::now()),
            changed: AtomicBool::new(false),
        }
    }

    /// The version.
    pub(in crate::vfs) fn version(&self) -> Version {
        Version {
            size: self.size(),
            ..self.version
        }
    }

    /// The size in bytes, where the server gave one.
    pub(in crate::vfs) fn size(&self) -> Option<u64> {
        self.corrected_size().or(self.version.size)
    }

    /// The size in bytes, where the server listed a wrong one.
    pub(in crate::vfs) fn corrected_size(&self) -> Option<u64> {
        self.corrected.get().copied()
    }

    /// Whether the server said so a moment ago.
    pub(super) fn is_confirmed(&self) -> bool {
        let confirmed = self.confirmed.lock();
        confirmed.unwrap_or_else(PoisonError::into_inner).elapsed() < CONFIRMED
    }

    /// Asks the server whether it still has this version.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`] where it has another one or none; what failed where it cannot be
    /// asked.
    pub(in crate::vfs) fn confirm(
        &self,
        source: &dyn RangeSource,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        match source.version(cancel) {
            Ok(version) if version.agrees(&self.version()) => {
                let mut confirmed = self
                    .confirmed
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                *confirmed = Instant::now();
                Ok(())
            }
            Ok(_) => Err(self.changed(source)),
            Err(error) if error.kind == ErrorKind::NotFound => Err(self.changed(source)),
            Err(error) => Err(error),
        }
    }

    /// Whether the file ends at `end`, as one transfer of all of it did, though a larger size was
    /// listed: SIZE says so, and the file was not modified since. Some servers list sizes of 32
    /// bits, or those of what a file is stored in.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`] where it was modified; what failed where the server cannot be asked.
    pub(super) fn ends_at(
        &self,
        end: u64,
        source: &dyn RangeSource,
        cancel: &Cancel,
    ) -> Result<bool, Error> {
        if source.size(cancel)? != Some(end) {
            return Ok(false);
        }
        let now = source.version(cancel)?;
        let without_size = |version: Version| Version {
            size: None,
            ..version
        };
        if now.modified.is_none() || self.version.modified.is_none() {
            return Ok(false);
        }
        if !without_size(now).agrees(&without_size(self.version)) {
            return Err(self.changed(source));
        }
        // Another thread that was first found the same.
        let _ = self.corrected.set(end);
        log::info!(
            "{}: a size of {} was listed, and it has {end} bytes",
            source.path(),
            self.version.size.unwrap_or_default()
        );
        Ok(true)
    }

    /// The server has another file than was opened: notes it, and says so.
    pub(super) fn changed(&self, source: &dyn RangeSource) -> Error {
        self.changed.store(true, Ordering::Release);
        Error {
            kind: ErrorKind::Changed,
            operation: "read",
            path: source.path(),
            reason: "it was changed on the server while it was read".to_owned(),
        }
    }

    /// Whether a transfer found that the server has another file.
    pub(in crate::vfs) fn has_changed(&self) -> bool {
        self.changed.load(Ordering::Acquire)
    }
}
