//! A private mount namespace for a script, with an ordinary user who may mount.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Replaces the machine's device node with one that everyone may use, as udev creates it. The
/// directory `mnt` belongs to the user nobody, and `as_nobody` runs a command as that user.
pub(crate) const OPEN_DEVICE: &str = "
    mknod fuse c 10 229; chmod 666 fuse; mount --bind fuse /dev/fuse
    chmod 755 .; chown nobody mnt
    as_nobody() { setpriv --reuid=nobody --regid=nogroup --clear-groups \"$@\"; }
";

/// Removes the namespace's copies of mounts. A mount that has a copy lives on after its unmount, so
/// other tests would wait for it.
const DETACH_COPIES: &str = "umount --all --lazy --types fuse.ftpfs 2>/dev/null || :\n";

/// Runs a script in `home` and in a private mount namespace, so that whatever it hides stays
/// visible to all other processes.
pub(crate) fn in_own_namespace(home: &Path, script: &str, arguments: &[&OsStr]) -> Output {
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--propagation",
            "private",
            "bash",
            "-euc",
            &format!("{DETACH_COPIES}{script}"),
            "bash",
        ])
        .args(arguments)
        .current_dir(home)
        .env("HOME", home)
        .env_remove("FTPFS_PASSWORD")
        .stdin(Stdio::null());
    command.output().unwrap()
}
