//! What killed mounts left in their journals.

use std::io::Write;
use std::sync::Arc;
use std::time::SystemTime;

use tempfile::TempDir;

use super::*;
use crate::ftp::{Precision, RemotePath, Version};
use crate::journal::{
    CommitOptions, Domains, Journal, NameAction, NameBase, NameChange, Pending, SpoolFile,
};

/// Returns the contents of the files that could not be stored, which the mount `number` has kept.
fn recovered(directory: &TempDir, number: u32) -> Vec<Vec<u8>> {
    let kept = Fixture::place(directory, number)
        .directory()
        .join("recovered");
    let files = fs::read_dir(kept).into_iter().flatten();
    files
        .map(|file| fs::read(file.unwrap().path()).unwrap())
        .collect()
}

fn server_path(path: &str) -> RemotePath {
    RemotePath::new(path.as_bytes()).unwrap()
}

/// Leaves `content` in `journal`, closed as a file that the server does not have.
fn close_in(journal: &Journal, path: &str, content: &[u8]) -> (SpoolFile, Pending) {
    let path = server_path(path);
    let spool = journal.spool_file(&path).unwrap();
    (&spool.file).write_all(content).unwrap();
    let pending = Pending {
        target: path,
        commit: CommitOptions {
            size: content.len() as u64,
            ..CommitOptions::default()
        },
        base: None,
        appended_from: None,
        unproven: Vec::new(),
    };
    spool.persist(&pending).unwrap();
    (spool, pending)
}

/// Records the turn of contents that were closed.
fn order(spool: &SpoolFile, pending: &Pending) {
    let change = NameChange {
        action: NameAction::Store { id: 0 },
        path: pending.target.clone(),
        base: NameBase::Absent,
    };
    spool.record_order(&change, &Domains::new()).unwrap();
}

/// Returns a server with the directory `d`, and a journal that a mount may leave.
fn left() -> (Arc<TempDir>, Journal) {
    let (directory, journal) = left_without_names();
    journal.keep_order();
    (directory, journal)
}

/// The same of a mount without `-o writeback=names`.
fn left_without_names() -> (Arc<TempDir>, Journal) {
    let directory = Arc::new(TempDir::new().unwrap());
    fs::create_dir_all(directory.path().join("root/d")).unwrap();
    let journal = Journal::open(&Fixture::place(&directory, 0), None).unwrap();
    (directory, journal)
}

#[test]
fn the_last_version_of_a_file_is_stored_although_an_older_one_was_tried_again() {
    let (directory, journal) = left();
    let (first, pending) = close_in(&journal, "/d/a", b"first");
    order(&first, &pending);
    let (second, newer) = close_in(&journal, "/d/a", b"second");
    order(&second, &newer);
    first.pending(&pending);
    // The answer to its upload was lost.
    fs::write(directory.path().join("root/d/a"), b"first").unwrap();
    drop((first, second, journal));

    let setup = Setup::new(Duration::ZERO, CHANGES_NOTHING);
    let tree = Fixture::mount(setup, directory, 0);
    // The next mount knows which contents the server may have, too.
    let tree = tree.killed(Duration::ZERO);
    tree.sync();
    assert_eq!(fs::read(tree.local("d/a")).unwrap(), b"second");
    assert_eq!(recovered(&tree.directory, 1), [b""; 0]);
}

#[test]
fn what_a_mount_left_is_not_kept_beside_what_the_next_one_closed_after_it() {
    let (directory, journal) = left();
    let (first, pending) = close_in(&journal, "/d/a", b"first");
    order(&first, &pending);
    drop((first, journal));
    let setup = Setup::new(Duration::ZERO, Way::Holds("/d/a"));
    let tree = Fixture::mount(setup, directory, 0);
    let has_part = || {
        let names = names(&tree.local("d"));
        names.iter().any(|it| it.contains(".part"))
    };
    wait_until("it is uploaded", has_part);
    tree.write("d/a", b"second");
    let tree = tree.killed(Duration::ZERO);
    tree.sync();
    assert_eq!(fs::read(tree.local("d/a")).unwrap(), b"second");
    assert_eq!(recovered(&tree.directory, 1), [b""; 0]);
}

