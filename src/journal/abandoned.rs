//! What mounts that were killed left behind.

use std::fs;
use std::path::PathBuf;

use super::JournalError;
use super::log::Log;
use super::mount_journal::MountJournal;
use super::record::{Pending, Record, Successor};
use super::state_dir::StateDir;
use crate::ftp::RemotePath;

/// The page of a mount that ended without cleaning up. Nobody else has it while this lives.
#[derive(Debug)]
pub struct AbandonedJournal {
    page: MountJournal,
    log: Log,
}

/// A file that was being stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingFile {
    /// Where its bytes are.
    pub file: PathBuf,
    /// What it was to become.
    pub pending: Pending,
    number: u64,
}

impl AbandonedJournal {
    /// All of them at `state_dir`.
    ///
    /// # Errors
    /// The place cannot be read. A page that cannot is passed over and logged.
    pub fn claim_all(place: &StateDir) -> Result<Vec<Self>, JournalError> {
        let _guard = place.guard()?;
        let pages = place.pages().map_err(|source| JournalError {
            path: place.directory().to_owned(),
            source,
        })?;
        let mut left = Vec::new();
        for directory in pages {
            let claimed = MountJournal::claim(&directory).and_then(|page| {
                page.map(|page| {
                    Ok(Self {
                        log: Log::read(page.log())?,
                        page,
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

    /// Unfinished uploads, to be deleted.
    pub fn parts(&self) -> Vec<RemotePath> {
        let places = self.log.live().places.values();
        places
            .filter_map(|record| match record {
                Record::Part(path) => Some(path.clone()),
                _ => None,
            })
            .collect()
    }

    /// Files that were moved aside, each with where it was before and what takes its place.
    pub fn asides(&self) -> Vec<(RemotePath, RemotePath, Option<Successor>)> {
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

    /// Whether `path` was being overwritten where it is, so that it may be half a file.
    pub fn was_in_place(&self, path: &RemotePath) -> bool {
        matches!(self.log.live().places.get(path), Some(Record::InPlace(_)))
    }

    /// Files that were being overwritten where they are.
    pub fn in_place(&self) -> Vec<RemotePath> {
        let places = self.log.live().places.values();
        places
            .filter_map(|record| match record {
                Record::InPlace(path) => Some(path.clone()),
                _ => None,
            })
            .collect()
    }

    /// Files that a program had closed or synced, and that the server does not have yet as far as
    /// is known.
    pub fn waiting(&self) -> Vec<WaitingFile> {
        let pending = self.log.live().pending();
        pending
            .map(|(number, pending)| WaitingFile {
                file: self.page.spool_file(number),
                pending: pending.clone(),
                number,
            })
            .collect()
    }

    /// Files that were being written, neither closed nor synced.
    pub fn unfinished(&self) -> Vec<RemotePath> {
        let spools = self.log.live().spools.values();
        spools
            .filter(|spooled| spooled.pending.is_none())
            .map(|spooled| spooled.path.clone())
            .collect()
    }

    /// Nothing is to be done about the temporary name, or the file in its place, any more.
    pub fn clear(&mut self, path: &RemotePath) {
        self.log.append(&Record::Gone(path.clone()));
    }

    /// The server has the file.
    pub fn stored(&mut self, waiting: &WaitingFile) {
        if let Err(error) = fs::remove_file(&waiting.file) {
            ::log::warn!("cannot remove {}: {error}", waiting.file.display());
        }
        self.log.append(&Record::Closed(waiting.number));
    }

    /// The file cannot be stored: its bytes go to where the user finds them, which is told.
    ///
    /// # Errors
    /// It stays where it is.
    pub fn recover(
        &mut self,
        waiting: &WaitingFile,
        place: &StateDir,
    ) -> Result<PathBuf, JournalError> {
        let number = format!("{:08x}-{}", self.page.mount(), waiting.number);
        let kept = place.recovered(waiting.pending.target.name(), &number)?;
        // The spool may be on another disk.
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

    /// Removes the page, where nothing is left to do.
    pub fn finish(self) {
        if self.log.live().is_empty() {
            self.page.remove();
        }
    }
}
