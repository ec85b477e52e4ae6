//! A large file in parts, from a scripted server.

use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use proptest::prelude::*;

use super::*;
use crate::cancel::Cancel;
use crate::ftp::{RemotePath, Version};
use crate::journal::Journal;
use crate::remote::{Error, ErrorKind};
use crate::vfs::read::fake::{self, FakeFile, FakeSource, PATIENCE, Plan as Script, sample};
use crate::vfs::read::{Bytes, PinnedVersion, RangeDownload, RangeSource, ReadOptions, Reader};

const M: usize = 1 << 20;
const SIZE: usize = 40 * M;
/// Beside the reader's own.
const MOST: usize = 3;

/// A file on a server that is far away.
struct Far {
    file: Arc<FakeFile>,
    parallel: ParallelReads,
    /// Whether there is a connection to spare.
    has_spares: bool,
    is_needed: AtomicBool,
    /// What fetches a part panics.
    panics: AtomicBool,
}

/// What `Far` opens: far away.
struct Slow(Box<dyn RangeDownload>);

impl RangeSource for Far {
    fn open_at(
        &self,
        offset: u64,
        cancel: &Cancel,
    ) -> Result<(Box<dyn RangeDownload>, u64), Error> {
        let (incoming, start) = FakeSource(Arc::clone(&self.file)).open_at(offset, cancel)?;
        Ok((Box::new(Slow(incoming)), start))
    }

    fn version(&self, cancel: &Cancel) -> Result<Version, Error> {
        FakeSource(Arc::clone(&self.file)).version(cancel)
    }

    fn path(&self) -> RemotePath {
        RemotePath::root()
    }

    fn most_beside(&self) -> usize {
        MOST
    }

    fn prepare_beside(&self) {}

    fn open_beside(
        &self,
        patience: Duration,
        version: &Version,
        choose: &mut dyn FnMut() -> Option<Range<u64>>,
    ) -> Option<Result<Box<dyn RangeDownload>, Error>> {
        if !self.has_spares {
            thread::sleep(patience.min(Duration::from_millis(1)));
            return None;
        }
        let offset = choose()?.start;
        assert!(!self.panics.load(Ordering::Relaxed), "injected");
        let opened = self.version(&Cancel::never()).and_then(|told| {
            if !told.agrees(version) {
                return Err(fake::error(ErrorKind::Changed));
            }
            Ok(self.open_at(offset, &Cancel::never())?.0)
        });
        Some(opened)
    }

    fn is_needed_elsewhere(&self) -> bool {
        self.is_needed.load(Ordering::Relaxed)
    }
}

impl RangeDownload for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.0.read(buffer)
    }

    fn round_trip(&self) -> Option<Duration> {
        Some(SHORTEST_ROUND_TRIP)
    }
}

fn version() -> Version {
    Version {
        size: Some(SIZE as u64),
        ..Version::default()
    }
}

fn another_version() -> Version {
    Version {
        size: Some(SIZE as u64 + 1),
        ..Version::default()
    }
}

fn parallel(limit: Option<u64>) -> ParallelReads {
    ParallelReads::new(SpoolDir::new(Journal::disabled(None), limit))
}

/// What the network lets through in a moment before it flows: slow enough that several transfers
/// pay when it does, however busy the machine is.
const TRICKLE: u64 = 16 << 10;

/// A file whose network stalls at its start.
fn far(script: &[Script], change: impl FnOnce(&mut Far)) -> Arc<Far> {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| sample(SIZE));
    let file = FakeFile::new(BYTES.clone(), script);
    file.says(version());
    file.allow(Some(TRICKLE));
    let mut far = Far {
        file,
        parallel: parallel(None),
        has_spares: true,
        is_needed: AtomicBool::new(false),
        panics: AtomicBool::new(false),
    };
    change(&mut far);
    Arc::new(far)
}

/// Reads it; `expected` is the version that it must have.
fn reader_of(far: &Arc<Far>, expected: &Arc<PinnedVersion>) -> Arc<Reader> {
    let source = Arc::clone(far) as _;
    let options = ReadOptions {
        read_ahead: 4 * M,
        streams: 3,
        timeout: PATIENCE,
    };
    let parallel = far.parallel.clone();
    Arc::new(Reader::new(
        source,
        Arc::clone(expected),
        options,
        parallel,
        None,
    ))
}

