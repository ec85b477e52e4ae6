use std::thread;

use super::*;
use crate::journal::Journal;
use crate::remote::CommitOptions;
use crate::vfs::local::spool::Spool;
use crate::vfs::local::spool_dir::SpoolDir;
use crate::vfs::read::fake::{PATIENCE, sample};
use crate::vfs::write::uploader::Priority;
use crate::vfs::write::uploader::fake::{FakeDestination, FakeServer, Moment, Plan};
use std::time::Instant;

const M: u64 = 1 << 20;

/// A file that is written with little room on the local disk.
struct Writing {
    server: Arc<FakeServer>,
    spool: Arc<Spool>,
    store: Uploader,
    at: u64,
}

impl Writing {
    fn on(plans: &[Plan]) -> Self {
        let server = FakeServer::new(plans);
        let spools = SpoolDir::new(Journal::disabled(None), Some(8 * M));
        let spool = Arc::new(spools.create(&RemotePath::root()).unwrap());
        let destination = Arc::new(FakeDestination(Arc::clone(&server)));
        let store = Uploader::new(destination, Arc::clone(&spool));
        Self {
            server,
            spool,
            store,
            at: 0,
        }
    }

    /// A file of 7 MiB that was fetched to be changed, and its contents.
    fn fetched() -> (Self, Vec<u8>) {
        let file = Self::on(&[]);
        let bytes = sample(7 * M as usize);
        file.spool.write_at(0, &bytes).unwrap();
        file.store.filled(7 * M);
        (file, bytes)
    }

    /// Writes `bytes`, waiting for room. Returns false if there will be none.
    fn write(&mut self, bytes: &[u8]) -> bool {
        let started = Instant::now();
        for piece in bytes.chunks(128 << 10) {
            while self.spool.write_at(self.at, piece).is_err() {
                if !self.store.request_room(RoomFor::WriteAt(u64::MAX)) {
                    return false;
                }
                assert!(started.elapsed() < PATIENCE);
                thread::sleep(Duration::from_millis(1));
            }
            self.store.wrote(self.at, piece.len() as u64);
            self.at += piece.len() as u64;
        }
        true
    }

    /// Writes `bytes` at `offset` of the file, which has no room for them. Returns false if there
    /// will be none.
    fn change(&self, offset: u64, bytes: &[u8]) -> bool {
        let started = Instant::now();
        let _waiting = self.store.wait_to_write(offset);
        while self.store.confirm_changeable(offset).is_err()
            || self.spool.write_at(offset, bytes).is_err()
        {
            if !self.store.request_room(RoomFor::WriteAt(offset)) {
                return false;
            }
            assert!(started.elapsed() < PATIENCE);
            thread::sleep(Duration::from_millis(1));
        }
        self.store.wrote(offset, bytes.len() as u64);
        true
    }

