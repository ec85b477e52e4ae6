//! What a program sees of a remote file, whatever the network does.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::fake::{FakeFile, FakeSource, PATIENCE, Plan, sample};
use super::stream::Stream;
use super::*;
use crate::ftp::{RemotePath, Version};
use crate::journal::Journal;
use crate::vfs::local::spool_dir::SpoolDir;

const K: usize = 1 << 10;
const M: usize = 1 << 20;

fn options() -> ReadOptions {
    ReadOptions {
        read_ahead: 4 * M,
        streams: 3,
        timeout: PATIENCE,
    }
}

fn parallel() -> ParallelReads {
    ParallelReads::new(SpoolDir::new(Journal::disabled(None), None))
}

fn expected(size: Option<usize>) -> Arc<PinnedVersion> {
    Arc::new(PinnedVersion::new(sized(size)))
}

fn sized(size: Option<usize>) -> Version {
    Version {
        size: size.map(|size| size as u64),
        ..Version::default()
    }
}

fn reader(file: &Arc<FakeFile>, size: Option<usize>) -> Reader {
    let source = Arc::new(FakeSource(Arc::clone(file)));
    Reader::new(source, expected(size), options(), parallel(), None)
}

fn read_all(reader: &Reader, request: usize) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    loop {
        let bytes = reader.fetch(all.len() as u64, request)?;
        if bytes.is_empty() {
            return Ok(all);
        }
        all.extend_from_slice(&bytes);
    }
}

impl Reader {
    /// Reads for somebody who waits to the end.
    fn fetch(&self, offset: u64, length: usize) -> Result<Bytes, Error> {
        self.read(offset, length, &Cancel::never())
    }
}

#[test]
fn a_file_read_from_start_to_end_takes_one_transfer() {
    let file = FakeFile::new(sample(9 * M + 77), &[]);
    for size in [Some(9 * M + 77), None] {
        for request in [100 * K, 128 * K, M] {
            let reader = reader(&file, size);
            let before = file.opened().len();
            assert!(read_all(&reader, request).unwrap() == file.bytes());
            assert_eq!(file.opened().len(), before + 1);
            file.wait_for_live(0);
        }
    }
}

#[test]
fn aligned_requests_are_answered_without_a_copy() {
    let file = FakeFile::new(sample(4 * M), &[]);
    let reader = reader(&file, Some(4 * M));
    reader.fetch(0, M).unwrap();
    for at in 1..4 {
        let twice = [(); 2].map(|()| reader.fetch(at * M as u64, M).unwrap());
        assert_eq!(twice[0].len(), M);
        assert_eq!(twice[0].as_ptr(), twice[1].as_ptr());
    }
}

#[test]
fn reads_out_of_order_and_side_by_side_share_the_transfer() {
    let file = FakeFile::new(sample(16 * M), &[]);
    let reader = reader(&file, Some(16 * M));
    let requests = 16 * M / (128 * K);
    // The last of each group of four is requested first, all four together.
    for group in 0..requests / 4 {
        let start = Barrier::new(4);
        thread::scope(|scope| {
            for place in (0..4).rev() {
                let (reader, file, start) = (&reader, &file, &start);
                scope.spawn(move || {
                    start.wait();
                    let at = (group * 4 + place) * 128 * K;
                    let bytes = reader.fetch(at as u64, 128 * K).unwrap();
                    assert!(*bytes == file.bytes()[at..at + 128 * K]);
                });
            }
        });
    }
    assert_eq!(file.opened(), [0]);
}

#[test]
fn a_read_that_needs_no_waiting_is_answered_at_once_and_others_are_not() {
    let file = FakeFile::new(sample(M), &[]);
    let reader = reader(&file, Some(M));
    assert!(reader.available(0, 10).is_none());
    assert!(file.opened().is_empty(), "trying sends nothing");
    assert!(reader.available(M as u64, 10).unwrap().is_empty());
    assert!(reader.available(5, 0).unwrap().is_empty());
    reader.fetch(0, 4 * K).unwrap();
    assert_eq!(*reader.available(5, 10).unwrap(), file.bytes()[5..15]);
}

#[test]
fn a_read_across_the_end_is_short_and_one_beyond_is_empty() {
    for size in [Some(300 * K), None] {
        let file = FakeFile::new(sample(300 * K), &[]);
        let reader = reader(&file, size);
        let end = 300 * K as u64;
        assert!(*reader.fetch(end - 10, 100).unwrap() == file.bytes()[300 * K - 10..]);
        assert!(reader.fetch(end, 100).unwrap().is_empty());
        assert!(reader.fetch(u64::MAX, 100).unwrap().is_empty());
        assert_eq!(file.opened(), [0]);
    }
}

