//! Tests of the file on the server after a program closed it, whatever happened in between.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::fake::{FakeDestination, FakeServer, Moment, Plan};
use super::*;
use crate::journal::Journal;
use crate::remote::ErrorKind;
use crate::vfs::local::spool_dir::SpoolDir;
use crate::vfs::read::fake::{PATIENCE, sample};

const M: u64 = 1 << 20;

/// A file open for writing, as in the vfs.
pub(super) struct Open {
    spool: Arc<Spool>,
    pub(super) store: Uploader,
}

impl Open {
    pub(super) fn on(server: &Arc<FakeServer>) -> Arc<Self> {
        let spool = Arc::new(
            SpoolDir::new(Journal::disabled(None), None)
                .create(&RemotePath::root())
                .unwrap(),
        );
        let destination = Arc::new(FakeDestination(Arc::clone(server)));
        let store = Uploader::new(destination, Arc::clone(&spool));
        Arc::new(Self { spool, store })
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        self.spool.write_at(offset, bytes).unwrap();
        self.store.wrote(offset, bytes.len() as u64);
    }

    /// Writes from `from` to `to` like `cp`.
    pub(super) fn copy(&self, from: u64, to: u64) {
        let bytes = sample((to - from) as usize);
        for (at, piece) in bytes.chunks(128 << 10).enumerate() {
            self.write(from + at as u64 * (128 << 10), piece);
        }
    }

    fn cut(&self, length: u64) {
        self.spool.set_len(length).unwrap();
        self.store.truncated(length);
    }

    pub(super) fn commit(&self) -> Result<(), Error> {
        self.store
            .commit(
                &RemotePath::root(),
                &CommitOptions::default(),
                Priority::Foreground,
            )
            .map(drop)
    }

    /// Waits until the follower has claimed what it is going to claim.
    fn rest(&self) {
        self.wait_until(|state| state.ahead() < PIECE || !state.follows());
    }

