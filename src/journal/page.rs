//! One mount's page: a directory that its mount holds locked as long as it runs, however it ends.

use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::JournalError;
use super::log::{Log, sync_directory};
use super::place::{Place, check_private, new_directory, new_file, open_lock};

/// Hexadecimal digits of a page's name.
const DIGITS: usize = 8;
/// The file that is locked.
const LOCK: &str = "lock";
/// The records.
const LOG: &str = "log";
/// Names the directory of the spool files, where it is another.
const SPOOL: &str = "spool";

/// A locked page.
#[derive(Debug)]
pub(super) struct Page {
    directory: PathBuf,
    /// Where its spool files are.
    spool: PathBuf,
    _lock: File,
}

impl Page {
    /// A new page at `place`, its spool files in a new directory in `spool` or in the page itself.
    pub(super) fn create(place: &Place, spool: Option<&Path>) -> Result<(Self, Log), JournalError> {
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
                let spool = spool.join(format!("ftpfs-{name}"));
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
        let probe = page.spool.join("probe");
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
            Ok(spool) => PathBuf::from(std::ffi::OsString::from_vec(spool)),
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
        self.spool.join(format!("{number}.data"))
    }

    /// Removes the page with all that is in it.
    pub(super) fn remove(&self) {
        let separate = (self.spool != self.directory).then_some(&self.spool);
        for directory in separate.into_iter().chain([&self.directory]) {
            match fs::remove_dir_all(directory) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => ::log::warn!("cannot remove {}: {error}", directory.display()),
            }
        }
    }
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
