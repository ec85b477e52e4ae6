//! The state that the next mount of the same server needs if this one is killed: the temporary
//! names on the server, and the files in the spool that wait for their upload.
//!
//! | file | contents |
//! |---|---|
//! | `state_dir` | one directory per server and login, with one journal per running mount |
//! | `mount_journal` | the directory of one mount: its lock, its log, its spool files |
//! | `log` | append-only file of records, rewritten when most are obsolete |
//! | `record` | one line of the log |
//! | `change` | a change of names that the server does not have yet |
//! | `ordered` | the records of such changes (`-o writeback=names`) |
//! | `unproven` | contents that the server may have although it did not say so |
//! | `turns` | group commit: one thread syncs or rewrites the log for all that wait |
//! | `profile_file` | the server profile for the next mount |
//! | `pin_file` | the pinned certificate of a server, for `-o trust=first` |
//! | `abandoned` | journals of mounts that ended without cleaning up |
//!
//! A record is written before the action that it describes, so a killed process loses none. It is
//! not synced, because that would be too slow for small files: after a power failure an unknown
//! temporary file may remain on the server. The exception is data that is
//! [persisted](SpoolFile::persist) instead of uploaded immediately.

mod abandoned;
mod change;
mod change_fields;
mod fields;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod log;
mod mount_journal;
mod ordered;
mod pin_file;
mod profile_file;
mod record;
mod state_dir;
mod turns;
mod unproven;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ftp::{RemotePath, Version};
use crate::sys::private_files::{self, PrivateFileError};

pub(crate) use abandoned::{AbandonedJournal, WaitingFile};
pub(crate) use change::{Domain, Domains, NameAction, NameBase, NameChange};
pub(crate) use ordered::{LeftChange, RecordedChange};
pub(crate) use pin_file::{PinFile, RecordedPin};
pub(crate) use profile_file::ProfileFile;
pub use record::CommitOptions;
pub(crate) use record::Pending;
pub use state_dir::StateDir;
pub(crate) use state_dir::state_home;
pub(crate) use unproven::{ContentHasher, UnprovenUpload};

use self::log::Log;
use mount_journal::MountJournal;
use record::Record;
use turns::Turns;

/// The journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep the state of this mount in {}: {source}", path.display())]
pub struct JournalError {
    /// The file or directory that failed.
    pub path: PathBuf,
    /// The cause.
    pub source: io::Error,
}

impl From<PrivateFileError> for JournalError {
    fn from(PrivateFileError { path, source }: PrivateFileError) -> Self {
        Self { path, source }
    }
}

/// The journal of this mount. Clones share it.
#[derive(Debug, Clone)]
pub struct Journal {
    shared: Arc<JournalShared>,
}

#[derive(Debug)]
struct JournalShared {
    /// Number of this mount, random and unique. Part of its temporary names.
    mount: u32,
    mode: JournalMode,
}

#[derive(Debug)]
enum JournalMode {
    /// Records go to a directory in the state directory.
    Enabled {
        journal_dir: MountJournal,
        /// Never held during a sync. A [turn](Turns) is, and is taken before this lock.
        log: Box<Mutex<Log>>,
        turns: Turns,
        /// The mount is shutting down: failed uploads remain for the next mount.
        ending: AtomicBool,
    },
    /// Nothing is recorded. Spool files have no names.
    Disabled { spool: Option<PathBuf> },
}

/// A spool file. Dropping it removes the file; if the process is killed, the file remains.
#[derive(Debug)]
pub struct SpoolFile {
    /// The open file.
    pub file: File,
    journaled: Option<JournaledSpool>,
}

/// A named spool file and its records.
#[derive(Debug)]
struct JournaledSpool {
    journal: Journal,
    number: u64,
    path: PathBuf,
}

impl Journal {
    /// Creates a journal in `place`. Its spool files go to a new directory in `spool`, or to the
    /// journal itself.
    ///
    /// # Errors
    /// The state or the spool directory cannot be created or written to.
    pub fn open(place: &StateDir, spool: Option<&Path>) -> Result<Self, JournalError> {
        let (journal_dir, log) = MountJournal::create(place, spool)?;
        Ok(Self::reopened(journal_dir, log))
    }

