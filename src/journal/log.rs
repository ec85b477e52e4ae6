//! An append-only file of records. It is rewritten when most of its records are obsolete.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::change::{Domains, NameAction, NameChange};
use super::record::{Pending, Record};
use crate::ftp::RemotePath;

/// Minimum size in bytes of a log that is worth rewriting.
const MIN_REWRITE_SIZE: u64 = 64 << 10;

/// Maximum ratio of the log's size to that of its live records.
const MAX_GARBAGE_RATIO: u64 = 4;

/// Maximum size in bytes of a log that is read. No running mount writes a longer one.
const MAX_LOG_SIZE: u64 = 256 << 20;

/// File name of a log in which the order of the records matters.
pub(super) const ORDERED_LOG: &str = "ordered";

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
    /// The largest number of a spool file or a change. The journals that a mount uses share it.
    numbers: Arc<AtomicU64>,
    /// Number of records written by this process.
    records: u64,
    /// Size in bytes from which the log may be worth rewriting.
    tidy_at: u64,
    /// Lines appended since a rewrite began.
    tail: Option<Vec<u8>>,
    /// The log was renamed, and its new name may not be on the disk yet.
    is_renamed: bool,
    /// Spool files that are removed when the records that free them are on the disk.
    garbage: Vec<ObsoleteSpool>,
}

/// A spool file that the next mount does not need once a number of records is on the disk.
#[derive(Debug)]
struct ObsoleteSpool {
    records: u64,
    path: PathBuf,
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
    /// The name that it gets.
    to: PathBuf,
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
    /// Whether lines have checksums, and the records after a damaged one count for nothing.
    is_ordered: bool,
    /// Changes of names by number, and the domains that they took over.
    pub(super) changes: BTreeMap<u64, (NameChange, Domains)>,
    /// Changes that were about to be sent: the numbers that each stands for, by the first of them.
    pub(super) begun: BTreeMap<u64, (Vec<u64>, NameChange, Domains)>,
    /// Numbers of the changes that give a spool file its name, by its number.
    stores: BTreeMap<u64, Vec<u64>>,
    /// The largest number of a spool file or a change.
    largest: u64,
}

