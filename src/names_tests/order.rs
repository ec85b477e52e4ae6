//! Files that are stored behind a change of their name that is not made, or is refused.

use std::sync::Arc;

use tempfile::TempDir;

use super::fixture::WRITES;
use super::*;
use crate::vfs::Errno;

fn usual() -> Setup {
    Setup::new(Duration::ZERO, Way::Open)
}

/// Mounts a server with the file `d/log`, whose rename to `d/log.1` is treated in this `way`.
fn with_renamed_log(setup: Setup, way: Way) -> Fixture {
    let directory = Arc::new(TempDir::new().unwrap());
    fs::create_dir_all(directory.path().join("root/d")).unwrap();
    let tree = Fixture::mount(setup, directory, 0);
    fs::write(tree.local("d/log"), b"old").unwrap();
    assert!(tree.find("d/log.1").is_err() && tree.find("d/log").is_ok());
    tree.proxy.set(way);
    tree.rename("d/log", "d/log.1");
    tree
}

/// The same with a new `d/log` that waits because the rename was refused.
fn with_file_behind() -> Fixture {
    let tree = with_renamed_log(usual(), Way::RefusesRename("log.1"));
    tree.write("d/log", b"new");
    wait_until("the file waits", || refused(&tree) == ["/d/log"]);
    tree.proxy.set(Way::Open);
    tree
}

/// Tries to change the name again after an earlier change of it was reported to have failed.
fn again(change: impl Fn() -> Result<(), Errno>) {
    if change().is_err() {
        change().unwrap();
    }
}

/// Returns how many files in `d` on the server have `content`.
fn count(tree: &Fixture, content: &[u8]) -> usize {
    let directory = tree.local("d");
    let names = names(&directory).into_iter();
    names
        .filter(|name| fs::read(directory.join(name)).unwrap() == content)
        .count()
}

#[test]
fn what_replaces_a_file_behind_a_refused_rename_does_not_overwrite_the_renamed_one() {
    let tree = with_file_behind();
    tree.write("d/tmp", b"newer");
    let (from, to) = (tree.parent("d/tmp"), tree.parent("d/log"));
    again(|| tree.vfs.rename(from, to, false, NEVER));
    let _ = tree.vfs.sync_directory(Ino::ROOT, NEVER);
    wait_until("it is stored", || count(&tree, b"newer") == 1);
    assert_eq!(fs::read(tree.local("d/log")).unwrap(), b"old");
}

#[test]
fn a_file_that_was_moved_away_behind_a_refused_rename_shows_the_one_of_the_server() {
    let tree = with_file_behind();
    let (from, to) = (tree.parent("d/log"), tree.parent("d/other"));
    again(|| tree.vfs.rename(from, to, false, NEVER));
    assert!(tree.find("d/log").is_ok());
    let _ = tree.vfs.sync_directory(Ino::ROOT, NEVER);
    wait_until("it is stored", || count(&tree, b"new") == 1);
    assert_eq!(fs::read(tree.local("d/log")).unwrap(), b"old");
}

#[test]
fn a_file_that_was_removed_behind_a_refused_rename_shows_the_one_of_the_server() {
    let tree = with_file_behind();
    let (parent, name) = tree.parent("d/log");
    again(|| tree.vfs.unlink(parent, name, NEVER));
    assert!(tree.find("d/log").is_ok());
    let _ = tree.vfs.sync_directory(Ino::ROOT, NEVER);
    assert_eq!(fs::read(tree.local("d/log")).unwrap(), b"old");
    assert_eq!(names(&tree.local("d")), ["log"]);
}

#[test]
fn the_next_mount_keeps_the_order_also_without_the_option() {
    let tree = with_renamed_log(usual(), Way::Holds("log.1"));
    let tree = tree.killed_as(Setup {
        names: false,
        ..Setup::new(Duration::ZERO, Way::Holds("log.1"))
    });
    tree.write("d/log", b"new");
    // The upload, if there were one, takes less than this.
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(fs::read(tree.local("d/log")).unwrap(), b"old");
    tree.proxy.set(Way::Open);
    tree.sync();
    assert_eq!(fs::read(tree.local("d/log")).unwrap(), b"new");
    assert_eq!(fs::read(tree.local("d/log.1")).unwrap(), b"old");
}

#[test]
fn a_long_file_that_is_uploaded_to_its_name_waits_for_the_rename_before_it() {
    let setup = Setup {
        atomic: Atomic::Never,
        ..usual()
    };
    let tree = with_renamed_log(setup, Way::Holds("log.1"));
    let (parent, name) = tree.parent("d/log");
    let may = Blocking::Yes(NEVER);
    let opened = tree.vfs.create(parent, name, 0o644, WRITES, may).unwrap().1;
    let piece = vec![b'x'; 1 << 20];
    for number in 0..8 {
        let offset = number << 20;
        tree.vfs
            .write(opened.handle, offset, &piece, 1, may)
            .unwrap();
    }
    // The early upload, if there were one, truncates the file in less than this.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(fs::read(tree.local("d/log")).unwrap(), b"old");
    tree.proxy.set(Way::Open);
    tree.vfs.flush(opened.handle, 1, may).unwrap();
    tree.vfs.release(opened.handle, may).unwrap();
    tree.sync();
    assert_eq!(fs::metadata(tree.local("d/log")).unwrap().len(), 8 << 20);
    assert_eq!(fs::read(tree.local("d/log.1")).unwrap(), b"old");
}

/// The older contents are uploaded in the turn of the newer ones, which is behind another change.
#[test]
fn a_file_whose_older_contents_wait_for_their_turn_can_be_renamed() {
    let setup = Setup::new(Duration::from_millis(100), Way::Open);
    let tree = with_renamed_log(setup, Way::Holds("log.1"));
    tree.write("d/file", b"older");
    let is_being_uploaded = || names(&tree.local("d")).len() == 2;
    wait_until("the upload begins", is_being_uploaded);
    tree.write("d/file", b"newer");
    let is_uploaded = || count(&tree, b"older") == 1;
    wait_until("it waits for its turn", is_uploaded);
    let (from, to) = (tree.parent("d/file"), tree.parent("d/renamed"));
    std::thread::scope(|scope| {
        let renaming = scope.spawn(|| tree.vfs.rename(from, to, false, NEVER));
        wait_until("it is renamed", || renaming.is_finished());
        renaming.join().unwrap().unwrap();
    });
    assert!(tree.find("d/file").is_err());
    tree.proxy.set(Way::Open);
    tree.sync();
    assert_eq!(names(&tree.local("d")), ["log.1", "renamed"]);
    assert_eq!(fs::read(tree.local("d/renamed")).unwrap(), b"newer");
}
