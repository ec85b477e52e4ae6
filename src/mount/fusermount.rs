//! fusermount3, which mounts for ordinary users.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::sys;

/// Whether mounting needs fusermount3. Root does not, except for auto_unmount.
pub(super) fn is_needed(auto_unmount: bool) -> bool {
    auto_unmount || sys::effective_uid() != 0
}

/// Returns the path of the fusermount3 that mounting will use.
pub(super) fn find() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("FUSERMOUNT_PATH") {
        return Some(PathBuf::from(path)).filter(|path| is_program(path));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&path)
        .chain(["/bin", "/sbin"].map(PathBuf::from))
        .collect();
    ["fusermount3", "fusermount"]
        .into_iter()
        .flat_map(|name| {
            directories
                .iter()
                .map(move |directory| directory.join(name))
        })
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
