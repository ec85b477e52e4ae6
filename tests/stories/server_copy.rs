//! Copies that the server makes by itself (copy_file_range, and so cp): right in every order of
//! what programs do before, meanwhile and afterwards, and without the bytes if the server can.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ftpfs::server::{Fault, Misdeed};
use tempfile::TempDir;

use crate::support::{
    Kind, Mount, TestServer, assert_errno, assert_same_bytes, assert_same_tree, command, shell,
    stories, wait_for,
};

const SOON: Duration = Duration::from_secs(30);

/// Returns whether the server was asked to copy, and whether contents were transferred.
fn copied_and_transferred(server: &TestServer) -> (bool, bool) {
    let commands = server.commands();
    let begins = |words: &[&str]| {
        commands
            .iter()
            .any(|line| words.iter().any(|word| line.starts_with(word)))
    };
    (
        begins(&["SITE CPFR", "SITE COPY"]),
        begins(&["RETR", "STOR", "APPE"]),
    )
}

/// Returns the bytes received and sent on data connections, as `ftpfs status` shows them.
fn transferred_bytes(mount: &Mount) -> (u64, u64) {
    let status = command(env!("CARGO_BIN_EXE_ftpfs"))
        .args(["status", "--json"])
        .arg(mount.path())
        .output()
        .unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    let bytes = |name: &str| status["totals"][name].as_u64().unwrap();
    (bytes("bytes_received"), bytes("bytes_sent"))
}

fn assert_no_temporary_files(server: &TestServer) {
    let is_clean = || !server.names().iter().any(|name| name.contains("ftpfs-"));
    assert!(wait_for(SOON, is_clean), "{:?}", server.names());
}

fn large_file(server: &TestServer, size: &str) {
    shell(
        server.root(),
        &format!("head -c {size} /dev/urandom > big; chmod 640 big"),
    );
    server.hand_over();
}

/// `cp` of 256 MiB inside a mount sends nothing over data connections.
fn cp_stays_on_the_server(kind: Kind) {
    let server = TestServer::start(kind);
    large_file(&server, "256M");
    // A listing goes over a data connection.
    let mount = Mount::with_options(&server, &["dir_ttl=600", "attr_ttl=600"]);
    shell(mount.path(), "ls -l");
    let before = transferred_bytes(&mount);
    shell(mount.path(), "cp big copy");
    let after = transferred_bytes(&mount);
    assert_eq!(copied_and_transferred(&server), (true, false));
    assert!(
        after.0 - before.0 < 4096 && after.1 == before.1,
        "{before:?} {after:?}"
    );
    assert_same_bytes(server.root().join("big"), server.root().join("copy"));
    assert_same_bytes(server.root().join("big"), mount.join("copy"));
    assert_no_temporary_files(&server);
}

#[test]
fn cp_stays_on_the_server_embedded() {
    cp_stays_on_the_server(Kind::Embedded);
}

#[test]
fn cp_stays_on_the_server_proftpd() {
    cp_stays_on_the_server(Kind::Proftpd);
}

/// Each case is a program that copies parts and wholes, and writes and reads around that. `big` has
/// 300,000 bytes, `small` 1,000, and `old` others.
const CASES: &str = r"
import os, sys
def opened(name, flags): return os.open(name, flags, 0o644)
new = os.O_RDWR | os.O_CREAT | os.O_TRUNC
def copy(source, target, length, at=0, to=0):
    while length > 0:
        count = os.copy_file_range(source, target, length, at, to)
        if count == 0: return
        length, at, to = length - count, at + count, to + count
def whole(target): copy(big, target, 1 << 40)
big, small = opened('big', os.O_RDONLY), opened('small', os.O_RDONLY)

