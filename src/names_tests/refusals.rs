//! What is going on while the server refuses a change: files that are open, and programs that wait
//! for the change.

use std::sync::Arc;

use tempfile::TempDir;

use super::fixture::{READS, WRITES};
use super::*;
use crate::vfs::{Errno, Handle};

const RENAME_IS_HELD: Way = Way::Holds("old.bak");
const RENAME_IS_REFUSED: Way = Way::RefusesRename("old.bak");
/// Longer than a program takes to begin to wait.
const BEGINS_TO_WAIT: Duration = Duration::from_millis(300);

/// Mounts a server with these files in `d`, named and filled alike.
fn with_files(atomic: Atomic, names: &[&str]) -> Fixture {
    let directory = Arc::new(TempDir::new().unwrap());
    fs::create_dir_all(directory.path().join("root/d")).unwrap();
    for name in names {
        fs::write(directory.path().join("root/d").join(name), name).unwrap();
    }
    let setup = Setup {
        atomic,
        ..Setup::new(Duration::ZERO, Way::Open)
    };
    Fixture::mount(setup, directory, 0)
}

/// The same, and `d/old` is being renamed to `d/old.bak`.
fn with_held_rename(atomic: Atomic, names: &[&str]) -> Fixture {
    let tree = with_files(atomic, names);
    assert!(tree.find("d/old.bak").is_err() && tree.find("d/old").is_ok());
    tree.proxy.set(RENAME_IS_HELD);
    tree.rename("d/old", "d/old.bak");
    tree
}

/// Creates a file, and leaves it open.
fn create(tree: &Fixture, path: &str, content: &[u8]) -> Handle {
    let (parent, name) = tree.parent(path);
    assert_eq!(tree.find(path), Err(Errno::NOENT));
    let may = Blocking::Yes(NEVER);
    let opened = tree.vfs.create(parent, name, 0o644, WRITES, may).unwrap().1;
    for (number, piece) in content.chunks(1 << 20).enumerate() {
        let offset = (number as u64) << 20;
        tree.vfs
            .write(opened.handle, offset, piece, 1, may)
            .unwrap();
    }
    opened.handle
}

fn close(tree: &Fixture, handle: Handle) {
    let _ = tree.vfs.flush(handle, 1, Blocking::Yes(NEVER));
    let _ = tree.vfs.release(handle, Blocking::Yes(NEVER));
}

fn has_content(tree: &Fixture, content: &[u8]) -> bool {
    let directory = tree.local("d");
    let mut names = names(&directory).into_iter();
    names.any(|name| fs::read(directory.join(name)).is_ok_and(|it| it == content))
}

fn has_failed(tree: &Fixture) -> bool {
    !tree.vfs.report().refused.is_empty()
}

/// Lets `wait` wait for the rename of `d/old`, which is refused then.
fn refuse_while<T: Send>(tree: &Fixture, wait: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let waiting = scope.spawn(wait);
        std::thread::sleep(BEGINS_TO_WAIT);
        tree.proxy.set(RENAME_IS_REFUSED);
        let result = waiting.join().unwrap();
        tree.proxy.set(Way::Open);
        result
    })
}

#[test]
fn a_file_that_is_open_when_the_rename_before_it_is_refused_does_not_replace_the_renamed_one() {
    let tree = with_held_rename(Atomic::Auto, &["old"]);
    let handle = create(&tree, "d/old", b"new");
    tree.proxy.set(RENAME_IS_REFUSED);
    wait_until("the rename is refused", || tree.find("d/old.bak").is_err());
    tree.proxy.set(Way::Open);
    close(&tree, handle);
    wait_until("it is stored", || has_content(&tree, b"new"));
    assert_eq!(fs::read(tree.local("d/old")).unwrap(), b"old");
}

