//! An append-only file of records. It is rewritten when most of its records are obsolete.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{Pending, Record};
use crate::ftp::RemotePath;

/// Minimum size in bytes of a log that is worth rewriting.
const MIN_REWRITE_SIZE: u64 = 64 << 10;

/// Maximum ratio of the log's size to that of its live records.
const MAX_GARBAGE_RATIO: u64 = 4;

/// Maximum size in bytes of a log that is read. No running mount writes a longer one.
const MAX_LOG_SIZE: u64 = 256 << 20;

/// File name of a log during its rewrite.
pub(super) const NEW_LOG: &str = "log.new";

/// The log of one mount.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: Arc<File>,
    bytes: u64,
    /// The last line is incomplete because the disk was full.
    is_torn: bool,
    live: LiveRecords,
    /// A write error was logged.
    warned: bool,
    numbers: u64,
    /// Number of records written by this process.
    records: u64,
    /// Size in bytes from which the log may be worth rewriting.
    tidy_at: u64,
    /// Lines appended since a rewrite began.
    tail: Option<Vec<u8>>,
    /// The log was renamed, and its new name may not be on the disk yet.
    is_renamed: bool,
}

/// A log with records that may not be on the disk yet. Syncing it needs no lock.
#[derive(Debug)]
pub(super) struct Unsynced {
    file: Arc<File>,
    records: u64,
    /// Path of the log, if its new name may not be on the disk yet.
    renamed: Option<PathBuf>,
}

/// The beginning of a rewritten log.
#[derive(Debug)]
pub(super) struct Rewrite {
    path: PathBuf,
    lines: Vec<u8>,
}

/// The records that are not obsolete.
#[derive(Debug, Default)]
pub(super) struct LiveRecords {
    /// Temporary names, and files overwritten in place.
    pub(super) places: BTreeMap<RemotePath, Record>,
    /// Spool files by number.
    pub(super) spools: BTreeMap<u64, NamedSpool>,
    /// Number of `Pending` records so far.
    turns: u64,
}

/// State of a spool file.
#[derive(Debug)]
pub(super) struct NamedSpool {
    /// The path that it was opened for.
    pub(super) path: RemotePath,
    /// The upload, while one is pending.
    pub(super) pending: Option<Pending>,
    /// Position of the `Pending` record. Of two uploads to the same path the later one wins.
    turn: u64,
}

impl Log {
    /// Creates a log at `path`.
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        let file = open(&path)?;
        Ok(Self::new(path, file, 0, LiveRecords::default()))
    }

    /// Reads the log that a mount left at `path`. Skips incomplete records.
    pub(super) fn read(path: PathBuf) -> io::Result<Self> {
        let file = open(&path)?;
        let mut bytes = Vec::new();
        File::open(&path)?
            .take(MAX_LOG_SIZE)
            .read_to_end(&mut bytes)?;
        let mut live = LiveRecords::default();
        // An incomplete last line was cut off and may look like another record.
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        bytes.truncate(end.map_or(0, |end| end + 1));
        file.set_len(bytes.len() as u64)?;
        for record in bytes.split(|byte| *byte == b'\n').filter_map(Record::parse) {
            live.apply(record);
        }
        Ok(Self::new(path, file, bytes.len() as u64, live))
    }

    fn new(path: PathBuf, file: File, bytes: u64, live: LiveRecords) -> Self {
        Self {
            path,
            file: Arc::new(file),
            bytes,
            is_torn: false,
            live,
            warned: false,
            numbers: 0,
            records: 0,
            tidy_at: MIN_REWRITE_SIZE,
            tail: None,
            is_renamed: false,
        }
    }

    /// The live records.
    pub(super) fn live(&self) -> &LiveRecords {
        &self.live
    }

    /// Returns a number that no other spool file of this log has.
    pub(super) fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Appends `record`. A failure is logged once and ignored: a full disk costs the safety against
    /// a crash, but must not stop the work.
    pub(super) fn append(&mut self, record: &Record) {
        if let Err(error) = self.write(record)
            && !std::mem::replace(&mut self.warned, true)
        {
            ::log::warn!(
                "cannot write to {}: if ftpfs is killed now, the next mount cannot continue its work: \
                 {error}",
                self.path.display()
            );
        }
    }

    /// Appends `record`. Returns the number of records including it.
    ///
    /// # Errors
    /// The record is not in the log.
    pub(super) fn try_append(&mut self, record: &Record) -> io::Result<u64> {
        self.write(record)?;
        Ok(self.records)
    }

    /// Returns the log in its present state, for syncing without the lock.
    pub(super) fn unsynced(&self) -> Unsynced {
        Unsynced {
            file: Arc::clone(&self.file),
            records: self.records,
            renamed: self.is_renamed.then(|| self.path.clone()),
        }
    }

    /// Whether the log may be worth rewriting.
    pub(super) fn is_long(&self) -> bool {
        self.bytes >= self.tidy_at
    }

    /// Starts a rewrite if most records are obsolete. The caller runs [`Rewrite::write`] without
    /// the lock and then [`Log::finish_rewrite`].
    pub(super) fn begin_rewrite(&mut self) -> Option<Rewrite> {
        if !self.is_long() {
            return None;
        }
        let lines = self.live.to_lines();
        self.tidy_at = MIN_REWRITE_SIZE.max(lines.len() as u64 * MAX_GARBAGE_RATIO);
        if self.bytes < self.tidy_at {
            return None;
        }
        self.tail = Some(Vec::new());
        Some(Rewrite {
            path: self.path.with_file_name(NEW_LOG),
            lines,
        })
    }

    /// Replaces the log with the rewritten one and the records appended since. The caller must not
    /// have reported any of those as synced.
    ///
    /// # Errors
    /// The old log remains in use.
    pub(super) fn finish_rewrite(
        &mut self,
        rewrite: &Rewrite,
        written: io::Result<File>,
    ) -> io::Result<()> {
        let tail = self.tail.take().unwrap_or_default();
        let file = written?;
        (&file).write_all(&tail)?;
        fs::rename(&rewrite.path, &self.path)?;
        self.is_renamed = true;
        self.is_torn = false;
        self.file = Arc::new(file);
        self.bytes = (rewrite.lines.len() + tail.len()) as u64;
        Ok(())
    }

    /// Records that the new log's name is on the disk.
    pub(super) fn name_is_synced(&mut self) {
        self.is_renamed = false;
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        let mut line = record.to_line();
        self.live.apply(record.clone());
        self.records += 1;
        if let Some(tail) = &mut self.tail {
            tail.extend_from_slice(&line);
        }
        if std::mem::replace(&mut self.is_torn, true) {
            line.insert(0, b'\n');
        }
        self.bytes += line.len() as u64;
        (&*self.file).write_all(&line)?;
        self.is_torn = false;
        Ok(())
    }
}

