//! The errors that programs get when a server refuses, whatever its wording.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::{Kind, Mount, TestServer, assert_errno};
use ftpfs::server::{Fault, Misdeed};

/// Starts a server with this many files that refuses each of `verbs`.
fn refusing(files: usize, verbs: &[&str], code: u16, text: &str) -> (TestServer, Mount) {
    let server = TestServer::start(Kind::Embedded);
    for number in 0..files {
        server.write(format!("file {number}"), "content");
    }
    let mount = Mount::new(&server);
    for verb in verbs {
        let text = text.to_owned();
        let fault = Fault::on(verb, Misdeed::Refuse { code, text }).always();
        server.embedded().unwrap().faults().add(fault);
    }
    (server, mount)
}

fn set_mode(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o600))
}

fn set_time(path: &Path) -> io::Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let file = fs::File::open(path)?;
    file.set_modified(time)
}

/// Returns how many commands to change a mode or a time the server received.
fn asked(server: &TestServer) -> usize {
    let commands = server.commands();
    let changes = |line: &&String| {
        ["SITE ", "MFMT ", "MFF ", "MDTM 2001"]
            .iter()
            .any(|verb| line.starts_with(verb))
    };
    commands.iter().filter(changes).count()
}

/// FileZilla, inetutils and others lack these commands: each is sent once, not once per file.
#[test]
fn a_mode_or_time_the_server_knows_no_command_for_is_not_supported() {
    const VERBS: [&str; 5] = ["SITE CHMOD", "SITE UTIME", "MFMT", "MFF", "MDTM"];
    for (code, text) in [
        (500, "Unknown command."),
        (502, "Command not implemented."),
        (504, "Not for this."),
        (202, "Command not implemented, superfluous at this site."),
    ] {
        let (server, mount) = refusing(4, &VERBS, code, text);
        for change in [set_mode as fn(&Path) -> _, set_time] {
            assert_errno(change(&mount.join("file 0")), libc::EOPNOTSUPP);
            let so_far = asked(&server);
            for number in 1..4 {
                let file = mount.join(format!("file {number}"));
                assert_errno(change(&file), libc::EOPNOTSUPP);
            }
            assert_eq!(asked(&server), so_far, "{code}");
        }
    }
}

/// A server that refuses all of them is not asked again for each file of a large tree.
#[test]
fn a_mode_that_is_refused_again_and_again_is_not_asked_for_any_more() {
    let (server, mount) = refusing(20, &["SITE CHMOD", "MFF"], 550, "Operation not permitted.");
    for number in 0..10 {
        set_mode(&mount.join(format!("file {number}"))).unwrap_err();
    }
    let so_far = asked(&server);
    for number in 10..20 {
        let file = mount.join(format!("file {number}"));
        assert_errno(set_mode(&file), libc::EOPNOTSUPP);
    }
    assert_eq!(asked(&server), so_far);
}

#[test]
fn a_full_directory_is_not_empty_whatever_the_server_says() {
    for (code, text) in [
        (451, "Local error in processing."),
        (550, "Permission denied."),
        (550, "Remove directory operation failed."),
        (553, "Requested action not taken."),
        (450, "Busy."),
    ] {
        let (server, mount) = refusing(0, &["RMD"], code, text);
        server.write("full/file", "content");
        assert_errno(fs::remove_dir(mount.join("full")), libc::ENOTEMPTY);
    }
}

/// Some servers remove a directory along with its contents.
#[test]
fn a_directory_known_to_be_full_is_not_removed() {
    let (server, mount) = refusing(0, &[], 0, "");
    server.write("full/file", "content");
    assert_eq!(fs::read_dir(mount.join("full")).unwrap().count(), 1);
    assert_errno(fs::remove_dir(mount.join("full")), libc::ENOTEMPTY);
    let commands = server.commands();
    assert!(!commands.iter().any(|line| line.starts_with("RMD")));
}

#[test]
fn a_file_larger_than_the_server_takes_is_too_large() {
    for (code, text) in [
        (552, "File too large."),
        (550, "Maximum file size exceeded."),
    ] {
        let (_server, mount) = refusing(0, &["STOR"], code, text);
        let file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .open(mount.join("new"));
        let mut file = file.unwrap();
        file.write_all(b"content").unwrap();
        assert_errno(file.sync_all(), libc::EFBIG);
    }
}

/// Returns the STOR commands that the server received, of any path.
fn stores(server: &TestServer) -> usize {
    let commands = server.commands();
    commands
        .iter()
        .filter(|line| line.starts_with("STOR"))
        .count()
}

/// A directory whose `perm` fact has no `c`: the create fails, not only the close.
#[test]
fn a_create_that_the_perm_fact_denies_fails_at_open() {
    let server = TestServer::start_with(Kind::Embedded, |options| options.read_only = true);
    server.write("sub/old", "content");
    let mount = Mount::new(&server);
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 1);
    assert_eq!(fs::read_dir(mount.join("sub")).unwrap().count(), 1);
    assert_errno(fs::File::create(mount.join("new")), libc::EACCES);
    assert_errno(fs::File::create(mount.join("sub/new")), libc::EACCES);
    let mut write = OpenOptions::new();
    write.write(true);
    assert_errno(write.open(mount.join("sub/old")), libc::EACCES);
    assert_errno(
        write.truncate(true).open(mount.join("sub/old")),
        libc::EACCES,
    );
    assert_errno(fs::create_dir(mount.join("sub/dir")), libc::EACCES);
    assert_eq!(fs::read(mount.join("sub/old")).unwrap(), b"content");
    assert!(!mount.join("new").exists());
}

/// A directory in which the server refuses every file, without saying so in its listings: the first
/// refusal is reported by close, the following ones by open.
#[test]
fn a_create_after_a_refusal_fails_at_open_until_one_succeeds() {
    let (server, mount) = refusing(1, &["STOR"], 550, "Permission denied.");
    let closed = fs::File::create(mount.join("first")).and_then(|mut file| {
        file.write_all(b"x")?;
        file.sync_all()
    });
    assert_errno(closed, libc::EACCES);
    assert_errno(fs::File::create(mount.join("second")), libc::EACCES);
    assert_errno(fs::File::create(mount.join("first")), libc::EACCES);
    let mut write = OpenOptions::new();
    write.write(true);
    let closed = write.open(mount.join("file 0")).and_then(|mut file| {
        file.write_all(b"x")?;
        file.sync_all()
    });
    assert_errno(closed, libc::EACCES);
    let before = stores(&server);
    assert_errno(write.open(mount.join("file 0")), libc::EACCES);
    assert_eq!(stores(&server), before, "asked again");

    // The server has changed its mind, which the next create finds out.
    server.embedded().unwrap().faults().clear();
    fs::write(mount.join("second"), "written").unwrap();
    assert_eq!(server.read("second"), b"written");
    fs::write(mount.join("file 0"), "overwritten").unwrap();
    assert_eq!(server.read("file 0"), b"overwritten");
}
