//! Reads a configuration file that only its owner can have written.

use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::error::{ConfigurationError, LARGEST};
use crate::sys;

/// Write permission for group and others.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// In a directory with this bit, such as /tmp, users cannot replace each other's files.
const STICKY: u32 = 0o1000;

/// What a missing file means: an error, or an empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfMissing {
    Fail,
    Ignore,
}

/// Returns the text of a configuration file, or None if it is optional and does not exist.
///
/// # Errors
/// It cannot be read, is too large, or another user may have written it.
pub(super) fn read(
    path: &Path,
    if_missing: IfMissing,
) -> Result<Option<String>, ConfigurationError> {
    let unreadable = |source| ConfigurationError::Unreadable {
        path: path.to_owned(),
        source,
    };
    // A pipe would block, and a terminal is no place for a configuration.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
    let opened = File::options().read(true).custom_flags(flags).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error)
            if if_missing == IfMissing::Ignore
                && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(unreadable(error)),
    };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(ConfigurationError::NoFile(path.to_owned()));
    }
    check(path, &metadata)?;
    let real = fs::canonicalize(path).map_err(unreadable)?;
    for directory in [path.parent(), real.parent()].into_iter().flatten() {
        let metadata =
            fs::metadata(directory).map_err(|source| ConfigurationError::Unreadable {
                path: directory.to_owned(),
                source,
            })?;
        if metadata.mode() & STICKY == 0 {
            check(directory, &metadata)?;
        }
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(ConfigurationError::TooLarge(path.to_owned()));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(ConfigurationError::NotUtf8(path.to_owned())),
    }
}

/// Checks that only root and this user can write a file or directory.
fn check(path: &Path, metadata: &Metadata) -> Result<(), ConfigurationError> {
    let refuse = |reason| {
        Err(ConfigurationError::Unsafe {
            path: path.to_owned(),
            reason,
        })
    };
    if ![0, sys::effective_uid()].contains(&metadata.uid()) {
        return refuse("belongs to another user, who could make ftpfs run any program");
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        return refuse(
            "can be written by others, who could make ftpfs run any program; chmod go-w it",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn with_modes(
        directory_mode: u32,
        file_mode: u32,
    ) -> Result<Option<String>, ConfigurationError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        fs::write(&path, "text").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(file_mode)).unwrap();
        let mode = fs::Permissions::from_mode(directory_mode);
        fs::set_permissions(directory.path(), mode).unwrap();
        read(&path, IfMissing::Fail)
    }

    #[test]
    fn a_file_that_others_may_write_or_replace_is_refused() {
        assert_eq!(with_modes(0o755, 0o644).unwrap().unwrap(), "text");
        assert_eq!(with_modes(0o1777, 0o600).unwrap().unwrap(), "text");
        for (directory, file) in [
            (0o755, 0o664),
            (0o755, 0o602),
            (0o775, 0o644),
            (0o777, 0o600),
        ] {
            let outcome = with_modes(directory, file);
            assert!(
                matches!(outcome, Err(ConfigurationError::Unsafe { .. })),
                "{directory:o} {file:o}"
            );
        }
    }

    #[test]
    fn a_link_into_a_directory_of_others_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let open = directory.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::write(open.join("config"), "").unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let link = directory.path().join("config");
        std::os::unix::fs::symlink(open.join("config"), &link).unwrap();
        let outcome = read(&link, IfMissing::Fail);
        assert!(matches!(outcome, Err(ConfigurationError::Unsafe { .. })));
    }

    #[test]
    fn only_a_required_file_must_exist() {
        let nowhere = Path::new("/nonexistent/config");
        assert!(read(nowhere, IfMissing::Ignore).unwrap().is_none());
        assert!(matches!(
            read(nowhere, IfMissing::Fail),
            Err(ConfigurationError::Unreadable { .. })
        ));
        assert!(matches!(
            read(Path::new("/dev"), IfMissing::Ignore),
            Err(ConfigurationError::NoFile(_))
        ));
    }

    #[test]
    fn what_is_large_or_no_text_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        fs::write(&path, vec![b'#'; LARGEST as usize + 1]).unwrap();
        let outcome = read(&path, IfMissing::Fail);
        assert!(matches!(outcome, Err(ConfigurationError::TooLarge(_))));
        fs::write(&path, [0xff]).unwrap();
        let outcome = read(&path, IfMissing::Fail);
        assert!(matches!(outcome, Err(ConfigurationError::NotUtf8(_))));
    }
}