    /// Continues the journal in a directory that this process has locked.
    fn reopened(journal_dir: MountJournal, log: Log) -> Self {
        Self::new(JournalShared {
            mount: journal_dir.mount(),
            mode: JournalMode::Enabled {
                journal_dir,
                log: Box::new(Mutex::new(log)),
                turns: Turns::default(),
                ending: AtomicBool::new(false),
            },
        })
    }

    /// Opens the spool file of an upload that a killed mount left in this journal.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(crate) fn waiting_spool(&self, waiting: &WaitingFile) -> io::Result<SpoolFile> {
        let file = File::options().read(true).write(true).open(&waiting.file)?;
        Ok(SpoolFile {
            file,
            journaled: Some(JournaledSpool {
                journal: self.clone(),
                number: waiting.number,
                path: waiting.file.clone(),
            }),
        })
    }

    /// Returns a journal that records nothing: for read-only use, and where there is no state
    /// directory. Spool files are unnamed files in `spool` or in the system's temporary directory.
    pub fn disabled(spool: Option<PathBuf>) -> Self {
        Self::new(JournalShared {
            mount: mount_journal::random(),
            mode: JournalMode::Disabled { spool },
        })
    }

    /// Whether records outlive this process.
    pub fn is_enabled(&self) -> bool {
        matches!(self.shared.mode, JournalMode::Enabled { .. })
    }

    /// Number of this mount, random and unique.
    pub fn mount(&self) -> u32 {
        self.shared.mount
    }

    /// Records that an unfinished upload will be at `path`. Later mounts may delete it.
    pub fn part(&self, path: &RemotePath) {
        self.append(&Record::Part(path.clone()));
    }

    /// Records that the file at `target` will be moved to `aside` temporarily. The next mount moves
    /// it back if nothing has taken its place, and deletes it if `successor` has.
    pub fn aside(&self, aside: &RemotePath, target: &RemotePath, successor: Option<Version>) {
        self.append(&Record::Aside(aside.clone(), target.clone(), successor));
    }

    /// Records that nothing is at the temporary name `path` any more.
    pub fn clear(&self, path: &RemotePath) {
        self.append(&Record::Gone(path.clone()));
    }

    /// Records that the file at `path` is about to be overwritten in place. If this mount is
    /// killed, the file may be incomplete.
    pub fn in_place(&self, path: &RemotePath) {
        self.append(&Record::InPlace(path.clone()));
    }

    /// Removes the record of [`Self::in_place`] after a failure that was reported to the writer.
    /// During shutdown there is no writer, so the record remains for the next mount, as with
    /// [`SpoolFile::abandon`].
    pub fn in_place_failed(&self, path: &RemotePath) {
        if !self.is_ending() {
            self.clear(path);
        }
    }

    /// Creates a spool file for data written to `path`.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn spool_file(&self, path: &RemotePath) -> io::Result<SpoolFile> {
        let (journal_dir, log) = match &self.shared.mode {
            JournalMode::Enabled {
                journal_dir, log, ..
            } => (journal_dir, log),
            JournalMode::Disabled { spool } => {
                let file = match spool {
                    Some(directory) => tempfile::tempfile_in(directory),
                    None => tempfile::tempfile(),
                }?;
                return Ok(SpoolFile {
                    file,
                    journaled: None,
                });
            }
        };
        let number = lock(log).next_number();
        let name = journal_dir.spool_file(number);
        let file = private_files::new_file(&name)?;
        lock(log).append(&Record::Open(number, path.clone()));
        let journaled = Some(JournaledSpool {
            journal: self.clone(),
            number,
            path: name,
        });
        Ok(SpoolFile { file, journaled })
    }

    /// Creates an unnamed file next to the spool files, for data that need not outlive the process.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn scratch_file(&self) -> io::Result<File> {
        match &self.shared.mode {
            JournalMode::Enabled { journal_dir, .. } => {
                tempfile::tempfile_in(journal_dir.spool_directory())
            }
            JournalMode::Disabled { spool: Some(spool) } => tempfile::tempfile_in(spool),
            JournalMode::Disabled { spool: None } => tempfile::tempfile(),
        }
    }

    /// Starts the shutdown: files whose upload fails from now on remain for the next mount.
    pub fn ending(&self) {
        if let JournalMode::Enabled { ending, .. } = &self.shared.mode {
            ending.store(true, Ordering::Relaxed);
        }
    }

    /// Ends the journal. Removes it unless the next mount has something to do.
    pub fn end(&self) {
        if let JournalMode::Enabled {
            journal_dir,
            log,
            turns,
            ..
        } = &self.shared.mode
        {
            let _turn = turns.turn();
            if lock(log).live().is_empty() {
                journal_dir.remove();
            }
        }
    }

    /// Rewrites the log if most of it is obsolete. Waits for the local disk while other threads
    /// continue to append.
    pub fn tidy(&self) {
        let JournalMode::Enabled {
            journal_dir,
            log,
            turns,
            ..
        } = &self.shared.mode
        else {
            return;
        };
        if !lock(log).is_long() {
            return;
        }
        let _turn = turns.turn();
        let Some(rewrite) = lock(log).begin_rewrite() else {
            return;
        };
        let written = rewrite.write();
        let finished = lock(log).finish_rewrite(&rewrite, written);
        match finished.and_then(|()| log::sync_directory(&journal_dir.log())) {
            Ok(()) => lock(log).name_is_synced(),
            Err(error) => {
                ::log::debug!("cannot rewrite {}: {error}", journal_dir.log().display());
            }
        }
    }

    /// Paths of the files whose upload was pending when the mount ended.
    pub fn waiting(&self) -> Vec<RemotePath> {
        match &self.shared.mode {
            JournalMode::Enabled { log, .. } => {
                let log = lock(log);
                let pending = log.live().pending();
                pending.map(|(_, pending)| pending.target.clone()).collect()
            }
            JournalMode::Disabled { .. } => Vec::new(),
        }
    }

    fn new(shared: JournalShared) -> Self {
        Self {
            shared: Arc::new(shared),
        }
    }

    fn append(&self, record: &Record) {
        if let JournalMode::Enabled { log, .. } = &self.shared.mode {
            lock(log).append(record);
        }
    }

    fn is_ending(&self) -> bool {
        match &self.shared.mode {
            JournalMode::Enabled { ending, .. } => ending.load(Ordering::Relaxed),
            JournalMode::Disabled { .. } => false,
        }
    }
}

