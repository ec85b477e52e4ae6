//! The directory with the journals of one server and login.
//!
//! `$XDG_STATE_HOME/ftpfs/SERVER/MOUNT`, where SERVER is `user@host:port` and MOUNT eight
//! hexadecimal digits. Without XDG_STATE_HOME it is below `/var/lib` for root and `~/.local/state`
//! for other users (XDG Base Directory Specification).

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{JournalError, ProfileFile};
use crate::sys::BaseDirectory;
use crate::sys::private_files::{new_directories, open_lock, private_directories};

/// The file whose lock is the [guard](StateDir::guard).
const LOCK: &str = "lock";

/// Number of hexadecimal digits in the directory's name.
pub(super) const DIGITS: usize = 8;

/// State directory for programs run by root.
const ROOT_STATE: &str = "/var/lib";
/// State directory for programs run by other users, relative to their home.
const USER_STATE: &str = ".local/state";

/// Maximum length in bytes of a file name (NAME_MAX on Linux).
const NAME_MAX: usize = 255;

/// The directory in which all mounts of one server and login have their journals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    directory: PathBuf,
}

/// Returns the base directory of ftpfs's state. `None` if neither XDG_STATE_HOME nor HOME is
/// usable.
///
/// `variable` reads the environment.
pub(crate) fn state_home(
    is_root: bool,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Option<PathBuf> {
    let base = BaseDirectory {
        variable: "XDG_STATE_HOME",
        of_root: ROOT_STATE,
        of_user: USER_STATE,
    };
    base.find(is_root, variable)
}

impl StateDir {
    /// Returns the directory for `user` on `host`:`port` below `state`, which comes from
    /// [`state_home`].
    pub fn of(state: &Path, user: &str, host: &str, port: u16) -> Self {
        let name = format!("{user}@{}:{port}", host.to_ascii_lowercase());
        Self {
            directory: state.join(file_name(name.as_bytes())),
        }
    }

    /// Returns the directory that a mount's journal lies in.
    pub(super) fn around(journal: &Path) -> Option<Self> {
        let directory = journal.parent()?.to_owned();
        Some(Self { directory })
    }

    /// Path of the directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file with the server profile.
    pub fn profile(&self) -> ProfileFile {
        ProfileFile::in_directory(&self.directory)
    }

    /// Takes the lock that keeps other mounts from creating or claiming journals. Hold it for local
    /// file operations only.
    pub(super) fn guard(&self) -> Result<File, JournalError> {
        let path = self.directory.join(LOCK);
        loop {
            private_directories(&self.directory)?;
            let locked = open_lock(&path).and_then(|file| file.lock().map(|()| file));
            match locked {
                // Another process may have removed the directory while this one waited.
                Ok(file) if !is_at(&file, &path) => {}
                // Or just before this one opened the file.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && !self.directory.exists() => {}
                locked => return locked.map_err(|source| JournalError { path, source }),
            }
        }
    }

    /// Removes the directory if it contains neither a journal nor a profile nor recovered files,
    /// as before the first login.
    pub fn remove_if_unused(&self) {
        let remove = || -> io::Result<()> {
            if !self.directory.exists() {
                return Ok(());
            }
            let _guard = self.guard().map_err(|error| error.source)?;
            let mut entries = fs::read_dir(&self.directory)?;
            let is_lock = |entry: &fs::DirEntry| entry.file_name() == LOCK;
            if entries.all(|entry| entry.is_ok_and(|entry| is_lock(&entry))) {
                fs::remove_file(self.directory.join(LOCK))?;
                fs::remove_dir(&self.directory)?;
            }
            Ok(())
        };
        if let Err(error) = remove() {
            log::info!("cannot remove {}: {error}", self.directory.display());
        }
    }

    /// Paths of all journals, of any owner.
    pub(super) fn journals(&self) -> io::Result<Vec<PathBuf>> {
        let mut pages = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if is_journal(entry.file_name().as_bytes()) {
                pages.push(entry.path());
            }
        }
        pages.sort();
        Ok(pages)
    }

    /// Returns an unused name in the directory for files that could not be uploaded.
    pub(super) fn recovered(
        &self,
        name: &[u8],
        mount: u32,
        number: u64,
    ) -> Result<PathBuf, JournalError> {
        let directory = self.directory.join("recovered");
        new_directories(&directory)?;
        let mut name = OsStr::from_bytes(name.get(..NAME_MAX - 32).unwrap_or(name)).to_owned();
        name.push(".");
        name.push(format!("{mount:08x}-{number}"));
        Ok(directory.join(name))
    }
}

/// Whether `path` still names this file.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |about: fs::Metadata| (about.dev(), about.ino());
    let opened = file.metadata().map(identity).ok();
    opened.is_some() && opened == fs::symlink_metadata(path).map(identity).ok()
}

/// Whether a file of this name is a journal.
pub(super) fn is_journal(name: &[u8]) -> bool {
    name.len() == DIGITS
        && name
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Escapes `name` for use as a file name: bytes that are unusual in host or login names become
/// `%XX`. Overlong names are cut. Two names that differ only after the cut share a directory, which
/// is harmless: one finishes the other's uploads.
pub(super) fn file_name(name: &[u8]) -> OsString {
    let mut text = String::with_capacity(name.len());
    for &byte in name {
        if byte.is_ascii_alphanumeric() || b"@:._-+".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.extend(["%".to_owned(), format!("{byte:02X}")]);
        }
    }
    text.truncate(NAME_MAX);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(is_root: bool, variables: &[(&str, &str)]) -> Option<PathBuf> {
        state_home(is_root, |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_state_is_where_the_user_said_or_where_programs_keep_it() {
        let said = [("XDG_STATE_HOME", "/s"), ("HOME", "/h")];
        assert_eq!(home(false, &said), Some("/s/ftpfs".into()));
        assert_eq!(home(true, &said), Some("/s/ftpfs".into()));
        let relative = [("XDG_STATE_HOME", "s"), ("HOME", "/h")];
        assert_eq!(home(false, &relative), Some("/h/.local/state/ftpfs".into()));
        assert_eq!(home(true, &relative), Some("/var/lib/ftpfs".into()));
        assert_eq!(home(false, &[]), None);
    }

    #[test]
    fn every_server_and_login_has_a_place_of_its_own() {
        let place = |user, host, port| StateDir::of(Path::new("/s"), user, host, port).directory;
        assert_eq!(
            place("anna", "Ftp.Example", 21),
            Path::new("/s/anna@ftp.example:21")
        );
        assert_eq!(
            place("a/../b", "::1", 2121),
            Path::new("/s/a%2F..%2Fb@::1:2121")
        );
        assert_ne!(place("a%2F", "h", 21), place("a/", "h", 21));
        assert!(place(&"ü".repeat(300), "h", 21).file_name().unwrap().len() <= NAME_MAX);
    }
}
