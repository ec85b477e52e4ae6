//! A file of records that is appended to, and written anew when most of it is of the past.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::record::{Pending, Record};
use crate::ftp::RemotePath;

/// A log shorter than this is not worth writing anew, bytes.
const SHORT: u64 = 64 << 10;

/// How many times longer than what still holds a log may be.
const MOST_OF_THE_PAST: u64 = 4;

/// A log longer than this was not written by a mount that ran, bytes.
const LONGEST: u64 = 256 << 20;

/// The log of one page.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
    holds: Holds,
    /// That a record could not be written was logged.
    told: bool,
    numbers: u64,
}

/// What still holds of all that was noted.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// Temporary names, and files overwritten in their place.
    pub(super) places: BTreeMap<RemotePath, Record>,
    /// Spool files by their number.
    pub(super) spools: BTreeMap<u64, Spooled>,
}

/// What is known of a spool file.
#[derive(Debug)]
pub(super) struct Spooled {
    /// What it was opened for.
    pub(super) path: RemotePath,
    /// What it is to become, while it is being stored.
    pub(super) pending: Option<Pending>,
}

impl Log {
    /// A new log at `path`.
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        let file = open(&path)?;
        Ok(Self::new(path, file, 0, Holds::default()))
    }

    /// The log that a mount left at `path`; what is no whole record is skipped.
    pub(super) fn read(path: PathBuf) -> io::Result<Self> {
        let file = open(&path)?;
        let mut bytes = Vec::new();
        File::open(&path)?.take(LONGEST).read_to_end(&mut bytes)?;
        let mut holds = Holds::default();
        // What has no end was cut, and may look like a record of something else.
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        bytes.truncate(end.map_or(0, |end| end + 1));
        file.set_len(bytes.len() as u64)?;
        for record in bytes.split(|byte| *byte == b'\n').filter_map(Record::parse) {
            holds.apply(record);
        }
        Ok(Self::new(path, file, bytes.len() as u64, holds))
    }

    fn new(path: PathBuf, file: File, bytes: u64, holds: Holds) -> Self {
        Self {
            path,
            file,
            bytes,
            holds,
            told: false,
            numbers: 0,
        }
    }

    /// What still holds.
    pub(super) fn holds(&self) -> &Holds {
        &self.holds
    }

    /// A number that no other spool file of this log has.
    pub(super) fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Notes `record`. A disk that is full costs the safety against a crash, not the work: it is logged once.
    pub(super) fn note(&mut self, record: &Record) {
        let line = record.to_line();
        self.holds.apply(record.clone());
        let written = self.append(&line).and_then(|()| self.tidy());
        if let Err(error) = written
            && !std::mem::replace(&mut self.told, true)
        {
            ::log::warn!(
                "cannot write to {}: should ftpfs be killed now, the next mount does not know what was under way: \
                 {error}",
                self.path.display()
            );
        }
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.bytes += line.len() as u64;
        self.file.write_all(line)
    }

    /// Writes the log anew when most of it is of the past.
    fn tidy(&mut self) -> io::Result<()> {
        if self.bytes < SHORT {
            return Ok(());
        }
        let lines = self.holds.to_lines();
        if (lines.len() as u64) * MOST_OF_THE_PAST > self.bytes {
            return Ok(());
        }
        let new = self.path.with_extension("new");
        // A mount that was killed here left one.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => super::place::new_file(&new)?.write_all(&lines)?,
        }
        let file = open(&new)?;
        fs::rename(&new, &self.path)?;
        self.file = file;
        self.bytes = lines.len() as u64;
        Ok(())
    }
}

impl Holds {
    /// Whether the next mount has nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty() && self.pending().next().is_none()
    }

    /// The spool files that were being stored.
    pub(super) fn pending(&self) -> impl Iterator<Item = (u64, &Pending)> {
        self.spools
            .iter()
            .filter_map(|(number, spooled)| Some((*number, spooled.pending.as_ref()?)))
    }

    /// Whether the spool file of this number was being stored.
    pub(super) fn is_pending(&self, number: u64) -> bool {
        self.spools
            .get(&number)
            .is_some_and(|spooled| spooled.pending.is_some())
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Part(ref path) | Record::Aside(ref path, _) | Record::InPlace(ref path) => {
                self.places.insert(path.clone(), record);
            }
            Record::Gone(path) => {
                self.places.remove(&path);
            }
            Record::Open(number, path) => {
                let pending = None;
                self.spools.insert(number, Spooled { path, pending });
            }
            Record::Pending(number, pending) => {
                if let Some(spooled) = self.spools.get_mut(&number) {
                    spooled.pending = Some(pending);
                }
            }
            Record::Settled(number) => {
                if let Some(spooled) = self.spools.get_mut(&number) {
                    spooled.pending = None;
                }
            }
            Record::Closed(number) => {
                self.spools.remove(&number);
            }
        }
    }

    fn to_lines(&self) -> Vec<u8> {
        let places = self.places.values().map(Record::to_line);
        let spools = self.spools.iter().flat_map(|(number, spooled)| {
            let open = Record::Open(*number, spooled.path.clone()).to_line();
            let pending = spooled.pending.clone();
            let pending = pending.map(|pending| Record::Pending(*number, pending).to_line());
            std::iter::once(open).chain(pending)
        });
        places.chain(spools).flatten().collect()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(super::place::PRIVATE_FILE)
        .custom_flags(super::place::NO_LINK)
        .open(path)
}
