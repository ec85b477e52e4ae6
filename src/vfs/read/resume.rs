//! A transfer that survives its connection. If it breaks, or ends before the file does, it
//! continues at the offset reached (REST, RFC 3659 §5), provided that the file is still the same.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::pinned_version::PinnedVersion;
use super::source::{RangeDownload, RangeSource};
use crate::cancel::Cancel;
use crate::remote::{Attempts, Error, ErrorKind, RetryMode};

/// Bytes and duration from which a transfer is long. After a long one, the server is asked whether
/// the file is still the same. A shorter one leaves hardly any time for a change, and should not
/// cost another round trip.
const LONG: (u64, Duration) = (4 << 20, Duration::from_secs(1));

/// The result of one step of a transfer.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::vfs) enum DownloadStep {
    /// This many bytes are in the buffer.
    Bytes(usize),
    /// The transfer started, broke, or still has to skip bytes before the requested offset. The
    /// next step continues.
    Again,
    /// The server confirmed the end of the file.
    End,
}

/// Whether to check the version of the file before a transfer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum Revalidate {
    /// The file is the expected one.
    No,
    /// The file may have changed since: ask the server first.
    Yes,
}

/// A download of a file from an offset to its end, over as many transfers as needed.
pub(in crate::vfs) struct ResumableDownload {
    source: Arc<dyn RangeSource>,
    expected: Arc<PinnedVersion>,
    trust: Revalidate,
    /// Cancels waits for connections.
    cancel: Cancel,
    incoming: Option<Box<dyn RangeDownload>>,
    /// The measured round-trip time, if the last transfer started at the position.
    round_trip: Option<Duration>,
    /// Number of bytes still to skip: the server starts only at the beginning of the file.
    before: u64,
    position: u64,
    began: (u64, Instant),
    attempts: Attempts,
    /// Whether the server ever opened the file. Only then can a failure be one of the connection.
    opened: bool,
    /// Whether the last byte was received and the file is still the same.
    complete: bool,
    /// Whether some bytes were obtained in another way, so that the transfers do not cover the
    /// whole file.
    skipped: bool,
}

impl ResumableDownload {
    /// Creates a download of `source`, which has the version `expected`, from `position` on. Opens
    /// nothing before the first step.
    pub(in crate::vfs) fn new(
        source: Arc<dyn RangeSource>,
        position: u64,
        expected: Arc<PinnedVersion>,
        trust: Revalidate,
        cancel: &Cancel,
    ) -> Self {
        let attempts = Attempts::from(source.retry_mode(), position);
        Self {
            source,
            expected,
            trust,
            cancel: cancel.clone(),
            incoming: None,
            round_trip: None,
            before: 0,
            position,
            began: (position, Instant::now()),
            attempts,
            opened: false,
            complete: false,
            skipped: false,
        }
    }

    /// Returns the offset of the next byte.
    pub(in crate::vfs) fn position(&self) -> u64 {
        self.position
    }

    /// Returns the round-trip time to the server, if it is known and transfers start at the
    /// requested offset.
    pub(in crate::vfs) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Takes the current transfer, so that the caller can end it elsewhere.
    pub(in crate::vfs) fn take_transfer(&mut self) -> Option<Box<dyn RangeDownload>> {
        self.incoming.take()
    }

    /// Continues at `position`, because the bytes before it were obtained in another way. At the
    /// end of the file, a long transfer asks whether the file is still the same.
    ///
    /// # Errors
    /// `Changed` if the server has another file; the error of the query if the server cannot be
    /// asked.
    pub(in crate::vfs) fn skip_to(&mut self, position: u64) -> Result<(), Error> {
        self.incoming = None;
        self.skipped = true;
        if self.expected.size() == Some(position) {
            self.end_at(position)?;
        } else {
            self.position = position;
            self.before = 0;
            self.trust = Revalidate::Yes;
        }
        Ok(())
    }

    /// Records that all bytes were obtained in another way, and that the file ends at `position`.
    /// After a long time or many bytes, asks the server whether the file is still the same.
    ///
    /// # Errors
    /// Those of [`Self::skip_to`].
    pub(in crate::vfs) fn end_at(&mut self, position: u64) -> Result<(), Error> {
        self.position = position;
        if self.was_long() {
            self.expected.confirm(&*self.source, &self.cancel)?;
        }
        self.complete = true;
        Ok(())
    }

