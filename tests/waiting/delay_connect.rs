//! `-o delay_connect`: the mount is there without its server, and the first access connects.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Kind, Mount, TestServer, run, shell, wait_for};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_mount_without_its_server_works_when_the_server_is_there() {
    for kind in [Kind::Embedded, Kind::Vsftpd] {
        let server = TestServer::start(kind);
        server.write("dir/file", "content");
        server.kill();
        let mount = Mount::with_options(&server, &["delay_connect", "timeout=2"]);
        // What looks at all mounts does not connect.
        assert!(fs::metadata(mount.path()).unwrap().is_dir());
        run(&format!("df {}", mount.path().display()));
        fs::read_dir(mount.path()).unwrap_err();
        server.start_again();
        let is_there = || fs::read(mount.join("dir/file")).is_ok_and(|it| it == b"content");
        assert!(wait_for(SOON, is_there), "{}", mount.log());
        fs::write(mount.join("dir/new"), "new").unwrap();
        assert_eq!(server.read("dir/new"), b"new");
        shell(mount.path(), "ls -lR . && df .");
    }
}

#[test]
fn nothing_is_sent_before_the_first_access() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", "content");
    let mount = Mount::with_options(&server, &["delay_connect"]);
    fs::metadata(mount.path()).unwrap();
    assert_eq!(server.commands(), [""; 0]);
    assert_eq!(fs::read(mount.join("file")).unwrap(), b"content");
    assert!(!server.commands().is_empty());
}

#[test]
fn a_wrong_password_or_directory_is_an_error_of_the_first_access() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::of_url(&server.url(), "wrong", &["delay_connect"]);
    let error = fs::read_dir(mount.path()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EACCES), "{}", mount.log());
    let url = format!("{}/none", server.url());
    let mount = Mount::of_url(&url, server.password(), &["delay_connect"]);
    let error = fs::read_dir(mount.path()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{}", mount.log());
    assert!(
        mount.log().contains("there is no directory"),
        "{}",
        mount.log()
    );
    fs::create_dir(server.root().join("none")).unwrap();
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 0);
}

#[test]
fn what_a_killed_mount_left_is_stored_after_the_first_access() {
    let server = TestServer::start(Kind::Embedded);
    let state = TempDir::new().unwrap();
    let mount = Mount::with_state(&server, &["writeback"], state.path());
    fs::read_dir(mount.path()).unwrap();
    server.freeze();
    fs::write(mount.join("file"), "content").unwrap();
    mount.kill_nine();
    server.kill();
    server.start_again();
    server.thaw();
    let mount = Mount::with_state(&server, &["delay_connect"], state.path());
    assert_eq!(fs::read(mount.join("file")).unwrap(), b"content");
    let is_stored = || fs::read(server.root().join("file")).is_ok_and(|it| it == b"content");
    assert!(wait_for(SOON, is_stored), "{}", mount.log());
}