target = opened('whole', new); whole(target); os.close(target)
target = opened('old', os.O_WRONLY | os.O_TRUNC); whole(target); os.close(target)
target = opened('old2', os.O_RDWR); copy(big, target, 1000, 7, 5); os.close(target)
target = opened('old3', os.O_RDWR); whole(target); os.close(target)
target = opened('small copy', new); copy(small, target, 1 << 40); os.close(target)
target = opened('part', new); copy(big, target, 100000); os.close(target)
target = opened('middle', new); copy(big, target, 70000, 100, 50); os.close(target)
target = opened('two halves', new); copy(big, target, 150000); copy(big, target, 1 << 40, 150000, 150000); os.close(target)
target = opened('twice', new); whole(target); copy(big, target, 1 << 40, 0, 300000); os.close(target)
target = opened('again', new); whole(target); whole(target); os.close(target)
target = opened('changed', new); whole(target); os.pwrite(target, b'changed', 1000); os.close(target)
target = opened('appended', new); whole(target); os.pwrite(target, b'more', 300000); os.close(target)
target = opened('gap', new); whole(target); os.pwrite(target, b'more', 400000); os.close(target)
target = opened('cut', new); whole(target); os.ftruncate(target, 99999); os.close(target)
target = opened('emptied', new); whole(target); os.ftruncate(target, 0); os.write(target, b'new'); os.close(target)
target = opened('stretched', new); whole(target); os.ftruncate(target, 300001); os.close(target)
target = opened('read', new); whole(target)
assert os.fstat(target).st_size == 300000 and os.stat('read').st_size == 300000
assert os.pread(target, 1 << 20, 0) == os.pread(big, 1 << 20, 0)
assert os.pread(target, 100, 299990) == os.pread(big, 100, 299990)
os.close(target)
target = opened('synced', new); whole(target); os.fsync(target); os.pwrite(target, b'later', 5); os.close(target)
target = opened('seen', new); whole(target)
with open('seen', 'rb') as other: assert other.read() == os.pread(big, 1 << 20, 0)
os.close(target)
target = opened('before', new); os.write(target, b'first'); whole(target); os.close(target)
target = opened('moded', new); whole(target); os.fchmod(target, 0o600); os.utime(target, (1500000000, 1500000000)); os.close(target)
target = opened('renamed', new); whole(target); os.rename('renamed', 'renamed later'); os.close(target)
os.mkdir('d'); target = opened('d/inside', new); whole(target); os.rename('d', 'e'); os.close(target)
target = opened('removed', new); whole(target); os.unlink('removed')
assert os.pread(target, 1 << 20, 0) == os.pread(big, 1 << 20, 0); os.close(target)
target = opened('replaced', new); whole(target); open('other', 'w').write('other'); os.rename('other', 'replaced')
assert os.pread(target, 10, 5) == os.pread(big, 10, 5); os.close(target)
# A source that is not stored yet, and one that has just grown.
source = opened('unstored', new); os.write(source, b'x' * 200000)
target = opened('of unstored', new); copy(source, target, 1 << 40); os.close(target)
os.pwrite(source, b'y', 3); os.close(source)
source = opened('grown', os.O_RDWR | os.O_APPEND); os.write(source, b'grown')
target = opened('of grown', new); copy(source, target, 1 << 40); os.close(target); os.close(source)
target = opened('of stored', new); source = opened('grown', os.O_RDONLY); copy(source, target, 1 << 40); os.close(target)
try: copy(source, source, 1000, 0, 500); assert False
except OSError: pass
target = opened('grown', os.O_RDWR); copy(source, target, 1000, 0, 50000); os.close(target)
";

/// Runs the cases in `directory`, where `big` and the others are.
fn run_cases(directory: &Path) {
    let done = Command::new("python3")
        .args(["-c", CASES])
        .current_dir(directory)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{errors}");
}

/// Makes the files of the cases.
fn make_files(directory: &Path) {
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at * 7 / 3) as u8).collect();
    fs::write(directory.join("big"), &bytes).unwrap();
    fs::write(directory.join("small"), &bytes[..1000]).unwrap();
    for old in ["old", "old2", "old3", "grown"] {
        fs::write(directory.join(old), &bytes[5..200_000]).unwrap();
    }
}

fn assert_cases(server: &TestServer, mount: &Mount) {
    let local = TempDir::new().unwrap();
    make_files(local.path());
    make_files(server.root());
    server.hand_over();
    run_cases(local.path());
    run_cases(mount.path());
    assert_same_tree(local.path(), mount.path());
    let is_stored = || {
        let status = Command::new("diff")
            .arg("-r")
            .args([local.path(), server.root()])
            .stdout(Stdio::null())
            .status();
        status.unwrap().success()
    };
    assert!(wait_for(SOON, is_stored), "{:?}", server.names());
}

stories! {
    /// The result is the same as on a local disk, whether the server copies or not.
    fn every_copy_has_the_right_bytes(server: &TestServer, mount: &Mount) {
        assert_cases(server, mount);
        let copies = matches!(server.kind(), Kind::Embedded | Kind::Proftpd);
        if server.kind() != Kind::PureFtpd {
            assert_eq!(copied_and_transferred(server).0, copies);
        }
    }
}

