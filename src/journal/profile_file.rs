//! Storage of the server profile between mounts: a small text file next to the journals of the same
//! server and login.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::sys::private_files::{check_private, open_to_read, private_directories};

/// Maximum size in bytes of a profile.
const MAX_BYTES: u64 = 64 << 10;

/// The profile file of one server and login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileFile {
    path: PathBuf,
}

impl ProfileFile {
    pub(super) fn in_directory(directory: &Path) -> Self {
        Self {
            path: directory.join("profile"),
        }
    }

    /// Reads the text that was written last. Returns `None` if there is none or if other users
    /// could have written it.
    pub fn read(&self) -> Option<String> {
        let read = || -> io::Result<String> {
            let directory = self.path.parent().unwrap_or(&self.path);
            for directory in directory.parent().into_iter().chain([directory]) {
                check_private(directory).map_err(|error| error.source)?;
            }
            let mut text = String::new();
            let file = open_to_read(&self.path)?;
            file.take(MAX_BYTES).read_to_string(&mut text)?;
            Ok(text)
        };
        match read() {
            Ok(text) => Some(text),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    log::debug!("cannot read {}: {error}", self.path.display());
                }
                None
            }
        }
    }

    /// Replaces the text atomically. A failure is logged; it only costs the next mount what this
    /// one learned.
    pub fn write(&self, text: &str) {
        let write = || -> io::Result<()> {
            let directory = self.path.parent().unwrap_or(&self.path);
            private_directories(directory).map_err(|error| error.source)?;
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            file.write_all(text.as_bytes())?;
            file.persist(&self.path).map_err(|error| error.error)?;
            Ok(())
        };
        if let Err(error) = write() {
            log::info!("cannot write {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_that_others_could_write() {
        let state = tempfile::tempdir().unwrap();
        let directory = state.path().join("anna@ftp.example:21");
        let file = ProfileFile::in_directory(&directory);
        assert_eq!(file.read(), None);
        file.write("one");
        file.write("two");
        assert_eq!(file.read().as_deref(), Some("two"));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(file.read(), None);
    }

    #[test]
    fn nothing_is_put_into_a_directory_that_others_can_write_to() {
        let state = tempfile::tempdir().unwrap();
        fs::set_permissions(state.path(), fs::Permissions::from_mode(0o777)).unwrap();
        ProfileFile::in_directory(&state.path().join("anna@ftp.example:21")).write("one");
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
    }
}
