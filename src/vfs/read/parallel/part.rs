//! One part of a remote file on its way into a local one: filled by one thread, read by another
//! that follows it.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::vfs::local::quota::QuotaFile;

/// How often who waits for bytes looks again; the wake-up normally comes.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How a part's transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartOutcome {
    /// All of it is there.
    Whole,
    /// It was ended early, for its connection was needed; what has come is there.
    Cut,
    /// It failed, or is of another file than was expected.
    Failed,
}

/// What there is at a place in a part.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// So many bytes, now in the buffer.
    Bytes(usize),
    /// None, and there will be none here.
    Nothing(PartOutcome),
}

/// The bytes `start..end` of a file.
#[derive(Debug)]
pub(super) struct Part {
    start: u64,
    end: u64,
    scratch: QuotaFile,
    progress: Mutex<Progress>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    /// Bytes that are there.
    filled: u64,
    /// So many of them are of the expected version of the file.
    confirmed: u64,
    outcome: Option<PartOutcome>,
}

impl Part {
    /// Nothing of it yet; `scratch` has room for all.
    pub(super) fn new(start: u64, end: u64, scratch: QuotaFile) -> Self {
        Self {
            start,
            end,
            scratch,
            progress: Mutex::default(),
            moved: Condvar::new(),
        }
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Bytes that are there.
    pub(super) fn filled(&self) -> u64 {
        self.lock().filled
    }

    /// Bytes that are still to come.
    pub(super) fn missing(&self) -> u64 {
        self.end - self.start - self.filled()
    }

    /// Adds what came next.
    ///
    /// # Errors
    /// The local file's.
    pub(super) fn add(&self, bytes: &[u8]) -> io::Result<()> {
        let filled = self.lock().filled;
        self.scratch.file().write_all_at(bytes, filled)?;
        self.lock().filled += bytes.len() as u64;
        self.moved.notify_all();
        Ok(())
    }

    /// The server said that the file is still the expected one, after all that is there had come.
    pub(super) fn confirm(&self) {
        let mut progress = self.lock();
        progress.confirmed = progress.filled;
    }

    /// The bytes of the file that are known to be of the expected version.
    pub(super) fn confirmed(&self) -> Range<u64> {
        self.start..self.start + self.lock().confirmed
    }

    /// No more will come; the first word counts.
    pub(super) fn end_with(&self, outcome: PartOutcome) {
        self.lock().outcome.get_or_insert(outcome);
        self.moved.notify_all();
    }

    /// Whether no more is to come.
    pub(super) fn is_over(&self) -> bool {
        self.lock().outcome.is_some()
    }

    /// Some bytes at `position`, which lies in it or at its end, into `buffer`; waits until there
    /// are some or an outcome.
    ///
    /// # Errors
    /// The local file's.
    pub(super) fn read(&self, position: u64, buffer: &mut [u8]) -> io::Result<Found> {
        let at = position.saturating_sub(self.start);
        {
            let mut progress = self.lock();
            while progress.filled <= at {
                if let Some(outcome) = progress.outcome {
                    return Ok(Found::Nothing(outcome));
                }
                progress = self
                    .moved
                    .wait_timeout(progress, LOOK_AGAIN)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
        }
        self.copy(position, buffer).map(Found::Bytes)
    }

    /// What is there at `position` now, into `buffer`; how many bytes.
    ///
    /// # Errors
    /// The local file's.
    pub(super) fn copy(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let at = position.saturating_sub(self.start);
        let there = self.filled().saturating_sub(at);
        let length = buffer
            .len()
            .min(usize::try_from(there).unwrap_or(usize::MAX));
        let wanted = buffer.get_mut(..length).unwrap_or_default();
        self.scratch.file().read_exact_at(wanted, at)?;
        Ok(length)
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn a_reader_follows_what_comes_and_learns_how_it_ended() {
        let part = Arc::new(Part::new(100, 110, QuotaFile::unaccounted()));
        let reader = {
            let part = Arc::clone(&part);
            thread::spawn(move || {
                let mut read = Vec::new();
                let mut buffer = [0; 3];
                loop {
                    match part.read(100 + read.len() as u64, &mut buffer).unwrap() {
                        Found::Bytes(count) => read.extend_from_slice(&buffer[..count]),
                        Found::Nothing(outcome) => return (read, outcome),
                    }
                }
            })
        };
        part.add(b"01234").unwrap();
        assert_eq!(part.missing(), 5);
        part.add(b"567").unwrap();
        part.end_with(PartOutcome::Cut);
        part.end_with(PartOutcome::Failed);
        assert_eq!(
            reader.join().unwrap(),
            (b"01234567".to_vec(), PartOutcome::Cut)
        );
        let mut buffer = [0; 8];
        assert_eq!(part.read(104, &mut buffer).unwrap(), Found::Bytes(4));
        assert_eq!(&buffer[..4], b"4567");
    }
}