    fn wait_until(&self, condition: impl Fn(&State) -> bool) {
        let started = Instant::now();
        while !condition(&self.store.shared.lock()) {
            assert!(started.elapsed() < PATIENCE);
            thread::yield_now();
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.spool.read_at(0, 1 << 30).unwrap()
    }
}

#[test]
fn a_created_file_is_stored_though_it_is_empty_and_only_once() {
    let server = FakeServer::new(&[]);
    let open = Open::on(&server);
    open.commit().unwrap();
    assert_eq!(server.begun(), 0, "nothing is dirty");
    open.store.mark_dirty();
    assert!(open.store.is_dirty());
    open.commit().unwrap();
    assert!(server.file().is_empty());
    assert!(!open.store.is_dirty());
    open.commit().unwrap();
    assert_eq!(server.begun(), 1);
}

#[test]
fn a_small_file_is_stored_by_close_and_again_when_it_changed() {
    let server = FakeServer::new(&[]);
    let open = Open::on(&server);
    open.copy(0, 3 * M);
    assert_eq!(server.begun(), 0);
    open.commit().unwrap();
    assert!(server.file() == open.bytes());
    open.write(7, b"changed");
    open.commit().unwrap();
    assert!(server.file() == open.bytes());
    assert_eq!(server.begun(), 2);
}

#[test]
fn what_is_written_while_the_server_is_found_to_have_the_rest_is_stored() {
    let server = FakeServer::new(&[]);
    let file = Open::on(&server);
    file.copy(0, 100);
    let compared = file.store.generation();
    file.write(40, b"later");
    file.store.mark_stored(compared);
    assert!(file.store.is_dirty());
    file.store.mark_stored(file.store.generation());
    assert!(!file.store.is_dirty());
}

#[test]
fn a_large_file_is_on_its_way_before_it_is_closed() {
    let server = FakeServer::new(&[]);
    let open = Open::on(&server);
    open.copy(0, 9 * M + 5);
    server.wait_for_sent(9 * M);
    open.commit().unwrap();
    assert!(server.file() == open.bytes());
    assert_eq!((server.begun(), server.sent()), (1, 9 * M + 5));
}

#[test]
fn writing_never_waits_for_a_stalled_network() {
    let server = FakeServer::new(&[]);
    server.allow(Some(0));
    let open = Open::on(&server);
    open.copy(0, 16 * M);
    assert_eq!(server.sent(), 0);
    server.allow(None);
    open.commit().unwrap();
    assert!(server.file() == open.bytes());
    assert_eq!(server.begun(), 1);
}

#[test]
fn a_change_of_what_was_sent_starts_over() {
    let changes: [fn(&Open); 3] = [
        |open| open.write(M, b"patched"),
        |open| open.cut(2 * M),
        |open| {
            open.cut(0);
            open.copy(0, 5 * M);
        },
    ];
    for change in changes {
        let server = FakeServer::new(&[]);
        let open = Open::on(&server);
        open.copy(0, 8 * M);
        server.wait_for_sent(8 * M);
        change(&open);
        server.wait_for_live(0);
        open.commit().unwrap();
        assert!(server.file() == open.bytes());
        assert_eq!((server.begun(), server.commits()), (2, 1));
    }
}

#[test]
fn a_change_of_what_was_not_sent_does_not() {
    let server = FakeServer::new(&[]);
    server.allow(Some(M));
    let open = Open::on(&server);
    open.copy(0, 8 * M);
    server.wait_for_sent(M);
    open.write(5 * M, b"patched");
    open.cut(7 * M);
    server.allow(None);
    open.commit().unwrap();
    assert!(server.file() == open.bytes());
    assert_eq!((server.begun(), server.commits()), (1, 1));
}

#[test]
fn the_last_byte_that_was_taken_counts_and_the_next_does_not() {
    for (at, uploads) in [(2 * M - 1, 2), (2 * M, 1)] {
        let server = FakeServer::new(&[]);
        server.allow(Some(M));
        let open = Open::on(&server);
        open.copy(0, 8 * M);
        server.wait_for_sent(M);
        // The second piece is read, and the network accepts no more.
        open.wait_until(|state| state.upload.taken == 2 * M);
        open.write(at, b"x");
        server.allow(None);
        open.commit().unwrap();
        assert!(server.file() == open.bytes());
        assert_eq!(server.begun(), uploads);
    }
}

#[test]
fn the_second_file_in_the_same_spool_follows_its_writer_as_well() {
    let server = FakeServer::new(&[]);
    let open = Open::on(&server);
    for round in 1..=2 {
        open.cut(0);
        open.copy(0, 6 * M);
        server.wait_for_sent(round * 6 * M);
        open.commit().unwrap();
        assert!(server.file() == open.bytes());
    }
    assert_eq!(server.begun(), 2);
}

#[test]
fn an_early_upload_that_fails_costs_nothing_but_time() {
    for plan in [
        Plan::Refuse(ErrorKind::TimedOut),
        Plan::Break(2 * M, ErrorKind::NoSpace),
    ] {
        let server = FakeServer::new(&[plan]);
        let open = Open::on(&server);
        open.copy(0, 8 * M);
        server.wait_for_begun(1);
        server.wait_for_live(0);
        open.commit().unwrap();
        assert!(server.file() == open.bytes());
        assert_eq!(server.begun(), 2);
    }
}

#[test]
fn a_broken_connection_is_made_good_a_few_times() {
    let lost = ErrorKind::ConnectionLost;
    let plans = [Plan::Break(M, lost), Plan::Fail(lost), Plan::Refuse(lost)];
    let server = FakeServer::new(&plans);
    let open = Open::on(&server);
    open.copy(0, 2 * M);
    open.commit().unwrap();
    assert!(server.file() == open.bytes());

    let server = FakeServer::new(&[Plan::Fail(lost); 4]);
    let open = Open::on(&server);
    open.copy(0, 2 * M);
    assert_eq!(open.commit().unwrap_err().kind, lost);
    assert_eq!((server.begun(), server.commits()), (4, 0));
    assert!(open.store.is_dirty());
    open.commit().unwrap();
    assert!(server.file() == open.bytes());
}

#[test]
fn an_upload_is_repeated_once_after_a_silence_and_not_where_the_layers_below_have_waited() {
    for (kind, uploads) in [
        (ErrorKind::TimedOut, 2),
        (ErrorKind::NoConnection, 1),
        (ErrorKind::Unreachable, 1),
        (ErrorKind::TryLater, 1),
        (ErrorKind::OtherWay, 4),
    ] {
        let server = FakeServer::new(&[Plan::Refuse(kind); 5]);
        let open = Open::on(&server);
        open.copy(0, 2 * M);
        assert_eq!(open.commit().unwrap_err().kind, kind);
        assert_eq!(server.begun(), uploads, "{kind:?}");
        assert!(open.store.is_dirty());
    }
}

#[test]
fn a_refusal_is_told_at_once_and_the_file_stays_dirty() {
    let full = ErrorKind::NoSpace;
    let server = FakeServer::new(&[Plan::Break(M, full)]);
    let open = Open::on(&server);
    open.copy(0, 2 * M);
    assert_eq!(open.commit().unwrap_err().kind, full);
    assert_eq!(server.begun(), 1);
    assert!(open.store.is_dirty());
    open.commit().unwrap();
    assert!(server.file() == open.bytes());
}

/// Applies `change` once, when the first upload has read `at` bytes.
fn change_at(server: &FakeServer, open: &Arc<Open>, at: u64, change: fn(&Open)) {
    let open: Weak<Open> = Arc::downgrade(open);
    let done = AtomicBool::new(false);
    server.hook(move |moment| {
        if moment == Moment::Read(1, at) && !done.swap(true, Ordering::Relaxed) {
            change(&open.upgrade().unwrap());
        }
    });
}

#[test]
fn a_change_during_the_commit_of_what_was_sent_starts_over() {
    let changes: [fn(&Open); 3] = [
        |open| open.write(10, b"patched"),
        |open| open.cut(M),
        |open| open.cut(5 * M / 2),
    ];
    for change in changes {
        let server = FakeServer::new(&[]);
        let open = Open::on(&server);
        open.copy(0, 3 * M);
        change_at(&server, &open, 2 * M, change);
        open.commit().unwrap();
        assert!(server.file() == open.bytes());
        assert_eq!((server.begun(), server.commits()), (2, 1));
        assert!(!open.store.is_dirty(), "the second upload has it");
    }
}

#[test]
fn an_early_upload_that_panics_holds_up_no_commit() {
    let server = FakeServer::new(&[]);
    let open = Open::on(&server);
    server.hook(|moment| assert_ne!(moment, Moment::Read(1, 1 << 20), "injected"));
    open.copy(0, 8 * M);
    server.wait_for_begun(1);
    server.wait_for_live(0);
    open.commit().unwrap();
    assert!(server.file() == open.bytes());
}

/// The server reports digests: its file equals what was sent, whatever the writer did to the spool.
#[test]
fn a_file_whose_writer_never_pauses_is_stored_as_it_was_once() {
    for size in [3 * M, 1000] {
        let server = FakeServer::new(&[]);
        let open = Open::on(&server);
        open.copy(0, size);
        let writer: Weak<Open> = Arc::downgrade(&open);
        let stamp = AtomicU8::new(0);
        server.hook(move |_| {
            let stamp = stamp.fetch_add(1, Ordering::Relaxed);
            writer.upgrade().unwrap().write(10, &[stamp; 90]);
        });
        open.commit().unwrap();
        assert_eq!(server.commits(), 1);
        assert!(server.file()[10..100].windows(2).all(|it| it[0] == it[1]));
        assert_eq!(server.file().len() as u64, size);
        assert!(open.store.is_dirty(), "what came later is for the next one");
    }
}

#[test]
fn a_change_before_the_last_byte_is_read_is_never_half_stored() {
    let server = FakeServer::new(&[]);
    let open = Open::on(&server);
    open.copy(0, 3 * M);
    change_at(&server, &open, 3 * M, |open| open.write(0, b"patched"));
    open.commit().unwrap();
    assert!(server.file() == open.bytes());
    assert_eq!(server.begun(), 2);
}

#[test]
fn what_is_appended_during_the_commit_is_for_the_next_one() {
    let server = FakeServer::new(&[]);
    let open = Open::on(&server);
    open.copy(0, 3 * M);
    change_at(&server, &open, 2 * M, |open| open.write(3 * M, b"more"));
    open.commit().unwrap();
    assert!(server.file() == open.bytes()[..3 * M as usize]);
    assert!(open.store.is_dirty());
    open.commit().unwrap();
    assert!(server.file() == open.bytes());
}

#[test]
fn a_writer_who_never_pauses_cannot_hold_up_a_sync() {
    let server = FakeServer::new(&[]);
    let open = Open::on(&server);
    open.copy(0, 2 * M);
    let writer = Arc::downgrade(&open);
    server.hook(move |_| writer.upgrade().unwrap().write(0, b"again"));
    open.commit().unwrap();
    assert_eq!((server.begun(), server.commits()), (4, 1));
    assert!(open.store.is_dirty());
}

#[test]
fn two_syncs_at_once_store_the_file_once() {
    let server = FakeServer::new(&[]);
    server.allow(Some(0));
    let open = Open::on(&server);
    open.copy(0, 2 * M);
    thread::scope(|scope| {
        let syncs = [(); 2].map(|()| scope.spawn(|| open.commit()));
        server.wait_for_begun(1);
        server.allow(None);
        for sync in syncs {
            sync.join().unwrap().unwrap();
        }
    });
    assert_eq!((server.begun(), server.commits()), (1, 1));
}

#[test]
fn a_removed_file_is_not_stored() {
    let server = FakeServer::new(&[]);
    let open = Open::on(&server);
    open.copy(0, 8 * M);
    server.wait_for_sent(4 * M);
    open.store.cancel();
    server.wait_for_live(0);
    open.copy(0, 8 * M);
    assert!(!open.store.is_dirty());
    open.commit().unwrap();
    assert_eq!((server.begun(), server.commits()), (1, 0));
}

#[test]
fn removing_a_file_ends_the_commit_that_runs_before_its_name_can_come_back() {
    let server = FakeServer::new(&[]);
    server.allow(Some(M));
    let open = Open::on(&server);
    open.copy(0, 3 * M);
    thread::scope(|scope| {
        let commit = scope.spawn(|| open.commit());
        server.wait_for_sent(M);
        let cancel = scope.spawn(|| open.store.cancel());
        open.wait_until(|state| state.cancelled);
        server.allow(None);
        cancel.join().unwrap();
        assert_eq!(
            server.live(),
            0,
            "it waits for the upload that is under way"
        );
        commit.join().unwrap().unwrap();
    });
    assert_eq!(server.commits(), 0);
    // Data that was on its way may have arrived, too.
    assert!((M..=2 * M).contains(&server.sent()));
    server.wait_for_live(0);
}

#[test]
fn an_idle_early_upload_gives_its_connection_back() {
    let server = FakeServer::new(&[]);
    let open = Open::on(&server);
    open.copy(0, 6 * M);
    server.wait_for_sent(6 * M);
    open.store.release_idle(Duration::from_secs(3600));
    assert_eq!(server.live(), 1);
    // The follower is not idle until the data that it handed to the network is sent.
    while server.live() > 0 {
        open.store.release_idle(Duration::ZERO);
        thread::sleep(Duration::from_millis(1));
    }
    open.copy(6 * M, 9 * M);
    open.commit().unwrap();
    assert!(server.file() == open.bytes());
    assert_eq!(server.begun(), 2);
}

#[test]
fn a_store_that_is_dropped_stores_nothing() {
    let server = FakeServer::new(&[]);
    let open = Open::on(&server);
    open.copy(0, 6 * M);
    server.wait_for_sent(6 * M);
    drop(open);
    server.wait_for_live(0);
    assert_eq!(server.commits(), 0);
}

#[test]
fn writers_side_by_side_never_get_a_stale_byte_committed() {
    const PATCHES: u64 = 4;
    for round in 0..60 {
        let server = FakeServer::new(&[]);
        let open = Open::on(&server);
        let end = AtomicU64::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for at in 0..64 {
                    open.write(at * M / 8, &vec![1; M as usize / 8]);
                    end.store((at + 1) * M / 8, Ordering::Release);
                }
            });
            // Patches close to the follower's position, in some rounds before it and in some behind
            // it.
            scope.spawn(|| {
                for patch in 0..PATCHES {
                    let from = (5 + patch / 2) * M;
                    while end.load(Ordering::Acquire) < from {
                        thread::yield_now();
                    }
                    open.write(from - 1 - round * M / 16, &[2 + patch as u8; 100]);
                }
            });
        });
        open.commit().unwrap();
        assert!(server.file() == open.bytes());
        assert!(!open.store.is_dirty());
    }
}

