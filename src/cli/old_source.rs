//! Sources of old fstab lines, `program#source`.
//!
//! For the type `fuse`, mount.fuse(8) runs the program with the rest. With `fuse.ftpfs` or `ftpfs`,
//! the prefix arrives here. It stays in the name that `/proc/mounts` shows, by which `mount -a`
//! recognizes that the line is mounted.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::source::{Source, SourceError};

/// The prefix of a source in curlftpfs's form: a URL, or one without its `ftp://`.
pub(super) const CURLFTPFS_PREFIX: &str = "curlftpfs#";

/// The prefix of a source of sshfs, `[user@]host:[path]`.
pub(super) const SSHFS_PREFIX: &str = "sshfs#";

/// Prefixes of a source in ftpfs's own form, which includes that of sshfs.
const OTHER_PREFIXES: [&str; 2] = ["ftpfs#", SSHFS_PREFIX];

/// The scheme that curlftpfs adds to a source without one.
const ASSUMED: &str = "ftp://";

/// Parses a source with or without a prefix.
///
/// # Errors
/// It is invalid.
pub(super) fn parse_source(typed: &OsStr) -> Result<Source, SourceError> {
    if let Some(rest) = typed.as_bytes().strip_prefix(CURLFTPFS_PREFIX.as_bytes()) {
        let has_scheme = rest.windows(3).any(|window| window == b"://");
        let assumed = if has_scheme { "" } else { ASSUMED };
        let url = [assumed.as_bytes(), rest].concat();
        let mut source = Source::parse(OsStr::from_bytes(&url))?;
        let shown = source.shown.strip_prefix(assumed).unwrap_or_default();
        source.shown = format!("{CURLFTPFS_PREFIX}{shown}");
        return Ok(source);
    }
    for prefix in OTHER_PREFIXES {
        if let Some(rest) = typed.as_bytes().strip_prefix(prefix.as_bytes()) {
            if has_password(rest) {
                return Err(SourceError::PasswordInShortForm);
            }
            let mut source = Source::parse(OsStr::from_bytes(rest))?;
            source.shown = format!("{prefix}{}", source.shown);
            return Ok(source);
        }
    }
    Source::parse(typed)
}

/// Whether `source` is `user:password@host`, curlftpfs's form without a scheme.
fn has_password(source: &[u8]) -> bool {
    let has_scheme = source.windows(3).any(|window| window == b"://");
    let colon = source.iter().position(|byte| *byte == b':');
    let at = source.iter().rposition(|byte| *byte == b'@');
    !has_scheme && matches!((colon, at), (Some(colon), Some(at)) if at > colon)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_shown_and_nothing_else() {
        for (typed, shown, host) in [
            ("curlftpfs#ftp://me:x@h/a", "curlftpfs#ftp://me@h/a", "h"),
            ("curlftpfs#me:x@h", "curlftpfs#me@h", "h"),
            ("curlftpfs#h/a", "curlftpfs#h/a", "h"),
            ("ftpfs#ftp://me:x@h/", "ftpfs#ftp://me@h/", "h"),
            ("sshfs#me@h:a", "sshfs#me@h:a", "h"),
            ("me@h:a", "me@h:a", "h"),
        ] {
            let source = parse_source(OsStr::new(typed)).unwrap();
            assert_eq!((source.shown.as_str(), source.host.as_str()), (shown, host));
        }
        for wrong in [
            "curlftpfs#",
            "ftpfs#",
            "other#ftp://h/",
            "curlftpfs#sftp://h/",
            "ftpfs#me:secret@h",
            "ftpfs#me:secret@h/a",
        ] {
            assert!(parse_source(OsStr::new(wrong)).is_err(), "{wrong}");
        }
    }
}
