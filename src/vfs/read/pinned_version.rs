//! The version of a file when it was opened, so that a later transfer never continues in another
//! one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::RangeSource;
use crate::cancel::Cancel;
use crate::ftp::Version;
use crate::remote::{Error, ErrorKind};

/// How long a version counts as confirmed for a program that reads at random offsets. FTP times do
/// not distinguish two changes within a second.
const CONFIRMED: Duration = Duration::from_secs(1);

/// The version of a file being read, and when the server last confirmed it.
#[derive(Debug)]
pub(in crate::vfs) struct PinnedVersion {
    version: Version,
    /// The correct size if that of the version turned out to be wrong.
    corrected: OnceLock<u64>,
    confirmed: Mutex<Instant>,
    /// Whether the server was found to have another version. Bytes that a transfer received may
    /// belong to either.
    changed: AtomicBool,
    /// Whether the file may grow while it is read: its reader follows it.
    grows: bool,
}

impl PinnedVersion {
    /// Creates a pinned `version` that the server has just reported, or that all bytes read so far
    /// belong to.
    pub(in crate::vfs) fn new(version: Version) -> Self {
        Self {
            version,
            corrected: OnceLock::new(),
            confirmed: Mutex::new(Instant::now()),
            changed: AtomicBool::new(false),
            grows: false,
        }
    }

    /// Creates a pinned `version` of a file that grew while it was read and may grow again.
    pub(in crate::vfs) fn growing(version: Version) -> Self {
        Self {
            grows: true,
            ..Self::new(version)
        }
    }

    /// Whether the file may grow while it is read.
    pub(super) fn grows(&self) -> bool {
        self.grows
    }

    /// Returns when the server last confirmed the version.
    pub(super) fn confirmed_at(&self) -> Instant {
        *self
            .confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the version, with the corrected size if there is one.
    pub(in crate::vfs) fn version(&self) -> Version {
        Version {
            size: self.size(),
            ..self.version
        }
    }

    /// Returns the size in bytes, or `None` if the server did not report one.
    pub(in crate::vfs) fn size(&self) -> Option<u64> {
        self.corrected_size().or(self.version.size)
    }

    /// Returns the correct size in bytes if the server listed a wrong one.
    pub(in crate::vfs) fn corrected_size(&self) -> Option<u64> {
        self.corrected.get().copied()
    }

    /// Whether the server confirmed the version within the last second.
    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed_at().elapsed() < CONFIRMED
    }

    /// Asks the server whether it still has this version.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`] if it has another version or no such file; the error of the query if
    /// the server cannot be asked.
    pub(in crate::vfs) fn confirm(
        &self,
        source: &dyn RangeSource,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        match source.version(cancel) {
            Ok(version) if self.continues_in(&version) => {
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

    /// Whether the bytes of the version are those of `now`.
    fn continues_in(&self, now: &Version) -> bool {
        let version = self.version();
        now.agrees(&version) || self.grows && now.grew_from(&version)
    }

    /// Whether the file ends at `end`, where a transfer of the whole file ended although a larger
    /// size was listed. It does if SIZE returns `end` and the file was not modified since. Some
    /// servers list 32-bit sizes, or the size of the storage that a file occupies.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`] if it was modified; the error of the query if the server cannot be
    /// asked.
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
        // If another thread was first, it found the same size.
        let _ = self.corrected.set(end);
        log::info!(
            "{}: a size of {} was listed, and it has {end} bytes",
            source.path(),
            self.version.size.unwrap_or_default()
        );
        Ok(true)
    }

    /// Records that the server has another file than the one that was opened, and returns the error
    /// for it.
    pub(super) fn changed(&self, source: &dyn RangeSource) -> Error {
        self.changed.store(true, Ordering::Release);
        Error {
            kind: ErrorKind::Changed,
            operation: "read",
            path: source.path(),
            reason: "it was changed on the server while it was read".to_owned(),
        }
    }

    /// Whether the server was found to have another version.
    pub(in crate::vfs) fn has_changed(&self) -> bool {
        self.changed.load(Ordering::Acquire)
    }
}
