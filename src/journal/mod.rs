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
//! [kept](SpoolFile::keep) instead of being stored at once.

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

pub use abandoned::{Left, WaitingFile};
pub use profile_file::ProfileFile;
pub use record::{Before, Pending, Successor};
pub use state_dir::{StateDir, state_home};

use self::log::Log;
use mount_journal::Page;
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
    keeping: Keeping,
}

#[derive(Debug)]
enum Keeping {
    /// In a page of the state directory.
    Page {
        page: Page,
        /// Never held over a sync: a [turn](Turns) is, and is taken before this lock.
        log: Box<Mutex<Log>>,
        turns: Turns,
        /// What cannot be stored any more waits for the next mount.
        ending: AtomicBool,
    },
    /// Nothing; spool files have no names.
    Nothing { spool: Option<PathBuf> },
}

/// A spool file; removed with this, unless the process is killed before.
#[derive(Debug)]
pub struct SpoolFile {
    /// The bytes.
    pub file: File,
    kept: Option<Kept>,
}

/// A named spool file and its records.
#[derive(Debug)]
struct Kept {
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
        let (page, log) = Page::create(place, spool)?;
        Ok(Self::new(JournalShared {
            mount: page.mount(),
            keeping: Keeping::Page {
                page,
                log: Box::new(Mutex::new(log)),
                turns: Turns::default(),
                ending: AtomicBool::new(false),
            },
        }))
    }

    /// Keeps nothing: for what changes nothing on the server, and where there is no state
    /// directory. Spool files are unnamed ones in `spool`, or the system's temporary directory.
    pub fn keeping_nothing(spool: Option<PathBuf>) -> Self {
        Self::new(JournalShared {
            mount: mount_journal::random(),
            keeping: Keeping::Nothing { spool },
        })
    }

    /// Whether anything outlives this process.
    pub fn is_kept(&self) -> bool {
        matches!(self.shared.keeping, Keeping::Page { .. })
    }

    /// Which mount this is among all that ever were.
    pub fn mount(&self) -> u32 {
        self.shared.mount
    }

    /// An unfinished upload will be at `path`: it may be deleted by whoever finds it there after
    /// this mount.
    pub fn part(&self, path: &RemotePath) {
        self.note(&Record::Part(path.clone()));
    }

    /// The file at `target` will be moved to `aside` for a moment. The next mount moves it back
    /// where nothing has taken its place, and deletes it where `successor` has.
    pub fn aside(&self, aside: &RemotePath, target: &RemotePath, successor: Option<Successor>) {
        self.note(&Record::Aside(aside.clone(), target.clone(), successor));
    }

    /// Nothing is at the temporary name `path` any more.
    pub fn gone(&self, path: &RemotePath) {
        self.note(&Record::Gone(path.clone()));
    }

    /// The file at `path` is about to be overwritten in its place: what is there after this mount
    /// may be a part of it.
    pub fn in_place(&self, path: &RemotePath) {
        self.note(&Record::InPlace(path.clone()));
    }

    /// Overwriting the file at `path` has failed, and its writer knows. While the mount ends no
    /// writer is left, and the record stays for the next mount, as the [spool
    /// file](SpoolFile::refused) does.
    pub fn in_place_failed(&self, path: &RemotePath) {
        if !self.is_ending() {
            self.gone(path);
        }
    }

    /// A new spool file, for what is written to `path`.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn spool_file(&self, path: &RemotePath) -> io::Result<SpoolFile> {
        let (page, log) = match &self.shared.keeping {
            Keeping::Page { page, log, .. } => (page, log),
            Keeping::Nothing { spool } => {
                let file = match spool {
                    Some(directory) => tempfile::tempfile_in(directory),
                    None => tempfile::tempfile(),
                }?;
                return Ok(SpoolFile { file, kept: None });
            }
        };
        let number = lock(log).next_number();
        let name = page.spool_file(number);
        let file = state_dir::new_file(&name)?;
        lock(log).note(&Record::Open(number, path.clone()));
        let kept = Some(Kept {
            journal: self.clone(),
            number,
            path: name,
        });
        Ok(SpoolFile { file, kept })
    }

    /// A file without a name where the spool files are, for what need not outlive the process.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn scratch_file(&self) -> io::Result<File> {
        match &self.shared.keeping {
            Keeping::Page { page, .. } => tempfile::tempfile_in(page.spool_directory()),
            Keeping::Nothing { spool: Some(spool) } => tempfile::tempfile_in(spool),
            Keeping::Nothing { spool: None } => tempfile::tempfile(),
        }
    }

    /// The mount ends: a file whose storing fails from now on waits for the next mount.
    pub fn ending(&self) {
        if let Keeping::Page { ending, .. } = &self.shared.keeping {
            ending.store(true, Ordering::Relaxed);
        }
    }

    /// The mount has ended: its page goes, unless the next mount has something to do.
    pub fn end(&self) {
        if let Keeping::Page {
            page, log, turns, ..
        } = &self.shared.keeping
        {
            let _turn = turns.turn();
            if lock(log).holds().is_empty() {
                page.remove();
            }
        }
    }

    /// Writes the log anew where most of it is of the past. Waits for the local disk, while others
    /// go on noting.
    pub fn tidy(&self) {
        let Keeping::Page {
            page, log, turns, ..
        } = &self.shared.keeping
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
        match &self.shared.keeping {
            Keeping::Page { log, .. } => {
                let log = lock(log);
                let pending = log.holds().pending();
                pending.map(|(_, pending)| pending.target.clone()).collect()
            }
            Keeping::Nothing { .. } => Vec::new(),
        }
    }

    fn new(shared: JournalShared) -> Self {
        Self {
            shared: Arc::new(shared),
        }
    }

    fn note(&self, record: &Record) {
        if let Keeping::Page { log, .. } = &self.shared.keeping {
            lock(log).note(record);
        }
    }

    fn is_ending(&self) -> bool {
        match &self.shared.keeping {
            Keeping::Page { ending, .. } => ending.load(Ordering::Relaxed),
            Keeping::Nothing { .. } => false,
        }
    }
}