#[test]
fn a_file_that_was_fetched_ahead_is_read_without_a_transfer() {
    for size in [Some(200 * K), None] {
        let file = FakeFile::new(sample(200 * K), &[]);
        file.prefetch();
        let ahead = reader(&file, size);
        assert!(read_all(&ahead, 128 * K).unwrap() == file.bytes());
        assert!(file.opened().is_empty());
        let anew = reader(&file, size);
        assert!(read_all(&anew, 128 * K).unwrap() == file.bytes());
        assert_eq!(file.opened(), [0], "it was there for one reader");
    }
}

#[test]
fn an_empty_file_needs_no_transfer_where_its_size_is_known() {
    let file = FakeFile::new(Vec::new(), &[]);
    assert!(reader(&file, Some(0)).fetch(0, 10).unwrap().is_empty());
    assert!(file.opened().is_empty());
    assert!(reader(&file, None).fetch(0, 10).unwrap().is_empty());
}

#[test]
fn a_file_longer_than_listed_is_shown_as_listed() {
    let file = FakeFile::new(sample(M), &[]);
    let reader = reader(&file, Some(200 * K));
    assert!(read_all(&reader, 128 * K).unwrap() == file.bytes()[..200 * K]);
    file.wait_for_live(0);
}

#[test]
fn data_that_ends_early_is_resumed_where_it_ended() {
    let lost = ErrorKind::ConnectionLost;
    let plans = [
        Plan::End(M + 3),
        Plan::Break(K, lost),
        Plan::Refuse(lost),
        Plan::Break(M, ErrorKind::TimedOut),
    ];
    let file = FakeFile::new(sample(4 * M), &plans);
    let reader = reader(&file, Some(4 * M));
    assert!(read_all(&reader, 128 * K).unwrap() == file.bytes());
    let (first, second) = ((M + 3) as u64, (M + 3 + K) as u64);
    let third = second + M as u64;
    assert_eq!(file.opened(), [0, first, second, second, third]);
}

#[test]
fn data_that_keeps_ending_early_is_an_error_and_never_a_short_file() {
    let file = FakeFile::new(sample(M), &[]);
    let reader = reader(&file, Some(2 * M));
    let error = read_all(&reader, 128 * K).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Truncated);
    // Four times by the read-ahead, and again if that was over when the read came.
    let (first, tries) = file
        .opened()
        .split_first()
        .map(|(a, b)| (*a, b.to_vec()))
        .unwrap();
    assert_eq!(first, 0);
    assert!(tries.iter().all(|at| *at == M as u64));
    assert!((3..=7).contains(&tries.len()), "{tries:?}");
    assert!(
        reader.fetch(0, 128 * K).is_ok(),
        "what has come can be read all the same"
    );
}

#[test]
fn many_breaks_are_survived_as_long_as_bytes_come() {
    let plans = [Plan::Break(50 * K, ErrorKind::ConnectionLost); 30];
    let file = FakeFile::new(sample(2 * M), &plans);
    let reader = reader(&file, Some(2 * M));
    assert!(read_all(&reader, 128 * K).unwrap() == file.bytes());
}

#[test]
fn a_refusal_is_told_at_once_and_the_next_read_tries_anew() {
    let plans = [Plan::Refuse(ErrorKind::PermissionDenied)];
    let file = FakeFile::new(sample(M), &plans);
    let reader = reader(&file, Some(M));
    let error = reader.fetch(0, 10).unwrap_err();
    assert_eq!(error.kind, ErrorKind::PermissionDenied);
    assert_eq!(*reader.fetch(0, 10).unwrap(), file.bytes()[..10]);
    assert_eq!(file.opened(), [0, 0]);
}

