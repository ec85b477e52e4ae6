//! `-o writeback=names` without a kernel: the operations of the vfs on the embedded server.
#![cfg(all(feature = "mount", feature = "server"))]

mod closing;
mod fixture;
mod left;
mod order;
#[cfg(feature = "faults")]
mod outage;
mod proxy;
mod recent;
mod refusals;
mod stored;
#[cfg(feature = "faults")]
mod waits;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cancel::{Blocking, Cancel};
use crate::remote::Atomic;
use crate::vfs::{Ino, Stage};
use fixture::{Fixture, Setup};
use proxy::Way;

const NEVER: &Cancel = &Cancel::never();

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn the_server_has_a_tree_after_a_sync_and_its_removal_takes_a_few_round_trips() {
    let tree = Fixture::new(Duration::from_millis(20));
    tree.mkdir("t");
    tree.mkdir("t/a");
    for number in 0..40 {
        tree.write(&format!("t/a/tmp{number}"), format!("{number}").as_bytes());
        tree.rename(&format!("t/a/tmp{number}"), &format!("t/a/{number}"));
    }
    assert!(tree.find("t/a/39").is_ok() && tree.find("t/a/tmp39").is_err());
    tree.sync();
    assert_eq!(names(&tree.local("t/a")).len(), 40);
    assert_eq!(fs::read(tree.local("t/a/7")).unwrap(), b"7");

    let before = tree.round_trips();
    for number in 0..40 {
        tree.rename(&format!("t/a/{number}"), &format!("t/{number}"));
    }
    tree.sync();
    let moved = tree.round_trips() - before;
    assert_eq!(names(&tree.local("t/a")), [""; 0]);
    assert!(moved <= 20, "{moved} round trips for 40 renames");

    let before = tree.round_trips();
    for number in 0..40 {
        tree.remove(&format!("t/{number}"));
    }
    tree.rmdir("t/a");
    tree.rmdir("t");
    assert!(tree.find("t").is_err());
    tree.sync();
    let removed = tree.round_trips() - before;
    assert_eq!(names(&tree.local("")), [""; 0]);
    assert!(removed <= 20, "{removed} round trips for 42 removals");
}

#[test]
fn a_file_that_is_written_again_while_its_upload_waits_is_stored_in_its_last_version() {
    let tree = Fixture::new(Duration::from_millis(5));
    tree.mkdir("d");
    for round in 0..20 {
        for name in ["d/one", "d/two"] {
            tree.write(name, format!("{round}").as_bytes());
        }
        tree.write("d/tmp", b"tmp");
        tree.rename("d/tmp", "d/two");
        if round % 3 == 0 {
            tree.remove("d/one");
        }
        if round % 5 == 0 {
            std::thread::sleep(Duration::from_millis(230));
        }
    }
    tree.sync();
    assert_eq!(names(&tree.local("d")), ["one", "two"]);
    assert_eq!(fs::read(tree.local("d/one")).unwrap(), b"19");
    assert_eq!(fs::read(tree.local("d/two")).unwrap(), b"tmp");
}

/// Returns the files and directories below `directory`, with the contents of the files.
fn tree_of(directory: &Path, at: &str, found: &mut BTreeMap<String, Option<Vec<u8>>>) {
    for name in names(directory) {
        let (path, at) = (directory.join(&name), format!("{at}{name}"));
        if path.is_dir() {
            tree_of(&path, &format!("{at}/"), found);
            found.insert(at, None);
        } else {
            found.insert(at, Some(fs::read(path).unwrap()));
        }
    }
}