/// State of a spool file.
#[derive(Debug)]
pub(super) struct NamedSpool {
    /// The path that it was opened for.
    pub(super) path: RemotePath,
    /// The upload, while one is pending.
    pub(super) pending: Option<Pending>,
    /// Position of a `Pending` record. Of two uploads to the same path the later one wins.
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
        let mut good = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let content = line.strip_suffix(b"\n").unwrap_or(line);
            match live.parse(content) {
                Some(record) => live.apply(record),
                // A write that failed left a part of a line, and the next one an empty one.
                None if live.is_ordered && !content.is_empty() => break,
                None => {}
            }
            good += line.len();
        }
        file.set_len(good as u64)?;
        Ok(Self::new(path, file, good as u64, live))
    }

    fn new(path: PathBuf, file: File, bytes: u64, live: LiveRecords) -> Self {
        Self {
            path,
            file: Arc::new(file),
            bytes,
            is_torn: false,
            warned: false,
            numbers: Arc::new(AtomicU64::new(live.largest)),
            live,
            records: 0,
            tidy_at: MIN_REWRITE_SIZE,
            tail: None,
            is_renamed: false,
            garbage: Vec::new(),
        }
    }

    /// The live records.
    pub(super) fn live(&self) -> &LiveRecords {
        &self.live
    }

    /// Returns a number that is larger than that of any spool file or change of this log, and of
    /// those that share its numbers.
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The largest number.
    pub(super) fn numbers(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.numbers)
    }

    /// Continues with `numbers`, so that the changes of several logs have one order.
    pub(super) fn share_numbers(&mut self, numbers: Arc<AtomicU64>) {
        let largest = self.numbers.load(Ordering::Relaxed);
        numbers.fetch_max(largest, Ordering::Relaxed);
        self.numbers = numbers;
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
        Some(self.rewrite(self.path.clone(), lines))
    }

    /// Makes the order of the records matter from now on. Starts a rewrite to a file that older
    /// versions do not read: they know none of these records and would remove the journal. Returns
    /// `None` if the order matters already.
    pub(super) fn begin_order(&mut self) -> Option<Rewrite> {
        if std::mem::replace(&mut self.live.is_ordered, true) {
            return None;
        }
        let lines = self.live.to_lines();
        Some(self.rewrite(self.path.with_file_name(ORDERED_LOG), lines))
    }

    fn rewrite(&mut self, to: PathBuf, lines: Vec<u8>) -> Rewrite {
        self.tail = Some(Vec::new());
        Rewrite {
            path: self.path.with_file_name(NEW_LOG),
            to,
            lines,
        }
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
        fs::rename(&rewrite.path, &rewrite.to)?;
        self.path.clone_from(&rewrite.to);
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
        let mut line = self.live.to_line(record);
        self.live.apply(record.clone());
        self.records += 1;
        if let Some(tail) = &mut self.tail {
            tail.extend_from_slice(&line);
        }
        if std::mem::replace(&mut self.is_torn, true) {
            line.insert(0, b'\n');
        }
        let before = self.bytes;
        self.bytes += line.len() as u64;
        let written = (&*self.file).write_all(&line);
        self.is_torn = written.is_err();
        // The records after a part of a line would count for nothing.
        if written.is_err() && self.live.is_ordered && self.file.set_len(before).is_ok() {
            self.bytes = before;
            self.is_torn = false;
        }
        written
    }

    /// Removes the spool file `path` when the records so far are on the disk.
    pub(super) fn remove_later(&mut self, path: PathBuf) {
        self.garbage.push(ObsoleteSpool {
            records: self.records,
            path,
        });
    }

    /// Whether there are spool files to remove.
    pub(super) fn has_garbage(&self) -> bool {
        !self.garbage.is_empty()
    }

    /// Takes the spool files that can be removed when `synced` records are on the disk.
    pub(super) fn take_garbage(&mut self, synced: u64) -> Vec<PathBuf> {
        let due = self.garbage.iter().take_while(|it| it.records <= synced);
        let due = due.count();
        self.garbage.drain(..due).map(|it| it.path).collect()
    }

    /// Number of records written by this process.
    pub(super) fn records(&self) -> u64 {
        self.records
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
        self.places.is_empty() && self.changes.is_empty() && self.pending().next().is_none()
    }

    /// Whether the records after a damaged one count for nothing.
    pub(super) fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    /// Parses a line without its line end.
    fn parse(&self, line: &[u8]) -> Option<Record> {
        if self.is_ordered {
            Record::parse_checked(line)
        } else {
            Record::parse(line).or_else(|| Record::parse_checked(line))
        }
    }

    fn to_line(&self, record: &Record) -> Vec<u8> {
        if self.is_ordered {
            record.to_checked_line()
        } else {
            record.to_line()
        }
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
                self.largest = self.largest.max(number);
                let spooled = NamedSpool {
                    path,
                    pending: None,
                    turn: 0,
                };
                self.spools.insert(number, spooled);
            }
            Record::Pending(number, pending) => {
                if let Some(spooled) = self.spools.get_mut(&number) {
                    let before = spooled.pending.replace(pending);
                    // Another attempt to upload it does not make it newer than what was closed
                    // meanwhile.
                    let is_again = before.is_some_and(|before| {
                        spooled
                            .pending
                            .as_ref()
                            .is_some_and(|it| it.target == before.target)
                    });
                    if !is_again {
                        self.turns += 1;
                        spooled.turn = self.turns;
                    }
                }
            }
            Record::Unproven(number, uploads) => {
                let spooled = self.spools.get_mut(&number);
                if let Some(pending) = spooled.and_then(|spooled| spooled.pending.as_mut()) {
                    pending.unproven = uploads;
                }
            }
            Record::Settled(number) => {
                self.end_store(number);
                if let Some(spooled) = self.spools.get_mut(&number) {
                    spooled.pending = None;
                }
            }
            Record::Closed(number) => {
                self.end_store(number);
                self.spools.remove(&number);
            }
            Record::Ordered => self.is_ordered = true,
            Record::Change(number, change, domains) => {
                self.largest = self.largest.max(number);
                if let NameAction::Store { id } = change.action {
                    self.stores.entry(id).or_default().push(number);
                }
                self.changes.insert(number, (change, domains));
            }
            Record::Begun(numbers, change, domains) => {
                if let Some(first) = numbers.first() {
                    self.begun.insert(*first, (numbers, change, domains));
                }
            }
            Record::Undone(numbers) => {
                numbers.first().map(|first| self.begun.remove(first));
            }
            Record::Ended(numbers) => self.end_changes(&numbers),
        }
    }

    fn end_changes(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.changes.remove(number);
            self.begun.remove(number);
        }
    }

    /// Removes the changes that give the contents of a spool file their name.
    fn end_store(&mut self, spool: u64) {
        if let Some(numbers) = self.stores.remove(&spool) {
            self.end_changes(&numbers);
        }
    }

    fn to_lines(&self) -> Vec<u8> {
        let mut records = Vec::new();
        records.extend(self.is_ordered.then_some(Record::Ordered));
        records.extend(self.places.values().cloned());
        let spools = self.spools.iter();
        records.extend(spools.map(|(number, spooled)| Record::Open(*number, spooled.path.clone())));
        let pending = self.pending();
        records.extend(pending.map(|(number, pending)| Record::Pending(number, pending.clone())));
        let changes = self.changes.iter();
        records.extend(changes.map(|(number, (change, domains))| {
            Record::Change(*number, change.clone(), domains.clone())
        }));
        let begun = self.begun.values().cloned();
        let begun = begun.map(|(numbers, change, domains)| Record::Begun(numbers, change, domains));
        records.extend(begun);
        let lines = records.iter().map(|record| self.to_line(record));
        lines.flatten().collect()
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
