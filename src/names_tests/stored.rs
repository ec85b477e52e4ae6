//! Files that programs open while they are stored.

use std::fs;
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

/// A rename, and the end of an upload, record closed contents again. If newer ones are closed at
/// that moment, nothing of the older ones stays for the next mount.
#[test]
fn contents_that_newer_ones_replaced_are_not_left_to_the_next_mount() {
    let tree = Fixture::new(Duration::ZERO);
    tree.mkdir("d");
    let may = Blocking::Yes(NEVER);
    let handle = tree.write_and_keep("d/file", b"0");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                tree.rename("d/file", "d/other");
                tree.rename("d/other", "d/file");
            }
        });
        for number in 1..=400 {
            let content = format!("{number}");
            let offset = tree.vfs.write(handle, 0, content.as_bytes(), 1, may);
            offset.unwrap();
            tree.vfs.flush(handle, 1, may).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    tree.vfs.release(handle, may).unwrap();
    tree.sync();
    assert_eq!(fs::read(tree.local("d/file")).unwrap(), b"400");
    assert_eq!(tree.journal.waiting(), []);
}
