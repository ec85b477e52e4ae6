//! Where the journals of one server and login are.
//!
//! `$XDG_STATE_HOME/ftpfs/SERVER/PAGE`, where SERVER is `user@host:port` and PAGE eight hexadecimal
//! digits; without XDG_STATE_HOME below `/var/lib` for root and `~/.local/state` for others (XDG
//! Base Directory Specification).

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;

use super::{JournalError, ProfileFile};

/// Nobody else is to read what is under way.
pub(super) const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIRECTORY: u32 = 0o700;

/// The permission bits by which group and others write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A link in a file's place is not followed (open(2)).
pub(super) const NO_LINK: i32 = OFlags::NOFOLLOW.bits() as i32;

/// Where programs of root keep their state.
const ROOT_STATE: &str = "/var/lib";
/// Where those of others do, below their home.
const USER_STATE: &str = ".local/state";

/// Longest name of a directory, bytes: Linux's NAME_MAX.
const NAME_MAX: usize = 255;

/// The directory in which all mounts of one server and login keep their pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    directory: PathBuf,
}

/// ftpfs's own state directory for a user; none where neither XDG_STATE_HOME nor HOME tells of one.
///
/// `variable` reads the environment.
pub fn state_home(is_root: bool, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // The specification has relative paths ignored.
    let absolute = |name| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let home = match absolute("XDG_STATE_HOME") {
        Some(state) => state,
        None if is_root => PathBuf::from(ROOT_STATE),
        None => absolute("HOME")?.join(USER_STATE),
    };
    Some(home.join("ftpfs"))
}

impl StateDir {
    /// The place of `user` on `host`:`port` in `state`, [`state_home`]'s.
    pub fn of(state: &Path, user: &str, host: &str, port: u16) -> Self {
        let name = format!("{user}@{}:{port}", host.to_ascii_lowercase());
        Self {
            directory: state.join(file_name(name.as_bytes())),
        }
    }

    /// The directory itself.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file of what is known of the server.
    pub fn profile(&self) -> ProfileFile {
        ProfileFile::in_directory(&self.directory)
    }

    /// Keeps other mounts from opening or claiming pages while it lives; for local file operations
    /// only.
    pub(super) fn guard(&self) -> Result<File, JournalError> {
        private_directories(&self.directory)?;
        let path = self.directory.join("lock");
        let locked = open_lock(&path).and_then(|file| file.lock().map(|()| file));
        locked.map_err(|source| JournalError { path, source })
    }

    /// The pages, whoever has them.
    pub(super) fn pages(&self) -> io::Result<Vec<PathBuf>> {
        let mut pages = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if super::mount_journal::is_page(entry.file_name().as_bytes()) {
                pages.push(entry.path());
            }
        }
        pages.sort();
        Ok(pages)
    }

    /// A free name in the directory of what could not be brought to its place on the server.
    pub(super) fn recovered(&self, name: &[u8], number: &str) -> Result<PathBuf, JournalError> {
        let directory = self.directory.join("recovered");
        new_directories(&directory)?;
        let mut name = OsStr::from_bytes(name.get(..NAME_MAX - 32).unwrap_or(name)).to_owned();
        name.push(".");
        name.push(number);
        Ok(directory.join(name))
    }
}

/// Makes `path` and what is missing above it, for this user alone.
pub(super) fn new_directories(path: &Path) -> Result<(), JournalError> {
    let made = DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIRECTORY)
        .create(path);
    made.map_err(|source| JournalError {
        path: path.to_owned(),
        source,
    })
}

/// Makes a directory of the state and the one above it, each of which must be this user's alone.
pub(super) fn private_directories(directory: &Path) -> Result<(), JournalError> {
    for directory in directory.parent().into_iter().chain([directory]) {
        new_directories(directory)?;
        check_private(directory)?;
    }
    Ok(())
}

/// Makes `path`, which must not be there yet, for this user alone.
pub(super) fn new_directory(path: &Path) -> Result<(), JournalError> {
    let made = DirBuilder::new().mode(PRIVATE_DIRECTORY).create(path);
    made.map_err(|source| JournalError {
        path: path.to_owned(),
        source,
    })
}

/// That nobody else has put `directory` there, or can put anything into it: what is found in it
/// will be stored on the server under this user's login.
pub(super) fn check_private(directory: &Path) -> Result<(), JournalError> {
    let error = |source| JournalError {
        path: directory.to_owned(),
        source,
    };
    let refuse = |words: &str| {
        Err(error(io::Error::new(
            io::ErrorKind::PermissionDenied,
            words,
        )))
    };
    let own = geteuid().as_raw();
    let itself = fs::symlink_metadata(directory).map_err(error)?;
    if itself.is_symlink() && itself.uid() != own {
        return refuse("it is another user's link");
    }
    let leads_to = fs::metadata(directory).map_err(error)?;
    if leads_to.uid() != own {
        return refuse("it belongs to another user");
    }
    if leads_to.mode() & WRITABLE_BY_OTHERS != 0 {
        return refuse("others can write to it (chmod go-w)");
    }
    Ok(())
}

/// Whether `path` is a directory itself, not a link to one, and belongs to this user.
pub(super) fn is_own_directory(path: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(path)?;
    Ok(metadata.is_dir() && metadata.uid() == geteuid().as_raw())
}

/// A new file for this user alone, to be read and written.
pub(super) fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(PRIVATE_FILE)
        .open(path)
}

/// A file to be read.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(NO_LINK)
        .open(path)
}

/// A file to be locked.
pub(super) fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE_FILE)
        .custom_flags(NO_LINK)
        .open(path)
}

/// `name` as a file name: other bytes than a host or login name usually has are written `%XX`. What
/// is too long is cut: two that differ only behind share a place, which costs nothing but that the
/// one finishes the other's work.
fn file_name(name: &[u8]) -> OsString {
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