#[test]
fn a_sync_has_all_that_was_written_before_it_while_others_write_on() {
    let server = FakeServer::new(&[]);
    let open = Open::on(&server);
    open.copy(0, 3 * M);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let places = (0..50_000).map(|step| step * 7_919 * 4096 % (2 * M));
            for at in places.take_while(|_| !stop.load(Ordering::Relaxed)) {
                open.write(at, &[9; 4096]);
                thread::yield_now();
            }
        });
        for stamp in 0..10_u8 {
            open.write(5 * M / 2, &[stamp; 100]);
            open.commit().unwrap();
            let at = 5 * M as usize / 2;
            assert_eq!(server.file()[at..at + 100], [stamp; 100]);
        }
        stop.store(true, Ordering::Relaxed);
    });
    open.commit().unwrap();
    assert!(server.file() == open.bytes());
}

#[derive(Debug, Clone)]
enum Step {
    Append(u64),
    Patch(u64, u64),
    Cut(u64),
    Rest,
    Commit,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..3 * M).prop_map(Step::Append),
        3 => Just(Step::Rest),
        2 => (0..10 * M, 1..M).prop_map(|(at, length)| Step::Patch(at, length)),
        1 => (0..10 * M).prop_map(Step::Cut),
        1 => Just(Step::Commit),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_committed_is_what_was_written(
        steps in proptest::collection::vec(step(), 1..16),
        plans in proptest::collection::vec(prop_oneof![
            3 => Just(Plan::Succeed),
            1 => (0..8 * M).prop_map(|at| Plan::Break(at, ErrorKind::ConnectionLost)),
            1 => Just(Plan::Fail(ErrorKind::ConnectionLost)),
        ], 0..3),
    ) {
        let server = FakeServer::new(&plans);
        let open = Open::on(&server);
        let mut model: Vec<u8> = Vec::new();
        let mut stamp = 0_u8;
        for step in steps.into_iter().chain([Step::Commit]) {
            stamp += 1;
            match step {
                Step::Append(length) => {
                    let start = model.len();
                    model.resize(start + length as usize, stamp);
                    for at in (start..model.len()).step_by(1 << 17) {
                        open.write(at as u64, &model[at..model.len().min(at + (1 << 17))]);
                    }
                }
                Step::Patch(at, length) => {
                    let (at, end) = (at as usize, (at + length) as usize);
                    model.resize(model.len().max(end), 0);
                    model[at..end].fill(stamp);
                    open.write(at as u64, &model[at..end]);
                }
                Step::Cut(length) => {
                    model.resize(length as usize, 0);
                    open.cut(length);
                }
                Step::Rest => open.rest(),
                Step::Commit => {
                    let was_dirty = open.store.is_dirty();
                    open.commit().unwrap();
                    prop_assert!(!open.store.is_dirty());
                    prop_assert!(!was_dirty || server.file() == model);
                }
            }
        }
        drop(open);
        server.wait_for_live(0);
    }
}
