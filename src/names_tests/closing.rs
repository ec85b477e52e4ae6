//! Files that are stored when they are closed, and files that others change while they are open.

use std::sync::Arc;

use tempfile::TempDir;

use super::fixture::{READS, WRITES};
use super::*;
use crate::vfs::{CopyEnd, Errno, Handle};

/// Longer than a program takes to begin to wait.
const BEGINS_TO_WAIT: Duration = Duration::from_millis(300);

/// Mounts a server with the file `d/log`, whose rename to `d/log.1` does not arrive yet, and with
/// `d/source` of 128 KiB.
fn with_held_rename(setup: Setup) -> Fixture {
    let directory = Arc::new(TempDir::new().unwrap());
    fs::create_dir_all(directory.path().join("root/d")).unwrap();
    fs::write(
        directory.path().join("root/d/source"),
        vec![b's'; 128 << 10],
    )
    .unwrap();
    let tree = Fixture::mount(setup, directory, 0);
    fs::write(tree.local("d/log"), b"old").unwrap();
    assert!(tree.find("d/log.1").is_err() && tree.find("d/log").is_ok());
    tree.proxy.set(Way::Holds("log.1"));
    tree.rename("d/log", "d/log.1");
    tree
}

fn create(tree: &Fixture, path: &str) -> Handle {
    let (parent, name) = tree.parent(path);
    assert_eq!(tree.find(path), Err(Errno::NOENT));
    let may = Blocking::Yes(NEVER);
    tree.vfs
        .create(parent, name, 0o644, WRITES, may)
        .unwrap()
        .1
        .handle
}

/// Closes `handle`, whose file is at `path`, while the rename does not arrive. Lets that arrive
/// then, and checks that the file was stored behind it.
fn close_behind_rename(tree: &Fixture, handle: Handle, path: &str) {
    let before = fs::read(tree.local(path)).ok();
    let may = Blocking::Yes(NEVER);
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| tree.vfs.flush(handle, 1, may));
        std::thread::sleep(BEGINS_TO_WAIT);
        let is_over = closing.is_finished();
        let meanwhile = fs::read(tree.local(path)).ok();
        tree.proxy.set(Way::Open);
        assert!(!is_over && meanwhile == before);
        assert_eq!(closing.join().unwrap(), Ok(()));
    });
    // The server has it when it is closed.
    assert_eq!(fs::read(tree.local("d/log.1")).unwrap(), b"old");
    assert!(fs::metadata(tree.local(path)).unwrap().len() > 3);
    tree.vfs.release(handle, may).unwrap();
}

#[test]
fn a_file_that_is_larger_than_the_spool_is_stored_in_its_turn() {
    let tree = with_held_rename(Setup {
        spool_size: Some(4 << 20),
        ..Setup::new(Duration::ZERO, Way::Open)
    });
    let handle = create(&tree, "d/log");
    let piece = vec![b'x'; 1 << 20];
    for number in 0..12 {
        let may = Blocking::Yes(NEVER);
        tree.vfs
            .write(handle, number << 20, &piece, 1, may)
            .unwrap();
    }
    close_behind_rename(&tree, handle, "d/log");
    assert_eq!(fs::metadata(tree.local("d/log")).unwrap().len(), 12 << 20);
}

#[test]
fn a_copy_that_the_server_made_gets_its_name_in_its_turn() {
    let tree = with_held_rename(Setup::new(Duration::ZERO, Way::Open));
    let may = Blocking::Yes(NEVER);
    let source = tree.find("d/source").unwrap();
    let source = tree.vfs.open(source, READS, may).unwrap().handle;
    let handle = create(&tree, "d/copy");
    let [from, to] = [source, handle].map(|handle| CopyEnd { handle, offset: 0 });
    assert_eq!(tree.vfs.copy_range(from, to, 128 << 10, may), Ok(128 << 10));
    close_behind_rename(&tree, handle, "d/copy");
    let copied = fs::read(tree.local("d/copy")).unwrap();
    assert!(copied == fs::read(tree.local("d/source")).unwrap());
    tree.vfs.release(source, may).unwrap();
}

#[test]
fn a_file_that_is_one_too_many_to_wait_is_stored_in_its_turn() {
    let tree = with_held_rename(Setup::new(Duration::ZERO, Way::Open));
    tree.vfs.set_most_waiting(2);
    for name in ["d/one", "d/two"] {
        tree.write(name, b"content");
    }
    let handle = create(&tree, "d/three");
    let may = Blocking::Yes(NEVER);
    tree.vfs.write(handle, 0, b"content", 1, may).unwrap();
    close_behind_rename(&tree, handle, "d/three");
    tree.sync();
    assert_eq!(
        names(&tree.local("d")),
        ["log.1", "one", "source", "three", "two"]
    );
}

#[test]
fn a_file_that_others_change_while_it_is_open_and_the_server_is_away_is_kept_beside_theirs() {
    let tree = Fixture::with(Setup {
        works_offline: true,
        ..Setup::new(Duration::ZERO, Way::Open)
    });
    fs::create_dir(tree.local("d")).unwrap();
    fs::write(tree.local("d/f"), b"old").unwrap();
    let may = Blocking::Yes(NEVER);
    let ino = tree.find("d/f").unwrap();
    let handle = tree.vfs.open(ino, WRITES, may).unwrap().handle;
    tree.proxy.set(Way::Closed);
    tree.server.as_ref().unwrap().drop_sessions();
    tree.vfs.write(handle, 0, b"mine", 1, may).unwrap();
    tree.vfs.flush(handle, 1, may).unwrap();
    wait_until("it is offline", || tree.vfs.report().offline.is_some());
    fs::write(tree.local("d/f"), b"theirs").unwrap();
    tree.proxy.set(Way::Open);
    let is_open = || {
        let uploads = tree.vfs.report().uploads;
        let mut reasons = uploads.iter().filter_map(|it| it.reason.as_ref());
        reasons.any(|reason| reason.contains("open for writing"))
    };
    wait_until("it is compared with the server's", is_open);
    assert_eq!(fs::read(tree.local("d/f")).unwrap(), b"theirs");
    // What the program still writes belongs to the same file.
    tree.vfs.write(handle, 4, b" too", 1, may).unwrap();
    tree.vfs.flush(handle, 1, may).unwrap();
    tree.vfs.release(handle, may).unwrap();
    let has_mine = || {
        let all = names(&tree.local("d")).into_iter();
        let others = all.filter(|name| name != "f" && !name.starts_with('.'));
        let contents: Vec<_> = others
            .map(|name| fs::read(tree.local("d").join(name)).unwrap())
            .collect();
        contents == [b"mine too"]
    };
    wait_until("it is kept beside the other", has_mine);
    assert_eq!(fs::read(tree.local("d/f")).unwrap(), b"theirs");
    let shown = || tree.vfs.getattr(tree.find("d/f").unwrap(), may).unwrap();
    wait_until("theirs is shown", || shown().value.size == 6);
}
