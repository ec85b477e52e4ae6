//! Parsing of directory listings (RFC 3659 §7 for MLSD; the dialects of LIST have no standard).
//!
//! A [`ListingReader`] receives a listing line by line. The parser of a dialect turns one line
//! without its terminator into a `Row`: one file per dialect, pure functions, with the current time
//! as an argument. The reader decides what only the complete listing shows: the order of dates, the
//! indicators of `ls -F`, the newest version of a file. It holds the affected entries until then.
//!
//! Unknown or unreadable values are `None`, and the entry is kept. Defaults are the caller's
//! policy.

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

/// Maximum length of a symlink target in bytes: PATH_MAX on Linux without the NUL.
pub const TARGET_MAX: usize = 4095;

/// Maximum accepted size in bytes, the limit of file offsets on Linux. Larger sizes are unknown.
pub const SIZE_MAX: u64 = i64::MAX as u64;

/// Format of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Facts of MLSD (RFC 3659 §7.2).
    Mlsd,
    /// Output of LIST and STAT in any dialect, which is detected from the lines.
    List,
}

/// Meaning of one line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListingLine {
    /// An entry whose name passes [`check_name`].
    Entry(Entry),
    /// The listed directory: `.` or `type=cdir`, with its `perm` fact.
    Itself(Option<Perm>),
    /// A line that is not an entry: a blank line, a heading, `total 48`, the parent directory.
    Skip,
    /// An entry that the reader holds until the end of the listing. Contains its memory in bytes.
    Held(usize),
    /// An entry that must not be used. Contains the reason for the log.
    Dropped(&'static str),
    /// A line that was not understood.
    Unparsable,
}

/// Type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link or a junction.
    Symlink,
    /// A device, socket or FIFO.
    Special,
    /// The server does not report the type.
    Unknown,
}

/// Precision of a listed time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Precision {
    /// To the second (MLSD, EPLF, full ISO times).
    Second,
    /// To the minute (`Nov 23 18:54`).
    Minute,
    /// To the day (`Apr  8  1994`).
    Day,
}

/// Modification time of an entry as reported by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Modified {
    /// Seconds since 1970-01-01T00:00:00, in UTC or in the server's unknown zone. May be negative.
    pub seconds: i64,
    /// Precision of `seconds`.
    pub precision: Precision,
    /// Whether `seconds` is in UTC (MLSD, EPLF, a line with a zone) or in the server's local time
    /// (LIST).
    pub utc: bool,
}

/// A listed name and its properties as reported by the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name in bytes, in the mount's charset. Valid for [`super::RemotePath::join`].
    pub name: Vec<u8>,
    /// Type.
    pub kind: Kind,
    /// Size in bytes, for regular files, and for symlinks if the server reports it.
    pub size: Option<u64>,
    /// Modification time.
    pub modified: Option<Modified>,
    /// Permission bits, at most 0o7777.
    pub mode: Option<u32>,
    /// Name or number of the owner, as listed.
    pub owner: Option<Box<[u8]>>,
    /// Name or number of the group, as listed.
    pub group: Option<Box<[u8]>>,
    /// Target of a symlink, as listed.
    pub target: Option<Vec<u8>>,
    /// The `unique` fact of MLSD (RFC 3659 §7.5.2).
    pub unique: Option<Box<[u8]>>,
    /// The `perm` fact of MLSD (RFC 3659 §7.5.5).
    pub perm: Option<Perm>,
}

/// What this login may do with an entry, by its `perm` fact (RFC 3659 §7.5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Perm {
    /// `c`: files can be created in this directory.
    pub creates: bool,
    /// `w`: this file can be overwritten.
    pub writes: bool,
}

impl Perm {
    /// Parses the value of the fact, in which case does not matter.
    fn parse(value: &[u8]) -> Self {
        let has = |letter| value.iter().any(|it| it.eq_ignore_ascii_case(&letter));
        Self {
            creates: has(b'c'),
            writes: has(b'w'),
        }
    }
}

impl Entry {
    /// Memory of the entry in bytes, including the overhead of allocations and the spare capacity
    /// of a growing vector of entries.
    pub fn memory(&self) -> usize {
        let held = |bytes: Option<&[u8]>| bytes.map_or(0, |bytes| bytes.len() + 16);
        let spare = |bytes: &Vec<u8>| bytes.capacity() - bytes.len();
        size_of::<Self>() * 3 / 2
            + held(Some(&self.name))
            + spare(&self.name)
            + held(self.owner.as_deref())
            + held(self.group.as_deref())
            + held(self.target.as_deref())
            + self.target.as_ref().map_or(0, spare)
            + held(self.unique.as_deref())
    }

    /// Creates an entry with only a name and a type.
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
            perm: None,
        }
    }
}

/// Hashes a `unique` fact (RFC 3659 §7.5.2) for comparing files. Never 0.
pub fn unique_hash(fact: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    fact.hash(&mut hasher);
    hasher.finish().max(1)
}

/// Parses one line, without its terminator, as a complete listing.
///
/// `now` is the current time in seconds since the epoch (UTC). It determines the year of dates
/// without one.
pub fn parse_line(line: &[u8], format: Format, now: i64) -> ListingLine {
    let mut reader = ListingReader::new(format, now);
    match reader.line(line) {
        ListingLine::Held(_) => reader.finish().pop().unwrap_or(ListingLine::Skip),
        line => line,
    }
}

/// Parses the line of facts in an MLST reply (RFC 3659 §7.2), with any number of blanks before the
/// facts and with or without one before the name.
///
/// The name is the last component of the path in the reply. It is empty if that is not a name (the
/// root is shown as `/`), because the caller knows the name it asked for.
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

/// Meaning of one line according to the parser of a dialect.
#[derive(Debug)]
enum Row {
    /// An entry.
    Entry(Entry),
    /// An entry whose date can be read in several orders.
    Dated(Entry, NumericTime),
    /// One version of a file. Only the newest is shown.
    Version(Entry, u32),
    /// A heading, a rule or a sum.
    Decoration,
    /// The listed directory.
    Itself(Option<Perm>),
    /// An entry that must not be used. Contains the reason for the log.
    Dropped(&'static str),
}

impl Row {
    /// Adds the modification time to an entry.
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
        b"." if entry.kind == Kind::Directory => return ListingLine::Itself(entry.perm),
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

/// Removes values that are useless or too long to store: a line can have several KiB.
fn bound(entry: &mut Entry) {
    if !matches!(entry.kind, Kind::File | Kind::Symlink | Kind::Unknown) {
        entry.size = None;
    }
    entry.size = entry.size.filter(|size| *size <= SIZE_MAX);
    let usable =
        |bytes: &[u8], most: usize| !bytes.is_empty() && bytes.len() <= most && !bytes.contains(&0);
    entry.target = entry.target.take().filter(|it| usable(it, TARGET_MAX));
    for value in [&mut entry.owner, &mut entry.group, &mut entry.unique] {
        *value = value.take().filter(|it| usable(it, NAME_MAX));
    }
}

#[cfg(test)]
mod tests;
