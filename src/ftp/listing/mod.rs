//! Directory listings: one line, one entry (RFC 3659 §7 for MLSD; the dialects of LIST have no
//! standard).
//!
//! What a server did not say is `None`; defaults are the vfs's policy. Pure functions on bytes:
//! the time it is now is an argument.

mod calendar;
mod dos;
mod eplf;
mod mlsd;
mod unix;

pub use mlsd::parse_mlst;

use mlsd::Listed;

use std::hash::{DefaultHasher, Hash, Hasher};

use super::path::check_name;

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
    /// Whether `seconds` is UTC (MLSD, EPLF, a line with its zone) or the server's local time (LIST).
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

/// How a listing's lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// MLSD's facts.
    Mlsd,
    /// One of LIST's dialects, found out line by line.
    List,
}

/// What a line of a listing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// An entry.
    Entry(Entry),
    /// Nothing to show: blank, `total n`, the directory itself or its parent.
    Skip,
    /// An entry that must not be used, and why.
    Dropped(&'static str),
    /// No line of a known dialect.
    Unparsable,
}

/// Reads one line of LIST; `now` is in seconds since the epoch.
type LineParser = fn(line: &[u8], now: i64) -> Option<Entry>;

/// Strictest first: what the first takes for its own is no line of the others.
const LIST_PARSERS: [LineParser; 3] = [eplf::parse, dos::parse, unix::parse];

/// What `line`, without its line end, says. `now` is in UTC seconds since the epoch: a time
/// without a year lies in the twelve months before it.
pub fn parse_line(line: &[u8], format: Format, now: i64) -> Line {
    if line.trim_ascii().is_empty() {
        return Line::Skip;
    }
    let entry = match format {
        Format::Mlsd => match mlsd::parse(line) {
            Some(Listed::Surroundings) => return Line::Skip,
            Some(Listed::Entry(entry)) => Some(entry),
            None => None,
        },
        Format::List if is_total(line) => return Line::Skip,
        Format::List => LIST_PARSERS.iter().find_map(|parse| parse(line, now)),
    };
    entry.map_or(Line::Unparsable, checked)
}

fn checked(entry: Entry) -> Line {
    if entry.name == b"." || entry.name == b".." {
        return Line::Skip;
    }
    match check_name(&entry.name) {
        Ok(()) => Line::Entry(entry),
        Err(_) => Line::Dropped("a name that cannot be used"),
    }
}

/// `total 48`, in the languages of ls: one word and a number.
fn is_total(line: &[u8]) -> bool {
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let (Some(word), Some(number), None) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    !word.iter().any(u8::is_ascii_digit) && number.iter().all(u8::is_ascii_digit)
}

/// A size in octets; what is no number, negative or beyond 64 bits is not known.
fn size(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