#[test]
fn what_two_mounts_at_the_same_time_left_of_a_file_is_kept_twice() {
    let one = Fixture::new(Duration::ZERO);
    fs::create_dir(one.local("d")).unwrap();
    let setup = Setup::new(Duration::ZERO, CHANGES_NOTHING);
    let mut one = Fixture::mount(setup, Arc::clone(&one.directory), 0);
    let two = Fixture::mount(setup, Arc::clone(&one.directory), 0);
    one.write("d/a", b"one");
    two.write("d/a", b"two");
    one.disconnect();
    let tree = two.killed(Duration::ZERO);
    tree.sync();
    assert_eq!(fs::read(tree.local("d/a")).unwrap(), b"two");
    assert_eq!(recovered(&tree.directory, 1), [b"one"]);
}

#[test]
fn a_file_that_was_renamed_when_the_mount_was_killed_comes_after_the_changes_before_it() {
    let (directory, journal) = left();
    let log = directory.path().join("root/d/f");
    fs::write(&log, b"old").unwrap();
    let modified = fs::metadata(&log).unwrap().modified().unwrap();
    let seconds = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let old = Version {
        size: Some(3),
        modified: Some((seconds.as_secs().cast_signed(), Precision::Second)),
        unique: 0,
    };
    let change = NameChange {
        action: NameAction::Rename {
            to: server_path("/d/f.bak"),
            replaced: NameBase::Absent,
        },
        path: server_path("/d/f"),
        base: NameBase::File(old),
    };
    journal.record_change(&change, &Domains::new()).unwrap();
    let (spool, mut pending) = close_in(&journal, "/d/tmp", b"new");
    order(&spool, &pending);
    // Its new turn is not recorded yet.
    pending.target = server_path("/d/f");
    spool.persist(&pending).unwrap();
    drop((spool, journal));

    let setup = Setup::new(Duration::ZERO, Way::Holds("f.bak"));
    let tree = Fixture::mount(setup, directory, 0);
    // A file without a turn is stored, or given up, before.
    std::thread::sleep(Duration::from_millis(800));
    tree.proxy.set(Way::Open);
    tree.sync();
    assert_eq!(fs::read(tree.local("d/f")).unwrap(), b"new");
    assert_eq!(fs::read(tree.local("d/f.bak")).unwrap(), b"old");
    assert_eq!(recovered(&tree.directory, 0), [b""; 0]);
}

#[test]
fn what_a_mount_without_names_left_is_stored_before_what_follows() {
    let (directory, journal) = left_without_names();
    let (spool, _) = close_in(&journal, "/d/a", b"content");
    drop((spool, journal));
    let setup = Setup::new(Duration::ZERO, Way::Holds("/d/a"));
    let tree = Fixture::mount(setup, directory, 0);
    tree.write("d/marker", b"");
    // It would be there by then.
    std::thread::sleep(Duration::from_millis(800));
    assert!(!tree.local("d/marker").exists());
    tree.proxy.set(Way::Open);
    tree.sync();
    assert_eq!(fs::read(tree.local("d/a")).unwrap(), b"content");
    assert!(tree.local("d/marker").exists());
    assert_eq!(tree.vfs.report().changes, 0);
}

/// What a killed mount left may be on the server already, with another time than it has here. The
/// file that replaces it expects the time that was found.
#[test]
fn a_file_replaces_one_that_was_left_and_is_there_already() {
    let directory = Arc::new(TempDir::new().unwrap());
    fs::create_dir_all(directory.path().join("root/d")).unwrap();
    let tree = Fixture::mount(Setup::new(Duration::ZERO, Way::Open), directory, 0);
    fs::write(tree.local("d/left"), b"the old contents").unwrap();
    fs::write(tree.local("d/other"), b"other").unwrap();
    assert!(tree.find("d/left").is_ok() && tree.find("d/other").is_ok());
    tree.write("d/left", b"the same");
    fs::write(tree.local("d/left"), b"the same").unwrap();
    let stored = fs::File::options().write(true).open(tree.local("d/left"));
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    stored.unwrap().set_modified(time).unwrap();
    let tree = tree.killed(Duration::from_millis(100));
    tree.rename("d/other", "d/left");
    tree.sync();
    assert_eq!(names(&tree.local("d")), ["left"]);
    assert_eq!(fs::read(tree.local("d/left")).unwrap(), b"other");
}