#[test]
fn a_file_that_is_open_when_a_removal_is_refused_does_not_replace_the_file_that_stays() {
    let tree = with_files(Atomic::Auto, &["old"]);
    assert!(tree.find("d/old").is_ok());
    let held = Way::RefusesAndHolds(&["DELE"], "d/old", "550 Permission denied.", "DELE");
    tree.proxy.set(held);
    tree.remove("d/old");
    let handle = create(&tree, "d/old", b"new");
    tree.proxy
        .set(Way::Refuses(&["DELE"], "d/old", "550 Permission denied."));
    wait_until("the removal is refused", || has_failed(&tree));
    tree.proxy.set(Way::Open);
    let _ = tree.vfs.sync(handle, Blocking::Yes(NEVER));
    close(&tree, handle);
    wait_until("it is stored", || has_content(&tree, b"new"));
    assert_eq!(fs::read(tree.local("d/old")).unwrap(), b"old");
}

#[test]
fn a_long_file_that_is_open_when_the_rename_before_it_is_refused_is_not_sent_to_its_name() {
    let tree = with_held_rename(Atomic::Never, &["old"]);
    let handle = create(&tree, "d/old", &vec![b'x'; 8 << 20]);
    tree.proxy.set(RENAME_IS_REFUSED);
    wait_until("the rename is refused", || tree.find("d/old.bak").is_err());
    tree.proxy.set(Way::Open);
    // The early upload, if there were one, truncates the file in less than this.
    std::thread::sleep(Duration::from_millis(500));
    assert!(fs::read(tree.local("d/old")).unwrap() == b"old");
    close(&tree, handle);
    let _ = tree.vfs.sync_directory(Ino::ROOT, NEVER);
    assert!(fs::read(tree.local("d/old")).unwrap() == b"old");
}

#[test]
fn a_sync_that_waits_for_a_refused_rename_does_not_replace_the_renamed_file() {
    for atomic in [Atomic::Auto, Atomic::Never] {
        let tree = with_held_rename(atomic, &["old"]);
        let handle = create(&tree, "d/old", b"new");
        let may = Blocking::Yes(NEVER);
        let synced = refuse_while(&tree, || tree.vfs.sync(handle, may));
        assert!(synced.is_err(), "{atomic:?}");
        assert_eq!(fs::read(tree.local("d/old")).unwrap(), b"old");
        close(&tree, handle);
        wait_until("it is stored", || has_content(&tree, b"new"));
        assert_eq!(fs::read(tree.local("d/old")).unwrap(), b"old");
    }
}

#[test]
fn a_rename_that_waits_for_a_refused_one_does_not_replace_what_should_have_been_renamed() {
    let tree = with_files(Atomic::Auto, &["old"]);
    let handle = tree.write_and_keep("d/new", b"new");
    tree.sync();
    assert!(tree.find("d/old.bak").is_err() && tree.find("d/old").is_ok());
    tree.proxy.set(RENAME_IS_HELD);
    tree.rename("d/old", "d/old.bak");
    let (from, to) = (tree.parent("d/new"), tree.parent("d/old"));
    let renamed = refuse_while(&tree, || tree.vfs.rename(from, to, false, NEVER));
    assert!(renamed.is_err());
    assert_eq!(names(&tree.local("d")), ["new", "old"]);
    assert_eq!(fs::read(tree.local("d/old")).unwrap(), b"old");
    // It was reported: now the program knows what it replaces.
    tree.rename("d/new", "d/old");
    close(&tree, handle);
    tree.sync();
    assert_eq!(names(&tree.local("d")), ["old"]);
    assert_eq!(fs::read(tree.local("d/old")).unwrap(), b"new");
}

#[test]
fn a_removal_that_waits_for_a_rename_before_it_is_not_made_if_that_is_refused() {
    let tree = with_files(Atomic::Auto, &["old", "other"]);
    // A file that is being read is removed now.
    let ino = tree.find("d/other").unwrap();
    let opened = tree.vfs.open(ino, READS, Blocking::Yes(NEVER)).unwrap();
    assert!(tree.find("d/old.bak").is_err() && tree.find("d/old").is_ok());
    tree.proxy.set(RENAME_IS_HELD);
    tree.rename("d/old", "d/old.bak");
    let (parent, name) = tree.parent("d/other");
    let removed = refuse_while(&tree, || tree.vfs.unlink(parent, name, NEVER));
    assert!(removed.is_err());
    close(&tree, opened.handle);
    let _ = tree.vfs.sync_directory(Ino::ROOT, NEVER);
    assert_eq!(names(&tree.local("d")), ["old", "other"]);
}
