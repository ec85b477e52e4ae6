//! The directory of the control sockets, which does not depend on the environment: `/run/ftpfs` for
//! root, `/tmp/ftpfs-UID` for other users.
//!
//! A mount and `ftpfs status` may run with different environments, and the directory of a login
//! session (XDG_RUNTIME_DIR) disappears at logout while the mount stays. If another user has taken
//! the name in `/tmp`, the socket is in the runtime directory of the user or in ftpfs's state
//! directory. Clients look in all these places, and skip directories that other users can change.

use std::cmp::Reverse;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::sys;

const ROOT_DIRECTORY: &str = "/run/ftpfs";
const PRIVATE_DIRECTORY: u32 = 0o700;
/// Mode bits that let other users change a directory.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Mode bit of a directory in which users can only remove their own files.
const STICKY: u32 = 0o1000;

/// The extension of a socket's name.
const EXTENSION: &str = "sock";

/// Maximum number of sockets that a client looks at in one directory.
const MAX_SOCKETS: usize = 4096;

/// The directories that may hold a user's control sockets, the preferred one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sockets(Vec<PathBuf>);

/// Returns the directories of the control sockets of the user `uid`. `state` is ftpfs's state
/// directory, and `variable` reads the environment.
pub(crate) fn socket_directories(
    uid: u32,
    state: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Sockets {
    if uid == 0 {
        return Sockets(vec![PathBuf::from(ROOT_DIRECTORY)]);
    }
    let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.filter(|path| path.is_absolute());
    let candidates = [
        Some(PathBuf::from(format!("/tmp/ftpfs-{uid}"))),
        runtime.map(|runtime| runtime.join("ftpfs")),
        Some(PathBuf::from(format!("/run/user/{uid}/ftpfs"))),
        state.map(|state| state.join("run")),
    ];
    let mut directories = Vec::new();
    for directory in candidates.into_iter().flatten() {
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    Sockets(directories)
}

/// Returns the socket in `directory` of the mount with this device number (`0:98`) and the given
/// process.
pub(super) fn of_mount(directory: &Path, device: &str, process: u32) -> PathBuf {
    directory.join(format!("{device}-{process}.{EXTENSION}"))
}

/// Returns the socket in `directory` of a process whose mount has ended.
pub(super) fn of_process(directory: &Path, process: u32) -> PathBuf {
    directory.join(format!("ending-{process}.{EXTENSION}"))
}

impl Sockets {
    /// Creates the first directory that can be used, accessible only to this user, and returns it.
    ///
    /// # Errors
    /// None can be used. The error is that of the first.
    pub(super) fn make(&self) -> io::Result<PathBuf> {
        let mut first_error = None;
        for directory in &self.0 {
            match make_private(directory) {
                Ok(()) => return Ok(directory.clone()),
                Err(error) => {
                    log::debug!("no control socket in {}: {error}", directory.display());
                    first_error = first_error.or(Some(error));
                }
            }
        }
        Err(first_error.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
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

    /// Returns all sockets, sorted by name in each directory.
    pub(super) fn all(&self) -> io::Result<Vec<PathBuf>> {
        let mut sockets = Vec::new();
        for directory in &self.0 {
            if check_private(directory).is_ok() {
                sockets.extend(sockets_in(directory)?);
            }
        }
        Ok(sockets)
    }
}

fn make_private(directory: &Path) -> io::Result<()> {
    let parent = directory.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut builder = DirBuilder::new();
    builder.mode(PRIVATE_DIRECTORY);
    builder.recursive(true).create(parent)?;
    match builder.recursive(false).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    check_private(directory)
}

/// Checks that only this user (and root) can change `directory` or replace it. Does not follow a
/// link that another user may have planted.
fn check_private(directory: &Path) -> io::Result<()> {
    let user = sys::effective_uid();
    let found = fs::symlink_metadata(directory)?;
    let is_private =
        found.is_dir() && found.uid() == user && found.mode() & 0o777 == PRIVATE_DIRECTORY;
    let parent = fs::metadata(directory.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
    let is_kept = [0, user].contains(&parent.uid())
        && (parent.mode() & WRITABLE_BY_OTHERS == 0 || parent.mode() & STICKY != 0);
    if is_private && is_kept {
        return Ok(());
    }
    let reason = format!("{} is not this user's alone", directory.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
}

fn sockets_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut sockets = Vec::new();
    for entry in fs::read_dir(directory)?.take(MAX_SOCKETS) {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == EXTENSION) {
            sockets.push(path);
        }
    }
    sockets.sort();
    Ok(sockets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directories(uid: u32, state: Option<&str>, runtime: Option<&str>) -> Vec<PathBuf> {
        let variable = |name: &str| {
            runtime
                .filter(|_| name == "XDG_RUNTIME_DIR")
                .map(OsString::from)
        };
        socket_directories(uid, state.map(Path::new), variable).0
    }

    #[test]
    fn the_first_directory_does_not_depend_on_the_environment() {
        assert_eq!(
            directories(0, Some("/s"), Some("/r")),
            [Path::new("/run/ftpfs")]
        );
        for (state, runtime) in [(None, None), (Some("/s"), Some("/r")), (None, Some("r"))] {
            let first = directories(7, state, runtime).into_iter().next();
            assert_eq!(first, Some("/tmp/ftpfs-7".into()));
        }
        let all = ["/tmp/ftpfs-7", "/r/ftpfs", "/run/user/7/ftpfs", "/s/run"];
        assert_eq!(
            directories(7, Some("/s"), Some("/r")),
            all.map(PathBuf::from)
        );
    }

    #[test]
    fn the_newest_socket_of_a_device_number_comes_first() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("run");
        make_private(&directory).unwrap();
        let sockets = Sockets(vec![parent.path().join("none"), directory.clone()]);
        let start = std::time::SystemTime::UNIX_EPOCH;
        let made = |path: PathBuf, seconds| {
            let file = fs::File::create(&path).unwrap();
            file.set_modified(start + std::time::Duration::from_secs(seconds))
                .unwrap();
            path
        };
        let old = made(of_mount(&directory, "0:9", 77), 1);
        let new = made(of_mount(&directory, "0:9", 8), 2);
        made(of_mount(&directory, "0:98", 9), 3);
        made(of_process(&directory, 9), 4);
        made(new.with_extension("new"), 5);
        assert_eq!(sockets.of_device("0:9").unwrap(), [new, old]);
        assert!(sockets.of_device("0:7").unwrap().is_empty());
    }

    #[test]
    fn a_directory_that_others_can_change_is_not_used() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let parent = tempfile::tempdir().unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let (open, linked) = (parent.path().join("open"), parent.path().join("linked"));
        let (target, good) = (parent.path().join("target"), parent.path().join("good"));
        make_private(&open).unwrap();
        mode(&open, 0o755);
        make_private(&target).unwrap();
        symlink(&target, &linked).unwrap();
        let sockets = Sockets(vec![open.clone(), linked.clone(), good.clone()]);
        fs::write(of_process(&open, 1), "").unwrap();
        fs::write(of_process(&target, 1), "").unwrap();
        assert_eq!(sockets.make().unwrap(), good);
        assert!(sockets.all().unwrap().is_empty());
        assert!(Sockets(vec![open, linked]).make().is_err());
        // Others could replace the directory itself.
        mode(parent.path(), 0o777);
        assert!(sockets.make().is_err());
        mode(parent.path(), 0o1777);
        assert_eq!(sockets.make().unwrap(), good);
    }
}