#[test]
fn every_read_that_waits_is_told_of_the_failure() {
    let denied = ErrorKind::PermissionDenied;
    let file = FakeFile::new(sample(M), &[Plan::Break(16 * K, denied)]);
    file.allow(Some(0));
    let reader = reader(&file, Some(M));
    thread::scope(|scope| {
        let reads: Vec<_> = (0..4)
            .map(|at| {
                let reader = &reader;
                scope.spawn(move || reader.fetch(at * 128 * K as u64, 128 * K))
            })
            .collect();
        let waits = || {
            let state = reader.shared.lock();
            state.streams.iter().map(Stream::waiting).sum::<usize>()
        };
        let started = Instant::now();
        while waits() < 4 {
            assert!(started.elapsed() < PATIENCE);
            thread::yield_now();
        }
        file.allow(None);
        for read in reads {
            assert_eq!(read.join().unwrap().unwrap_err().kind, denied);
        }
    });
    assert_eq!(file.opened(), [0]);
    assert!(read_all(&reader, 128 * K).unwrap() == file.bytes());
    assert_eq!(file.opened(), [0, 16 * K as u64], "what came is not wasted");
}

#[test]
fn a_slow_reader_stops_the_transfer_and_bounds_the_memory() {
    let file = FakeFile::new(sample(32 * M), &[]);
    let reader = reader(&file, Some(32 * M));
    let mut furthest = 0;
    for at in (0..12 * M).step_by(128 * K) {
        reader.fetch(at as u64, 128 * K).unwrap();
        furthest = (at + 128 * K) as u64;
        assert!(file.sent() <= furthest + 5 * M as u64);
        let state = reader.shared.lock();
        assert!(state.blocks.in_memory() <= 8 * M as u64);
    }
    file.wait_for_sent(furthest + 2 * M as u64);
}

#[test]
fn a_small_random_read_does_not_pull_the_whole_window() {
    let file = FakeFile::new(sample(32 * M), &[]);
    let reader = reader(&file, Some(32 * M));
    for at in [20 * M, 10 * M, 25 * M, 5 * M] {
        let bytes = reader.fetch(at as u64, 4 * K).unwrap();
        assert!(*bytes == file.bytes()[at..at + 4 * K]);
    }
    assert!(file.sent() <= 4 * 640 * K as u64);
    drop(reader);
    file.wait_for_live(0);
}

#[test]
fn a_byte_is_answered_when_it_is_here_and_not_when_its_block_is_full() {
    let file = FakeFile::new(sample(M), &[]);
    file.packet(K);
    file.allow(Some(5 * K as u64));
    let reader = reader(&file, Some(M));
    assert_eq!(*reader.fetch(0, 4 * K).unwrap(), file.bytes()[..4 * K]);
    file.allow(None);
    assert!(read_all(&reader, 4 * K).unwrap() == file.bytes());
}

#[test]
fn a_far_seek_begins_a_new_stream_in_place_of_the_least_recently_used() {
    let file = FakeFile::new(sample(64 * M), &[]);
    let reader = reader(&file, Some(64 * M));
    for at in [0, 20 * M, 40 * M, 60 * M] {
        reader.fetch(at as u64, 4 * K).unwrap();
    }
    file.wait_for_live(3);
    let opened = file.opened();
    reader.fetch((20 * M + 4 * K) as u64, 128 * K).unwrap();
    reader.fetch((40 * M + 500 * K) as u64, 4 * K).unwrap();
    assert_eq!(file.opened(), opened, "both streams were still there");
    reader.fetch(64 * K as u64, 4 * K).unwrap();
    assert_eq!(file.opened().len(), opened.len() + 1, "the first was not");
}

#[test]
fn more_readers_than_streams_take_turns() {
    let file = FakeFile::new(sample(64 * M), &[]);
    let reader = reader(&file, Some(64 * M));
    thread::scope(|scope| {
        for place in 0..8 {
            let (reader, file) = (&reader, &file);
            scope.spawn(move || {
                for step in 0..8 {
                    let at = (step * 8 + (place + step) % 8) * M + 11;
                    let bytes = reader.fetch(at as u64, 4 * K).unwrap();
                    assert!(*bytes == file.bytes()[at..at + 4 * K]);
                }
            });
        }
    });
    assert!(reader.shared.lock().streams.len() <= 3);
}

#[test]
fn an_idle_stream_gives_its_connection_back_and_goes_on_later() {
    let file = FakeFile::new(sample(16 * M), &[]);
    let reader = reader(&file, Some(16 * M));
    reader.fetch(0, 128 * K).unwrap();
    file.wait_for_live(1);
    reader.release_idle(Duration::from_secs(3600));
    assert!(reader.shared.lock().streams[0].transfer.is_some());
    reader.release_idle(Duration::ZERO);
    file.wait_for_live(0);
    assert!(read_all(&reader, 128 * K).unwrap() == file.bytes());
    assert_eq!(file.opened().len(), 2);
    assert!(file.opened()[1] >= 128 * K as u64);
    reader.forget_idle(Duration::ZERO);
    assert!(reader.shared.lock().streams.is_empty());
    assert!(reader.available(0, 10).is_none());
}