fn work_at_random(mut seed: u64, is_killed: bool) {
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 11) as usize % below.max(1)
    };
    let delay = Duration::from_millis(2);
    let mut tree = Fixture::new(delay);
    let mut model: BTreeMap<String, Option<Vec<u8>>> = BTreeMap::new();
    for step in 0..250 {
        let directories: Vec<_> = model.iter().filter(|it| it.1.is_none()).collect();
        let mut parents: Vec<String> = directories.iter().map(|it| format!("{}/", it.0)).collect();
        parents.retain(|parent| parent.matches('/').count() < 3);
        parents.push(String::new());
        let name = ["a", "b", "c", "d"][random(4)];
        let new = format!("{}{name}", parents[random(parents.len())]);
        let all: Vec<String> = model.keys().cloned().collect();
        let old = all.get(random(all.len())).cloned().unwrap_or_default();
        let below = |path: &str| {
            let start = format!("{path}/");
            all.iter().filter(move |it| it.starts_with(&start)).cloned()
        };
        let (at_new, at_old) = (model.get(&new).cloned(), model.get(&old).cloned());
        match (random(9), at_new, at_old) {
            (0..=3, None | Some(Some(_)), _) => {
                let content = format!("{step}").into_bytes();
                tree.write(&new, &content);
                model.insert(new, Some(content));
            }
            (4, None, _) => {
                tree.mkdir(&new);
                model.insert(new, None);
            }
            (5, _, Some(Some(_))) => {
                tree.remove(&old);
                model.remove(&old);
            }
            (6, _, Some(None)) if below(&old).next().is_none() => {
                tree.rmdir(&old);
                model.remove(&old);
            }
            (7..=8, None | Some(Some(_)), Some(Some(content))) if new != old => {
                tree.rename(&old, &new);
                model.remove(&old);
                model.insert(new, Some(content));
            }
            (7, None, Some(None)) if !new.starts_with(&format!("{old}/")) => {
                tree.rename(&old, &new);
                let moved: Vec<_> = below(&old).chain([old.clone()]).collect();
                for path in moved {
                    let kept = model.remove(&path).unwrap();
                    model.insert(format!("{new}{}", &path[old.len()..]), kept);
                }
            }
            (8, _, _) => std::thread::sleep(Duration::from_millis(random(300) as u64)),
            _ => {}
        }
        for path in &all {
            assert_eq!(
                tree.find(path).is_ok(),
                model.contains_key(path),
                "{step}: {path}"
            );
        }
        if is_killed && random(25) == 0 {
            tree = tree.killed(delay);
        }
        if step % 40 == 39 {
            tree.sync();
            let mut found = BTreeMap::new();
            tree_of(&tree.local(""), "", &mut found);
            assert_eq!(found, model, "{step}");
        }
    }
    assert_eq!(tree.number > 0, is_killed);
    let root = tree.local("");
    tree.vfs.drain();
    let mut found = BTreeMap::new();
    tree_of(&root, "", &mut found);
    assert_eq!(found, model);
}

#[test]
fn random_work_is_on_the_server_after_a_sync_and_at_the_end() {
    for seed in [1_u64, 2, 3, 4] {
        work_at_random(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed), false);
    }
}

#[test]
fn random_work_goes_on_after_kills() {
    for seed in [1_u64, 2, 3, 4] {
        work_at_random(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed), true);
    }
}

