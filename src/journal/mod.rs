//! What the next mount of the same server must know should this one be killed: the temporary names
//! that are on the server, and the files that wait in the spool to be stored.
//!
//! | file | what it knows |
//! |---|---|
//! | `state_dir` | one directory a server and login, in it one *page* a running mount |
//! | `mount_journal` | a page: locked by its mount, its log, the spool files |
//! | `log` | a file of records, appended to, and written anew when most are of the past |
//! | `record` | one line of it |
//! | `turns` | who waits until records are on the disk, and who writes the log anew |
//! | `profile_file` | what is known of the server, for the next mount |
//! | `abandoned` | the pages of mounts that ended without cleaning up |
//!
//! A record is handed to the kernel before what it is about happens, so a killed process loses
//! none; it is not forced to the disk, which a small file could not afford: after a power failure a
//! temporary file may stay on the server that nobody knows of. The exception is what is
//! [kept](SpoolFile::persist) instead of being stored at once.

mod abandoned;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod log;
mod mount_journal;
mod profile_file;
mod record;
mod state_dir;
mod turns;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ftp::RemotePath;

pub use abandoned::{AbandonedJournal, WaitingFile};
pub use profile_file::ProfileFile;
pub use record::{Before, Pending, Successor};
pub use state_dir::{StateDir, state_home};

use self::log::Log;
use mount_journal::MountJournal;
use record::Record;
use turns::Turns;

/// Why there can be no journal.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep the state of this mount in {}: {source}", path.display())]
pub struct JournalError {
    /// The file or directory that failed.
    pub path: PathBuf,
    /// How.
    pub source: io::Error,
}

/// What this mount notes of itself; shared by handle.
#[derive(Debug, Clone)]
pub struct Journal {
    shared: Arc<JournalShared>,
}

#[derive(Debug)]
struct JournalShared {
    /// Which mount this is among all that ever were: part of its temporary names.
    mount: u32,
    mode: JournalMode,
}

#[derive(Debug)]
enum JournalMode {
    /// In a page of the state directory.
    Enabled {
        page: MountJournal,
        /// Never held over a sync: a [turn](Turns) is, and is taken before this lock.
        log: Box<Mutex<Log>>,
        turns: Turns,
        /// What cannot be stored any more waits for the next mount.
        ending: AtomicBool,
    },
    /// Nothing; spool files have no names.
    Disabled { spool: Option<PathBuf> },
}

/// A spool file; removed with this, unless the process is killed before.
#[derive(Debug)]
pub struct SpoolFile {
    /// The bytes.
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
    /// Opens a new page at `place`, with its spool files in a directory of their own in `spool`, or
    /// in the page itself.
    ///
    /// # Errors
    /// The state or the spool directory cannot be made or written to.
    pub fn open(place: &StateDir, spool: Option<&Path>) -> Result<Self, JournalError> {
        let (page, log) = MountJournal::create(place, spool)?;
        Ok(Self::new(JournalShared {
            mount: page.mount(),
            mode: JournalMode::Enabled {
                page,
                log: Box::new(Mutex::new(log)),
                turns: Turns::default(),
                ending: AtomicBool::new(false),
            },
        }))
    }

    /// Keeps nothing: for what changes nothing on the server, and where there is no state
    /// directory. Spool files are unnamed ones in `spool`, or the system's temporary directory.
    pub fn disabled(spool: Option<PathBuf>) -> Self {
        Self::new(JournalShared {
            mount: mount_journal::random(),
            mode: JournalMode::Disabled { spool },
        })
    }

    /// Whether anything outlives this process.
    pub fn is_enabled(&self) -> bool {
        matches!(self.shared.mode, JournalMode::Enabled { .. })
    }

    /// Which mount this is among all that ever were.
    pub fn mount(&self) -> u32 {
        self.shared.mount
    }

    /// An unfinished upload will be at `path`: it may be deleted by whoever finds it there after
    /// this mount.
    pub fn part(&self, path: &RemotePath) {
        self.append(&Record::Part(path.clone()));
    }

    /// The file at `target` will be moved to `aside` for a moment. The next mount moves it back
    /// where nothing has taken its place, and deletes it where `successor` has.
    pub fn aside(&self, aside: &RemotePath, target: &RemotePath, successor: Option<Successor>) {
        self.append(&Record::Aside(aside.clone(), target.clone(), successor));
    }

