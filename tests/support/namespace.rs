//! A mount namespace of a script's own, with an ordinary user in it who may mount.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A device node that everyone may use, as udev makes it, in place of the machine's own; the
/// directory `mnt` is nobody's, and `as_nobody` runs a command as that user.
pub(crate) const OPEN_DEVICE: &str = "
    mknod fuse c 10 229; chmod 666 fuse; mount --bind fuse /dev/fuse
    chmod 755 .; chown nobody mnt
    as_nobody() { setpriv --reuid=nobody --regid=nogroup --clear-groups \"$@\"; }
";

/// Runs a script in `home` and in a mount namespace of its own, so that what it hides is hidden
/// from nobody else.
pub(crate) fn in_own_namespace(home: &Path, script: &str, arguments: &[&OsStr]) -> Output {
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--propagation",
            "private",
            "bash",
            "-euc",
            script,
            "bash",
        ])
        .args(arguments)
        .current_dir(home)
        .env("HOME", home)
        .env_remove("FTPFS_PASSWORD")
        .stdin(Stdio::null());
    command.output().unwrap()
}