/// Returns the names that could not be stored, for good or until a program asks.
fn refused(tree: &Fixture) -> Vec<String> {
    let waiting = tree.vfs.report().uploads;
    let refused = waiting
        .into_iter()
        .filter(|file| file.stage == Stage::Failed);
    let mut names: Vec<_> = refused
        .filter_map(|file| file.path)
        .map(|it| it.to_string())
        .collect();
    names.sort();
    names
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_was_to_be_renamed_before_is_not_overwritten_if_the_rename_is_refused() {
    let tree = Fixture::new(Duration::from_millis(2));
    // No program has it open.
    fs::create_dir(tree.local("d")).unwrap();
    fs::write(tree.local("d/log"), b"old").unwrap();
    assert!(tree.find("d/log.1").is_err());
    tree.proxy.set(Way::RefusesRename("log.1"));
    tree.rename("d/log", "d/log.1");
    tree.write("d/log", b"new");
    wait_until("the file waits", || refused(&tree) == ["/d/log"]);
    // The upload, if there were one, takes less than this.
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(fs::read(tree.local("d/log")).unwrap(), b"old");
    assert!(tree.vfs.sync_directory(Ino::ROOT, NEVER).is_err());
    // Both are kept.
    assert_eq!(fs::read(tree.local("d/log")).unwrap(), b"old");
    let all = names(&tree.local("d"));
    let is_new = |name: &&String| {
        let path = tree.local("d").join(name);
        path.is_file() && fs::read(path).unwrap() == b"new"
    };
    assert_eq!(all.iter().filter(is_new).count(), 1, "{all:?}");
}

#[test]
fn many_uploads_that_wait_for_one_that_is_due_later_do_not_keep_it_from_starting() {
    let tree = Fixture::new(Duration::ZERO);
    tree.mkdir("d");
    tree.sync();
    // It waits longer, because it may soon be closed again.
    let first = tree.write_and_keep("d/first", b"first");
    for number in 0..150 {
        tree.write(&format!("d/{number}"), b"content");
    }
    wait_until("all are stored", || names(&tree.local("d")).len() == 151);
    tree.vfs.release(first, Blocking::Yes(NEVER)).unwrap();
}

#[test]
fn a_rename_whose_answer_is_lost_is_not_refused_when_it_is_sent_again() {
    let tree = Fixture::with(Setup {
        patience: Duration::from_secs(2),
        ..Setup::new(Duration::ZERO, Way::Open)
    });
    // No program has it open.
    fs::create_dir(tree.local("d")).unwrap();
    fs::write(tree.local("d/a"), b"content").unwrap();
    tree.proxy.set(Way::LosesAnswer("RNTO"));
    tree.rename("d/a", "d/b");
    wait_until("the answer is lost", || tree.proxy.way() == Way::Closed);
    // It cannot be asked what became of it.
    wait_until("it has failed", || tree.vfs.name_troubles() > 0);
    tree.proxy.set(Way::Open);
    wait_until("it is done or refused", || {
        let report = tree.vfs.report();
        report.changes == 0 || !report.refused.is_empty()
    });
    assert_eq!(tree.vfs.report().refused, []);
    assert_eq!(names(&tree.local("d")), ["b"]);
    assert!(tree.find("d/b").is_ok() && tree.find("d/a").is_err());
}

/// Nothing is changed on the server.
const CHANGES_NOTHING: Way = Way::Swallows(&["STOR", "RNFR", "RNTO", "MKD", "RMD", "DELE", "MFMT"]);

#[test]
fn two_versions_of_a_file_that_a_killed_mount_left_come_after_its_rename() {
    let delay = Duration::ZERO;
    let tree = Fixture::new(delay);
    fs::create_dir(tree.local("d")).unwrap();
    fs::write(tree.local("d/a"), b"old").unwrap();
    assert!(tree.find("d/b").is_err());
    tree.proxy.set(Way::Swallows(&["RNFR", "RNTO"]));
    tree.rename("d/a", "d/b");
    tree.write("d/a", b"first");
    let has_part = || {
        names(&tree.local("d"))
            .iter()
            .any(|it| it.starts_with(".ftpfs-"))
    };
    wait_until("it is uploaded", has_part);
    tree.write("d/a", b"second");
    let tree = tree.killed(delay);
    assert!(tree.find("d/a").is_ok() && tree.find("d/b").is_ok());
    tree.sync();
    assert_eq!(fs::read(tree.local("d/a")).unwrap(), b"second");
    assert_eq!(fs::read(tree.local("d/b")).unwrap(), b"old");
}

#[test]
fn the_changes_of_two_killed_mounts_have_one_order() {
    let delay = Duration::ZERO;
    let tree = Fixture::new(delay);
    fs::create_dir(tree.local("px")).unwrap();
    fs::write(tree.local("px/first"), b"content").unwrap();
    assert!(tree.find("px/first").is_ok() && tree.find("px/y").is_err());
    let all = &["DELE", "STOR", "MKD", "RNFR"];
    let busy = Way::Refuses(all, "x/", "450 Busy");
    tree.proxy.set(busy);
    tree.remove("px/first");
    tree.write("px/y", b"content");
    let tree = tree.killed_and_by(busy, delay);
    tree.mkdir("rx");
    // No name but its own can be in it.
    for name in ["1", "2", "3", "4", "5", "6", "7", "s"] {
        tree.mkdir(&format!("rx/{name}"));
    }
    tree.rename("px/y", "rx/s/y");
    let tree = tree.killed(delay);
    tree.sync();
    assert_eq!(names(&tree.local("px")), [""; 0]);
    assert_eq!(fs::read(tree.local("rx/s/y")).unwrap(), b"content");
}

#[test]
fn a_rename_behind_a_time_that_the_server_does_not_set_is_made() {
    let delay = Duration::ZERO;
    let tree = Fixture::new(delay);
    fs::create_dir(tree.local("d")).unwrap();
    fs::write(tree.local("d/a"), b"content").unwrap();
    fs::write(tree.local("d/x"), b"other").unwrap();
    assert!(tree.find("d/b").is_err());
    tree.proxy.set(CHANGES_NOTHING);
    tree.set_time("d/a", 1_000_000_000);
    tree.rename("d/a", "d/b");
    tree.set_time("d/x", 1_000_000_000);
    tree.remove("d/x");
    // The next mount compares everything with the server.
    let tree = tree.killed_and_by(Way::RefusesTimes, delay);
    tree.sync();
    assert_eq!(tree.vfs.report().refused, []);
    assert_eq!(names(&tree.local("d")), ["b"]);
}

#[test]
fn what_cannot_be_compared_does_not_keep_other_changes_from_being_made() {
    let delay = Duration::ZERO;
    let tree = Fixture::new(delay);
    for name in ["d/denied", "e/x"] {
        fs::create_dir_all(tree.local(name).parent().unwrap()).unwrap();
        fs::write(tree.local(name), b"content").unwrap();
    }
    tree.proxy.set(CHANGES_NOTHING);
    tree.remove("d/denied");
    tree.wait_for_begin();
    let all = &["MLST", "SIZE", "MDTM", "CWD", "MLSD", "LIST", "STAT"];
    let denied = Way::Refuses(all, "denied", "550 Permission denied");
    let tree = tree.killed_and_by(denied, delay);
    tree.remove("e/x");
    wait_until("the other one is removed", || !tree.local("e/x").exists());
    wait_until("it is given up", || tree.vfs.report().refused.len() == 1);
    assert!(tree.local("d/denied").exists());
}

#[test]
fn files_that_need_their_turn_before_the_first_byte_follow_one_another_quickly() {
    let tree = Fixture::with(Setup {
        atomic: Atomic::Never,
        ..Setup::new(Duration::from_millis(5), Way::Open)
    });
    tree.mkdir("d");
    tree.sync();
    let start = Instant::now();
    for number in 0..100 {
        tree.write(&format!("d/{number}"), b"content");
    }
    // No program waits.
    wait_until("all are stored", || tree.vfs.report().waiting == 0);
    assert_eq!(names(&tree.local("d")).len(), 100);
    // A pause of 200 ms before each takes 20 s.
    let taken = start.elapsed();
    assert!(taken < Duration::from_secs(12), "{taken:?}");
}

#[test]
fn the_journal_is_on_the_disk_soon_although_the_server_does_not_answer() {
    let tree = Fixture::new(Duration::ZERO);
    fs::create_dir(tree.local("d")).unwrap();
    for name in ["d/a", "d/b"] {
        fs::write(tree.local(name), b"content").unwrap();
        assert!(tree.find(name).is_ok());
    }
    tree.proxy.set(CHANGES_NOTHING);
    tree.remove("d/a");
    tree.wait_for_begin();
    tree.remove("d/b");
    let start = Instant::now();
    assert!(!tree.journal.is_synced());
    wait_until("the journal is synced", || tree.journal.is_synced());
    // The server is waited for until then.
    assert!(start.elapsed() < Duration::from_secs(15));
    let tree = tree.killed(Duration::ZERO);
    tree.sync();
    assert_eq!(names(&tree.local("d")), [""; 0]);
}

#[test]
fn the_end_of_a_mount_without_names_syncs_no_journal() {
    let tree = Fixture::with(Setup {
        names: false,
        ..Setup::new(Duration::ZERO, Way::Open)
    });
    tree.write("a", b"content");
    tree.vfs.drain();
    assert_eq!(fs::read(tree.local("a")).unwrap(), b"content");
    assert!(!tree.journal.is_synced());
}

#[test]
fn a_file_that_the_server_takes_later_does_not_end_the_waits_for_others() {
    let tree = Fixture::new(Duration::ZERO);
    tree.mkdir("a");
    tree.mkdir("b");
    tree.sync();
    let held = Way::RefusesAndHolds(&["RNTO"], "/a/", "450 Busy", "RNTO /b/");
    tree.proxy.set(held);
    tree.write("b/y", b"content");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let directory = tree.find("b").unwrap();
            tree.vfs.sync_directory(directory, NEVER)
        });
        std::thread::sleep(Duration::from_millis(300));
        tree.write("a/x", b"content");
        wait_until("the other one is refused", || {
            let uploads = tree.vfs.report().uploads;
            uploads.iter().any(|it| it.stage == Stage::Retrying)
        });
        std::thread::sleep(Duration::from_millis(300));
        tree.proxy.set(Way::Open);
        assert_eq!(waiting.join().unwrap(), Ok(()));
    });
}
