//! Where the cache of a server and login is: `$XDG_CACHE_HOME/ftpfs/SERVER` (for root
//! `/var/cache/ftpfs/SERVER`), or below the directory that the user chose.
//!
//! SERVER begins as the journal's directory does, `user@host:port`, and ends with a hash of all of
//! it: the name is cut if it is long, and two logins never share a cache.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, DirEntry, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::DiskCacheError;
use crate::ftp::RemotePath;
use crate::sys::BaseDirectory;
use crate::sys::private_files::{
    check_private, new_directories, open_lock, open_to_read, private_directories,
};

/// Cache directory for programs run by root.
const ROOT_CACHE: &str = "/var/cache";
/// Cache directory for programs run by other users, relative to their home.
const USER_CACHE: &str = ".cache";

/// The file that says how the rest is stored, and its text.
const FORMAT: &str = "format";
const FORMAT_TEXT: &str = "ftpfs cache 1\n";

/// Contents of files, listings of directories, and files that are not complete yet.
const FILES: &str = "files";
const LISTINGS: &str = "listings";
const TEMPORARY: &str = "tmp";

/// Inode numbers (`-o export`).
const NUMBERS: &str = "inodes";

/// The login directory on the server.
const HOME: &str = "home";

/// Whose lock keeps other processes from creating or moving a cache in the same place.
const LOCK: &str = "lock";

/// Follows the name of a cache that another version of ftpfs made.
const ASIDE: &str = ".unknown-";

/// Maximum length in bytes of a stored path.
const MOST_PATH: u64 = 64 << 10;
/// Maximum length in bytes of the readable part of a directory's name.
const READABLE: usize = 200;
/// Number of bytes of the hash in a directory's name.
const HASH_BYTES: usize = 8;

/// The directory for the caches of all servers, and the name of one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CachePlace {
    base: PathBuf,
    name: OsString,
}

/// The open directory of a cache. It is private to this user.
#[derive(Debug, Clone)]
pub(crate) struct CacheDir {
    directory: PathBuf,
}

