//! Directory listings: one line, one entry (RFC 3659 §7 for MLSD; the dialects of LIST have no
//! standard).
//!
//! Pure functions on one line without its terminator; "now" is an argument. What a server did not
//! say is `None`; defaults are the vfs's policy.

mod calendar;
mod date;
mod dos;
mod eplf;
mod mlsd;
mod month;
mod outcome;
mod unix;

use std::hash::{DefaultHasher, Hash, Hasher};

pub use outcome::{Completeness, ListingOutcome, UnusedLine};

use mlsd::Subject;

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
    /// What LIST and STAT print: EPLF, MS-DOS, Unix or NetWare, told apart line by line.
    List,
}

/// What one line of a listing says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// An entry; its name passes [`check_name`].
    Entry(Entry),
    /// The listed directory itself: `.`, or `type=cdir`.
    Itself,
    /// No entry, and rightly so: a blank line, `total 48`, the listed directory's parent.
    Skip,
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

/// Reads one line of a listing, its terminator already removed.
///
/// `now` is the present in seconds since the epoch (UTC); it tells the year of dates without one.
pub fn parse_line(line: &[u8], format: Format, now: i64) -> Line {
    match format {
        Format::Mlsd => parse_mlsd(line),
        Format::List => parse_list(line, now),
    }
}

/// Reads the line of facts in an MLST reply (RFC 3659 §7.2), with or without its leading blank.
///
/// The name is the last component of the path the server shows; empty where that is not a name
/// (the root is shown as `/`): who asked for one path knows what it is called.
pub fn parse_mlst(line: &[u8]) -> Option<Entry> {
    let mlsd::Parsed { mut entry, .. } = mlsd::parse(line.strip_prefix(b" ").unwrap_or(line))?;
    if let Some(slash) = entry.name.iter().rposition(|byte| *byte == b'/') {
        entry.name.drain(..=slash);
    }
    if check_name(&entry.name).is_err() {
        entry.name.clear();
    }
    bound(&mut entry);
    Some(entry)
}

fn parse_mlsd(line: &[u8]) -> Line {
    if line.is_empty() {
        return Line::Skip;
    }
    match mlsd::parse(line) {
        Some(parsed) => match parsed.subject {
            Subject::Name => checked(parsed.entry),
            Subject::Itself => Line::Itself,
            Subject::Parent => Line::Skip,
        },
        None => Line::Unparsable,
    }
}

fn parse_list(line: &[u8], now: i64) -> Line {
    let entry = eplf::parse(line)
        .or_else(|| dos::parse(line))
        .or_else(|| unix::parse(line, now));
    match entry {
        Some(entry) => checked(entry),
        None if line.trim_ascii().is_empty() || is_total(line) => Line::Skip,
        None => Line::Unparsable,
    }
}

/// Whether this is ls's sum of blocks, in any language: a word and a number.
fn is_total(line: &[u8]) -> bool {
    let Some((word, rest)) = next_word(line) else {
        return false;
    };
    let ([number @ .., b'k' | b'K' | b'M' | b'G' | b'T'] | number) = rest.trim_ascii();
    !word.iter().any(u8::is_ascii_digit)
        && number.first().is_some_and(u8::is_ascii_digit)
        && number
            .iter()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','))
}

fn checked(mut entry: Entry) -> Line {
    match entry.name.as_slice() {
        b"." if entry.kind == Kind::Directory => return Line::Itself,
        b"." | b".." => return Line::Skip,
        _ => {}
    }
    match check_name(&entry.name) {
        Ok(()) => {
            bound(&mut entry);
            Line::Entry(entry)
        }
        Err(PathError::Unsendable) => Line::Dropped("its name has a CR, LF or NUL"),
        Err(PathError::NotAName) => Line::Dropped("its name is empty or has a slash"),
        Err(PathError::NotInCharset(_)) => Line::Dropped("its name is not in the charset"),
        Err(PathError::TooLong) => Line::Dropped("its name is longer than 255 bytes"),
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

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The next word after any blanks, and what follows it.
fn next_word(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = bytes.iter().position(|byte| !is_blank(*byte))?;
    let bytes = bytes.get(start..)?;
    let end = bytes.iter().position(|byte| is_blank(*byte));
    bytes.split_at_checked(end.unwrap_or(bytes.len()))
}

/// A number made of nothing but digits; none when it does not fit.
fn number<T: TryFrom<u64>>(digits: &[u8]) -> Option<T> {
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })?;
    T::try_from(value).ok()
}

/// Permission bits written in octal, without the bits for the file's type.
///
/// pyftpdlib writes them as Python does: `0o644`.
fn octal_mode(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits.strip_prefix(b"0o").unwrap_or(digits)).ok()?;
    let bits = u32::from_str_radix(text, 8).ok()?;
    Some(bits & 0o7777)
}

#[cfg(test)]
mod tests;
