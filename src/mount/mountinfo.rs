//! `/proc/self/mountinfo` (proc_pid_mountinfo(5)): the mounted file systems, without accessing
//! them.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mounted {
    /// `major:minor`.
    pub(super) device: String,
    /// The directory of the file system that is mounted: `/`, or another one of a bind mount.
    pub(super) root: Vec<u8>,
    pub(super) mountpoint: PathBuf,
    /// `ext4`, `fuse.ftpfs`, `autofs`.
    pub(super) kind: String,
    pub(super) source: String,
}

/// Returns the topmost mount at `mountpoint`, which must be an absolute path without links.
pub(super) fn at(mountpoint: &Path) -> Option<Mounted> {
    let mut mounts = all()?;
    let found = mounts.iter().rposition(|it| it.mountpoint == mountpoint)?;
    Some(mounts.swap_remove(found))
}

/// Returns the mount that contains `path`, which must be absolute, and the path relative to the
/// root of its file system.
pub(super) fn containing(path: &Path) -> Option<(Mounted, Vec<u8>)> {
    let containing = all()?
        .into_iter()
        .filter(|it| path.starts_with(&it.mountpoint));
    // Of several at the same place, the last one is the topmost.
    let mounted = containing.max_by_key(|it| it.mountpoint.components().count())?;
    let rest = path.strip_prefix(&mounted.mountpoint).ok()?;
    let below = [&mounted.root, b"/".as_slice(), rest.as_os_str().as_bytes()].concat();
    Some((mounted, below))
}

fn all() -> Option<Vec<Mounted>> {
    let table = fs::read("/proc/self/mountinfo").ok()?;
    let lines = table.split(|byte| *byte == b'\n');
    Some(lines.filter_map(parse).collect())
}

fn parse(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = text(fields.nth(2)?);
    let root = unescape(fields.next()?);
    let mountpoint = PathBuf::from(OsString::from_vec(unescape(fields.next()?)));
    // The optional fields end at a single hyphen.
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    Some(Mounted {
        device,
        root,
        mountpoint,
        kind: text(rest.next()?),
        source: text(rest.next()?),
    })
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(field)).into_owned()
}

/// Decodes blank, tab, line feed and backslash, which the kernel writes as `\` and three octal
/// digits.
fn unescape(mut field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    while let [first, rest @ ..] = field {
        field = rest;
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..]) =
            (first, rest)
        {
            bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            field = rest;
        } else {
            bytes.push(*first);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_escapes_and_optional_fields() {
        let line = br"36 35 0:98 / /mnt/a\040b\134 rw,nosuid master:1 shared:2 - fuse.ftpfs ftp://h/x\040y rw";
        let mounted = parse(line).unwrap();
        assert_eq!(mounted.device, "0:98");
        assert_eq!(mounted.mountpoint, Path::new(r"/mnt/a b\"));
        assert_eq!(mounted.kind, "fuse.ftpfs");
        assert_eq!(mounted.source, "ftp://h/x y");
    }

    #[test]
    fn a_cut_line_is_no_mount() {
        for line in [
            b"".as_slice(),
            b"36 35 0:98 / /mnt",
            b"36 35 0:98 / /mnt rw - fuse",
        ] {
            assert_eq!(parse(line), None);
        }
    }

    #[test]
    fn the_root_is_mounted() {
        assert!(at(Path::new("/")).is_some());
        assert_eq!(at(Path::new("/nonexistent")), None);
        let (mounted, below) = containing(Path::new("/proc/self/stat")).unwrap();
        assert_eq!(mounted.mountpoint, Path::new("/proc"));
        assert_eq!(below, b"//self/stat");
    }
}
