//! Journals that killed mounts left behind.

use std::fs;
use std::path::PathBuf;

use super::JournalError;
use super::log::Log;
use super::mount_journal::MountJournal;
use super::record::{Pending, Record};
use super::state_dir::StateDir;
use crate::ftp::{RemotePath, Version};

/// The journal of a mount that ended without cleaning up. No other process claims it while this
/// value exists.
#[derive(Debug)]
pub(crate) struct AbandonedJournal {
    journal_dir: MountJournal,
    log: Log,
}

/// A file whose upload was pending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaitingFile {
    /// Path of the local file with its contents.
    pub file: PathBuf,
    /// The file that it was to become on the server.
    pub pending: Pending,
    number: u64,
}

impl AbandonedJournal {
    /// Claims all abandoned journals in `place`. Logs and skips those that cannot be read.
    ///
    /// # Errors
    /// The state directory cannot be read.
    pub(crate) fn claim_all(place: &StateDir) -> Result<Vec<Self>, JournalError> {
        let _guard = place.guard()?;
        let pages = place.journals().map_err(|source| JournalError {
            path: place.directory().to_owned(),
            source,
        })?;
        let mut left = Vec::new();
        for directory in pages {
            let claimed = MountJournal::claim(&directory).and_then(|journal_dir| {
                journal_dir
                    .map(|journal_dir| {
                        Ok(Self {
                            log: Log::read(journal_dir.log())?,
                            journal_dir,
                        })
                    })
                    .transpose()
            });
            match claimed {
                Ok(claimed) => left.extend(claimed),
                Err(error) => ::log::warn!("cannot read {}: {error}", directory.display()),
            }
        }
        Ok(left)
    }

    /// Unfinished uploads on the server, to be deleted.
    pub(crate) fn parts(&self) -> Vec<RemotePath> {
        let places = self.log.live().places.values();
        places
            .filter_map(|record| match record {
                Record::Part(path) => Some(path.clone()),
                _ => None,
            })
            .collect()
    }

    /// Files that were moved aside: the backup name, the original path, and the file that replaces
    /// it.
    pub(crate) fn asides(&self) -> Vec<(RemotePath, RemotePath, Option<Version>)> {
        let places = self.log.live().places.values();
        places
            .filter_map(|record| match record {
                Record::Aside(aside, target, successor) => {
                    Some((aside.clone(), target.clone(), *successor))
                }
                _ => None,
            })
            .collect()
    }

    /// Whether `path` was being overwritten in place, so that it may be incomplete.
    pub(crate) fn was_in_place(&self, path: &RemotePath) -> bool {
        matches!(self.log.live().places.get(path), Some(Record::InPlace(_)))
    }

    /// Files that were being overwritten in place.
    pub(crate) fn in_place(&self) -> Vec<RemotePath> {
        let places = self.log.live().places.values();
        places
            .filter_map(|record| match record {
                Record::InPlace(path) => Some(path.clone()),
                _ => None,
            })
            .collect()
    }

    /// Files that a program had closed or synced, and that have not reached the server as far as is
    /// known.
    pub(crate) fn waiting(&self) -> Vec<WaitingFile> {
        let pending = self.log.live().pending();
        pending
            .map(|(number, pending)| WaitingFile {
                file: self.journal_dir.spool_file(number),
                pending: pending.clone(),
                number,
            })
            .collect()
    }

    /// Files that were being written and were neither closed nor synced.
    pub(crate) fn unfinished(&self) -> Vec<RemotePath> {
        let spools = self.log.live().spools.values();
        spools
            .filter(|spooled| spooled.pending.is_none())
            .map(|spooled| spooled.path.clone())
            .collect()
    }

    /// Marks the temporary name, or the file overwritten in place, at `path` as taken care of.
    pub(crate) fn clear(&mut self, path: &RemotePath) {
        self.log.append(&Record::Gone(path.clone()));
    }

    /// Deletes the local copy: the server has the file.
    pub(crate) fn stored(&mut self, waiting: &WaitingFile) {
        if let Err(error) = fs::remove_file(&waiting.file) {
            ::log::warn!("cannot remove {}: {error}", waiting.file.display());
        }
        self.log.append(&Record::Closed(waiting.number));
    }

    /// Moves the contents of a file that cannot be uploaded to the `recovered` directory. Returns
    /// the new path.
    ///
    /// # Errors
    /// The file cannot be moved; it stays where it is.
    pub(crate) fn recover(
        &mut self,
        waiting: &WaitingFile,
        place: &StateDir,
    ) -> Result<PathBuf, JournalError> {
        let number = format!("{:08x}-{}", self.journal_dir.mount(), waiting.number);
        let kept = place.recovered(waiting.pending.target.name(), &number)?;
        // The spool may be on another file system.
        let moved = fs::rename(&waiting.file, &kept).or_else(|_| {
            fs::copy(&waiting.file, &kept).and_then(|_| fs::remove_file(&waiting.file))
        });
        moved.map_err(|source| JournalError {
            path: kept.clone(),
            source,
        })?;
        self.log.append(&Record::Closed(waiting.number));
        Ok(kept)
    }

    /// Removes the journal if no records are left.
    pub(crate) fn finish(self) {
        if self.log.live().is_empty() {
            self.journal_dir.remove();
        }
    }
}
