//! Mount options for the kernel, and unmounting.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use fuser::{Config, MountOption, SessionACL};
use log::{debug, warn};
use rustix::io::fcntl_dupfd_cloexec;

use super::fusermount;
use super::privileged::Privileged;
use crate::sys;

/// Target of the log records about replies that the kernel did not accept.
pub(crate) const REPLY_LOG: &str = "fuser::reply";

/// More than the number of descriptors that are open when a mount begins.
const ABOVE_SOCKETS: i32 = 256;

/// Maximum read-ahead of the kernel in KiB: its largest request, 1 MiB.
const KERNEL_READ_AHEAD: &str = "1024";

/// Who may access the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Only the user who mounts, not even root: the default of FUSE.
    Owner,
    /// That user and root.
    OwnerAndRoot,
    /// All users.
    Everyone,
}

/// The mount options for the kernel.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "mount(2)'s flags are independent"
)]
pub(crate) struct KernelOptions {
    /// Shown as the mount's source.
    pub name: String,
    /// Shown after `fuse.` as the mount's type.
    pub subtype: String,
    /// MS_RDONLY.
    pub read_only: bool,
    /// MS_NOEXEC.
    pub no_exec: bool,
    /// MS_NOATIME.
    pub no_atime: bool,
    /// MS_SYNCHRONOUS.
    pub sync: bool,
    /// MS_DIRSYNC.
    pub dir_sync: bool,
    /// Who may access it.
    pub sharing: Sharing,
    /// Whether the kernel checks permissions using the modes shown.
    pub default_permissions: bool,
    /// Whether fusermount3 stays and unmounts when this process ends.
    pub auto_unmount: bool,
    /// Number of threads that receive the kernel's requests.
    pub threads: usize,
}

/// Returns the configuration for fuser.
pub(super) fn config(kernel: &KernelOptions) -> Config {
    // fuser drops its own Subtype if it calls mount(2) itself, but the kernel accepts it as an
    // option.
    let mut options = vec![
        MountOption::FSName(escaped_for_fusermount(&kernel.name, kernel.auto_unmount)),
        MountOption::CUSTOM(format!("subtype={}", kernel.subtype)),
        MountOption::NoSuid,
        MountOption::NoDev,
    ];
    let flags = [
        (kernel.read_only, MountOption::RO),
        (kernel.no_exec, MountOption::NoExec),
        (kernel.no_atime, MountOption::NoAtime),
        (kernel.sync, MountOption::Sync),
        (kernel.dir_sync, MountOption::DirSync),
        (kernel.default_permissions, MountOption::DefaultPermissions),
        (kernel.auto_unmount, MountOption::AutoUnmount),
    ];
    options.extend(
        flags
            .into_iter()
            .filter(|(set, _)| *set)
            .map(|(_, option)| option),
    );
    let mut config = Config::default();
    config.mount_options = options;
    config.n_threads = Some(kernel.threads);
    config.acl = match kernel.sharing {
        Sharing::Owner => SessionACL::Owner,
        Sharing::OwnerAndRoot => SessionACL::RootAndOwner,
        Sharing::Everyone => SessionACL::All,
    };
    config
}

/// Gives the FUSE device another number, above those of all that is open. The kernel ends the
/// descriptors of a killed process from the highest number down. With auto_unmount, fusermount3
/// opens the mount after the end of its socket, and unmounts it only if the device ended before
/// (ENOTCONN, not ECONNABORTED). Returns `None` if there is no such number, which is logged.
pub(super) fn number_above_sockets(device: impl AsFd) -> Option<OwnedFd> {
    match fcntl_dupfd_cloexec(device, ABOVE_SOCKETS) {
        Ok(device) => Some(device),
        Err(error) => {
            debug!("auto_unmount may fail after a kill: {error}");
            None
        }
    }
}

/// Escapes the name for fusermount3, which reads a list of options; mount(2) takes the name as it
/// is.
fn escaped_for_fusermount(name: &str, auto_unmount: bool) -> String {
    if fusermount::is_needed(auto_unmount) {
        name.replace('\\', r"\\").replace(',', r"\,")
    } else {
        name.to_owned()
    }
}

/// Unmounts the file system at `mountpoint`. Failures are logged.
pub(super) fn unmount_by(privileged: &Privileged, mountpoint: &Path) {
    let path = mountpoint.to_owned();
    if let Err(error) = privileged.run(move || unmount(&path)) {
        warn!("cannot unmount {}: {error}", mountpoint.display());
    }
}

/// Unmounts the file system: immediately if it is idle, otherwise as soon as it is no longer in
/// use.
fn unmount(mountpoint: &Path) {
    let outcome = match sys::unmount(mountpoint, false) {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            warn!(
                "{} is in use; it will be unmounted when its last user leaves",
                mountpoint.display()
            );
            sys::unmount(mountpoint, true)
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            fusermount(mountpoint, "-u").or_else(|_| fusermount(mountpoint, "-uz"))
        }
        outcome => outcome,
    };
    // Another process may have unmounted it, in which case the service ends by itself.
    if let Err(error) = outcome {
        warn!("cannot unmount {}: {error}", mountpoint.display());
    }
}

/// Unmounts the file system at `mountpoint` for its user, if it is idle.
///
/// # Errors
/// It is in use, or not this user's.
pub(crate) fn unmount_idle(mountpoint: &Path) -> io::Result<()> {
    let outcome = match sys::unmount(mountpoint, false) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            fusermount(mountpoint, "-u")
        }
        outcome => outcome,
    };
    outcome.map_err(|error| {
        let reason = format!("cannot unmount {}: {error}", mountpoint.display());
        io::Error::new(error.kind(), reason)
    })
}

fn fusermount(mountpoint: &Path, flags: &str) -> io::Result<()> {
    let program = fusermount::find().ok_or(io::ErrorKind::NotFound)?;
    let output = Command::new(program)
        .arg(flags)
        .arg("--")
        .arg(mountpoint)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}

/// Raises the kernel's read-ahead on the mount with this device number to its largest requests.
/// Only root may do that, and it affects only speed.
pub(super) fn raise_read_ahead(device: &str) {
    let file = format!("/sys/class/bdi/{device}/read_ahead_kb");
    match std::fs::write(&file, KERNEL_READ_AHEAD) {
        Ok(()) => debug!("{file} is now {KERNEL_READ_AHEAD}"),
        Err(error) => debug!("cannot raise the kernel's read-ahead: {file}: {error}"),
    }
}
