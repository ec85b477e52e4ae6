//! A file of records that is appended to, and written anew when most of it is of the past.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{Pending, Record};
use crate::ftp::RemotePath;

/// A log shorter than this is not worth writing anew, bytes.
const SHORT: u64 = 64 << 10;

/// How many times longer than what still holds a log may be.
const MOST_OF_THE_PAST: u64 = 4;

/// A log longer than this was not written by a mount that ran, bytes.
const LONGEST: u64 = 256 << 20;

/// The name of a log that is being written anew.
pub(super) const NEW_LOG: &str = "log.new";

/// The log of one page.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: Arc<File>,
    bytes: u64,
    /// The last line has no end: the disk was full.
    is_torn: bool,
    holds: Holds,
    /// That a record could not be written was logged.
    told: bool,
    numbers: u64,
}

/// The log as it is on its way to the disk; whoever has it needs no lock to wait for that.
#[derive(Debug, Clone)]
pub(super) struct Unsynced(Arc<File>);

/// What still holds of all that was noted.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// Temporary names, and files overwritten in their place.
    pub(super) places: BTreeMap<RemotePath, Record>,
    /// Spool files by their number.
    pub(super) spools: BTreeMap<u64, Spooled>,
    /// Counts what was noted as pending.
    turns: u64,
}

/// What is known of a spool file.
#[derive(Debug)]
pub(super) struct Spooled {
    /// What it was opened for.
    pub(super) path: RemotePath,
    /// What it is to become, while it is being stored.
    pub(super) pending: Option<Pending>,
    /// When that was noted, among all: of two that are to become the same file the later one is to last.
    turn: u64,
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
            file: Arc::new(file),
            bytes,
            is_torn: false,
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
        if let Err(error) = self.write(record)
            && !std::mem::replace(&mut self.told, true)
        {
            ::log::warn!(
                "cannot write to {}: should ftpfs be killed now, the next mount does not know what was under way: \
                 {error}",
                self.path.display()
            );
        }
    }

    /// Notes `record`, or tells why it cannot; what is given has then to be [synced](Unsynced::sync).
    pub(super) fn note_surely(&mut self, record: &Record) -> io::Result<Unsynced> {
        self.write(record)?;
        Ok(Unsynced(Arc::clone(&self.file)))
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        let mut line = record.to_line();
        self.holds.apply(record.clone());
        if std::mem::replace(&mut self.is_torn, true) {
            line.insert(0, b'\n');
        }
        self.bytes += line.len() as u64;
        (&*self.file).write_all(&line)?;
        self.is_torn = false;
        self.tidy()
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
        let new = self.path.with_file_name(NEW_LOG);
        // A mount that was killed here left one.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => super::place::new_file(&new)?.write_all(&lines)?,
        }
        let file = open(&new)?;
        // Some of it was promised to be on the disk.
        file.sync_data()?;
        fs::rename(&new, &self.path)?;
        sync_directory(&self.path)?;
        self.file = Arc::new(file);
        self.bytes = lines.len() as u64;
        Ok(())
    }
}

impl Unsynced {
    /// Returns when all that was noted before is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl Holds {
    /// Whether the next mount has nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty() && self.pending().next().is_none()
    }

    /// The spool files that were being stored, in the order in which that was noted.
    pub(super) fn pending(&self) -> impl Iterator<Item = (u64, &Pending)> {
        let mut pending: Vec<_> = self
            .spools
            .iter()
            .filter_map(|(number, spooled)| {
                Some((spooled.turn, *number, spooled.pending.as_ref()?))
            })
            .collect();
        pending.sort_unstable_by_key(|(turn, _, _)| *turn);
        pending
            .into_iter()
            .map(|(_, number, pending)| (number, pending))
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
                let spooled = Spooled {
                    path,
                    pending: None,
                    turn: 0,
                };
                self.spools.insert(number, spooled);
            }
            Record::Pending(number, pending) => {
                if let Some(spooled) = self.spools.get_mut(&number) {
                    self.turns += 1;
                    spooled.turn = self.turns;
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
        let spools = self.spools.iter();
        let spools =
            spools.map(|(number, spooled)| Record::Open(*number, spooled.path.clone()).to_line());
        let pending = self.pending();
        let pending =
            pending.map(|(number, pending)| Record::Pending(number, pending.clone()).to_line());
        places.chain(spools).chain(pending).flatten().collect()
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

/// Returns when the name of `path` is on the disk.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
