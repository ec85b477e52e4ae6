//! Directories whose listings could not be fully parsed. Each is logged once and counted.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::received::Received;
use crate::ftp::{Completeness, RemotePath, UnusedLine};

/// Maximum number of remembered directories. A server may have any number of bad ones.
const MAX: usize = 1_024;

/// The directories of one mount.
#[derive(Debug, Default)]
pub(super) struct IncompleteDirectories {
    seen: Mutex<BTreeMap<RemotePath, String>>,
}

/// Directories whose last listing could not be fully parsed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IncompleteListings {
    /// Number of directories, up to 1024.
    pub directories: usize,
    /// One of the directories, with the reason.
    pub sample: Option<(RemotePath, String)>,
}

impl IncompleteDirectories {
    /// Counts `directory` if its listing omits names, and logs that the first time.
    pub(super) fn update(&self, directory: &RemotePath, received: &Received) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reason) = reason(received) else {
            seen.remove(directory);
            return;
        };
        if seen.contains_key(directory) || seen.len() >= MAX {
            return;
        }
        seen.insert(directory.clone(), reason.clone());
        drop(seen);
        log::warn!(path = directory; "the listing of {directory} is not complete: {reason}");
    }

    /// Records that a listing of `directory` omits nothing.
    pub(super) fn found_complete(&self, directory: &RemotePath) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.remove(directory);
    }

    /// Returns the directories found so far.
    pub(super) fn snapshot(&self) -> IncompleteListings {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let first = seen.iter().next();
        IncompleteListings {
            directories: seen.len(),
            sample: first.map(|(path, reason)| (path.clone(), reason.clone())),
        }
    }
}

/// Returns why a listing is incomplete, or `None` if it is complete or the server allows no
/// listing.
fn reason(received: &Received) -> Option<String> {
    let text = |line: &UnusedLine| {
        let shown = String::from_utf8_lossy(&line.text)
            .escape_debug()
            .to_string();
        format!("\"{shown}\" ({})", line.reason)
    };
    let (count, first) = &received.unused;
    let lines = first.as_ref().map(|line| {
        let lines = if *count == 1 { "line" } else { "lines" };
        format!(
            "{count} {lines} gave no entry; the first one: {}",
            text(line)
        )
    });
    match received.completeness {
        Completeness::Complete
        | Completeness::Visible
        | Completeness::Blank
        | Completeness::Unlistable => None,
        Completeness::Unreadable => Some(format!(
            "unknown LIST format; {}",
            lines.unwrap_or_default()
        )),
        Completeness::Incomplete => {
            Some(lines.unwrap_or_else(|| "the server reports that it omitted entries".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incomplete(text: &[u8]) -> Received {
        Received {
            unused: (
                2,
                Some(UnusedLine {
                    reason: "odd",
                    text: text.to_vec(),
                }),
            ),
            ..Received::nothing(Completeness::Incomplete)
        }
    }

    #[test]
    fn a_directory_counts_until_it_is_understood() {
        let directories = IncompleteDirectories::default();
        let path = RemotePath::new(b"/a").unwrap();
        directories.update(&path, &incomplete(b"x"));
        directories.update(&path, &incomplete(b"x"));
        assert_eq!(directories.snapshot().directories, 1);
        directories.update(&path, &Received::nothing(Completeness::Complete));
        assert_eq!(directories.snapshot(), IncompleteListings::default());
    }

    #[test]
    fn the_reason_shows_no_control_characters() {
        let reason = reason(&incomplete(b"\x1b[2J")).unwrap();
        assert!(
            !reason.contains('\x1b') && reason.starts_with("2 lines"),
            "{reason}"
        );
    }
}
