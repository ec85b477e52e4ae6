//! Directory listings (RFC 3659 §7 for MLSD; the dialects of LIST have no standard).
//!
//! A [`ListingReader`] takes a listing line by line. The grammar of a dialect makes a `Row` of one
//! line without its terminator: one file per dialect, pure functions, "now" an argument. What only
//! the whole listing shows (the order of its dates, whether `ls -F` marked its names, the newest
//! version of a file) the reader decides: it holds the entries concerned until it knows.
//!
//! What a server did not say, or what cannot be read, is `None`, and the entry stays; defaults are
//! the vfs's policy.

mod as400;
mod budget;
mod calendar;
mod clock;
mod date;
mod dos;
mod eplf;
mod indicators;
mod mlsd;
mod month;
mod order;
mod os2;
mod outcome;
mod reader;
mod sterling;
mod tandem;
mod unisys;
mod unix;
mod unix_size;
mod vms;
mod vshell;
mod vxworks;
mod weekday;
mod words;
mod zos;

use std::hash::{DefaultHasher, Hash, Hasher};

pub use budget::{ListingBudget, ListingShare};
pub use outcome::{Completeness, DirectoryListing, ListingOutcome, Shortfall, UnusedLine};
pub use reader::ListingReader;

use date::When;
use order::NumericTime;

use super::path::{NAME_MAX, PathError, check_name};

/// Longest symlink target, in bytes, that is kept: Linux's PATH_MAX without its NUL.
pub const TARGET_MAX: usize = 4095;

/// Largest size in octets that is believed: Linux's offsets go no further. A larger one is unknown.
pub const SIZE_MAX: u64 = i64::MAX as u64;

/// Which grammar a listing's lines follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// MLSD's facts (RFC 3659 §7.2).
    Mlsd,
    /// What LIST and STAT print, in any dialect; the lines tell which one it is.
    List,
}

/// What one line of a listing says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListingLine {
    /// An entry; its name passes [`check_name`].
    Entry(Entry),
    /// The listed directory itself: `.`, or `type=cdir`.
    Itself,
    /// No entry, and rightly so: a blank line, a heading, `total 48`, the listed directory's
    /// parent.
    Skip,
    /// An entry that the reader holds until the listing ends, and the bytes of memory it takes.
    Held(usize),
    /// An entry that must not be used; says why, for the log.
    Dropped(&'static str),
    /// Not understood.
    Unparsable,
}

/// What a listed name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link (or a junction).
    Symlink,
    /// A device, socket or FIFO.
    Special,
    /// The server did not say.
    Unknown,
}

/// How exact a listed time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Precision {
    /// To the second (MLSD, EPLF, full ISO times).
    Second,
    /// To the minute (`Nov 23 18:54`).
    Minute,
    /// To the day (`Apr  8  1994`).
    Day,
}

/// When an entry was modified, as the server said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Modified {
    /// Seconds since 1970-01-01T00:00:00, negative before; in UTC or in the server's unknown zone.
    pub seconds: i64,
    /// How exact `seconds` is.
    pub precision: Precision,
    /// Whether `seconds` is UTC (MLSD, EPLF, a line with its zone) or the server's local time
    /// (LIST).
    pub utc: bool,
}

/// One listed name and what the server said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, byte for byte (in the mount's charset), valid for [`super::RemotePath::join`].
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Size in octets; for regular files (and symlinks where the server says so).
    pub size: Option<u64>,
    /// Time of last modification.
    pub modified: Option<Modified>,
    /// Permission bits, 0o7777 at most.
    pub mode: Option<u32>,
    /// Owner's name or number, as listed.
    pub owner: Option<Vec<u8>>,
    /// Group's name or number, as listed.
    pub group: Option<Vec<u8>>,
    /// A symlink's target, as listed.
    pub target: Option<Vec<u8>>,
    /// MLSD's `unique` fact (RFC 3659 §7.5.2).
    pub unique: Option<Vec<u8>>,
}

impl Entry {
    /// What the entry holds, in bytes: each allocation has a little around it, and a vector of
    /// entries that grows has room to spare.
    pub fn memory(&self) -> usize {
        let held = |bytes: Option<&Vec<u8>>| bytes.map_or(0, |bytes| bytes.capacity() + 16);
        size_of::<Self>() * 3 / 2
            + held(Some(&self.name))
            + held(self.owner.as_ref())
            + held(self.group.as_ref())
            + held(self.target.as_ref())
            + held(self.unique.as_ref())
    }

