//! Outcome of a listing besides its entries: whether every line was understood.

use super::budget::ListingShare;
use super::{Entry, Perm};

/// Maximum number of bytes stored of the first line that was not understood.
const SAMPLE_MAX: usize = 160;

/// How complete a listing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// Every line was understood. Names that are not listed do not exist.
    Complete,
    /// Every line was understood, but the server may hide names that begin with a dot.
    Visible,
    /// Nothing was listed by a server that has not yet listed anything else in this form. The
    /// directory is empty, or the server does not show its contents.
    Blank,
    /// Some names are missing: lines were not understood, names are not usable, or the receiver
    /// stopped before the end.
    Incomplete,
    /// No line was understood and no entry was found, so nothing is known about the directory.
    Unreadable,
    /// The directory exists and can be entered, but the server does not list it. Names in it must
    /// be looked up one by one.
    Unlistable,
}

impl Completeness {
    /// Whether a name that is not listed does not exist.
    pub fn answers_for(self, name: &[u8]) -> bool {
        match self {
            Self::Complete => true,
            Self::Visible => !name.starts_with(b"."),
            Self::Blank | Self::Incomplete | Self::Unreadable | Self::Unlistable => false,
        }
    }
}

/// Entries of a directory, and how complete they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryListing {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Whether names that are not listed may exist.
    pub completeness: Completeness,
    /// The `perm` fact of the directory itself.
    pub perm: Option<Perm>,
}

impl IntoIterator for DirectoryListing {
    type Item = Entry;
    type IntoIter = std::vec::IntoIter<Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl From<Vec<Entry>> for DirectoryListing {
    /// Creates a complete listing.
    fn from(entries: Vec<Entry>) -> Self {
        let completeness = Completeness::Complete;
        Self {
            entries,
            completeness,
            perm: None,
        }
    }
}

impl FromIterator<Entry> for DirectoryListing {
    /// Creates a complete listing.
    fn from_iter<T: IntoIterator<Item = Entry>>(entries: T) -> Self {
        Self::from(entries.into_iter().collect::<Vec<_>>())
    }
}

/// A problem that a completion reply reports in its text, although its code reports success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortfall {
    /// The end is missing: `226 Output truncated to 10000 matches` (Pure-FTPd).
    Truncated,
    /// The directory could not be read: `226 Transfer done (but failed to open directory).`
    /// (vsftpd).
    Failed,
}

impl Shortfall {
    /// Detects a problem reported in `words`, the text of a reply in lower case.
    pub(in crate::ftp) fn admitted_by(words: &str) -> Option<Self> {
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
        if says(&["truncated", "too many", "incomplete", "only the first"]) {
            Some(Self::Truncated)
        } else if says(&[
            "failed",
            "failure",
            "denied",
            "permission",
            "cannot",
            "can't",
            "could not",
            "couldn't",
            "unable",
        ]) {
            Some(Self::Failed)
        } else {
            None
        }
    }
}

/// A line that gave no entry although it may represent one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusedLine {
    /// The reason.
    pub reason: &'static str,
    /// Beginning of the line, or of the name if that is the problem, unescaped and at most 160
    /// bytes.
    pub text: Vec<u8>,
}

/// Outcome of a listing besides its entries.
#[derive(Debug)]
pub struct ListingOutcome {
    /// Number of bytes received. For a listing by STAT, those of the inner lines.
    pub bytes: u64,
    /// Number of lines received, without blank ones.
    pub lines: u64,
    /// Number of entries passed on.
    pub entries: u64,
    /// Number of lines that are not understood in any dialect or are too long.
    pub unreadable: u64,
    /// Number of entries dropped because of unusable names: with a slash, cut by the server, too
    /// long.
    pub dropped: u64,
    /// The first line counted in `unreadable` or `dropped`.
    pub sample: Option<UnusedLine>,
    /// The listing has a line for the directory itself (`.` or `type=cdir`). It therefore lists a
    /// directory, including names that begin with a dot.
    pub names_itself: bool,
    /// The `perm` fact of the directory itself.
    pub perm: Option<Perm>,
    /// The receiver stopped before the end.
    pub stopped: bool,
    /// Problem reported in the completion reply.
    pub shortfall: Option<Shortfall>,
    /// Memory reserved for the entries. Keep it as long as they exist.
    pub memory: ListingShare,
}

impl ListingOutcome {
    /// Starts an empty outcome. `memory` is the share for the entries.
    pub(in crate::ftp) fn new(memory: ListingShare) -> Self {
        Self {
            bytes: 0,
            lines: 0,
            entries: 0,
            unreadable: 0,
            dropped: 0,
            sample: None,
            names_itself: false,
            perm: None,
            stopped: false,
            shortfall: None,
            memory,
        }
    }

    /// How complete the listing is.
    pub fn completeness(&self) -> Completeness {
        if self.unreadable > 0 && self.entries == 0 && self.dropped == 0 {
            Completeness::Unreadable
        } else if self.is_empty() && self.shortfall == Some(Shortfall::Failed) {
            Completeness::Unlistable
        } else if self.unreadable > 0
            || self.dropped > 0
            || self.stopped
            || self.shortfall.is_some()
        {
            Completeness::Incomplete
        } else {
            Completeness::Complete
        }
    }

    /// Whether there was no meaningful line, not even one for the directory itself, so that nothing
    /// shows that the server read one.
    pub fn is_empty(&self) -> bool {
        self.entries == 0 && self.dropped == 0 && self.unreadable == 0 && !self.names_itself
    }

    /// Counts a line that is not understood in any dialect.
    pub(in crate::ftp) fn count_unreadable(&mut self, reason: &'static str, line: &[u8]) {
        self.unreadable += 1;
        self.keep_sample(reason, line);
    }

    /// Counts an entry with an unusable name.
    pub(in crate::ftp) fn count_dropped(&mut self, reason: &'static str, name: &[u8]) {
        self.dropped += 1;
        self.keep_sample(reason, name);
    }

    fn keep_sample(&mut self, reason: &'static str, text: &[u8]) {
        if self.sample.is_none() {
            let text = text.get(..SAMPLE_MAX).unwrap_or(text).to_vec();
            self.sample = Some(UnusedLine { reason, text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::listing::budget::ListingBudget;

    fn outcome() -> ListingOutcome {
        ListingOutcome::new(ListingBudget::default().share())
    }

    #[test]
    fn a_listing_is_complete_when_every_line_was_understood() {
        let mut outcome = outcome();
        assert_eq!(outcome.completeness(), Completeness::Complete);
        assert!(outcome.is_empty());
        outcome.entries = 2;
        assert_eq!(outcome.completeness(), Completeness::Complete);
        outcome.count_unreadable("odd", b"x");
        assert_eq!(outcome.completeness(), Completeness::Incomplete);
    }

    #[test]
    fn lines_without_an_entry_say_nothing_about_the_directory() {
        let mut outcome = outcome();
        outcome.names_itself = true;
        outcome.count_unreadable("odd", b"x");
        assert_eq!(outcome.completeness(), Completeness::Unreadable);
        outcome.count_dropped("a slash", b"a/b");
        assert_eq!(outcome.completeness(), Completeness::Incomplete);
    }

    #[test]
    fn the_first_unused_line_is_kept_and_cut() {
        let mut outcome = outcome();
        outcome.count_unreadable("odd", &[b'x'; 5_000]);
        outcome.count_dropped("a slash", b"a/b");
        let sample = outcome.sample.unwrap();
        assert_eq!((sample.reason, sample.text.len()), ("odd", SAMPLE_MAX));
        assert_eq!((outcome.unreadable, outcome.dropped), (1, 1));
    }
}