fn reader(far: &Arc<Far>) -> Arc<Reader> {
    reader_of(far, &Arc::new(PinnedVersion::new(version())))
}

fn read_at(reader: &Reader, offset: usize, length: usize) -> Result<Bytes, Error> {
    reader.read(offset as u64, length, &Cancel::never())
}

/// The bytes, if all of them are there.
fn find(reader: &Reader, offset: usize, length: usize) -> Option<Bytes> {
    reader.available(offset as u64, length)
}

/// Reads all of it, as a program would.
fn read(far: &Arc<Far>) -> JoinHandle<Result<Vec<u8>, Error>> {
    let reader = reader(far);
    thread::spawn(move || {
        let mut all = Vec::with_capacity(SIZE);
        loop {
            let bytes = read_at(&reader, all.len(), 128 << 10)?;
            if bytes.is_empty() {
                return Ok(all);
            }
            all.extend_from_slice(&bytes);
        }
    })
}

fn wait_for(what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < PATIENCE, "it did not happen");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Lets a little through now and then, so that the stream waits most of the time, until it is so.
fn trickle_until(far: &Far, what: impl Fn() -> bool) {
    wait_for(|| {
        far.file.allow(Some(far.file.sent() + TRICKLE));
        what()
    });
}

/// Lets the network flow when all parts were begun.
fn flow(far: &Far) {
    trickle_until(far, || far.file.opened().len() > MOST);
    far.file.allow(None);
}

#[test]
fn a_far_file_comes_over_several_transfers_and_no_byte_of_it_twice() {
    let far = far(&[], |_| ());
    let reading = read(&far);
    flow(&far);
    assert!(reading.join().unwrap().unwrap() == far.file.bytes());
    assert_eq!(far.file.sent(), SIZE as u64);
    let opened = far.file.opened();
    assert_eq!(opened.len(), MOST + 1, "{opened:?}");
    far.file.wait_for_live(0);
    wait_for(|| far.parallel.used() == 0);
}

#[test]
fn a_part_that_breaks_is_read_by_the_reader_itself() {
    let breaks = Script::Break(3 * M, ErrorKind::ConnectionLost);
    let far = far(&[Script::End(SIZE), breaks], |_| ());
    let reading = read(&far);
    flow(&far);
    assert!(reading.join().unwrap().unwrap() == far.file.bytes());
    assert!(far.file.opened().len() > MOST + 1);
}

#[test]
fn a_part_that_panics_is_read_by_the_reader_itself() {
    let far = far(&[], |far| far.panics = AtomicBool::new(true));
    let reading = read(&far);
    trickle_until(&far, || far.file.sent() >= 3 * M as u64 / 2);
    far.file.allow(None);
    assert!(reading.join().unwrap().unwrap() == far.file.bytes());
}

#[test]
fn without_a_spare_connection_or_room_on_the_disk_there_is_one_transfer() {
    for far in [
        far(&[], |far| far.has_spares = false),
        far(&[], |far| far.parallel = parallel(Some(M as u64))),
    ] {
        let reading = read(&far);
        trickle_until(&far, || far.file.sent() >= 3 * M as u64 / 2);
        far.file.allow(None);
        assert!(reading.join().unwrap().unwrap() == far.file.bytes());
        assert_eq!(far.file.opened(), [0]);
    }
}

#[test]
fn parts_make_way_for_who_waits_for_a_connection() {
    let far = far(&[], |_| ());
    let reading = read(&far);
    trickle_until(&far, || far.file.opened().len() > MOST);
    far.is_needed.store(true, Ordering::Relaxed);
    far.file.allow(None);
    assert!(reading.join().unwrap().unwrap() == far.file.bytes());
    assert!(far.file.opened().len() > MOST + 1, "the gaps were filled");
}

