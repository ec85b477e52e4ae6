//! Servers and networks that fail for a while: nothing overtakes what was not made, nothing is
//! taken back for good, and no program waits for ever.

use std::fs;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

use super::fixture::{Fixture, READS, Setup};
use super::proxy::Way;
use super::{NEVER, names, refused, wait_until};
use crate::cancel::Blocking;
use crate::ftp::RemotePath;
use crate::server::{Fault, Misdeed};
use crate::vfs::{Errno, Ino, Vfs};

fn refusal(code: u16) -> Misdeed {
    Misdeed::Refuse {
        code,
        text: "not now".to_owned(),
    }
}

/// A tree with a directory `d`. No program has its files open.
fn tree_with(files: &[&str]) -> Fixture {
    with_files(Fixture::new(Duration::ZERO), files)
}

fn with_files(tree: Fixture, files: &[&str]) -> Fixture {
    fs::create_dir(tree.local("d")).unwrap();
    for name in files {
        fs::write(tree.local("d").join(name), b"old").unwrap();
    }
    assert!(tree.find("d/absent").is_err());
    for name in files {
        tree.find(&format!("d/{name}")).unwrap();
    }
    tree
}

/// Runs `call` in another thread. Returns its result, if it has one in time.
fn in_time<T: Send + 'static>(
    tree: &Fixture,
    call: impl FnOnce(&Vfs) -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    let vfs = Arc::clone(&tree.vfs);
    thread::spawn(move || sender.send(call(&vfs)));
    receiver.recv_timeout(Duration::from_secs(60)).ok()
}

/// Returns the names in the directory `d` of the server, without those of uploads.
fn placed(tree: &Fixture) -> Vec<String> {
    let mut names = names(&tree.local("d"));
    names.retain(|name| !name.starts_with('.'));
    names
}

fn wait_for_faults(tree: &Fixture, count: u64) {
    let before = tree.faults().happened();
    wait_until("faults happen", || {
        tree.faults().happened() >= before + count
    });
}

fn wait_until_decided(tree: &Fixture) {
    wait_until("all is made or refused", || {
        let report = tree.vfs.report();
        report.changes == 0 && report.uploads.is_empty() || !report.refused.is_empty()
    });
}

#[test]
fn no_upload_gets_its_name_behind_one_that_could_not_get_its_own() {
    let tree = tree_with(&[]);
    let lost = Fault::on("RNTO", Misdeed::DropControl);
    tree.faults().add(lost.named("/d/pack").always());
    tree.write("d/pack", b"pack");
    for number in 0..8 {
        tree.write(&format!("d/{number}"), b"refers to the pack");
    }
    wait_for_faults(&tree, 24);
    assert_eq!(placed(&tree), [""; 0]);
    tree.faults().clear();
    wait_until_decided(&tree);
    assert_eq!(placed(&tree).len(), 9);
    assert_eq!(tree.vfs.report().refused, []);
}

#[test]
fn changes_wait_for_the_end_of_a_refusal_of_logins() {
    let tree = tree_with(&["a", "x"]);
    tree.faults().add(Fault::on("PASS", refusal(530)).always());
    tree.server.as_ref().unwrap().drop_sessions();
    tree.rename("d/a", "d/b");
    wait_for_faults(&tree, 1);
    tree.faults().clear();
    wait_until_decided(&tree);
    assert_eq!(tree.vfs.report().refused, []);
    assert_eq!(placed(&tree), ["b", "x"]);
}

#[test]
fn changes_behind_a_file_wait_for_the_end_of_a_refusal_of_logins() {
    let tree = tree_with(&["a", "x"]);
    tree.faults().add(Fault::on("PASS", refusal(530)).always());
    tree.server.as_ref().unwrap().drop_sessions();
    tree.write("d/new", b"new");
    tree.remove("d/x");
    wait_for_faults(&tree, 1);
    tree.faults().clear();
    wait_until_decided(&tree);
    assert_eq!(tree.vfs.report().refused, []);
    assert_eq!(placed(&tree), ["a", "new"]);
}

#[test]
fn a_file_whose_time_was_set_in_a_write_that_was_cut_can_be_removed_after_a_kill() {
    let tree = tree_with(&["f"]);
    let cut = || Fault::on("MFMT", Misdeed::DoneThenDrop).named("/d/f");
    tree.faults().add(cut().always());
    tree.set_time("d/f", 1_000_000_000);
    wait_for_faults(&tree, 1);
    tree.remove("d/f");
    let tree = tree.killed(Duration::ZERO);
    tree.sync();
    assert_eq!(tree.vfs.report().refused, []);
    assert_eq!(placed(&tree), [""; 0]);
}

#[test]
fn a_file_whose_time_was_set_with_an_upload_can_be_removed_after_a_kill() {
    let tree = tree_with(&["f"]);
    // Then it is known that times can be set, and several commands be sent.
    tree.write("d/first", b"first");
    tree.sync();
    let cut = || Fault::on("MFMT", Misdeed::DoneThenDrop).named("/d/f");
    tree.faults().add(cut().always());
    tree.write("d/new", b"new");
    tree.set_time("d/f", 1_000_000_000);
    wait_for_faults(&tree, 1);
    tree.remove("d/f");
    let tree = tree.killed(Duration::ZERO);
    tree.sync();
    assert_eq!(tree.vfs.report().refused, []);
    assert_eq!(placed(&tree), ["first", "new"]);
}