    /// An entry of which only name and kind are known.
    pub fn new(name: impl Into<Vec<u8>>, kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
            size: None,
            modified: None,
            mode: None,
            owner: None,
            group: None,
            target: None,
            unique: None,
        }
    }
}

/// A `unique` fact (RFC 3659 §7.5.2) in short, for telling one file from another; never 0.
pub fn unique_hash(fact: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    fact.hash(&mut hasher);
    hasher.finish().max(1)
}

/// Reads one line as a listing of its own, its terminator already removed.
///
/// `now` is the present in seconds since the epoch (UTC); it tells the year of dates without one.
pub fn parse_line(line: &[u8], format: Format, now: i64) -> ListingLine {
    let mut reader = ListingReader::new(format, now);
    match reader.line(line) {
        ListingLine::Held(_) => reader.finish().pop().unwrap_or(ListingLine::Skip),
        line => line,
    }
}

/// Reads the line of facts in an MLST reply (RFC 3659 §7.2), with any number of blanks before the
/// facts and with or without one before the name.
///
/// The name is the last component of the path the server shows; empty where that is not a name
/// (the root is shown as `/`): who asked for one path knows what it is called.
pub fn parse_mlst(line: &[u8]) -> Option<Entry> {
    let mlsd::Parsed { mut entry, .. } = mlsd::parse_mlst(line)?;
    if let Some(slash) = entry.name.iter().rposition(|byte| *byte == b'/') {
        entry.name.drain(..=slash);
    }
    if check_name(&entry.name).is_err() {
        entry.name.clear();
    }
    bound(&mut entry);
    Some(entry)
}

/// What a dialect's grammar makes of one line.
#[derive(Debug)]
enum Row {
    /// A name in the directory.
    Entry(Entry),
    /// A name whose date can be read in several orders.
    Dated(Entry, NumericTime),
    /// One version of a file; only the newest is shown.
    Version(Entry, u32),
    /// A heading, a rule or a sum.
    Furniture,
    /// The listed directory itself.
    Itself,
    /// An entry that must not be used; says why, for the log.
    Dropped(&'static str),
}

impl Row {
    /// An entry and when it was modified.
    fn new(mut entry: Entry, when: When) -> Self {
        match when {
            When::At(modified) => {
                entry.modified = modified;
                Self::Entry(entry)
            }
            When::Numeric(time) => Self::Dated(entry, time),
        }
    }
}

fn checked(mut entry: Entry) -> ListingLine {
    match entry.name.as_slice() {
        b"." if entry.kind == Kind::Directory => return ListingLine::Itself,
        b"." | b".." => return ListingLine::Skip,
        _ => {}
    }
    match check_name(&entry.name) {
        Ok(()) => {
            bound(&mut entry);
            ListingLine::Entry(entry)
        }
        Err(PathError::Unsendable) => ListingLine::Dropped("its name has a CR, LF or NUL"),
        Err(PathError::NotAName) => ListingLine::Dropped("its name is empty or has a slash"),
        Err(PathError::NotInCharset(_)) => ListingLine::Dropped("its name is not in the charset"),
        Err(PathError::TooLong) => ListingLine::Dropped("its name is longer than 255 bytes"),
    }
}

/// Takes away what is of no use or too long to keep: a listing's line may be some KiB.
fn bound(entry: &mut Entry) {
    if !matches!(entry.kind, Kind::File | Kind::Symlink | Kind::Unknown) {
        entry.size = None;
    }
    entry.size = entry.size.filter(|size| *size <= SIZE_MAX);
    let usable = |most: usize| {
        move |bytes: &Vec<u8>| !bytes.is_empty() && bytes.len() <= most && !bytes.contains(&0)
    };
    entry.target = entry.target.take().filter(usable(TARGET_MAX));
    entry.owner = entry.owner.take().filter(usable(NAME_MAX));
    entry.group = entry.group.take().filter(usable(NAME_MAX));
    entry.unique = entry.unique.take().filter(usable(NAME_MAX));
}

#[cfg(test)]
mod tests;
