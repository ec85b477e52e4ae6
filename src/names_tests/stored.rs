//! Files that programs open while they are stored.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::NEVER;
use super::fixture::{Fixture, READS, Setup};
use super::proxy::Way;
use crate::cancel::Blocking;

/// Number of versions. Each is one byte larger than the one before.
const VERSIONS: usize = 100;
const READERS: usize = 3;

/// A program that opens a file that was just stored gets it, and not "another one on the server",
/// although the listings of the server are older.
fn who_opens_a_file_while_it_is_stored_gets_it(names: bool) {
    let tree = Fixture::with(Setup {
        names,
        ..Setup::new(Duration::ZERO, Way::Open)
    });
    tree.write("f", b"");
    tree.sync();
    let ino = tree.find("f").unwrap();
    let may = Blocking::Yes(NEVER);
    let is_over = AtomicBool::new(false);
    let read_on = || {
        while !is_over.load(Ordering::Relaxed) {
            let opened = tree.vfs.open(ino, READS, may).unwrap();
            tree.vfs.release(opened.handle, may).unwrap();
        }
    };
    thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(read_on);
        }
        let content = [b'x'; VERSIONS];
        let replaced = (1..=VERSIONS).find(|size| {
            tree.write("f", &content[..*size]);
            tree.sync();
            !tree.vfs.take_replaced().is_empty()
        });
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(replaced, None);
    });
}

#[test]
fn who_opens_a_file_while_it_is_stored_gets_it_with_names() {
    who_opens_a_file_while_it_is_stored_gets_it(true);
}

#[test]
fn who_opens_a_file_while_it_is_stored_gets_it_with_data() {
    who_opens_a_file_while_it_is_stored_gets_it(false);
}
