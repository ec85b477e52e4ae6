//! A configured source in place of its mountpoint: `ftpfs umount nas:`, `ftpfs refresh nas:photos`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Failure;
use super::config::Configuration;
use super::request;

/// Returns the path that `typed` means. A path that exists is itself.
///
/// # Errors
/// The configuration cannot be read.
pub(super) fn resolve(typed: &Path) -> Result<PathBuf, Failure> {
    let Some((name, below)) = parts(typed) else {
        return Ok(typed.to_owned());
    };
    let mut configuration = Configuration::load(&request::environment())?;
    match configuration.mountpoint_of(name)? {
        Some(mountpoint) => Ok(mountpoint.join(below)),
        None => Ok(typed.to_owned()),
    }
}

/// Splits `NAME:PATH`, unless it is a path that exists.
fn parts(typed: &Path) -> Option<(&str, &Path)> {
    let bytes = typed.as_os_str().as_bytes();
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let (name, below) = bytes.split_at_checked(colon)?;
    let name = std::str::from_utf8(name).ok()?;
    if name.is_empty() || name.contains('/') || std::fs::symlink_metadata(typed).is_ok() {
        return None;
    }
    let below = below.strip_prefix(b":")?;
    (!below.starts_with(b"/")).then_some((name, Path::new(OsStr::from_bytes(below))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_at_the_first_colon() {
        let parts = |typed| parts(Path::new(typed));
        assert_eq!(parts("nas:"), Some(("nas", Path::new(""))));
        assert_eq!(parts("nas:a/b:c"), Some(("nas", Path::new("a/b:c"))));
        for other in ["nas", "/mnt/nas:", "./nas:", ":", "nas:/a", ""] {
            assert_eq!(parts(other), None, "{other}");
        }
    }
}
