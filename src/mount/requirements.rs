//! Requirements of this machine, checked before the server is contacted and anything is mounted.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{KernelOptions, Mountpoint, Sharing, fusermount};
use crate::sys;

/// The kernel's device for FUSE file systems.
const DEVICE: &str = "/dev/fuse";

/// The permission bits that allow group and others to write, and the sticky bit, which restricts
/// renames to a user's own files (inode(7)).
const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// fusermount3's configuration (fuse(8)).
const FUSE_CONF: &str = "/etc/fuse.conf";

/// A requirement that is not met.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequirementError {
    /// The kernel has no FUSE.
    #[error("there is no {DEVICE}: this kernel has no FUSE, or not yet (modprobe fuse)")]
    NoDevice,
    /// This user may not use FUSE.
    #[error("no permission to use {DEVICE}")]
    DeviceForbidden,
    /// Only root can mount without it.
    #[error("there is no fusermount3, which mounts for users other than root (package fuse3)")]
    NoFusermount,
    /// The system's administrator has not allowed it.
    #[error(
        "allow_other and allow_root are for root alone until {FUSE_CONF} has a line user_allow_other"
    )]
    SharingForbidden,
    /// fusermount3 would refuse it with a less clear message.
    #[error("auto_unmount needs allow_other or allow_root")]
    AutoUnmountAlone,
    /// ftpfs would wait for itself.
    #[error("the {what} {} is inside the mountpoint", path.display())]
    InsideMountpoint {
        /// What it is for, such as `log file`.
        what: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// There is no directory for written files.
    #[error("cannot store written files in {}: it is not a writable directory", .0.display())]
    NoSpool(PathBuf),
    /// Other users could replace written files.
    #[error(
        "cannot store written files in {}: {reason}",
        path.display()
    )]
    SpoolOfOthers {
        /// The directory.
        path: PathBuf,
        /// Who could replace them.
        reason: &'static str,
    },
}

/// Where ftpfs stores its own files.
#[derive(Debug, Clone, Default)]
pub(crate) struct LocalPaths {
    /// The spool directory, if the user set one.
    pub spool: Option<PathBuf>,
    /// The log file.
    pub log_file: Option<PathBuf>,
    /// The directory for the state of mounts.
    pub state: Option<PathBuf>,
    /// The directory of the persistent caches.
    pub cache: Option<PathBuf>,
}

/// Checks all requirements.
///
/// # Errors
/// The first one that is not met.
pub(crate) fn check(
    mountpoint: &Mountpoint,
    kernel: &KernelOptions,
    local: &LocalPaths,
) -> Result<(), RequirementError> {
    if !Path::new(DEVICE).exists() {
        return Err(RequirementError::NoDevice);
    }
    if !sys::may_read_and_write(DEVICE) {
        return Err(RequirementError::DeviceForbidden);
    }
    if kernel.auto_unmount && kernel.sharing == Sharing::Owner {
        return Err(RequirementError::AutoUnmountAlone);
    }
    if fusermount::is_needed(kernel.auto_unmount) && fusermount::find().is_none() {
        return Err(RequirementError::NoFusermount);
    }
    if kernel.sharing != Sharing::Owner && sys::effective_uid() != 0 && !others_are_allowed() {
        return Err(RequirementError::SharingForbidden);
    }
    if let Some(log_file) = &local.log_file
        && log_file
            .parent()
            .is_some_and(|directory| mountpoint.contains(directory))
    {
        return Err(inside("log file", log_file));
    }
    if let Some(state) = &local.state
        && mountpoint.contains(state)
    {
        return Err(inside("state directory", state));
    }
    // It may not exist yet.
    if let Some(cache) = &local.cache
        && let Some(existing) = cache.ancestors().find(|path| path.exists())
        && mountpoint.contains(existing)
    {
        return Err(inside("cache directory", cache));
    }
    let spool = local.spool.clone().unwrap_or_else(std::env::temp_dir);
    if mountpoint.contains(&spool) {
        return Err(inside("spool directory", &spool));
    }
    if !spool.is_dir() || !sys::may_read_and_write(&spool) {
        return Err(RequirementError::NoSpool(spool));
    }
    // Spool files in the temporary directory have no names.
    if let Some(path) = &local.spool
        && let Some(reason) = fs::metadata(path).ok().as_ref().and_then(owned_by_others)
    {
        return Err(RequirementError::SpoolOfOthers {
            path: path.clone(),
            reason,
        });
    }
    Ok(())
}

/// Returns why others could rename files in this directory.
fn owned_by_others(directory: &Metadata) -> Option<&'static str> {
    let is_sticky = directory.mode() & STICKY != 0;
    if ![0, sys::effective_uid()].contains(&directory.uid()) {
        Some("it belongs to another user, who could put other files in their place")
    } else if directory.mode() & WRITABLE_BY_OTHERS != 0 && !is_sticky {
        Some("others could put other files in their place (chmod go-w or +t)")
    } else {
        None
    }
}

/// If the configuration cannot be read, the decision is left to fusermount3.
fn others_are_allowed() -> bool {
    fs::read_to_string(FUSE_CONF).map_or(true, |text| allows_others(&text))
}

fn allows_others(fuse_conf: &str) -> bool {
    fuse_conf
        .lines()
        .any(|line| line.trim() == "user_allow_other")
}

fn inside(what: &'static str, path: &Path) -> RequirementError {
    RequirementError::InsideMountpoint {
        what,
        path: path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_allows_nothing() {
        assert!(!allows_others("# user_allow_other\nmount_max = 1000\n"));
        assert!(allows_others("mount_max = 1000\n user_allow_other \n"));
    }
}