/// Returns the base directory of ftpfs's caches. `None` if neither XDG_CACHE_HOME nor HOME is
/// usable.
///
/// `variable` reads the environment.
pub(crate) fn cache_home(
    is_root: bool,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Option<PathBuf> {
    let base = BaseDirectory {
        variable: "XDG_CACHE_HOME",
        of_root: ROOT_CACHE,
        of_user: USER_CACHE,
    };
    base.find(is_root, variable)
}

impl CachePlace {
    /// Returns the place below `base` for `user` on `host`:`port`.
    pub(crate) fn of(base: &Path, user: &str, host: &str, port: u16) -> Self {
        let whole = format!("{user}@{}:{port}", host.to_ascii_lowercase());
        let mut name: String = whole.bytes().flat_map(escaped).collect();
        name.truncate(READABLE);
        name.push('-');
        for byte in Sha256::digest(whole.as_bytes()).iter().take(HASH_BYTES) {
            // Writing to a String cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        Self {
            base: base.to_owned(),
            name: name.into(),
        }
    }

    /// Opens the cache, or creates it. Moves one of an unknown format aside and begins with an
    /// empty one.
    ///
    /// # Errors
    /// The directory cannot be created or written to, or others could have.
    pub(crate) fn open(&self) -> Result<CacheDir, DiskCacheError> {
        let directory = self.base.join(&self.name);
        let failed = |source| DiskCacheError {
            path: directory.clone(),
            source,
        };
        new_directories(&self.base)?;
        check_private(&self.base)?;
        let lock = open_lock(&self.base.join(LOCK)).map_err(failed)?;
        lock.lock().map_err(failed)?;
        if !has_known_format(&directory).map_err(failed)? {
            self.move_aside(&directory).map_err(failed)?;
        }
        private_directories(&directory)?;
        let format = directory.join(FORMAT);
        if !format.exists() {
            let mut file = tempfile::NamedTempFile::new_in(&directory).map_err(failed)?;
            file.write_all(FORMAT_TEXT.as_bytes()).map_err(failed)?;
            let persisted = file.persist(&format).map_err(|error| error.error);
            persisted.map_err(failed)?;
        }
        for name in [FILES, LISTINGS, TEMPORARY] {
            private_directories(&directory.join(name))?;
        }
        let opened = CacheDir { directory };
        opened.check_writable().map_err(|source| DiskCacheError {
            path: opened.directory.clone(),
            source,
        })?;
        Ok(opened)
    }

    fn move_aside(&self, directory: &Path) -> io::Result<()> {
        let mut number = 1;
        let aside = loop {
            let mut name = self.name.clone();
            name.push(format!("{ASIDE}{number}"));
            let path = self.base.join(name);
            if fs::symlink_metadata(&path).is_err() {
                break path;
            }
            number += 1;
        };
        fs::rename(directory, &aside)?;
        log::warn!(
            "the cache {} is of an unknown format, perhaps of a newer ftpfs: it is now {}, and the cache begins empty",
            directory.display(),
            aside.display()
        );
        Ok(())
    }
}

impl CacheDir {
    /// The directory of this server's cache.
    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    /// Returns the caches of all servers in `base`.
    ///
    /// # Errors
    /// The directory cannot be read, or others could have written to it.
    pub(crate) fn all_in(base: &Path) -> Result<Vec<Self>, DiskCacheError> {
        let failed = |source| DiskCacheError {
            path: base.to_owned(),
            source,
        };
        let entries = match fs::read_dir(base) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        check_private(base)?;
        let mut found = Vec::new();
        for entry in entries {
            let directory = entry.map_err(failed)?.path();
            if directory.join(FORMAT).exists()
                && check_private(&directory).is_ok()
                && has_known_format(&directory).unwrap_or(false)
            {
                found.push(Self { directory });
            }
        }
        Ok(found)
    }

    /// The folder with the contents of files.
    pub(crate) fn files(&self) -> PathBuf {
        self.directory.join(FILES)
    }

    /// The folder with the listings of directories.
    pub(crate) fn listings(&self) -> PathBuf {
        self.directory.join(LISTINGS)
    }

    /// The folder with the inode numbers of exported mounts.
    pub(super) fn numbers(&self) -> PathBuf {
        self.directory.join(NUMBERS)
    }

    /// The folder for files that are not complete yet. It is on the same file system.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.directory.join(TEMPORARY)
    }

    /// Stores the login directory, for a mount that starts without the server.
    ///
    /// # Errors
    /// Those of the local disk.
    pub(crate) fn write_home(&self, home: &RemotePath) -> io::Result<()> {
        if self.read_home().as_ref() == Some(home) {
            return Ok(());
        }
        let mut file = tempfile::NamedTempFile::new_in(self.temporary())?;
        file.write_all(home.as_bytes())?;
        file.persist(self.directory.join(HOME))?;
        Ok(())
    }

    /// Returns the login directory, as far as it is known.
    pub(crate) fn read_home(&self) -> Option<RemotePath> {
        let mut path = Vec::new();
        let file = open_to_read(&self.directory.join(HOME)).ok()?;
        file.take(MOST_PATH).read_to_end(&mut path).ok()?;
        RemotePath::new(&path).ok()
    }

    fn check_writable(&self) -> io::Result<()> {
        tempfile::tempfile_in(self.temporary()).map(drop)
    }
}

/// Whether `directory` does not exist, is empty, or has the format of this version.
fn has_known_format(directory: &Path) -> io::Result<bool> {
    let file = match open_to_read(&directory.join(FORMAT)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match fs::read_dir(directory) {
                // A process may have been killed before it wrote the format.
                Ok(entries) => Ok(entries.filter_map(Result::ok).all(|entry| is_file(&entry))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
                Err(error) => Err(error),
            };
        }
        Err(error) => return Err(error),
    };
    contains_only(file, FORMAT_TEXT)
}

fn is_file(entry: &DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_file())
}

/// Whether `file` contains exactly `text`.
fn contains_only(file: File, text: &str) -> io::Result<bool> {
    let mut bytes = Vec::new();
    file.take(text.len() as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes == text.as_bytes())
}