    /// Nothing is at the temporary name `path` any more.
    pub fn clear(&self, path: &RemotePath) {
        self.append(&Record::Gone(path.clone()));
    }

    /// The file at `path` is about to be overwritten in its place: what is there after this mount
    /// may be a part of it.
    pub fn in_place(&self, path: &RemotePath) {
        self.append(&Record::InPlace(path.clone()));
    }

    /// Overwriting the file at `path` has failed, and its writer knows. While the mount ends no
    /// writer is left, and the record stays for the next mount, as the [spool
    /// file](SpoolFile::abandon) does.
    pub fn in_place_failed(&self, path: &RemotePath) {
        if !self.is_ending() {
            self.clear(path);
        }
    }

    /// A new spool file, for what is written to `path`.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn spool_file(&self, path: &RemotePath) -> io::Result<SpoolFile> {
        let (page, log) = match &self.shared.mode {
            JournalMode::Enabled { page, log, .. } => (page, log),
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
        let name = page.spool_file(number);
        let file = state_dir::new_file(&name)?;
        lock(log).append(&Record::Open(number, path.clone()));
        let journaled = Some(JournaledSpool {
            journal: self.clone(),
            number,
            path: name,
        });
        Ok(SpoolFile { file, journaled })
    }

    /// A file without a name where the spool files are, for what need not outlive the process.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn scratch_file(&self) -> io::Result<File> {
        match &self.shared.mode {
            JournalMode::Enabled { page, .. } => tempfile::tempfile_in(page.spool_directory()),
            JournalMode::Disabled { spool: Some(spool) } => tempfile::tempfile_in(spool),
            JournalMode::Disabled { spool: None } => tempfile::tempfile(),
        }
    }

    /// The mount ends: a file whose storing fails from now on waits for the next mount.
    pub fn ending(&self) {
        if let JournalMode::Enabled { ending, .. } = &self.shared.mode {
            ending.store(true, Ordering::Relaxed);
        }
    }

    /// The mount has ended: its page goes, unless the next mount has something to do.
    pub fn end(&self) {
        if let JournalMode::Enabled {
            page, log, turns, ..
        } = &self.shared.mode
        {
            let _turn = turns.turn();
            if lock(log).live().is_empty() {
                page.remove();
            }
        }
    }

    /// Writes the log anew where most of it is of the past. Waits for the local disk, while others
    /// go on noting.
    pub fn tidy(&self) {
        let JournalMode::Enabled {
            page, log, turns, ..
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
        match finished.and_then(|()| log::sync_directory(&page.log())) {
            Ok(()) => lock(log).name_is_synced(),
            Err(error) => ::log::debug!("cannot write {} anew: {error}", page.log().display()),
        }
    }

    /// Files that were being stored when the mount ended.
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
    /// What the file holds is about to be stored: from now on the next mount finishes it, until
    /// [`SpoolFile::done`] or [`SpoolFile::abandon`].
    pub fn pending(&self, pending: &Pending) {
        if let Some(journaled) = &self.journaled {
            journaled.append(&Record::Pending(journaled.number, pending.clone()));
        }
    }

    /// Marks the file as waiting to be stored. When this returns, its bytes and the record that
    /// they wait are on the local disk.
    ///
    /// # Errors
    /// They are not; it is no more pending than before.
    pub fn persist(&self, pending: &Pending) -> io::Result<()> {
        let Some(journaled) = &self.journaled else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        self.file.sync_data()?;
        log::sync_directory(&journaled.path)?;
        journaled.append_synced(&Record::Pending(journaled.number, pending.clone()))
    }

    /// Nothing of it is to be stored any more: the server has it, or nobody wants it.
    pub fn done(&self) {
        if let Some(journaled) = &self.journaled {
            journaled.append(&Record::Settled(journaled.number));
        }
    }

    /// The server does not have it, and whoever asked for it was told; while the mount ends nobody
    /// is left to be told, and it waits for the next one.
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
        let JournalMode::Enabled { log, turns, .. } = &self.journal.shared.mode else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let records = lock(log).try_append(record)?;
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
        if self.journal.is_ending() && self.is_pending() {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            ::log::warn!("cannot remove {}: {error}", self.path.display());
        }
        self.append(&Record::Closed(self.number));
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    // A record that was cut by a panic is skipped by whoever reads the log.
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