#[test]
fn every_copy_has_the_right_bytes_with_writeback() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::with_options(&server, &["writeback"]);
    assert_cases(&server, &mount);
}

fn refuses(verb: &str, code: u16, text: &str) -> Fault {
    let text = text.to_owned();
    Fault::on(verb, Misdeed::Refuse { code, text })
}

/// With any failure of a copy's commands, `cp` makes the right file or fails, and leaves
/// nothing.
#[test]
fn a_copy_that_the_server_refuses_is_made_by_reading_and_writing() {
    for fault in [
        refuses("SITE CPFR", 500, "Unknown command."),
        refuses("SITE CPFR", 550, "Permission denied."),
        refuses("SITE CPTO", 502, "Not implemented."),
        refuses("SITE CPTO", 550, "Operation not permitted."),
        refuses("SITE CPTO", 451, "Local error."),
        Fault::on("SITE CPFR", Misdeed::DropControl).always(),
        Fault::on("SITE CPTO", Misdeed::DropControl),
        Fault::on("SITE CPTO", Misdeed::DoneThenDrop),
        Fault::on(
            "SITE CPTO",
            Misdeed::DoneThenRefuse {
                code: 550,
                text: "No.".to_owned(),
            },
        ),
        Fault::on("SITE CPTO", Misdeed::CutReply(3)),
    ] {
        let server = TestServer::start(Kind::Embedded);
        large_file(&server, "1M");
        let mount = Mount::new(&server);
        let told = format!("{fault:?}");
        server.embedded().unwrap().faults().add(fault);
        shell(mount.path(), "cp big copy; cp big copy2");
        assert!(server.embedded().unwrap().faults().happened() > 0, "{told}");
        for copy in ["copy", "copy2"] {
            assert!(server.read("big") == server.read(copy), "{told}");
        }
        assert!(copied_and_transferred(&server).1, "{told}");
        assert_no_temporary_files(&server);
    }
}

/// A refusal by a server that has never copied is not asked for again.
#[test]
fn one_refusal_is_enough() {
    let server = TestServer::start(Kind::Embedded);
    large_file(&server, "1M");
    let mount = Mount::new(&server);
    let fault = refuses("SITE CPTO", 550, "Operation not permitted.").always();
    server.embedded().unwrap().faults().add(fault);
    shell(mount.path(), "for n in 1 2 3; do cp big copy$n; done");
    let asked = server.commands();
    let asked = asked.iter().filter(|it| it.starts_with("SITE CP"));
    assert_eq!(asked.count(), 2);
}

/// A full server is reported, because a copy by reading and writing would not fit either.
#[test]
fn a_full_server_is_reported() {
    let server = TestServer::start(Kind::Embedded);
    large_file(&server, "1M");
    let mount = Mount::new(&server);
    let fault = refuses("SITE CPTO", 552, "No space left on device.").always();
    server.embedded().unwrap().faults().add(fault);
    let copied = fs::copy(mount.join("big"), mount.join("copy"));
    assert_errno(copied, libc::ENOSPC);
    assert!(!copied_and_transferred(&server).1 || server.read("copy").is_empty());
    assert_no_temporary_files(&server);
}

/// The rename of a copy fails as that of an upload does: the old file stays, close reports it.
#[test]
fn a_copy_that_cannot_get_its_name_leaves_the_old_file() {
    let server = TestServer::start(Kind::Embedded);
    large_file(&server, "1M");
    server.write("copy", "the old one");
    let mount = Mount::with_options(&server, &["atomic=require"]);
    for code in [450, 553] {
        let fault = refuses("RNTO", code, "File is in use.").always();
        server.embedded().unwrap().faults().add(fault);
        let done = Command::new("cp")
            .args([mount.join("big"), mount.join("copy")])
            .output()
            .unwrap();
        assert!(!done.status.success(), "{code}");
        assert_eq!(server.read("copy"), b"the old one", "{code}");
        server.embedded().unwrap().faults().clear();
    }
    shell(mount.path(), "cp big copy");
    assert!(server.read("big") == server.read("copy"));
    assert_no_temporary_files(&server);
}

