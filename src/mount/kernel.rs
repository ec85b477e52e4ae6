//! What the kernel is told of a mount, and how it is taken out of the tree again.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use fuser::{Config, MountOption, SessionACL};
use log::{debug, warn};

use super::privileged::Privileged;
use super::requirements;
use crate::sys;

/// The largest read-ahead asked of the kernel, in KiB: its largest request, 1 MiB.
const KERNEL_READ_AHEAD: &str = "1024";

/// Who may use the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// The user who mounts, and nobody else, not even root: FUSE's way.
    Owner,
    /// That user and root.
    OwnerAndRoot,
    /// All users.
    Everyone,
}

/// What the kernel is told about the mount.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "mount(2)'s flags are independent"
)]
pub struct KernelOptions {
    /// Shown as the mount's source.
    pub name: String,
    /// Shown behind `fuse.` as the mount's type.
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
    /// Who may use it.
    pub sharing: Sharing,
    /// The kernel judges by the modes shown.
    pub default_permissions: bool,
    /// fusermount3 stays and unmounts when this process is gone.
    pub auto_unmount: bool,
    /// Threads that take the kernel's requests.
    pub threads: usize,
}

/// How fuser is to mount.
pub(super) fn config(kernel: &KernelOptions) -> Config {
    // fuser's own Subtype is lost where it calls mount(2) itself; the kernel takes it as an option.
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

/// fusermount3 reads a list of options, mount(2) a name as it is.
fn escaped_for_fusermount(name: &str, auto_unmount: bool) -> String {
    if requirements::needs_fusermount(auto_unmount) {
        name.replace('\\', r"\\").replace(',', r"\,")
    } else {
        name.to_owned()
    }
}

/// Takes the mount at `mountpoint` out of the tree; what goes wrong is logged.
pub(super) fn unmount_by(privileged: &Privileged, mountpoint: &Path) {
    let path = mountpoint.to_owned();
    if let Err(error) = privileged.run(move || unmount(&path)) {
        warn!("cannot unmount {}: {error}", mountpoint.display());
    }
}

/// Takes the mount out of the tree: at once where it is idle, else as soon as its last user leaves.
fn unmount(mountpoint: &Path) {
    let outcome = match sys::unmount(mountpoint, false) {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            warn!(
                "{} is in use: unmounted when its last user leaves",
                mountpoint.display()
            );
            sys::unmount(mountpoint, true)
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            fusermount(mountpoint, "-u").or_else(|_| fusermount(mountpoint, "-uz"))
        }
        outcome => outcome,
    };
    // Somebody else may have unmounted it meanwhile: then the service ends by itself.
    if let Err(error) = outcome {
        warn!("cannot unmount {}: {error}", mountpoint.display());
    }
}

fn fusermount(mountpoint: &Path, flags: &str) -> io::Result<()> {
    let program = requirements::find_fusermount().ok_or(io::ErrorKind::NotFound)?;
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

/// Lets the kernel read ahead in its largest requests on the mount of this device number. Only root
/// may, and only speed depends on it.
pub(super) fn raise_read_ahead(device: &str) {
    let file = format!("/sys/class/bdi/{device}/read_ahead_kb");
    match std::fs::write(&file, KERNEL_READ_AHEAD) {
        Ok(()) => debug!("{file} is now {KERNEL_READ_AHEAD}"),
        Err(error) => debug!("the kernel's read-ahead stays as it is: {file}: {error}"),
    }
}