impl SpoolFile {
    /// Records that the upload of this file is about to begin. From now on the next mount would
    /// finish it, until [`SpoolFile::done`] or [`SpoolFile::abandon`].
    pub fn pending(&self, pending: &Pending) {
        if let Some(journaled) = &self.journaled {
            journaled.append(&Record::Pending(journaled.number, pending.clone()));
        }
    }

    /// Marks the file as waiting for its upload. On return, its contents and this record are on the
    /// local disk.
    ///
    /// # Errors
    /// They are not on the disk. The file is no more pending than before.
    pub fn persist(&self, pending: &Pending) -> io::Result<()> {
        let Some(journaled) = &self.journaled else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        self.file.sync_data()?;
        log::sync_directory(&journaled.path)?;
        journaled.append_synced(&Record::Pending(journaled.number, pending.clone()))
    }

    /// Changes the record of a file that [waits](Self::persist) for its upload. The change is on
    /// the local disk after [`Self::sync_record`] with the returned number.
    ///
    /// # Errors
    /// The old record stays.
    pub(crate) fn amend(&self, pending: &Pending) -> io::Result<u64> {
        let Some(journaled) = &self.journaled else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        journaled.try_append(&Record::Pending(journaled.number, pending.clone()))
    }

    /// Whether the next mount would store the file.
    pub(crate) fn is_pending(&self) -> bool {
        self.journaled
            .as_ref()
            .is_some_and(JournaledSpool::is_pending)
    }

