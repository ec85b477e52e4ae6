//! Directory listings: one line, one entry (RFC 3659 §7 for MLSD; the dialects of LIST have no
//! standard).
//!
//! What a server did not say is `None`; defaults are the vfs's policy.

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