    fn wait_for_partial(&self) {
        let started = Instant::now();
        while !self.spool.is_partial() {
            assert!(started.elapsed() < PATIENCE);
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn commit(&self) -> Result<(), Error> {
        let options = CommitOptions::default();
        let commit = self
            .store
            .commit(&RemotePath::root(), &options, Priority::Foreground);
        commit.map(drop)
    }
}

#[test]
fn a_file_larger_than_the_room_is_stored() {
    let mut file = Writing::on(&[]);
    let bytes = sample(30 * M as usize + 5);
    assert!(file.write(&bytes));
    assert!(file.spool.is_partial());
    assert!(matches!(file.store.sent_part(), Some(SentPart::At(_))));
    file.commit().unwrap();
    assert!(file.server.file() == bytes);
    assert_eq!(file.server.begun(), 1);
}

#[test]
fn what_was_sent_cannot_change_and_the_rest_can() {
    let mut file = Writing::on(&[]);
    assert!(file.store.confirm_changeable(0).is_ok());
    assert!(file.write(&sample(20 * M as usize)));
    let sent = file.store.confirm_changeable(0);
    assert!(matches!(sent, Err(Unchangeable::Sent(_))));
    assert!(file.store.confirm_changeable(file.at).is_ok());
    file.commit().unwrap();
}

#[test]
fn what_waits_for_room_can_still_be_changed() {
    let changed_at = 6 * M + M / 2;
    // The server has received nothing when all that may be sent was sent.
    for late in [0, 10] {
        let mut file = Writing::on(&[]);
        file.server.receive_late(late);
        let bytes = sample(9 * M as usize);
        assert!(file.write(&bytes[..7 * M as usize]));
        // An upload has sent what changes now.
        file.server.wait_for_sent(7 * M);
        let change = sample(2 * M as usize);
        assert!(file.change(changed_at, &change), "{late}");
        assert_eq!(file.server.begun(), 2);
        file.commit().unwrap();
        let expected = [&bytes[..changed_at as usize], &change].concat();
        assert!(file.server.file() == expected, "{late}");
        assert_eq!(file.server.begun(), 2);
    }
}

#[test]
fn a_change_that_needs_all_of_the_room_is_refused_and_nothing_is_discarded() {
    let mut file = Writing::on(&[]);
    let bytes = sample(7 * M as usize);
    assert!(file.write(&bytes));
    assert!(!file.change(DISCARD_UNIT - 1, &sample(8 * M as usize)));
    assert!(!file.spool.is_partial());
    file.commit().unwrap();
    assert!(file.server.file() == bytes);
}

#[test]
fn the_lowest_of_several_waiting_changes_is_made_first() {
    let mut file = Writing::on(&[]);
    assert!(file.write(&sample(7 * M as usize)));
    let higher = file.store.wait_to_write(6 * M);
    assert!(file.change(2 * M, &sample(6 * M as usize + 1)));
    assert!(file.store.request_room(RoomFor::WriteAt(6 * M)));
    let later = sample(M as usize);
    assert!(file.change(6 * M, &later));
    drop(higher);
    file.commit().unwrap();
    assert!(file.server.file()[6 * M as usize..7 * M as usize] == later);
}

#[test]
fn what_no_program_wrote_makes_no_room_for_another_file() {
    let (mut file, bytes) = Writing::fetched();
    assert!(!file.store.request_room(RoomFor::AnotherFile));
    assert!(file.write(&bytes[..M as usize]));
    assert!(file.store.request_room(RoomFor::AnotherFile));
    file.server.wait_for_sent(M);
    file.wait_for_partial();
    assert!(file.store.confirm_changeable(M).is_ok());
    file.commit().unwrap();
    assert!(file.server.file() == bytes);
}

#[test]
fn what_waits_for_room_itself_makes_none_for_another_file() {
    let mut file = Writing::on(&[]);
    assert!(file.write(&sample(7 * M as usize)));
    let waiting = file.store.wait_to_write(DISCARD_UNIT - 1);
    assert!(!file.store.request_room(RoomFor::AnotherFile));
    drop(waiting);
    let _waiting = file.store.wait_to_write(DISCARD_UNIT);
    assert!(file.store.request_room(RoomFor::AnotherFile));
}

#[test]
fn a_write_that_waits_keeps_no_room_of_what_was_replaced() {
    let file = Writing::on(&[]);
    let waiting = file.store.wait_to_write(0);
    let spool = Arc::downgrade(&file.spool);
    drop(file);
    assert!(spool.upgrade().is_none());
    drop(waiting);
}

#[test]
fn all_of_a_file_makes_room_for_its_own_end() {
    let (mut file, mut bytes) = Writing::fetched();
    // The upload has begun with what was changed.
    assert!(file.write(&bytes[..5 * M as usize]));
    file.server.wait_for_sent(5 * M);
    file.at = 7 * M;
    let more = sample(9 * M as usize);
    assert!(file.write(&more));
    bytes.extend(more);
    file.commit().unwrap();
    assert!(file.server.file() == bytes);
}

#[test]
fn nothing_is_discarded_that_a_write_is_changing() {
    let mut file = Writing::on(&[]);
    let mut bytes = sample(7 * M as usize);
    assert!(file.write(&bytes));
    file.server.wait_for_sent(7 * M);
    let announced = file.store.begin_write(0).unwrap();
    assert!(file.store.request_room(RoomFor::AnotherFile));
    file.spool.write_at(0, b"header").unwrap();
    thread::sleep(Duration::from_millis(50));
    assert!(!file.spool.is_partial());
    file.store.wrote(0, 6);
    drop(announced);
    bytes[..6].copy_from_slice(b"header");
    file.commit().unwrap();
    assert!(file.server.file() == bytes);
}

#[test]
fn an_upload_that_fails_after_a_change_of_what_it_has_sent_is_replaced() {
    let plan = Plan::Break(4 * M, ErrorKind::ConnectionLost);
    let mut file = Writing::on(&[plan]);
    let bytes = sample(30 * M as usize);
    file.server.allow(Some(4 * M));
    assert!(file.write(&bytes[..7 * M as usize]));
    file.server.wait_for_sent(4 * M);
    // It is sending the piece that fails.
    file.store.wrote(0, 6);
    file.server.allow(None);
    assert!(file.write(&bytes[7 * M as usize..]));
    file.commit().unwrap();
    assert!(file.server.file() == bytes);
    assert_eq!(file.server.begun(), 2);
}

#[test]
fn a_file_whose_upload_fails_is_lost_until_it_is_emptied() {
    let mut file = Writing::on(&[Plan::Break(12 * M, ErrorKind::NoSpace)]);
    assert!(!file.write(&sample(30 * M as usize)));
    assert_eq!(file.commit().unwrap_err().kind, ErrorKind::NoSpace);
    assert!(matches!(file.store.sent_part(), Some(SentPart::Lost(_))));
    let lost = file.store.confirm_changeable(file.at);
    assert!(matches!(lost, Err(Unchangeable::Lost(_))));
    assert_eq!(file.server.commits(), 0);

    file.spool.set_len(0).unwrap();
    file.store.truncated(0);
    file.at = 0;
    let bytes = sample(20 * M as usize);
    assert!(file.write(&bytes));
    file.commit().unwrap();
    assert!(file.server.file() == bytes);
}

#[test]
fn a_commit_that_fails_is_not_repeated_from_the_beginning() {
    let mut file = Writing::on(&[Plan::Fail(ErrorKind::ConnectionLost)]);
    assert!(file.write(&sample(20 * M as usize)));
    assert_eq!(file.commit().unwrap_err().kind, ErrorKind::ConnectionLost);
    assert_eq!(file.commit().unwrap_err().kind, ErrorKind::ConnectionLost);
    assert_eq!((file.server.begun(), file.server.commits()), (1, 0));
}

#[test]
fn a_writer_goes_on_after_a_commit_of_what_fills_the_room() {
    let mut file = Writing::on(&[]);
    let bytes = sample(30 * M as usize);
    let (first, rest) = bytes.split_at(8 * M as usize);
    assert!(file.write(first));
    file.commit().unwrap();
    assert!(file.write(rest));
    file.commit().unwrap();
    assert!(file.server.file() == bytes);
}

#[test]
fn nothing_is_discarded_that_must_stay() {
    let mut file = Writing::on(&[]);
    file.server.keep_all();
    assert!(!file.write(&sample(20 * M as usize)));
    assert!(!file.spool.is_partial());
    file.commit().unwrap();
    assert_eq!(file.server.file().len() as u64, file.at);
}

#[test]
fn nothing_is_discarded_while_the_whole_file_is_needed() {
    let mut file = Writing::on(&[]);
    assert!(file.write(&sample(8 * M as usize)));
    let kept = file.store.keep_all().unwrap();
    assert!(
        file.store.request_room(RoomFor::WriteAt(u64::MAX)),
        "it will be made later"
    );
    file.server.wait_for_sent(8 * M);
    assert!(!file.spool.is_partial());
    drop(kept);
    assert!(file.write(&sample(M as usize)));
    assert!(file.store.keep_all().is_none());
    file.commit().unwrap();
}

#[test]
fn nothing_is_discarded_that_the_next_mount_would_store() {
    let mut file = Writing::on(&[]);
    file.server.allow(Some(2 * M));
    assert!(file.write(&sample(8 * M as usize)));
    assert!(file.store.request_room(RoomFor::WriteAt(u64::MAX)));
    // It is closed with writeback before the upload gets on.
    assert!(!file.store.set_persisted(true));
    file.server.allow(None);
    file.server.wait_for_sent(8 * M);
    assert!(!file.store.request_room(RoomFor::WriteAt(u64::MAX)));
    thread::sleep(Duration::from_millis(20));
    assert!(!file.spool.is_partial());
    file.commit().unwrap();
    assert!(file.store.sent_part().is_none());
}

#[test]
fn what_is_written_during_the_commit_of_a_part_is_lost_and_not_sent_as_zeros() {
    let mut file = Writing::on(&[]);
    assert!(file.write(&sample(20 * M as usize)));
    let (store, at) = (Arc::new(file.store), file.at);
    let late = Arc::downgrade(&store);
    file.server.hook(move |moment| {
        if moment == Moment::Commit {
            late.upgrade().unwrap().wrote(at, 4);
        }
    });
    let commit = || {
        let options = CommitOptions::default();
        store.commit(&RemotePath::root(), &options, Priority::Foreground)
    };
    commit().unwrap();
    assert!(!store.request_room(RoomFor::WriteAt(u64::MAX)));
    assert!(matches!(
        store.confirm_changeable(at),
        Err(Unchangeable::Lost(_))
    ));
    assert!(commit().is_err());
    assert_eq!((file.server.begun(), file.server.commits()), (1, 1));
}

#[test]
fn an_upload_that_was_given_up_for_a_change_begins_again_for_room() {
    let mut file = Writing::on(&[]);
    let mut bytes = sample(30 * M as usize);
    let (first, rest) = bytes.split_at_mut(6 * M as usize);
    assert!(file.write(first));
    file.server.wait_for_sent(6 * M);
    file.spool.write_at(0, b"header").unwrap();
    file.store.wrote(0, 6);
    first[..6].copy_from_slice(b"header");
    assert!(file.write(rest));
    file.commit().unwrap();
    assert!(file.server.file() == bytes);
    assert_eq!(file.server.begun(), 2);
}

#[test]
fn half_of_what_is_here_stays_up_to_a_limit() {
    assert_eq!(discard_before(0, 8 * M), Some(4 * M));
    assert_eq!(discard_before(4 * M, 12 * M), Some(8 * M));
    assert_eq!(discard_before(0, 100 * M), Some(84 * M));
}

#[test]
fn little_is_discarded_wholly_and_less_than_a_unit_not_at_all() {
    assert_eq!(discard_before(0, 4 * M), Some(4 * M));
    assert_eq!(
        discard_before(4 * M, 4 * M + DISCARD_UNIT + 5),
        Some(4 * M + DISCARD_UNIT)
    );
    assert_eq!(discard_before(4 * M, 4 * M + DISCARD_UNIT - 1), None);
    assert_eq!(discard_before(4 * M, 4 * M), None);
}

#[test]
fn requests_go_on_until_nothing_is_left() {
    let mut discarded = 0;
    while let Some(end) = discard_before(discarded, 64 * M) {
        discarded = end;
    }
    assert_eq!(discarded, 64 * M);
}
