//! Where the configuration files are.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

use super::ConfigChoice;
use super::read::IfMissing;
use crate::sys;

/// The file for all users of this machine.
const SYSTEM_FILE: &str = "/etc/ftpfs.conf";

/// Returns the files to read, in this order.
pub(super) fn files(choice: &ConfigChoice) -> Vec<(PathBuf, IfMissing)> {
    match choice {
        ConfigChoice::File(path) => vec![(path.clone(), IfMissing::Fail)],
        ConfigChoice::Nothing => Vec::new(),
        ConfigChoice::Usual => {
            let system = Some(PathBuf::from(SYSTEM_FILE));
            let files = system.into_iter().chain(user_file());
            files.map(|path| (path, IfMissing::Ignore)).collect()
        }
    }
}

/// Returns the path of the user's file. As the XDG Base Directory Specification says, a relative
/// `$XDG_CONFIG_HOME` is ignored.
fn user_file() -> Option<PathBuf> {
    let directory = own_directory("XDG_CONFIG_HOME").or_else(|| Some(home()?.join(".config")))?;
    Some(directory.join("ftpfs/config"))
}

/// Returns the user's home directory: the variable's, unless it is that of another user, as after
/// sudo(8), or for a user who mounts by mount.fuse3, which sets it to root's.
pub(super) fn home() -> Option<PathBuf> {
    own_directory("HOME").or_else(|| {
        let user = User::from_uid(Uid::from_raw(sys::effective_uid()));
        Some(user.ok()??.dir)
    })
}

/// Returns the directory that a variable names, unless it belongs to another user.
fn own_directory(variable: &str) -> Option<PathBuf> {
    let directory = std::env::var_os(variable).map(PathBuf::from)?;
    (directory.is_absolute() && is_own(&directory)).then_some(directory)
}

/// Whether a directory belongs to this user, or does not exist.
fn is_own(directory: &Path) -> bool {
    match std::fs::metadata(directory) {
        Ok(metadata) => metadata.uid() == sys::effective_uid(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}
