//! Servers that refuse something or do not answer, and what goes on beside that.

use super::*;

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