    /// Asks the server whether the file is the expected one, if that is not certain.
    ///
    /// # Errors
    /// Those of [`Self::skip_to`].
    pub(in crate::vfs) fn revalidate(&mut self) -> Result<(), Error> {
        if self.trust == Revalidate::Yes {
            self.expected.confirm(&*self.source, &self.cancel)?;
            self.trust = Revalidate::No;
        }
        Ok(())
    }

    /// Continues even if no reader waits for the bytes any more.
    pub(in crate::vfs) fn outlive_readers(&mut self) {
        self.cancel = Cancel::never();
    }

    /// Waits for the network once. `buffer` must not be empty.
    ///
    /// # Errors
    /// A refusal by the server, immediately; a broken transfer, if opening it again did not help;
    /// `Truncated` if the data repeatedly ends before the size; `Changed` if the server has another
    /// file.
    pub(in crate::vfs) fn step(&mut self, buffer: &mut [u8]) -> Result<DownloadStep, Error> {
        if self.complete {
            return Ok(DownloadStep::End);
        }
        let Some(mut incoming) = self.incoming.take() else {
            return match self.open() {
                Ok(incoming) => {
                    self.incoming = Some(incoming);
                    self.opened = true;
                    Ok(DownloadStep::Again)
                }
                Err(error) => self.failed(error),
            };
        };
        if self.before > 0 {
            return self.read_over(incoming, buffer);
        }
        match incoming.read(buffer) {
            Ok(0) => {
                drop(incoming);
                self.ended()
            }
            Ok(count) => {
                let count = count.min(buffer.len());
                self.position += count as u64;
                if self.expected.size() == Some(self.position) && self.was_long() {
                    self.close(incoming)?;
                } else {
                    self.incoming = Some(incoming);
                }
                Ok(DownloadStep::Bytes(count))
            }
            Err(error) => {
                drop(incoming);
                self.failed(error)
            }
        }
    }

    /// Starts a transfer of the expected file.
    fn open(&mut self) -> Result<Box<dyn RangeDownload>, Error> {
        self.revalidate()?;
        let (incoming, start) = self.source.open_at(self.position, &self.cancel)?;
        self.before = self.position.saturating_sub(start);
        self.round_trip = incoming.round_trip().filter(|_| self.before == 0);
        Ok(incoming)
    }

    /// Reads and discards bytes before the position.
    fn read_over(
        &mut self,
        mut incoming: Box<dyn RangeDownload>,
        buffer: &mut [u8],
    ) -> Result<DownloadStep, Error> {
        let length = buffer
            .len()
            .min(usize::try_from(self.before).unwrap_or(usize::MAX));
        let read = incoming.read(buffer.get_mut(..length).unwrap_or_default());
        match read {
            Ok(0) => {
                drop(incoming);
                self.ended()
            }
            Ok(count) => {
                self.before -= (count as u64).min(self.before);
                self.incoming = Some(incoming);
                Ok(DownloadStep::Again)
            }
            Err(error) => {
                drop(incoming);
                self.failed(error)
            }
        }
    }

    /// Handles the end of the data: the end of the file, an early end, or the end of another file.
    fn ended(&mut self) -> Result<DownloadStep, Error> {
        let is_early = self.before > 0
            || self
                .expected
                .size()
                .is_some_and(|size| self.position < size);
        let is_one_transfer =
            self.before == 0 && self.began.0 == 0 && self.attempts.is_first() && !self.skipped;
        if is_early && is_one_transfer {
            match self
                .expected
                .ends_at(self.position, &*self.source, &self.cancel)
            {
                Ok(true) => {
                    self.complete = true;
                    return Ok(DownloadStep::End);
                }
                Ok(false) => {}
                Err(error) => return self.failed(error),
            }
        }
        if is_early {
            return match self.expected.confirm(&*self.source, &self.cancel) {
                Ok(()) => self.failed(self.truncated()),
                Err(error) => self.failed(error),
            };
        }
        if self.was_long() {
            self.expected.confirm(&*self.source, &self.cancel)?;
        }
        self.complete = true;
        Ok(DownloadStep::End)
    }

