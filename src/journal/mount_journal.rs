//! The directory of one mount. The mount holds a lock on it until the process ends, in whatever
//! way.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{self, Path, PathBuf};
use std::time::SystemTime;

use super::JournalError;
use super::log::{Log, NEW_LOG, ORDERED_LOG, sync_directory};
use super::state_dir::{DIGITS, StateDir};
use crate::sys::private_files::{
    check_private, is_own_directory, new_directory, new_file, open_lock,
};

/// The locked file.
const LOCK: &str = "lock";
/// The file with the records; a directory if they are in [`ORDERED_LOG`].
const LOG: &str = "log";
/// The file that names the spool directory, if that is elsewhere.
const SPOOL: &str = "spool";
/// Created and removed to check that files can be written.
const PROBE: &str = "probe";
/// Suffix of spool files.
const DATA: &str = ".data";
/// Prefix of spool directories, followed by the journal's name.
const SPOOL_PREFIX: &str = "ftpfs-";

/// A locked journal directory.
#[derive(Debug)]
pub(super) struct MountJournal {
    directory: PathBuf,
    /// Directory of the spool files.
    spool: PathBuf,
    /// Held until the process ends.
    lock: File,
}

impl MountJournal {
    /// Returns the directory that the journal lies in.
    pub(super) fn place(&self) -> Option<StateDir> {
        StateDir::around(&self.directory)
    }

    /// Creates a journal in `place`, with its spool files in a new directory in `spool` or in the
    /// journal itself.
    pub(super) fn create(
        place: &StateDir,
        spool: Option<&Path>,
    ) -> Result<(Self, Log), JournalError> {
        let _guard = place.guard()?;
        let name = format!("{:0DIGITS$x}", random());
        let directory = place.directory().join(&name);
        new_directory(&directory)?;
        let lock = match take_lock(&directory.join(LOCK)) {
            Ok(Some(lock)) => lock,
            Ok(None) => return Err(failed(&directory)(io::ErrorKind::WouldBlock.into())),
            Err(error) => return Err(failed(&directory)(error)),
        };
        let log = Log::create(directory.join(LOG)).map_err(failed(&directory))?;
        let spool = match spool {
            None => directory.clone(),
            Some(spool) => {
                let spool = path::absolute(spool).map_err(failed(spool))?;
                let spool = spool.join(format!("{SPOOL_PREFIX}{name}"));
                // The name is written before the directory is created, so that it is found after a
                // crash.
                new_file(&directory.join(SPOOL))
                    .and_then(|mut note| note.write_all(spool.as_os_str().as_bytes()))
                    .map_err(failed(&directory))?;
                new_directory(&spool)?;
                spool
            }
        };
        let journal_dir = Self {
            directory,
            spool,
            lock,
        };
        // Report an unwritable directory now, not at the first file.
        let probe = journal_dir.spool.join(PROBE);
        new_file(&probe)
            .and_then(|_| fs::remove_file(&probe))
            .map_err(failed(&journal_dir.spool))?;
        journal_dir
            .sync_names()
            .map_err(failed(&journal_dir.directory))?;
        Ok((journal_dir, log))
    }

    /// Claims the journal in `directory` if no mount holds it.
    pub(super) fn claim(directory: &Path) -> io::Result<Option<Self>> {
        let Some(lock) = take_lock(&directory.join(LOCK))? else {
            return Ok(None);
        };
        let spool = match fs::read(directory.join(SPOOL)) {
            // The mount was killed before it wrote the path, and therefore before it created the
            // directory.
            Ok(spool) if spool.is_empty() => directory.to_owned(),
            Ok(spool) => spool_of_journal(directory, spool)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => directory.to_owned(),
            Err(error) => return Err(error),
        };
        // After a cleanup of temporary files, another user may have created the spool directory and
        // put files there.
        match check_private(&spool) {
            Err(error) if error.source.kind() != io::ErrorKind::NotFound => {
                return Err(error.source);
            }
            _ => {}
        }
        Ok(Some(Self {
            directory: directory.to_owned(),
            spool,
            lock,
        }))
    }

