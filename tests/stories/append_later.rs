//! Appends that are stored after the close, by this mount (`writeback`) or by the next one.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ftpfs::server::{Fault, Misdeed};
use tempfile::TempDir;

use crate::append::{append, number, old, with};
use crate::append_faults::{Program, long, recovered};
use crate::crash::{SOON, left_in};
use crate::support::{Kind, Mount, TestServer, wait_for};

/// A program in close when ftpfs is killed, or with `writeback` after its close.
#[test]
fn the_next_mount_completes_the_append_of_a_killed_one() {
    let half = long().len() as u64 / 2;
    let cases = [
        ("APPE", Misdeed::StallControl),
        ("APPE", Misdeed::StallData { after: 0 }),
        ("APPE", Misdeed::StallData { after: half }),
        ("APPE", Misdeed::NoReply),
    ];
    for (verb, misdeed) in cases {
        for options in [&[][..], &["writeback"]] {
            let server = TestServer::start(Kind::Embedded);
            server.write("file", old());
            let state = TempDir::new().unwrap();
            let mount = Mount::with_state(&server, options, state.path());
            append(&mount.join("file"), "first").unwrap();
            let first = with(&old(), b"first");
            assert!(wait_for(SOON, || server.read("file") == first));
            assert!(wait_for(SOON, || number(&mount, "waiting") == 0));
            let embedded = server.embedded().unwrap();
            let faults = embedded.faults();
            faults.add(Fault::on(verb, misdeed.clone()).named("file").always());
            let script = "import sys; f = open(sys.argv[1], 'ab', 0); f.write(open(sys.argv[2], 'rb').read()); f.close()";
            let new = tempfile::NamedTempFile::new().unwrap();
            fs::write(new.path(), long()).unwrap();
            let mut closing = Command::new("python3")
                .args(["-c", script])
                .arg(mount.join("file"))
                .arg(new.path())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            if options.is_empty() {
                assert!(wait_for(SOON, || faults.happened() > 0), "{}", mount.log());
            } else {
                assert!(closing.wait().unwrap().success(), "{}", mount.log());
                wait_for(SOON, || faults.happened() > 0);
            }
            mount.kill_nine();
            let _ = closing.wait();
            faults.clear();
            embedded.drop_sessions();
            assert!(
                server.read("file").starts_with(&first),
                "{verb} {misdeed:?}"
            );

            let next = Mount::with_state(&server, &[], state.path());
            let expected = with(&first, &long());
            let shown = fs::read(next.join("file")).unwrap();
            assert!(
                shown == expected,
                "{verb} {misdeed:?}: {} {}",
                shown.len(),
                next.log()
            );
            // The killed mount can have seen that the server has everything.
            let is_stored =
                || next.log().contains("is stored now") || server.read("file") == expected;
            assert!(
                wait_for(SOON, is_stored),
                "{verb} {misdeed:?}: {}",
                next.log()
            );
            let stored = server.read("file");
            assert!(stored == expected, "{verb} {misdeed:?}: {}", stored.len());
            next.unmount();
            assert_eq!(left_in(state.path()), [""; 0].map(PathBuf::from));
            assert_eq!(server.names(), ["file"]);
        }
    }
}

/// The next mount finds another writer's file.
#[test]
fn an_append_that_a_killed_mount_left_never_spoils_a_file_that_others_changed() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", old());
    let state = TempDir::new().unwrap();
    let mount = Mount::with_state(&server, &["writeback"], state.path());
    server
        .embedded()
        .unwrap()
        .faults()
        .add(Fault::on("APPE", Misdeed::StallControl).always());
    append(&mount.join("file"), "ours").unwrap();
    mount.kill_nine();
    server.embedded().unwrap().faults().clear();
    let mut theirs = old();
    theirs.extend(b"theirs");
    server.write("file", &theirs);
    let next = Mount::with_state(&server, &[], state.path());
    assert!(
        wait_for(SOON, || recovered(&next).is_some()),
        "{}",
        next.log()
    );
    assert_eq!(fs::read(recovered(&next).unwrap()).unwrap(), b"ours");
    assert!(server.read("file") == theirs);
    assert!(wait_for(SOON, || fs::read(next.join("file"))
        .is_ok_and(|it| it == theirs)));
}

