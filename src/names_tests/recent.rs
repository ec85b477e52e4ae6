//! Files that are read soon after their uploads.

use std::fs;
use std::time::Duration;

use super::fixture::{Fixture, READS, Setup};
use super::proxy::Way;
use super::{NEVER, wait_until};
use crate::cancel::Blocking;

impl Fixture {
    /// Returns what a program reads that opens the file.
    fn read(&self, path: &str) -> Vec<u8> {
        let ino = self.find(path).unwrap();
        let may = Blocking::Yes(NEVER);
        let opened = self.vfs.open(ino, READS, may).unwrap();
        let read = self.vfs.read(opened.handle, 0, 100, may).unwrap();
        let content = read.to_vec();
        self.vfs.release(opened.handle, may).unwrap();
        content
    }
}

fn what_was_uploaded_is_not_fetched(names: bool) {
    let tree = Fixture::with(Setup {
        names,
        ..Setup::new(Duration::ZERO, Way::Open)
    });
    tree.write("f", b"content");
    // An upload of another client has another time.
    tree.set_time("f", 1_000_000_000);
    tree.sync();
    tree.proxy
        .set(Way::Refuses(&["RETR"], "/f", "550 not to be read"));
    assert_eq!(tree.read("f"), b"content");
    assert_eq!(tree.read("f"), b"content");
    tree.write("f", b"newer");
    tree.set_time("f", 1_000_000_000);
    tree.sync();
    assert_eq!(tree.read("f"), b"newer");

    // Another client stores one of the same size.
    tree.proxy.set(Way::Open);
    fs::write(tree.local("f"), b"other").unwrap();
    wait_until("the other file is read", || tree.read("f") == b"other");
}

#[test]
fn what_was_uploaded_is_not_fetched_with_names() {
    what_was_uploaded_is_not_fetched(true);
}

#[test]
fn what_was_uploaded_is_not_fetched_with_data() {
    what_was_uploaded_is_not_fetched(false);
}

#[test]
fn a_file_has_its_own_contents_under_another_name() {
    let tree = Fixture::new(Duration::ZERO);
    for name in ["a", "b"] {
        tree.write(name, format!("of {name}").as_bytes());
        tree.set_time(name, 1_000_000_000);
    }
    tree.sync();
    tree.rename("a", "c");
    tree.rename("b", "a");
    tree.sync();
    tree.proxy
        .set(Way::Refuses(&["RETR"], "/", "550 not to be read"));
    assert_eq!(tree.read("c"), b"of a");
    assert_eq!(tree.read("a"), b"of b");
}
