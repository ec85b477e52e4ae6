//! Journals that killed mounts left behind.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::log::Log;
use super::mount_journal::MountJournal;
use super::record::{Pending, Record};
use super::state_dir::StateDir;
use super::{Journal, JournalError};
use crate::ftp::{RemotePath, Version};

/// The journal of a mount that ended without cleaning up. No other process claims it while this
/// value exists.
#[derive(Debug)]
pub(crate) struct AbandonedJournal {
    journal_dir: MountJournal,
    pub(super) log: Log,
}

/// A file whose upload was pending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaitingFile {
    /// Path of the local file with its contents.
    pub file: PathBuf,
    /// The file that it was to become on the server.
    pub pending: Pending,
    pub(crate) number: u64,
}

impl AbandonedJournal {
    /// Claims all abandoned journals in `place`, the oldest first. Logs and skips those that cannot
    /// be read.
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
        left.sort_by_key(|left: &Self| left.journal_dir.created());
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

    /// Returns the journal for use by this mount, which finishes its uploads. Their spool files are
    /// those of [`Journal::waiting_spool`], and [`Journal::end`] removes it.
    pub(crate) fn into_journal(self) -> Journal {
        Journal::reopened(self.journal_dir, self.log)
    }
}

/// Moves a file, which may be on another file system.
pub(super) fn move_file(from: &Path, to: &Path) -> Result<(), JournalError> {
    let moved =
        fs::rename(from, to).or_else(|_| fs::copy(from, to).and_then(|_| fs::remove_file(from)));
    moved.map_err(|source| JournalError {
        path: to.to_owned(),
        source,
    })
}

/// Copies the bytes of `from` from `offset` on to a new file.
pub(super) fn copy_end(mut from: &File, offset: u64, to: &Path) -> Result<(), JournalError> {
    let copied = from
        .seek(SeekFrom::Start(offset))
        .and_then(|_| super::private_files::new_file(to))
        .and_then(|mut copy| {
            io::copy(&mut from, &mut copy)?;
            copy.sync_data()
        });
    copied.map_err(|source| JournalError {
        path: to.to_owned(),
        source,
    })
}
