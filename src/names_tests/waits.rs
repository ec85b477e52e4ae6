//! Programs that wait for changes, and changes that wait for a program.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::server::{Fault, Misdeed};
use crate::vfs::{Errno, Vfs};

/// Longer than a program takes to begin to wait.
const BEGINS_TO_WAIT: Duration = Duration::from_millis(300);

fn refusal(code: u16) -> Misdeed {
    Misdeed::Refuse {
        code,
        text: "not now".to_owned(),
    }
}

/// A tree with the file `d/a`, whose rename to `d/b` the server refuses for the moment.
fn with_busy_rename() -> Fixture {
    let tree = Fixture::new(Duration::ZERO);
    fs::create_dir(tree.local("d")).unwrap();
    fs::write(tree.local("d/a"), b"old").unwrap();
    assert!(tree.find("d/b").is_err() && tree.find("d/a").is_ok());
    let busy = Fault::on("RNTO", refusal(450)).named("/d/b").always();
    tree.faults().add(busy);
    tree.rename("d/a", "d/b");
    wait_until("it is refused", || tree.vfs.name_troubles() > 0);
    tree
}

#[test]
fn a_wait_that_is_cancelled_does_not_delay_what_another_program_waits_for() {
    let tree = with_busy_rename();
    let handle = tree.write_and_keep("d/new", b"new");
    tree.proxy
        .set(Way::RefusesAndHolds(&[], "", "450 Busy", "STOR /d/"));
    let (cancel, is_synced) = (Cancel::new(), AtomicBool::new(false));
    let sync = |cancel| tree.vfs.sync(handle, Blocking::Yes(cancel));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            let synced = sync(NEVER);
            is_synced.store(true, Ordering::Relaxed);
            synced
        });
        std::thread::sleep(BEGINS_TO_WAIT);
        let second = scope.spawn(|| sync(&cancel));
        std::thread::sleep(BEGINS_TO_WAIT);
        cancel.cancel();
        assert_eq!(second.join().unwrap(), Err(Errno::INTR));
        tree.proxy.set(Way::Open);
        let start = Instant::now();
        while !is_synced.load(Ordering::Relaxed) && start.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let is_in_time = is_synced.load(Ordering::Relaxed);
        tree.faults().clear();
        assert!(is_in_time, "it waits for the rename");
        assert_eq!(first.join().unwrap(), Ok(()));
    });
    tree.vfs.release(handle, Blocking::Yes(NEVER)).unwrap();
}

#[test]
fn what_may_not_get_its_name_any_more_is_not_uploaded_again_at_the_end() {
    let tree = with_busy_rename();
    tree.write("d/new", b"new");
    let uploads = || {
        let commands = tree.server.as_ref().unwrap().commands();
        commands.iter().filter(|it| it.starts_with("STOR")).count()
    };
    wait_until("it is uploaded", || uploads() == 1);
    Vfs::drain(&tree.vfs);
    assert_eq!(uploads(), 1);
    assert_eq!(names(&tree.local("d")), ["a"]);
    // The next mount stores it.
    let tree = tree.killed(Duration::ZERO);
    tree.sync();
    assert_eq!(names(&tree.local("d")), ["b", "new"]);
}

#[test]
fn nothing_overtakes_a_file_again_whose_name_was_refused_for_the_moment() {
    let tree = Fixture::new(Duration::ZERO);
    tree.mkdir("d");
    tree.sync();
    let busy = Fault::on("RNTO", refusal(450)).named("/d/first").always();
    tree.faults().add(busy);
    tree.write("d/first", b"first");
    wait_until("it is refused", || tree.vfs.name_troubles() > 0);
    for number in 0..8 {
        tree.write(&format!("d/{number}"), b"refers to the first");
    }
    let before = tree.faults().happened();
    wait_until("it is tried again", || {
        tree.faults().happened() >= before + 2
    });
    let placed = || {
        let all = names(&tree.local("d")).into_iter();
        all.filter(|name| !name.starts_with('.')).count()
    };
    assert_eq!(placed(), 0);
    tree.faults().clear();
    wait_until("all are stored", || placed() == 9);
}

/// A tree in which the server refuses to make the directory `d/sub`, and a file waits below it.
fn with_refused_directory() -> Fixture {
    let tree = Fixture::new(Duration::ZERO);
    tree.mkdir("d");
    tree.sync();
    let denied = Fault::on("MKD", refusal(550)).named("/d/sub").always();
    tree.faults().add(denied);
    tree.mkdir("d/sub");
    tree.mkdir("d/sub/below");
    tree.write("d/sub/below/file", b"content");
    wait_until("it is refused", || !tree.vfs.report().refused.is_empty());
    wait_until("the file waits", || !refused(&tree).is_empty());
    tree
}

#[test]
fn a_refused_directory_is_made_where_it_is_after_a_rename_above_it() {
    let tree = with_refused_directory();
    tree.faults().clear();
    tree.rename("d", "e");
    assert!(tree.find("e/sub/below/file").is_ok() && tree.find("d").is_err());
    // What was refused is reported once.
    let directory = tree.find("e").unwrap();
    assert!(tree.vfs.sync_directory(directory, NEVER).is_err());
    let stored = fs::read(tree.local("e/sub/below/file"));
    assert_eq!(stored.unwrap(), b"content");
    assert_eq!(names(&tree.local("")), ["e"]);
    assert_eq!(tree.vfs.report().changes, 0);
    assert!(tree.find("e/sub/below/file").is_ok() && tree.find("d").is_err());
}