    /// Ends a long transfer after its last byte: checks that no byte follows and that the file is
    /// still the same. Returns the session first, because the query may need it.
    fn close(&mut self, mut incoming: Box<dyn RangeDownload>) -> Result<(), Error> {
        let ended = incoming.read(&mut [0; 1]);
        drop(incoming);
        match ended {
            Ok(0) => {}
            Ok(_) if self.expected.may_grow() => {}
            Ok(_) => return Err(self.expected.changed(&*self.source)),
            Err(error) => log::debug!("after the last byte: {error}"),
        }
        self.expected.confirm(&*self.source, &self.cancel)?;
        self.complete = true;
        Ok(())
    }

    fn was_long(&self) -> bool {
        let (start, began) = self.began;
        self.position - start >= LONG.0 || began.elapsed() >= LONG.1
    }

    fn failed(&mut self, error: Error) -> Result<DownloadStep, Error> {
        self.attempts.progressed(self.position);
        let is_of_connection = self.opened || self.source.retry_mode() == RetryMode::Hard;
        if is_of_connection && self.attempts.again(error.kind.transience()) {
            log::debug!("{error}; reading on at {}", self.position);
            thread::sleep(self.attempts.pause());
            if self.position > self.began.0 {
                self.trust = Revalidate::Yes;
            }
            return Ok(DownloadStep::Again);
        }
        Err(error)
    }

    fn truncated(&self) -> Error {
        Error {
            kind: ErrorKind::Truncated,
            operation: "read",
            path: self.source.path(),
            reason: format!(
                "the data ended at byte {} of {}",
                self.position,
                self.expected.size().unwrap_or_default()
            ),
            reply: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::{Precision, Version};
    use crate::vfs::read::fake::{FakeFile, FakeSource, Plan, sample};

    const M: usize = 1 << 20;

    fn sized(size: usize) -> Version {
        Version {
            size: Some(size as u64),
            ..Version::default()
        }
    }

    fn resuming(file: &Arc<FakeFile>, position: u64, trust: Revalidate) -> ResumableDownload {
        let source = Arc::new(FakeSource(Arc::clone(file)));
        let expected = Arc::new(PinnedVersion::new(sized(file.bytes().len())));
        ResumableDownload::new(source, position, expected, trust, &Cancel::never())
    }

    fn read(mut resuming: ResumableDownload) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match resuming.step(&mut buffer)? {
                DownloadStep::Bytes(count) => all.extend_from_slice(&buffer[..count]),
                DownloadStep::Again => {}
                DownloadStep::End => return Ok(all),
            }
        }
    }

    #[test]
    fn a_short_transfer_in_one_piece_asks_nothing() {
        let file = FakeFile::new(sample(M), &[]);
        assert!(read(resuming(&file, 0, Revalidate::No)).unwrap() == file.bytes());
        assert_eq!(file.asked(), 0);
    }

    #[test]
    fn a_long_transfer_asks_once_at_its_end() {
        let file = FakeFile::new(sample(5 * M), &[]);
        assert!(read(resuming(&file, 0, Revalidate::No)).unwrap() == file.bytes());
        assert_eq!(file.asked(), 1);
        file.says(sized(6 * M));
        let changed = read(resuming(&file, 0, Revalidate::No)).unwrap_err();
        assert_eq!(changed.kind, ErrorKind::Changed);
    }

    #[test]
    fn what_is_resumed_is_the_same_file_or_an_error() {
        let breaks = Plan::Break(M / 2, ErrorKind::ConnectionLost);
        let file = FakeFile::new(sample(M), &[breaks, breaks]);
        assert!(read(resuming(&file, 0, Revalidate::No)).unwrap() == file.bytes());
        let file = FakeFile::new(sample(M), &[breaks]);
        file.says(sized(M + 1));
        let changed = read(resuming(&file, 0, Revalidate::No)).unwrap_err();
        assert_eq!(changed.kind, ErrorKind::Changed);
        assert_eq!(file.opened(), [0], "nothing of the other file is fetched");
    }