    /// Syncs the names of the journal's files, so that a power failure does not lose them.
    fn sync_names(&self) -> io::Result<()> {
        if self.spool != self.directory {
            File::open(self.directory.join(SPOOL))?.sync_data()?;
            // A directory that is writable but not readable cannot be synced.
            let _ = sync_directory(&self.spool);
        }
        // The log's name in the journal, the journal's name in the server's directory, and, on the
        // first mount, that directory's name in the state directory.
        let log = self.directory.join(LOG);
        log.ancestors().take(3).try_for_each(sync_directory)
    }

    /// When the journal was created, as far as that is known: nothing writes to its lock.
    pub(super) fn created(&self) -> Option<SystemTime> {
        self.lock.metadata().and_then(|lock| lock.modified()).ok()
    }

    /// The journal's name as a number.
    pub(super) fn mount(&self) -> u32 {
        let name = self.directory.file_name().and_then(|name| name.to_str());
        name.and_then(|name| u32::from_str_radix(name, 16).ok())
            .unwrap_or_default()
    }

    /// Path of the log.
    pub(super) fn log(&self) -> PathBuf {
        let ordered = self.directory.join(ORDERED_LOG);
        if ordered.symlink_metadata().is_ok() {
            ordered
        } else {
            self.directory.join(LOG)
        }
    }

    /// Puts a directory in the place of the log that older versions read, which skip a journal
    /// whose log cannot be read.
    pub(super) fn hide_plain_log(&self) -> io::Result<()> {
        let log = self.directory.join(LOG);
        fs::remove_file(&log)?;
        new_directory(&log).map_err(|error| error.source)
    }

    /// Directory of the spool files.
    pub(super) fn spool_directory(&self) -> &Path {
        &self.spool
    }

    /// Path of the spool file with this number.
    pub(super) fn spool_file(&self, number: u64) -> PathBuf {
        self.spool.join(format!("{number}{DATA}"))
    }

    /// Removes the journal and its spool directory. Files that ftpfs does not create remain, and so
    /// do the directories that contain them.
    pub(super) fn remove(&self) {
        let separate = (self.spool != self.directory).then_some(&self.spool);
        for directory in separate.into_iter().chain([&self.directory]) {
            match remove_directory(directory) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => ::log::warn!("cannot remove {}: {error}", directory.display()),
            }
        }
    }
}

/// Returns the spool directory named in a journal. Only the one that its mount created is accepted.
fn spool_of_journal(journal_dir: &Path, note: Vec<u8>) -> io::Result<PathBuf> {
    let spool = PathBuf::from(OsString::from_vec(note));
    let name = journal_dir.file_name().unwrap_or_default().as_bytes();
    let expected = [SPOOL_PREFIX.as_bytes(), name].concat();
    let is_of_page = spool.is_absolute()
        && spool.file_name().map(OsStrExt::as_bytes) == Some(expected.as_slice());
    if is_of_page {
        return Ok(spool);
    }
    let words = format!(
        "{} is not the spool directory of this mount",
        spool.display()
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, words))
}

/// Removes a journal or spool directory of this user, with those of its files that ftpfs creates.
fn remove_directory(directory: &Path) -> io::Result<()> {
    if !is_own_directory(directory)? {
        let words = "it is not a directory of this user";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, words));
    }
    // A removal that is interrupted after this leaves a log that can be read.
    let _ = fs::remove_dir(directory.join(LOG));
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if is_journal_file(entry.file_name().as_bytes()) {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

/// Whether ftpfs creates files of this name in a journal or a spool directory.
fn is_journal_file(name: &[u8]) -> bool {
    let named = [LOCK, LOG, ORDERED_LOG, NEW_LOG, SPOOL, PROBE];
    let number = name.strip_suffix(DATA.as_bytes());
    named.iter().any(|file| file.as_bytes() == name)
        || number.is_some_and(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
}

/// Returns a number from the system's random source.
pub(super) fn random() -> u32 {
    RandomState::new().hash_one(()) as u32
}

fn take_lock(path: &Path) -> io::Result<Option<File>> {
    let file = open_lock(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError { path, source }
}