#[test]
fn a_dropped_reader_ends_its_transfers_without_waiting_for_them() {
    let file = FakeFile::new(sample(16 * M), &[]);
    let reader = reader(&file, Some(16 * M));
    reader.fetch(0, 128 * K).unwrap();
    // One thread waits for room, the other for the network.
    file.wait_for_sent(384 * K as u64);
    file.allow(Some(0));
    thread::scope(|scope| {
        scope.spawn(|| reader.fetch(8 * M as u64, 10));
        file.wait_for_live(2);
        file.allow(Some(file.sent() + 48 * K as u64));
    });
    drop(reader);
    file.allow(None);
    file.wait_for_live(0);
}

#[test]
fn a_transfer_that_does_not_move_is_given_up() {
    let file = FakeFile::new(sample(M), &[]);
    file.allow(Some(0));
    let source = Arc::new(FakeSource(Arc::clone(&file)));
    let options = ReadOptions {
        timeout: Duration::from_millis(50),
        ..options()
    };
    let reader = Reader::new(source, expected(Some(M)), options, parallel(), None);
    assert_eq!(reader.fetch(0, 10).unwrap_err().kind, ErrorKind::TimedOut);
    file.allow(None);
    file.wait_for_live(0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_read_in_whatever_order_is_the_file(
        known in any::<bool>(),
        reads in proptest::collection::vec((0_usize..3 * M, 0_usize..400 * K), 1..40),
        breaks in proptest::collection::vec((1_usize..M, any::<bool>()), 0..8),
        streams in 1_usize..4,
        read_ahead in prop_oneof![Just(0), Just(64 * K), Just(4 * M)],
    ) {
        // An end is only known to be early where the size is known.
        let plans: Vec<Plan> = breaks
            .iter()
            .map(|(after, ends)| {
                if *ends && known {
                    Plan::End(*after)
                } else {
                    Plan::Break(*after, ErrorKind::ConnectionLost)
                }
            })
            .collect();
        let file = FakeFile::new(sample(2 * M + 12345), &plans);
        let source = Arc::new(FakeSource(Arc::clone(&file)));
        let size = known.then_some(file.bytes().len());
        let options = ReadOptions { read_ahead, streams, timeout: PATIENCE };
        let reader = Reader::new(source, expected(size), options, parallel(), None);
        for (offset, length) in reads {
            let bytes = match reader.available(offset as u64, length) {
                Some(bytes) => bytes,
                None => reader.fetch(offset as u64, length).unwrap(),
            };
            let size = file.bytes().len();
            let model = &file.bytes()[offset.min(size)..(offset + length).min(size)];
            prop_assert!(*bytes == *model);
        }
        drop(reader);
        file.wait_for_live(0);
    }
}

#[test]
fn a_transfer_is_given_up_with_the_last_who_waits_for_it() {
    let file = FakeFile::new(sample(M), &[]);
    file.allow(Some(0));
    let reader = reader(&file, Some(M));
    let cancelled = Cancel::new();
    cancelled.cancel();
    assert!(reader.read(0, 10, &cancelled).unwrap().is_empty());
    let is_given_up = |stream: &Stream| stream.transfer.is_none();
    assert!(reader.shared.lock().streams.iter().all(is_given_up));
    file.allow(None);
    assert_eq!(*reader.fetch(0, 10).unwrap(), file.bytes()[..10]);
}

/// A server whose answer makes ftpfs panic.
struct Panics;

impl RangeSource for Panics {
    fn open_at(&self, _: u64, _: &Cancel) -> Result<(Box<dyn RangeDownload>, u64), Error> {
        panic!("injected");
    }

    fn version(&self, _: &Cancel) -> Result<Version, Error> {
        Ok(sized(Some(M)))
    }

    fn path(&self) -> RemotePath {
        RemotePath::root()
    }
}

#[test]
fn a_read_whose_transfer_panics_is_an_error() {
    let reader = Reader::new(
        Arc::new(Panics),
        expected(Some(M)),
        options(),
        parallel(),
        None,
    );
    for _ in 0..=options().streams {
        let error = reader.fetch(0, 10).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Local);
    }
}