#[test]
fn no_part_is_of_another_file() {
    let far = far(&[], |_| ());
    far.file.says(another_version());
    let reading = read(&far);
    trickle_until(&far, || far.file.asked() >= 1);
    far.file.allow(None);
    let error = reading.join().unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Changed);
    assert_eq!(far.file.opened(), [0]);
}

#[test]
fn a_reader_that_goes_ends_the_parts() {
    let far = far(&[], |_| ());
    let reader = reader(&far);
    let has_enough = Arc::new(AtomicBool::new(false));
    let reading = {
        let has_enough = Arc::clone(&has_enough);
        thread::spawn(move || {
            let mut at = 0;
            while !has_enough.load(Ordering::Relaxed) {
                at += read_at(&reader, at, M / 16).unwrap().len();
            }
        })
    };
    trickle_until(&far, || far.file.opened().len() > MOST);
    has_enough.store(true, Ordering::Relaxed);
    trickle_until(&far, || reading.is_finished());
    far.file.allow(None);
    far.file.wait_for_live(0);
    wait_for(|| far.parallel.used() == 0);
    assert!(far.file.sent() < SIZE as u64);
}

/// A reader of `far` whose programs jumped so often, each time for so long.
fn jumped(far: &Arc<Far>, times: u32, waited: Duration) -> Arc<Reader> {
    let reader = reader(far);
    (0..times).for_each(|_| reader.jumped(waited));
    reader
}

#[test]
fn a_file_whose_readers_jump_is_fetched_whole_and_kept_while_it_is_used() {
    let far = far(&[], |_| ());
    far.file.allow(None);
    let reader = jumped(&far, 8, PATIENCE);
    wait_for(|| find(&reader, 0, SIZE).is_some());
    let (from, to) = (7 * M - 3, 15 * M + 5);
    assert!(find(&reader, from, to - from).unwrap()[..] == far.file.bytes()[from..to]);
    assert_eq!(far.file.sent(), SIZE as u64);
    reader.forget_idle(PATIENCE);
    assert!(find(&reader, 0, 1).is_some());
    reader.forget_idle(Duration::ZERO);
    assert!(find(&reader, 0, 1).is_none());
    wait_for(|| far.parallel.used() == 0);
    assert!(read_at(&reader, from, 10).unwrap()[..] == far.file.bytes()[from..from + 10]);
}

/// Whether its parts come whole, end before they should, or have no more time.
#[test]
fn nothing_is_seen_of_a_file_that_changed_while_it_came() {
    let short = [Script::End(2 * M); MOST];
    let whole: &[Script] = &[];
    for (scripts, time) in [
        (whole, PATIENCE),
        (&short, PATIENCE),
        (whole, SHORTEST_ROUND_TRIP),
    ] {
        let far = far(scripts, |_| ());
        let expected = Arc::new(PinnedVersion::new(version()));
        let reader = reader_of(&far, &expected);
        (0..8).for_each(|_| reader.jumped(time));
        trickle_until(&far, || !far.file.opened().is_empty());
        far.file.says(another_version());
        far.file.allow(None);
        wait_for(|| expected.has_changed());
        assert!(
            find(&reader, 0, 1).is_none(),
            "its bytes may be of two files"
        );
        far.file.wait_for_live(0);
    }
}

#[test]
fn bytes_are_seen_once_the_server_confirmed_them() {
    let far = far(&[], |_| ());
    let reader = jumped(&far, 8, PATIENCE);
    trickle_until(&far, || far.file.sent() > 2 * M as u64);
    assert!(find(&reader, 0, 1).is_none());
    far.file.allow(None);
    wait_for(|| find(&reader, 0, SIZE).is_some());
    assert!(far.file.asked() > 0);
}

/// What was read meanwhile by a stream, and is replaced on the disk, is still found when the disk's
/// bytes are let go.
#[test]
fn a_stream_goes_on_when_the_whole_file_is_let_go() {
    let far = far(&[], |_| ());
    far.file.allow(None);
    let reader = reader(&far);
    let at = 8 * M;
    assert!(read_at(&reader, at, M).unwrap()[..] == far.file.bytes()[at..at + M]);
    (0..8).for_each(|_| reader.jumped(PATIENCE));
    wait_for(|| find(&reader, 0, SIZE).is_some());
    reader.forget_idle(Duration::ZERO);
    for offset in [at, at + M / 2, at - M / 2, at + 2 * M] {
        let bytes = read_at(&reader, offset, M).unwrap();
        assert!(bytes[..] == far.file.bytes()[offset..offset + M]);
    }
}

