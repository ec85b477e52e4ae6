//! The directory of the control sockets: `/run/ftpfs` for root, `$XDG_RUNTIME_DIR/ftpfs` for other
//! users (XDG Base Directory Specification), and `run` in ftpfs's state directory if that is not
//! set.

use std::cmp::Reverse;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::sys;

const ROOT_RUNTIME: &str = "/run";
const PRIVATE_DIRECTORY: u32 = 0o700;

/// The extension of a socket's name.
const EXTENSION: &str = "sock";

/// The directory of a user's control sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sockets(PathBuf);

/// Returns the directory of the control sockets. `state` is ftpfs's state directory, and `variable`
/// reads the environment. `None` if neither gives one.
pub(crate) fn runtime_home(
    is_root: bool,
    state: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Option<Sockets> {
    if is_root {
        return Some(Sockets(Path::new(ROOT_RUNTIME).join("ftpfs")));
    }
    let runtime_dir = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    match runtime_dir.filter(|path| path.is_absolute()) {
        Some(runtime) => Some(Sockets(runtime.join("ftpfs"))),
        None => Some(Sockets(state?.join("run"))),
    }
}

impl Sockets {
    /// Creates the directory, accessible only to this user.
    pub(super) fn make(&self) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE_DIRECTORY)
            .create(&self.0)?;
        let found = fs::symlink_metadata(&self.0)?;
        let is_ours = found.is_dir()
            && found.uid() == sys::effective_uid()
            && found.mode() & 0o777 == PRIVATE_DIRECTORY;
        if is_ours {
            Ok(())
        } else {
            let reason = format!("{} is not this user's alone", self.0.display());
            Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
        }
    }

    /// Returns the socket of the mount with this device number (`0:98`) and the given process.
    pub(super) fn of_mount(&self, device: &str, process: u32) -> PathBuf {
        self.0.join(format!("{device}-{process}.{EXTENSION}"))
    }

    /// Returns the sockets of all mounts that have or had this device number, the newest first.
    pub(super) fn of_device(&self, device: &str) -> io::Result<Vec<PathBuf>> {
        let is_of_it = |path: &Path| {
            let name = path.file_stem().and_then(OsStr::to_str);
            let rest = name.and_then(|name| name.strip_prefix(device));
            rest.is_some_and(|rest| rest.starts_with('-'))
        };
        let mut sockets = self.all()?;
        sockets.retain(|path| is_of_it(path));
        // A socket that no longer exists belongs to no mount.
        let made = |path: &PathBuf| fs::metadata(path).and_then(|it| it.modified()).ok();
        sockets.sort_by_cached_key(|path| Reverse(made(path)));
        Ok(sockets)
    }

    /// Returns the socket of a process whose mount has ended.
    pub(super) fn of_process(&self, process: u32) -> PathBuf {
        self.0.join(format!("ending-{process}.{EXTENSION}"))
    }

    /// Returns all sockets, sorted by name.
    pub(super) fn all(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut sockets = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == EXTENSION) {
                sockets.push(path);
            }
        }
        sockets.sort();
        Ok(sockets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sockets_are_where_the_user_s_programs_keep_theirs() {
        let home = |is_root, state: Option<&str>, runtime: Option<&str>| {
            let variable = |name: &str| {
                runtime
                    .filter(|_| name == "XDG_RUNTIME_DIR")
                    .map(OsString::from)
            };
            runtime_home(is_root, state.map(Path::new), variable).map(|it| it.0)
        };
        assert_eq!(home(true, None, Some("/r")), Some("/run/ftpfs".into()));
        assert_eq!(home(false, None, Some("/r")), Some("/r/ftpfs".into()));
        assert_eq!(home(false, Some("/s"), Some("r")), Some("/s/run".into()));
        assert_eq!(home(false, None, None), None);
    }

    #[test]
    fn the_newest_socket_of_a_device_number_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let sockets = Sockets(directory.path().to_owned());
        let start = std::time::SystemTime::UNIX_EPOCH;
        let made = |path: PathBuf, seconds| {
            let file = fs::File::create(&path).unwrap();
            file.set_modified(start + std::time::Duration::from_secs(seconds))
                .unwrap();
            path
        };
        let old = made(sockets.of_mount("0:9", 77), 1);
        let new = made(sockets.of_mount("0:9", 8), 2);
        made(sockets.of_mount("0:98", 9), 3);
        made(sockets.of_process(9), 4);
        made(new.with_extension("new"), 5);
        assert_eq!(sockets.of_device("0:9").unwrap(), [new, old]);
        assert!(sockets.of_device("0:7").unwrap().is_empty());
    }

    #[test]
    fn a_directory_that_others_can_enter_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let sockets = Sockets(directory.path().join("run"));
        sockets.make().unwrap();
        sockets.make().unwrap();
        fs::set_permissions(&sockets.0, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(sockets.make().is_err());
    }
}
