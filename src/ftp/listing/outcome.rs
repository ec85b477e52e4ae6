//! What came of receiving a listing, beside its entries: whether every line was understood.

use super::Entry;
use super::budget::ListingShare;

/// Most bytes of the first line that was not understood that are kept to show.
const SAMPLE_MAX: usize = 160;

/// How far a listing can be trusted to name all that the directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// Every line was understood: a name that is not among the entries is not in the directory.
    Complete,
    /// Every line was understood, and the server may leave out names that begin with a dot.
    Visible,
    /// Nothing came, from a server that has not yet listed anything else in this form: the
    /// directory is empty, or the server does not show what it holds.
    Blank,
    /// Some names are missing: lines were not understood, names cannot be used here, or the
    /// receiver stopped before the end.
    Incomplete,
    /// Lines came, none was understood, and no entry was found: this says nothing about the
    /// directory.
    Unreadable,
    /// The directory is there and may be entered, but the server does not list it: names in it must
    /// be asked for one by one.
    Unlistable,
}

impl Completeness {
    /// Whether the directory has no `name` when the listing has none.
    pub fn answers_for(self, name: &[u8]) -> bool {
        match self {
            Self::Complete => true,
            Self::Visible => !name.starts_with(b"."),
            Self::Blank | Self::Incomplete | Self::Unreadable | Self::Unlistable => false,
        }
    }
}

/// A directory's entries, and how far they can be trusted to be all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryListing {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Whether a name that is not among them may be there nevertheless.
    pub completeness: Completeness,
}

impl From<Vec<Entry>> for DirectoryListing {
    /// A complete listing.
    fn from(entries: Vec<Entry>) -> Self {
        let completeness = Completeness::Complete;
        Self {
            entries,
            completeness,
        }
    }
}

impl FromIterator<Entry> for DirectoryListing {
    /// A complete listing.
    fn from_iter<T: IntoIterator<Item = Entry>>(entries: T) -> Self {
        Self::from(entries.into_iter().collect::<Vec<_>>())
    }
}

/// What a completion reply admits about its listing in words, though its code says that all is
/// well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortfall {
    /// The end is missing: `226 Output truncated to 10000 matches` (Pure-FTPd).
    Truncated,
    /// The directory could not be read: `226 Transfer done (but failed to open directory).`
    /// (vsftpd).
    Failed,
}

impl Shortfall {
    /// What `words`, a reply's text in lower case, admit.
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

/// A line of a listing that gave no entry although it may stand for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusedLine {
    /// Why it gave none.
    pub reason: &'static str,
    /// How the line (or the name, where that is what cannot be used) begins, unescaped; 160 bytes
    /// at most.
    pub text: Vec<u8>,
}

/// What came of receiving a listing, beside its entries.
#[derive(Debug)]
pub struct ListingOutcome {
    /// Octets received. For a listing by STAT, those of the reply's inner lines.
    pub bytes: u64,
    /// Lines received, blank ones not counted.
    pub lines: u64,
    /// Entries handed over.
    pub entries: u64,
    /// Lines that no dialect explains, too long ones among them.
    pub unreadable: u64,
    /// Entries dropped because their names cannot be used: with a slash, cut by the server, too
    /// long.
    pub dropped: u64,
    /// The first line counted in `unreadable` or `dropped`.
    pub sample: Option<UnusedLine>,
    /// The listing has a line for the directory itself (`.`, or `type=cdir`): it is a directory's,
    /// and one that hides no names that begin with a dot.
    pub names_itself: bool,
    /// The receiver had enough before the end.
    pub stopped: bool,
    /// What the completion reply admits.
    pub shortfall: Option<Shortfall>,
    /// The memory that was counted for the entries; keep it as long as them.
    pub memory: ListingShare,
}

impl ListingOutcome {
    /// Nothing was received yet; `memory` is what the entries will take of the budget.
    pub(in crate::ftp) fn new(memory: ListingShare) -> Self {
        Self {
            bytes: 0,
            lines: 0,
            entries: 0,
            unreadable: 0,
            dropped: 0,
            sample: None,
            names_itself: false,
            stopped: false,
            shortfall: None,
            memory,
        }
    }

    /// How far the listing can be trusted.
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

    /// Whether not even the directory itself was listed, nor any other line that means something:
    /// nothing shows that the server looked at one.
    pub fn is_empty(&self) -> bool {
        self.entries == 0 && self.dropped == 0 && self.unreadable == 0 && !self.names_itself
    }

    /// Counts a line that no dialect explains.
    pub(in crate::ftp) fn count_unreadable(&mut self, reason: &'static str, line: &[u8]) {
        self.unreadable += 1;
        self.keep_sample(reason, line);
    }

    /// Counts an entry whose name cannot be used.
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