/// A program has listed the file before the server gets the time that a killed mount left. What
/// replaces the file then expects that time, also after another kill.
#[test]
fn a_time_that_a_killed_mount_left_is_shown_when_the_server_has_it() {
    const SET: u64 = 1_000_000_000;
    let holds = |command| Way::RefusesAndHolds(&[], "", "", command);
    let tree = tree_with(&["f"]);
    tree.proxy.set(holds("MFMT "));
    tree.set_time("d/f", SET);
    let tree = tree.killed_as(Setup::new(Duration::ZERO, holds("MFMT ")));
    let before = tree.find("d/f").unwrap();
    tree.proxy.set(Way::Open);
    let opened = tree.vfs.open(before, READS, Blocking::Yes(NEVER)).unwrap();
    tree.vfs
        .release(opened.handle, Blocking::Yes(NEVER))
        .unwrap();
    let shown = tree.vfs.getattr(before, Blocking::Yes(NEVER)).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(SET);
    assert_eq!(shown.value.modified, time);
    tree.proxy.set(holds("STOR "));
    tree.write("d/f", b"new");
    let tree = tree.killed(Duration::ZERO);
    tree.sync();
    assert_eq!(tree.vfs.report().refused, []);
    assert_eq!(fs::read(tree.local("d/f")).unwrap(), b"new");
    assert_eq!(placed(&tree), ["f"]);
}

#[test]
fn a_refused_file_that_is_renamed_keeps_nothing_from_its_turn() {
    let tree = tree_with(&["old"]);
    tree.faults().add(Fault::on("STOR", refusal(552)).always());
    tree.write("d/f", b"content");
    wait_until("the file is refused", || refused(&tree) == ["/d/f"]);
    tree.rename("d/f", "d/g");
    tree.remove("d/old");
    wait_until("the removal is made", || placed(&tree).is_empty());
    assert_eq!(refused(&tree), ["/d/g"]);
    tree.faults().clear();
    tree.sync();
    assert_eq!(placed(&tree), ["g"]);
}

#[test]
fn the_mount_ends_without_a_server_while_a_file_waits_behind_another() {
    let tree = Fixture::with(Setup {
        works_offline: true,
        ..Setup::new(Duration::ZERO, Way::Open)
    });
    let mut tree = with_files(tree, &[]);
    let lost = Fault::on("RNTO", Misdeed::DropControl);
    tree.faults().add(lost.named("/d/big").always());
    tree.write("d/big", b"big");
    tree.write("d/small", b"small");
    wait_for_faults(&tree, 8);
    tree.proxy.set(Way::Closed);
    tree.server.as_ref().unwrap().drop_sessions();
    wait_until("it is offline", || tree.vfs.report().offline.is_some());
    let has_ended = in_time(&tree, Vfs::drain).is_some();
    drop(tree.server.take());
    assert!(has_ended);
}

#[test]
fn who_waits_for_a_file_behind_a_change_that_cannot_be_made_gets_an_error() {
    let tree = tree_with(&["a"]);
    let lost = Fault::on("RNTO", Misdeed::DropControl);
    tree.faults().add(lost.named("/d/b").always());
    tree.rename("d/a", "d/b");
    tree.write("d/new", b"new");
    wait_for_faults(&tree, 4);
    let synced = in_time(&tree, |vfs| vfs.sync_directory(Ino::ROOT, NEVER));
    assert!(synced.is_some_and(|it| it.is_err()), "{synced:?}");
    let directory = tree.find("d").unwrap();
    let synced = in_time(&tree, move |vfs| vfs.sync_directory(directory, NEVER));
    assert!(synced.is_some_and(|it| it.is_err()), "{synced:?}");
    let flushed = in_time(&tree, |vfs| {
        vfs.flush_below(&RemotePath::root(), |_| true).failures
    });
    assert!(flushed.is_some_and(|it| !it.is_empty()));
    tree.faults().clear();
    wait_until_decided(&tree);
    assert_eq!(tree.vfs.report().refused, []);
    assert_eq!(placed(&tree), ["b", "new"]);
}

#[test]
fn a_change_that_is_refused_for_the_moment_is_no_trouble_elsewhere() {
    let tree = tree_with(&["a"]);
    fs::create_dir(tree.local("e")).unwrap();
    for number in 0..5 {
        fs::write(tree.local(&format!("e/{number}")), b"old").unwrap();
    }
    let other = tree.find("e").unwrap();
    let busy = Fault::on("RNTO", refusal(450));
    tree.faults().add(busy.named("/d/b").always());
    tree.rename("d/a", "d/b");
    wait_for_faults(&tree, 1);
    for number in 0..5 {
        tree.rename(&format!("e/{number}"), &format!("e/new{number}"));
        tree.write(&format!("e/file{number}"), b"content");
        assert_eq!(tree.vfs.sync_directory(other, NEVER), Ok(()));
    }
    tree.write("d/new", b"new");
    let directory = tree.find("d").unwrap();
    assert_eq!(tree.vfs.sync_directory(directory, NEVER), Err(Errno::BUSY));
    assert!(placed(&tree).contains(&"a".to_owned()));
    tree.faults().clear();
    wait_until_decided(&tree);
    assert_eq!(tree.vfs.report().refused, []);
    assert_eq!(placed(&tree), ["b", "new"]);
    assert_eq!(names(&tree.local("e")).len(), 10);
}

#[test]
fn a_file_that_is_written_again_while_its_name_cannot_be_given_keeps_nothing_from_its_turn() {
    let tree = tree_with(&["a"]);
    let lost = Fault::on("RNTO", Misdeed::DropControl);
    tree.faults().add(lost.named("/d/f").always());
    for round in 0..6 {
        tree.write("d/f", format!("{round}").as_bytes());
        wait_for_faults(&tree, 2);
    }
    tree.remove("d/a");
    tree.faults().clear();
    wait_until_decided(&tree);
    assert_eq!(placed(&tree), ["f"]);
    assert_eq!(fs::read(tree.local("d/f")).unwrap(), b"5");
}