#[test]
fn few_jumps_and_short_ones_fetch_nothing_nor_do_those_on_a_full_line() {
    let far = far(&[], |_| ());
    jumped(&far, 7, PATIENCE);
    jumped(&far, 1000, Duration::from_micros(100));
    far.parallel.remember(Verdict::DoesNotPay);
    jumped(&far, 8, PATIENCE);
    assert!(far.file.opened().is_empty());
}

#[test]
fn fetching_takes_no_longer_than_the_readers_have_waited_some_times_over() {
    let far = far(&[], |_| ());
    let reader = jumped(&far, 8, SHORTEST_ROUND_TRIP);
    trickle_until(&far, || !far.file.opened().is_empty());
    thread::sleep(SHORTEST_ROUND_TRIP * 16);
    far.file.allow(None);
    far.file.wait_for_live(0);
    assert!(find(&reader, 0, SIZE).is_none());
    assert!(far.file.sent() < SIZE as u64);
}

/// What programs do with a file, and the housekeeper.
#[derive(Debug, Clone)]
enum Event {
    Read(usize, usize),
    /// They have waited long for jumps.
    Jumps,
    ReleaseIdle,
    ForgetIdle,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..SIZE, 1..M).prop_map(|(offset, length)| Event::Read(offset, length)),
        2 => Just(Event::Jumps),
        1 => Just(Event::ReleaseIdle),
        1 => Just(Event::ForgetIdle),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_is_fetched_whole_and_let_go_again_what_is_read_is_the_file(
        events in proptest::collection::vec(event(), 1..60),
        breaks in proptest::collection::vec(1..8 * M, 0..6),
    ) {
        let breaks = breaks.into_iter();
        let script: Vec<_> = breaks
            .map(|after| Script::Break(after, ErrorKind::ConnectionLost))
            .collect();
        let far = far(&script, |_| ());
        far.file.allow(None);
        let reader = reader(&far);
        for event in events {
            match event {
                Event::Read(offset, length) => {
                    let bytes = read_at(&reader, offset, length).unwrap();
                    let end = (offset + length).min(SIZE);
                    prop_assert!(bytes[..] == far.file.bytes()[offset..end]);
                }
                Event::Jumps => (0..8).for_each(|_| reader.jumped(PATIENCE)),
                Event::ReleaseIdle => reader.release_idle(Duration::ZERO),
                Event::ForgetIdle => reader.forget_idle(Duration::ZERO),
            }
        }
        drop(reader);
        far.file.wait_for_live(0);
        wait_for(|| far.parallel.used() == 0);
    }
}

/// A thread claims a part and finds no room on the local disk, while the stream reaches that part:
/// the stream does not wait for it.
#[test]
fn a_part_without_room_on_the_disk_is_left_to_its_stream() {
    let far = far(&[], |far| far.has_spares = false);
    let reader = reader(&far);
    let (one, reached) = (Arc::clone(&reader), Arc::new(AtomicU64::new(0)));
    let offset = Arc::clone(&reached);
    let reading = thread::spawn(move || {
        loop {
            let bytes = one.read(offset.load(Ordering::Relaxed), 128 << 10, &Cancel::never())?;
            if bytes.is_empty() {
                return Ok::<_, Error>(());
            }
            offset.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
    });
    trickle_until(&far, || !reader.shared.lock().queues.is_empty());
    let (queue, part) = {
        let mut state = reader.shared.lock();
        let queue = state.queues[0].id;
        (queue, state.queue(queue).unwrap().claim().unwrap())
    };
    far.file.allow(None);
    wait_for(|| reached.load(Ordering::Relaxed) == part.range.start);
    reader.shared.unclaim(queue, part.number);
    reading.join().unwrap().unwrap();
    assert_eq!(reached.load(Ordering::Relaxed), SIZE as u64);
}
