//! A program that waits for a slow server does not block the others.

use std::fs;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::support::{Kind, Mount, TestServer, wait_for};
use ftpfs::server::{ANY, Fault, Misdeed};

/// Maximum time to wait for anything here.
const LIMIT: Duration = Duration::from_secs(30);

/// A directory that is not listed ahead: those above it are not listed yet.
const UNKNOWN: &str = "far/away/unknown";

fn start() -> (TestServer, Mount) {
    let server = TestServer::start(Kind::Embedded);
    server.write("known/file", "content");
    server.write(format!("{UNKNOWN}/file"), "content");
    let mount = Mount::with_options(&server, &["dir_ttl=600,open_ttl=600"]);
    fs::read_dir(mount.path()).unwrap().for_each(drop);
    fs::read_dir(mount.join("known")).unwrap().for_each(drop);
    assert_eq!(fs::read(mount.join("known/file")).unwrap(), b"content");
    server.embedded().unwrap().clear_commands();
    (server, mount)
}

/// Asserts that while one program waits for the server, others are answered from the cache.
fn answers_while_waiting(slow: impl FnOnce(&Mount) + Send) {
    let (server, mount) = start();
    let embedded = server.embedded().unwrap();
    let faults = embedded.faults();
    faults.add(Fault::on(ANY, Misdeed::Freeze).always());
    let (done, end) = mpsc::channel();
    thread::scope(|scope| {
        let mount = &mount;
        scope.spawn(move || {
            slow(mount);
            done.send(()).unwrap();
        });
        assert!(
            wait_for(LIMIT, || !server.commands().is_empty()),
            "the server was asked"
        );
        assert_eq!(fs::metadata(mount.join("known/file")).unwrap().len(), 7);
        assert_eq!(fs::read_dir(mount.join("known")).unwrap().count(), 1);
        assert_eq!(fs::read(mount.join("known/file")).unwrap(), b"content");
        assert!(!mount.join("known/absent").exists());
        assert!(end.try_recv().is_err(), "it does not wait");
        faults.clear();
        end.recv_timeout(LIMIT).unwrap();
    });
}

#[test]
fn a_slow_listing() {
    answers_while_waiting(|mount| {
        assert_eq!(fs::read_dir(mount.join(UNKNOWN)).unwrap().count(), 1);
    });
}

#[test]
fn a_slow_read() {
    answers_while_waiting(|mount| {
        assert_eq!(
            fs::read(mount.join(UNKNOWN).join("file")).unwrap(),
            b"content"
        );
    });
}

#[test]
fn a_slow_write() {
    answers_while_waiting(|mount| fs::write(mount.join(UNKNOWN).join("new"), "new").unwrap());
}

#[test]
fn many_slow_programs() {
    answers_while_waiting(|mount| {
        thread::scope(|scope| {
            for number in 0..20 {
                let absent = mount.join(UNKNOWN).join(number.to_string());
                scope.spawn(move || assert!(!absent.exists()));
            }
        });
    });
}
