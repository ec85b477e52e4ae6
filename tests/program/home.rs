//! A home directory with a mountpoint, in which a test runs ftpfs.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::is_mounted;

/// A home directory. When it is dropped, what is still mounted in it is unmounted.
pub(crate) struct MountingHome {
    directory: TempDir,
    pub(crate) mountpoint: PathBuf,
}

impl MountingHome {
    /// Creates an empty home with a mountpoint of this name.
    pub(crate) fn new(mountpoint: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mountpoint = directory.path().join(mountpoint);
        fs::create_dir(&mountpoint).unwrap();
        Self {
            directory,
            mountpoint,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Returns a command that runs here, with its state below `state`, and without any password in
    /// its environment.
    pub(crate) fn command_here(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
        let mut command = crate::support::command(program);
        command
            .args(arguments)
            .current_dir(self.path())
            .env("HOME", self.path())
            .env("XDG_STATE_HOME", self.path().join("state"))
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("FTPFS_PASSWORD")
            .env_remove("CREDENTIALS_DIRECTORY")
            .stdin(Stdio::null());
        command
    }

    /// Writes a file with this mode, and creates its directory.
    pub(crate) fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path().join(name);
        let parent = path.parent().unwrap();
        fs::create_dir_all(parent).unwrap();
        // Others must not be able to write to it, with any umask.
        fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for MountingHome {
    fn drop(&mut self) {
        if is_mounted(&self.mountpoint) {
            let _ = Command::new("umount")
                .arg("-l")
                .arg(&self.mountpoint)
                .status();
        }
    }
}