/// With `writeback`, many appends come before the first is stored.
#[test]
fn appends_that_wait_are_stored_in_order() {
    let server = TestServer::start(Kind::Embedded);
    server.write("log", old());
    let state = TempDir::new().unwrap();
    let mount = Mount::with_state(&server, &["writeback"], state.path());
    let mut expected = old();
    for line in 0..50 {
        let line = format!("line {line}\n");
        append(&mount.join("log"), &line).unwrap();
        expected.extend(line.as_bytes());
    }
    assert!(
        fs::read(mount.join("log")).unwrap() == expected,
        "{}",
        mount.log()
    );
    assert!(
        wait_for(SOON, || server.read("log") == expected),
        "{}",
        mount.log()
    );
    assert!(number(&mount, "bytes_sent") < 10_000);
    mount.unmount();
    assert!(server.read("log") == expected);
    assert_eq!(server.names(), ["log"]);
}

/// Connections break again and again while appends wait; what is stored is in order and complete.
#[test]
fn appends_that_wait_survive_a_bad_connection() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", old());
    let state = TempDir::new().unwrap();
    let mount = Mount::with_state(&server, &["writeback", "timeout=5"], state.path());
    append(&mount.join("file"), "first").unwrap();
    let mut expected = with(&old(), b"first");
    assert!(wait_for(SOON, || server.read("file") == expected));
    let misdeeds = [
        Misdeed::DropData { after: 0 },
        Misdeed::DropControl,
        Misdeed::DropData { after: 100_000 },
        Misdeed::DoneThenDrop,
        Misdeed::CutReply(2),
        Misdeed::ShortThen226 { after: 5 },
        Misdeed::StallData { after: 50_000 },
    ];
    for (number, misdeed) in misdeeds.iter().enumerate() {
        let embedded = server.embedded().unwrap();
        embedded
            .faults()
            .add(Fault::on("APPE", misdeed.clone()).named("file"));
        for size in [10, 300_000, 1] {
            let bytes = vec![b'a' + number as u8; size];
            append(&mount.join("file"), &bytes).unwrap();
            expected.extend(bytes);
        }
        assert!(fs::read(mount.join("file")).unwrap() == expected);
    }
    let is_stored = || server.read("file") == expected;
    assert!(wait_for(SOON, is_stored), "{}", mount.log());
    mount.unmount();
    assert!(server.read("file") == expected);
    assert_eq!(server.names(), ["file"]);
    assert_eq!(left_in(state.path()), [""; 0].map(PathBuf::from));
}

/// With `writeback`, the program has closed the file when another writer is found. The next one
/// that opens it learns of it.
#[test]
fn a_change_that_is_found_in_the_background_is_reported_by_the_next_open() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", old());
    let state = TempDir::new().unwrap();
    let mount = Mount::with_state(&server, &["writeback"], state.path());
    let mut program = Program::open(&mount.join("file"), "append");
    assert_eq!(program.does("write ours"), 0);
    let theirs = with(&old(), b"theirs");
    server.write("file", &theirs);
    program.end();
    assert!(
        wait_for(SOON, || recovered(&mount).is_some()),
        "{}",
        mount.log()
    );
    assert_eq!(fs::read(recovered(&mount).unwrap()).unwrap(), b"ours");
    let told = append(&mount.join("file"), "again");
    assert!(told.is_err_and(|told| told.contains("Input/output error")));
    append(&mount.join("file"), "again").unwrap();
    let expected = with(&theirs, b"again");
    assert!(
        wait_for(SOON, || server.read("file") == expected),
        "{}",
        mount.log()
    );
    assert!(fs::read(mount.join("file")).unwrap() == expected);
}

/// A log is rotated while its last lines wait.
#[test]
fn a_file_is_renamed_and_removed_while_its_append_waits() {
    let server = TestServer::start(Kind::Embedded);
    server.write("log", old());
    let state = TempDir::new().unwrap();
    let mount = Mount::with_state(&server, &["writeback"], state.path());
    let log = mount.join("log");
    for rotated in ["log.1", "log.2"] {
        append(&log, "line\n").unwrap();
        fs::rename(&log, mount.join(rotated)).unwrap();
        append(&mount.join(rotated), "last\n").unwrap();
        let bytes = fs::read(mount.join(rotated)).unwrap();
        assert!(bytes == with(&old(), b"line\nlast\n"), "{}", mount.log());
        fs::write(&log, old()).unwrap();
    }
    append(&log, "gone\n").unwrap();
    fs::remove_file(&log).unwrap();
    mount.unmount();
    for rotated in ["log.1", "log.2"] {
        assert!(server.read(rotated) == with(&old(), b"line\nlast\n"));
    }
    assert_eq!(server.names(), ["log.1", "log.2"]);
}