    /// Returns when the first `records` records of the journal are on the local disk.
    ///
    /// # Errors
    /// They may not be there.
    pub(crate) fn sync_record(&self, records: u64) -> io::Result<()> {
        let Some(journaled) = &self.journaled else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        journaled.sync(records)
    }

    /// Records that no upload is needed any more: the server has the file, or it is not wanted.
    pub fn done(&self) {
        if let Some(journaled) = &self.journaled {
            journaled.append(&Record::Settled(journaled.number));
        }
    }

    /// Moves the contents of a file that cannot be uploaded to the `recovered` directory of
    /// `place`. Returns the new path.
    ///
    /// # Errors
    /// The file cannot be moved; it stays where it is, or has no name.
    pub(crate) fn recover(&self, name: &[u8], place: &StateDir) -> Result<PathBuf, JournalError> {
        let Some(journaled) = &self.journaled else {
            return Err(JournalError {
                path: place.directory().to_owned(),
                source: io::ErrorKind::Unsupported.into(),
            });
        };
        let mount = journaled.journal.mount();
        let kept = place.recovered(name, mount, journaled.number)?;
        abandoned::move_file(&journaled.path, &kept)?;
        journaled.append(&Record::Settled(journaled.number));
        Ok(kept)
    }

    /// Copies the contents from `offset` on, which cannot be uploaded, to the `recovered` directory
    /// of the server. Returns the path of the copy.
    ///
    /// # Errors
    /// There is no such directory, or the copy cannot be written.
    pub(crate) fn recover_end(&self, name: &[u8], offset: u64) -> Result<PathBuf, JournalError> {
        let unsupported = || JournalError {
            path: PathBuf::from("recovered"),
            source: io::ErrorKind::Unsupported.into(),
        };
        let journaled = self.journaled.as_ref().ok_or_else(unsupported)?;
        let place = self.place().ok_or_else(unsupported)?;
        let mount = journaled.journal.mount();
        let kept = place.recovered(name, mount, journaled.number)?;
        abandoned::copy_end(&self.file, offset, &kept)?;
        Ok(kept)
    }

    /// Returns where the journal of this file is; `None` without one.
    pub(crate) fn place(&self) -> Option<StateDir> {
        match &self.journaled.as_ref()?.journal.shared.mode {
            JournalMode::Enabled { journal_dir, .. } => journal_dir.place(),
            JournalMode::Disabled { .. } => None,
        }
    }

    /// Gives the upload up after its failure was reported to the caller. During shutdown there is
    /// no one to report to, so the file waits for the next mount.
    pub fn abandon(&self) {
        if let Some(journaled) = &self.journaled
            && !journaled.journal.is_ending()
        {
            journaled.append(&Record::Settled(journaled.number));
        }
    }
}

impl JournaledSpool {
    fn append(&self, record: &Record) {
        self.journal.append(record);
    }

    fn append_synced(&self, record: &Record) -> io::Result<()> {
        let records = self.try_append(record)?;
        self.sync(records)
    }

    /// Returns the number of records.
    fn try_append(&self, record: &Record) -> io::Result<u64> {
        let JournalMode::Enabled { log, .. } = &self.journal.shared.mode else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        lock(log).try_append(record)
    }

    fn sync(&self, records: u64) -> io::Result<()> {
        let JournalMode::Enabled { log, turns, .. } = &self.journal.shared.mode else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let sync = || {
            let unsynced = lock(log).unsynced();
            unsynced.sync()
        };
        turns.wait_for(records, sync)
    }

    fn is_pending(&self) -> bool {
        match &self.journal.shared.mode {
            JournalMode::Enabled { log, .. } => lock(log).live().is_pending(self.number),
            JournalMode::Disabled { .. } => false,
        }
    }
}

impl Drop for JournaledSpool {
    fn drop(&mut self) {
        if self.is_pending() {
            // The next mount uploads it.
            return;
        }
        if self.journal.remove_later(self.number, &self.path) {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            ::log::warn!("cannot remove {}: {error}", self.path.display());
        }
        self.append(&Record::Closed(self.number));
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    // A panic can leave an incomplete record, which readers of the log skip.
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