/// Starts a program that copies `big` to `copy`, and then waits with the file open.
fn copy_and_wait(mount: &Mount) -> std::process::Child {
    let program = "import os, sys
big, copy = os.open('big', os.O_RDONLY), os.open('copy', os.O_WRONLY | os.O_CREAT)
while os.copy_file_range(big, copy, 1 << 40): pass
os.close(big); print('copied', flush=True); sys.stdin.read()";
    let mut child = Command::new("python3")
        .args(["-c", program])
        .current_dir(mount.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = [0; 6];
    let output = child.stdout.as_mut().unwrap();
    output.read_exact(&mut told).unwrap();
    assert_eq!(&told, b"copied");
    child
}

/// What a killed mount has copied and not renamed is deleted by the next one.
#[test]
fn the_next_mount_deletes_the_copy_of_a_killed_one() {
    let server = TestServer::start(Kind::Embedded);
    large_file(&server, "1M");
    let state = TempDir::new().unwrap();
    let killed = Mount::with_state(&server, &[], state.path());
    let mut child = copy_and_wait(&killed);
    assert_eq!(server.names().len(), 2, "{:?}", server.names());
    killed.kill_nine();
    drop(child.stdin.take());
    child.wait().unwrap();
    let _next = Mount::with_state(&server, &[], state.path());
    assert!(
        wait_for(SOON, || server.names() == ["big"]),
        "{:?}",
        server.names()
    );
}

/// A program that is killed while the server copies has copied nothing.
#[test]
fn the_copy_of_a_killed_program_is_undone() {
    let server = TestServer::start(Kind::Embedded);
    large_file(&server, "1M");
    let mount = Mount::new(&server);
    let late = Fault::on("SITE CPTO", Misdeed::LateReply(Duration::from_secs(4)));
    server.embedded().unwrap().faults().add(late);
    let mut child = Command::new("cp")
        .args(["big", "copy"])
        .current_dir(mount.path())
        .spawn()
        .unwrap();
    let is_copying = || {
        server
            .commands()
            .iter()
            .any(|it| it.starts_with("SITE CPTO"))
    };
    assert!(wait_for(SOON, is_copying));
    child.kill().unwrap();
    child.wait().unwrap();
    // What a program leaves that is killed after it has created a file.
    let is_empty = || fs::read(server.root().join("copy")).is_ok_and(|it| it.is_empty());
    assert!(wait_for(SOON, is_empty), "{:?}", server.names());
    assert_no_temporary_files(&server);
}

/// Readers see the file only under its name, and from the beginning with all its bytes.
#[test]
fn a_copy_appears_at_close() {
    let server = TestServer::start(Kind::Embedded);
    large_file(&server, "1M");
    server.write("copy", "the old one");
    let mount = Mount::new(&server);
    let other = Mount::new(&server);
    let mut child = copy_and_wait(&mount);
    assert_eq!(fs::read(other.join("copy")).unwrap(), b"the old one");
    child.stdin.take().unwrap().write_all(b"").unwrap();
    child.wait().unwrap();
    assert!(server.read("copy") == server.read("big"));
    assert_no_temporary_files(&server);
}

/// Small files and overwriting in place are cheaper, or only possible, with the bytes.
#[test]
fn a_copy_is_not_always_worth_it() {
    let server = TestServer::start(Kind::Embedded);
    large_file(&server, "10k");
    let mount = Mount::new(&server);
    shell(mount.path(), "cp big copy");
    assert_eq!(copied_and_transferred(&server), (false, true));
    large_file(&server, "1M");
    let in_place = Mount::with_options(&server, &["atomic=never"]);
    shell(in_place.path(), "cp big copy");
    assert_eq!(copied_and_transferred(&server), (false, true));
    assert!(server.read("copy") == server.read("big"));
}

/// If another client has changed the source since it was opened, the copy on the server is of
/// another version than the program has opened. It is not used.
#[test]
fn a_source_that_changed_is_not_copied() {
    for size in ["1M", "2M"] {
        let server = TestServer::start(Kind::Embedded);
        large_file(&server, "1M");
        shell(server.root(), "touch -d 2020-02-02 big");
        let mount = Mount::with_options(&server, &["open_ttl=600", "dir_ttl=600", "attr_ttl=600"]);
        let source = File::open(mount.join("big")).unwrap();
        shell(
            server.root(),
            &format!("head -c {size} /dev/urandom > new; mv new big"),
        );
        let mut target = File::create(mount.join("copy")).unwrap();
        let _version_or_error = std::io::copy(&mut &source, &mut target);
        drop(target);
        let commands = server.commands();
        assert!(
            commands.iter().any(|it| it.starts_with("SITE CPTO")),
            "{commands:?}"
        );
        assert!(commands.iter().any(|it| it == "RETR /big"), "{commands:?}");
        assert_no_temporary_files(&server);
    }
}