/// Escapes a byte for a file name: bytes that are unusual in host or login names become `%XX`.
fn escaped(byte: u8) -> Vec<char> {
    if byte.is_ascii_alphanumeric() || b"@:._-+".contains(&byte) {
        vec![char::from(byte)]
    } else {
        format!("%{byte:02X}").chars().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn home(is_root: bool, variables: &[(&str, &str)]) -> Option<PathBuf> {
        cache_home(is_root, |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_cache_is_where_the_user_said_or_where_programs_keep_it() {
        let said = [("XDG_CACHE_HOME", "/c"), ("HOME", "/h")];
        assert_eq!(home(false, &said), Some("/c/ftpfs".into()));
        assert_eq!(home(true, &said), Some("/c/ftpfs".into()));
        let relative = [("XDG_CACHE_HOME", "c"), ("HOME", "/h")];
        assert_eq!(home(false, &relative), Some("/h/.cache/ftpfs".into()));
        assert_eq!(home(true, &relative), Some("/var/cache/ftpfs".into()));
        assert_eq!(home(false, &[]), None);
    }

    #[test]
    fn two_logins_never_share_a_cache() {
        let place = |user: &str, host, port| CachePlace::of(Path::new("/c"), user, host, port).name;
        let long = "ü".repeat(300);
        assert_eq!(
            place("anna", "Ftp.Example", 21),
            place("anna", "ftp.example", 21)
        );
        assert!(
            place("anna", "h", 21)
                .to_string_lossy()
                .starts_with("anna@h:21-")
        );
        assert_ne!(place("a%2F", "h", 21), place("a/", "h", 21));
        assert_ne!(place(&long, "h", 21), place(&long, "h", 22));
        assert!(place(&long, "h", 21).len() <= 255);
    }

    #[test]
    fn a_cache_is_private_and_opened_again() {
        let base = tempfile::tempdir().unwrap();
        let place = CachePlace::of(base.path(), "anna", "h", 21);
        let cache = place.open().unwrap();
        fs::write(cache.files().join("kept"), "").unwrap();
        let again = place.open().unwrap();
        assert!(again.files().join("kept").exists());
        for directory in [cache.path(), &cache.files(), &cache.listings()] {
            assert_eq!(fs::metadata(directory).unwrap().mode() & 0o777, 0o700);
        }
        let format = fs::metadata(cache.path().join(FORMAT)).unwrap();
        assert_eq!(format.mode() & 0o777, 0o600);
    }

    #[test]
    fn an_unknown_format_is_moved_aside() {
        let base = tempfile::tempdir().unwrap();
        let place = CachePlace::of(base.path(), "anna", "h", 21);
        let cache = place.open().unwrap();
        fs::write(cache.files().join("other"), "").unwrap();
        for format in ["ftpfs cache 2\n", "", "ftpfs cache 1\nand more"] {
            fs::write(cache.path().join(FORMAT), format).unwrap();
            let new = place.open().unwrap();
            assert!(!new.files().join("other").exists(), "{format:?}");
        }
        fs::remove_file(cache.path().join(FORMAT)).unwrap();
        fs::write(cache.files().join("of whom"), "").unwrap();
        assert!(!place.open().unwrap().files().join("of whom").exists());
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 6);
    }

    #[test]
    fn a_place_that_others_can_write_to_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let place = CachePlace::of(base.path(), "anna", "h", 21);
        let cache = place.open().unwrap();
        let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o777));
        open(cache.path()).unwrap();
        assert!(place.open().is_err());
        fs::remove_dir_all(cache.path()).unwrap();
        open(base.path()).unwrap();
        assert!(place.open().is_err());
        let nowhere = CachePlace::of(Path::new("/proc/none"), "anna", "h", 21);
        assert!(nowhere.open().is_err());
    }

    #[test]
    fn a_lock_that_is_a_link_is_not_followed() {
        let base = tempfile::tempdir().unwrap();
        let target = base.path().join("target");
        fs::write(&target, "kept").unwrap();
        symlink(&target, base.path().join(LOCK)).unwrap();
        assert!(CachePlace::of(base.path(), "a", "h", 1).open().is_err());
    }
}
