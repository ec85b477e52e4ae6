//! Directories whose listing was not wholly understood: each is logged once and counted.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::listing::Received;
use crate::ftp::{Completeness, RemotePath, UnusedLine};

/// Most directories that are remembered; a server may have any number of bad ones.
const MAX: usize = 1_024;

/// The directories of one mount; a handle's interior.
#[derive(Debug, Default)]
pub(super) struct IncompleteDirectories {
    seen: Mutex<BTreeMap<RemotePath, String>>,
}

/// Directories whose last listing was not wholly understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IncompleteListings {
    /// Number of directories; counting stops at 1024.
    pub directories: usize,
    /// One of them, with the reason.
    pub sample: Option<(RemotePath, String)>,
}

impl IncompleteDirectories {
    /// Counts `directory` when its listing left out names, and logs that the first time.
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
        log::warn!("the listing of {directory} is not complete: {reason}");
    }

    /// The directories so far.
    pub(super) fn snapshot(&self) -> IncompleteListings {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let first = seen.iter().next();
        IncompleteListings {
            directories: seen.len(),
            sample: first.map(|(path, reason)| (path.clone(), reason.clone())),
        }
    }
}

/// Why a listing is not complete; none where it is, or where the server lets nothing be listed.
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
            "no dialect of LIST matches; {}",
            lines.unwrap_or_default()
        )),
        Completeness::Incomplete => {
            Some(lines.unwrap_or_else(|| "the server says that it left out a part".to_owned()))
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