    #[test]
    fn a_listed_size_is_corrected_only_by_a_file_that_was_not_modified() {
        let bytes = sample(1000);
        let version = |size: usize, seconds: Option<i64>| Version {
            size: Some(size as u64),
            modified: seconds.map(|seconds| (seconds, Precision::Second)),
            ..Version::default()
        };
        for (listed, said, position, is_corrected) in [
            (version(4000, Some(7)), version(1000, Some(7)), 0, true),
            (version(4000, Some(7)), version(1000, Some(8)), 0, false),
            (version(4000, Some(7)), version(1000, None), 0, false),
            (version(4000, None), version(1000, Some(7)), 0, false),
            (version(4000, Some(7)), version(900, Some(7)), 0, false),
            (version(4000, Some(7)), version(1000, Some(7)), 10, false),
        ] {
            let file = FakeFile::new(bytes.clone(), &[]);
            file.says(said);
            let expected = Arc::new(PinnedVersion::new(listed));
            let source = Arc::new(FakeSource(Arc::clone(&file)));
            let trust = Revalidate::No;
            let resuming = ResumableDownload::new(
                source,
                position,
                Arc::clone(&expected),
                trust,
                &Cancel::never(),
            );
            let outcome = read(resuming).map(|came| came.len());
            if is_corrected {
                assert_eq!(outcome.unwrap(), bytes.len());
            } else {
                let kind = outcome.unwrap_err().kind;
                assert_eq!(kind, ErrorKind::Changed, "{listed:?} {said:?} {position}");
            }
            let corrected = is_corrected.then_some(1000);
            assert_eq!(expected.corrected_size(), corrected);
            assert_eq!(expected.size(), corrected.or(Some(4000)));
        }
    }

    #[test]
    fn an_early_end_is_another_file_or_a_short_transfer() {
        let file = FakeFile::new(sample(M), &[Plan::End(M / 2)]);
        assert!(read(resuming(&file, 0, Revalidate::No)).unwrap() == file.bytes());
        let file = FakeFile::new(sample(M), &[Plan::End(M / 2)]);
        file.says(sized(M / 2));
        let changed = read(resuming(&file, 0, Revalidate::No)).unwrap_err();
        assert_eq!(changed.kind, ErrorKind::Changed);
    }

    #[test]
    fn transfers_that_bring_next_to_nothing_are_not_begun_for_ever() {
        let file = FakeFile::new(sample(M), &[Plan::End(100); 3]);
        assert!(read(resuming(&file, 0, Revalidate::No)).unwrap() == file.bytes());
        let file = FakeFile::new(sample(M), &[Plan::End(100); 4]);
        let short = read(resuming(&file, 0, Revalidate::No)).unwrap_err();
        assert_eq!(short.kind, ErrorKind::Truncated);
        let file = FakeFile::new(sample(M), &[Plan::End(M / 8); 7]);
        assert!(read(resuming(&file, 0, Revalidate::No)).unwrap() == file.bytes());
    }

    #[test]
    fn a_transfer_is_not_resumed_where_the_layers_below_have_waited_for_a_connection() {
        for kind in [ErrorKind::NoConnection, ErrorKind::Unreachable] {
            let file = FakeFile::new(sample(M), &[Plan::Break(M / 2, kind)]);
            let failed = read(resuming(&file, 0, Revalidate::No)).unwrap_err();
            assert_eq!((failed.kind, file.opened().len()), (kind, 1));
        }
    }

    #[test]
    fn who_is_unsure_asks_before_the_first_byte() {
        let file = FakeFile::new(sample(M), &[]);
        let tail = read(resuming(&file, 1000, Revalidate::Yes)).unwrap();
        assert!(tail == file.bytes()[1000..]);
        assert_eq!(file.asked(), 1);
        file.says(sized(7));
        let changed = read(resuming(&file, 1000, Revalidate::Yes)).unwrap_err();
        assert_eq!(changed.kind, ErrorKind::Changed);
        assert_eq!(file.opened(), [1000]);
    }

    #[test]
    fn a_server_without_restart_is_read_over_from_its_start() {
        let file = FakeFile::new(sample(M), &[Plan::Break(M / 2, ErrorKind::ConnectionLost)]);
        file.restart_at_zero();
        assert!(read(resuming(&file, 0, Revalidate::No)).unwrap() == file.bytes());
        let tail = read(resuming(&file, 70_000, Revalidate::No)).unwrap();
        assert!(tail == file.bytes()[70_000..]);
    }
}