impl Rewrite {
    /// Writes the records that were live when the rewrite began, and syncs them.
    ///
    /// # Errors
    /// There is no new log.
    pub(super) fn write(&self) -> io::Result<File> {
        // A mount that was killed during a rewrite leaves this file.
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => crate::sys::private_files::new_file(&self.path)?.write_all(&self.lines)?,
        }
        let file = open(&self.path)?;
        file.sync_data()?;
        Ok(file)
    }
}

impl Unsynced {
    /// Syncs the log. Returns how many of its records are on the disk now.
    ///
    /// # Errors
    /// Some records may not be on the disk.
    pub(super) fn sync(&self) -> io::Result<u64> {
        if let Some(path) = &self.renamed {
            sync_directory(path)?;
        }
        self.file.sync_data()?;
        Ok(self.records)
    }
}

impl LiveRecords {
    /// Whether the next mount has nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty() && self.pending().next().is_none()
    }

    /// Returns the pending uploads in the order of their records.
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

    /// Whether the upload of this spool file was pending.
    pub(super) fn is_pending(&self, number: u64) -> bool {
        self.spools
            .get(&number)
            .is_some_and(|spooled| spooled.pending.is_some())
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Part(ref path) | Record::Aside(ref path, ..) | Record::InPlace(ref path) => {
                self.places.insert(path.clone(), record);
            }
            Record::Gone(path) => {
                self.places.remove(&path);
            }
            Record::Open(number, path) => {
                let spooled = NamedSpool {
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
            Record::Unproven(number, uploads) => {
                let spooled = self.spools.get_mut(&number);
                if let Some(pending) = spooled.and_then(|spooled| spooled.pending.as_mut()) {
                    pending.unproven = uploads;
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
        .mode(crate::sys::private_files::PRIVATE_FILE)
        .custom_flags(crate::sys::private_files::NO_LINK)
        .open(path)
}

/// Syncs the directory of `path`, so that its name is on the disk.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str) -> Record {
        Record::Part(RemotePath::new(name.as_bytes()).unwrap())
    }

    #[test]
    fn what_is_noted_while_the_log_is_written_anew_is_in_both() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("log");
        let mut log = Log::create(path.clone()).unwrap();
        log.append(&part("/before"));
        while !log.is_long() {
            log.append(&part("/gone"));
            log.append(&Record::Gone(RemotePath::new(b"/gone").unwrap()));
        }
        let names = || {
            let live = Log::read(path.clone()).unwrap().live;
            let names = live.places.keys().map(ToString::to_string);
            names.collect::<Vec<_>>()
        };

        let rewrite = log.begin_rewrite().unwrap();
        log.append(&part("/meanwhile"));
        let written = rewrite.write();
        log.append(&part("/later"));
        assert_eq!(names(), ["/before", "/later", "/meanwhile"], "killed now");
        log.finish_rewrite(&rewrite, written).unwrap();
        assert!(!log.is_long());
        log.append(&part("/after"));
        assert_eq!(names(), ["/after", "/before", "/later", "/meanwhile"]);
    }

    #[test]
    fn a_rewrite_that_fails_leaves_the_old_log_in_use() {
        let directory = tempfile::TempDir::new().unwrap();
        let mut log = Log::create(directory.path().join("log")).unwrap();
        while !log.is_long() {
            log.append(&part("/part"));
        }
        let rewrite = log.begin_rewrite().unwrap();
        let full = Err(io::ErrorKind::StorageFull.into());
        assert!(log.finish_rewrite(&rewrite, full).is_err());
        log.append(&part("/after"));
        let read = Log::read(directory.path().join("log")).unwrap();
        assert_eq!(read.live.places.len(), 2);
    }
}