impl SpoolFile {
    /// What the file holds is about to be stored: from now on the next mount finishes it, until
    /// [`SpoolFile::settled`] or [`SpoolFile::refused`].
    pub fn pending(&self, pending: &Pending) {
        if let Some(kept) = &self.kept {
            kept.note(&Record::Pending(kept.number, pending.clone()));
        }
    }

    /// Marks the file as waiting to be stored. When this returns, its bytes and the record that
    /// they wait are on the local disk.
    ///
    /// # Errors
    /// They are not; it is no more pending than before.
    pub fn keep(&self, pending: &Pending) -> io::Result<()> {
        let Some(kept) = &self.kept else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        self.file.sync_data()?;
        log::sync_directory(&kept.path)?;
        kept.note_surely(&Record::Pending(kept.number, pending.clone()))
    }

    /// Nothing of it is to be stored any more: the server has it, or nobody wants it.
    pub fn settled(&self) {
        if let Some(kept) = &self.kept {
            kept.note(&Record::Settled(kept.number));
        }
    }

    /// The server does not have it, and whoever asked for it was told; while the mount ends nobody
    /// is left to be told, and it waits for the next one.
    pub fn refused(&self) {
        if let Some(kept) = &self.kept
            && !kept.journal.is_ending()
        {
            kept.note(&Record::Settled(kept.number));
        }
    }
}

impl Kept {
    fn note(&self, record: &Record) {
        self.journal.note(record);
    }

    fn note_surely(&self, record: &Record) -> io::Result<()> {
        let Keeping::Page { log, turns, .. } = &self.journal.shared.keeping else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let records = lock(log).note_surely(record)?;
        let sync = || {
            let unsynced = lock(log).unsynced();
            unsynced.sync()
        };
        turns.wait_for(records, sync)
    }

    fn is_pending(&self) -> bool {
        match &self.journal.shared.keeping {
            Keeping::Page { log, .. } => lock(log).holds().is_pending(self.number),
            Keeping::Nothing { .. } => false,
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.journal.is_ending() && self.is_pending() {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            ::log::warn!("cannot remove {}: {error}", self.path.display());
        }
        self.note(&Record::Closed(self.number));
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    // A record that was cut by a panic is skipped by whoever reads the log.
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
