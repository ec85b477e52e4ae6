//! One mount's page: a directory that its mount holds locked as long as it runs, however it ends.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{self, Path, PathBuf};

use super::JournalError;
use super::log::{Log, NEW_LOG, sync_directory};
use super::state_dir::{
    StateDir, check_private, is_own_directory, new_directory, new_file, open_lock,
};

/// Hexadecimal digits of a page's name.
const DIGITS: usize = 8;
/// The file that is locked.
const LOCK: &str = "lock";
/// The records.
const LOG: &str = "log";
/// Names the directory of the spool files, where it is another.
const SPOOL: &str = "spool";
/// Written and removed to find out whether files can be.
const PROBE: &str = "probe";
/// How the name of a spool file ends.
const DATA: &str = ".data";
/// How the name of a spool directory begins, before the page's name.
const SPOOL_PREFIX: &str = "ftpfs-";

/// A locked page.
#[derive(Debug)]
pub(super) struct MountJournal {
    directory: PathBuf,
    /// Where its spool files are.
    spool: PathBuf,
    _lock: File,
}

impl MountJournal {
    /// A new page at `place`, its spool files in a new directory in `spool` or in the page itself.
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
                // Noted before it is made, so that it is found whenever this ends.
                new_file(&directory.join(SPOOL))
                    .and_then(|mut note| note.write_all(spool.as_os_str().as_bytes()))
                    .map_err(failed(&directory))?;
                new_directory(&spool)?;
                spool
            }
        };
        let page = Self {
            directory,
            spool,
            _lock: lock,
        };
        // What cannot be written to is found out now, not when the first file is.
        let probe = page.spool.join(PROBE);
        new_file(&probe)
            .and_then(|_| fs::remove_file(&probe))
            .map_err(failed(&page.spool))?;
        page.sync_names().map_err(failed(&page.directory))?;
        Ok((page, log))
    }

    /// The page in `directory`, if no mount holds it.
    pub(super) fn claim(directory: &Path) -> io::Result<Option<Self>> {
        let Some(lock) = take_lock(&directory.join(LOCK))? else {
            return Ok(None);
        };
        let spool = match fs::read(directory.join(SPOOL)) {
            // The mount was killed before it could write the path, and so before the directory was
            // made.
            Ok(spool) if spool.is_empty() => directory.to_owned(),
            Ok(spool) => spool_of_page(directory, spool)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => directory.to_owned(),
            Err(error) => return Err(error),
        };
        // Who empties the spool's directory makes room for others to put files there.
        match check_private(&spool) {
            Err(error) if error.source.kind() != io::ErrorKind::NotFound => {
                return Err(error.source);
            }
            _ => {}
        }
        Ok(Some(Self {
            directory: directory.to_owned(),
            spool,
            _lock: lock,
        }))
    }

    /// Returns when a power failure cannot take the page away with what is synced in it.
    fn sync_names(&self) -> io::Result<()> {
        if self.spool != self.directory {
            File::open(self.directory.join(SPOOL))?.sync_data()?;
            // A directory that may be written to and not be read cannot be synced.
            let _ = sync_directory(&self.spool);
        }
        // In the page, in its place and, of a first mount, in the state directory.
        let log = self.directory.join(LOG);
        log.ancestors().take(3).try_for_each(sync_directory)
    }

    /// The page's name as a number.
    pub(super) fn mount(&self) -> u32 {
        let name = self.directory.file_name().and_then(|name| name.to_str());
        name.and_then(|name| u32::from_str_radix(name, 16).ok())
            .unwrap_or_default()
    }

    /// Its log's path.
    pub(super) fn log(&self) -> PathBuf {
        self.directory.join(LOG)
    }

    /// Where its spool files are.
    pub(super) fn spool_directory(&self) -> &Path {
        &self.spool
    }

    /// The path of the spool file of this number.
    pub(super) fn spool_file(&self, number: u64) -> PathBuf {
        self.spool.join(format!("{number}{DATA}"))
    }

    /// Removes the page and its spool directory. Files that ftpfs does not make, and the directory
    /// they are in, stay.
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

/// The spool directory that a page's note names. A page has only the one that its mount made.
fn spool_of_page(page: &Path, note: Vec<u8>) -> io::Result<PathBuf> {
    let spool = PathBuf::from(OsString::from_vec(note));
    let name = page.file_name().unwrap_or_default().as_bytes();
    let expected = [SPOOL_PREFIX.as_bytes(), name].concat();
    let is_of_page = spool.is_absolute()
        && spool.file_name().map(OsStrExt::as_bytes) == Some(expected.as_slice());
    if is_of_page {
        return Ok(spool);
    }
    let words = format!(
        "{} is not the spool directory of this page",
        spool.display()
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, words))
}

/// Removes a page or spool directory of this user, with the files in it that ftpfs makes.
fn remove_directory(directory: &Path) -> io::Result<()> {
    if !is_own_directory(directory)? {
        let words = "it is not a directory of this user";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, words));
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if is_file_of_page(entry.file_name().as_bytes()) {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

/// Whether ftpfs makes files of this name in a page or a spool directory.
fn is_file_of_page(name: &[u8]) -> bool {
    let named = [LOCK, LOG, NEW_LOG, SPOOL, PROBE];
    let number = name.strip_suffix(DATA.as_bytes());
    named.iter().any(|file| file.as_bytes() == name)
        || number.is_some_and(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
}

/// Whether a file of this name is a page.
pub(super) fn is_page(name: &[u8]) -> bool {
    name.len() == DIGITS
        && name
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A number from the system's random source.
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
