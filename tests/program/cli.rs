//! Error reporting: one plain line, status 1, and nothing left mounted.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use crate::support::{Kind, Mount, OPEN_DEVICE, PASSWORD, TestServer, USER, is_mounted};
use tempfile::TempDir;

const FTPFS: &str = env!("CARGO_BIN_EXE_ftpfs");

/// A user's home without a netrc, and an empty directory to mount at.
pub(super) struct User {
    pub(super) home: TempDir,
    pub(super) mountpoint: PathBuf,
}

impl User {
    pub(super) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mountpoint = home.path().join("mnt");
        fs::create_dir(&mountpoint).unwrap();
        Self { home, mountpoint }
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(FTPFS);
        command
            .args(arguments)
            .env("HOME", self.home.path())
            .env_remove("FTPFS_PASSWORD")
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs `ftpfs SOURCE mnt` with more arguments, which must fail; returns what it prints.
    pub(super) fn is_refused(&self, source: &str, more: &[&str]) -> String {
        let mut arguments = vec![source, "mnt"];
        arguments.extend(more);
        let message = failure(self.command(&arguments));
        assert!(!is_mounted(&self.mountpoint), "left mounted: {message}");
        message
    }
}

/// Returns the one line that a failing command prints on its standard error.
pub(super) fn failure(mut command: Command) -> String {
    let output = command.output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert_eq!(output.stdout, b"", "{message}");
    assert_eq!(message.trim_end().lines().count(), 1, "{message}");
    assert!(message.starts_with("ftpfs: "), "{message}");
    message
}

#[track_caller]
pub(super) fn assert_says(message: &str, words: &str) {
    assert!(message.contains(words), "{words:?} is not in {message:?}");
}

/// Starts a server that sends these lines to every client, and nothing else; returns its port.
pub(super) fn server_that_only_says(lines: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.write_all(lines.as_bytes());
            thread::spawn(move || stream.read_to_end(&mut Vec::new()));
        }
    });
    port
}

pub(super) fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn a_source_that_cannot_be_is_told_why() {
    let user = User::new();
    assert_says(
        &user.is_refused("http://h/", &[]),
        "cannot mount http:// addresses",
    );
    assert_says(
        &user.is_refused("host", &[]),
        "a host alone needs a colon after it",
    );
    assert_says(&user.is_refused("ftp:///path", &[]), "SOURCE names no host");
    assert_says(
        &user.is_refused("ftp://h:x/", &[]),
        "a port that is not a number",
    );
    assert_says(&user.is_refused("ftp://h/a\nb", &[]), "control character");
}

#[test]
fn a_source_that_asks_for_tls_never_goes_in_the_clear() {
    let user = User::new();
    for (scheme, heard) in [("ftpes", b"AUTH TLS\r\n".as_slice()), ("ftps", &[22, 3])] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            client
                .write_all(b"220 ready\r\n502 no TLS here\r\n")
                .unwrap();
            let mut said = Vec::new();
            let _ = client.read_to_end(&mut said);
            said
        });
        let source = format!("{scheme}://me:hunter2@127.0.0.1:{port}/");
        let message = user.is_refused(&source, &["-o", "insecure"]);
        assert_says(&message, "TLS");
        assert!(!message.contains("hunter2"));
        let said = server.join().unwrap();
        assert!(said.starts_with(heard), "{said:?}");
        assert!(!said.windows(4).any(|word| word == b"USER"), "{said:?}");
    }
}

#[test]
fn an_option_that_cannot_be_is_named() {
    let user = User::new();
    assert_says(
        &user.is_refused("h:", &["-o", "ro,conections=3"]),
        "unknown option -o conections (did you mean connections?)",
    );
    assert_says(
        &user.is_refused("h:", &["-otimeout=soon"]),
        "-o timeout=soon: seconds",
    );
    assert_says(
        &user.is_refused("h:", &["-o", "umask=999"]),
        "permission bits in octal",
    );
    assert_says(
        &user.is_refused("h:", &["-o", "uid=nobody-knows-me"]),
        "-o uid=nobody-knows-me: the number or name of a user of this system",
    );
}

#[test]
fn wrong_arguments_are_status_1_and_help_is_status_0() {
    let user = User::new();
    let status = |arguments: &[&str]| user.command(arguments).output().unwrap().status.code();
    assert_eq!(status(&[]), Some(1));
    assert_eq!(status(&["h:", "mnt", "--nonsense"]), Some(1));
    for arguments in [["--help"], ["-h"], ["--version"], ["-V"], ["man"]] {
        assert_eq!(status(&arguments), Some(0), "{arguments:?}");
        let told = user.command(&arguments).output().unwrap();
        assert!(!told.stdout.is_empty(), "{arguments:?} is for a pager");
        assert!(told.stderr.is_empty(), "{arguments:?} is no complaint");
    }
}

#[test]
fn a_mountpoint_that_cannot_be_is_told_why() {
    let user = User::new();
    let message = |mountpoint: &str| failure(user.command(&["h:", mountpoint]));
    assert_says(&message("none"), "there is no directory none");
    fs::write(user.home.path().join("file"), "").unwrap();
    assert_says(&message("file"), "is not a directory");
    assert_says(&message("."), "is not empty (-o nonempty");
    assert_says(
        &message("/proc"),
        "/proc is in use: proc proc is mounted there",
    );
}

#[test]
fn a_second_mount_on_the_first_is_refused() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::new(&server);
    let user = User::new();
    let mountpoint = mount.path().to_str().unwrap();
    let message = failure(user.command(&["h:", mountpoint]));
    assert_says(
        &message,
        &format!("in use: fuse.ftpfs {} is mounted there", server.url()),
    );
}

#[test]
fn a_dead_mount_is_replaced_by_its_source_and_named_to_others() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", "");
    let user = User::new();
    let mut program = user
        .command(&["-f", &server.url_with_password(), "mnt"])
        .spawn()
        .unwrap();
    assert!(crate::support::wait_for(
        std::time::Duration::from_secs(20),
        || { is_mounted(&user.mountpoint) }
    ));
    program.kill().unwrap();
    program.wait().unwrap();
    let message = failure(user.command(&["h:", "mnt"]));
    assert_says(&message, "is a mount whose program has ended");
    assert_says(&message, "fusermount3 -u ");
    // The same source takes the place of its dead mount, as after a restart by a service manager.
    let mut program = user
        .command(&["-f", &server.url_with_password(), "mnt"])
        .spawn()
        .unwrap();
    assert!(crate::support::wait_for(
        std::time::Duration::from_secs(20),
        || user.mountpoint.join("file").exists()
    ));
    program.kill().unwrap();
    program.wait().unwrap();
    // A look at the status takes away what is left of the dead mount's socket.
    for arguments in [&["status"][..], &["status", "mnt"], &["umount", "mnt"]] {
        let output = user.command(arguments).output().unwrap();
        let is_last = arguments[0] == "umount";
        assert!(!is_last || output.status.success(), "{output:?}");
        assert_eq!(is_mounted(&user.mountpoint), !is_last);
    }
}

#[test]
fn a_server_that_is_not_there_is_told_apart_from_one_that_does_not_answer() {
    let user = User::new();
    assert_says(
        &user.is_refused("nonexistent.invalid:", &[]),
        "cannot find the host nonexistent.invalid",
    );
    let source = format!("ftp://127.0.0.1:{}/", closed_port());
    assert_says(&user.is_refused(&source, &[]), "refused");
    let source = format!("ftp://127.0.0.1:{}/", server_that_only_says(""));
    assert_says(
        &user.is_refused(&source, &["-o", "timeout=0.3"]),
        "the server took too long",
    );
}

#[test]
fn a_full_server_says_so() {
    let user = User::new();
    let port = server_that_only_says("421 Too many connections, come back later.\r\n");
    let message = user.is_refused(&format!("ftp://127.0.0.1:{port}/"), &[]);
    assert_says(
        &message,
        "takes no more connections: 421 Too many connections",
    );
}

#[test]
fn a_wrong_password_says_so_and_is_not_repeated() {
    let server = TestServer::start(Kind::Embedded);
    let user = User::new();
    let source = format!("ftp://{USER}:hunter2@127.0.0.1:{}/", server.port());
    let message = user.is_refused(&source, &[]);
    assert_says(&message, "login refused: 530");
    assert_says(&message, "wrong user or password?");
    assert!(!message.contains("hunter2"));
}

#[test]
fn a_user_without_a_password_is_told_where_to_put_one() {
    let message = User::new().is_refused("me@127.0.0.1:", &[]);
    assert_says(&message, "no password for me at 127.0.0.1");
    assert_says(&message, "FTPFS_PASSWORD");
}

#[test]
fn a_remote_directory_that_is_none_is_told_apart_from_one_that_is_missing() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", "content");
    let user = User::new();
    let url = server.url_with_password();
    assert_says(
        &user.is_refused(&format!("{url}none"), &[]),
        "there is no directory /none on the server",
    );
    assert_says(
        &user.is_refused(&format!("{url}file"), &[]),
        "/file on the server is not a directory",
    );
}

#[test]
fn nothing_ftpfs_needs_may_be_inside_the_mountpoint() {
    let user = User::new();
    let message = user.is_refused("h:", &["-o", "log_file=mnt/log"]);
    assert_says(&message, "the log file");
    assert_says(&message, "is inside the mountpoint");
    let message = user.is_refused("h:", &["-o", "spool=mnt"]);
    assert_says(&message, "the spool directory");
    assert_says(
        &user.is_refused("h:", &["-o", "spool=none"]),
        "cannot store written files in",
    );
}

fn in_own_namespace(user: &User, script: &str, arguments: &[&OsStr]) -> Output {
    crate::support::in_own_namespace(user.home.path(), script, arguments)
}

fn says_as_failure(output: &Output, words: &str) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert_says(&message, words);
}

#[test]
fn a_kernel_without_fuse_says_so() {
    let user = User::new();
    let script = "mount -t tmpfs none /dev; exec \"$1\" h: mnt";
    let output = in_own_namespace(&user, script, &[OsStr::new(FTPFS)]);
    says_as_failure(&output, "there is no /dev/fuse");
}

#[test]
fn an_ordinary_user_is_told_what_mounting_takes() {
    let user = User::new();
    let ftpfs = OsStr::new(FTPFS);
    let script = "mknod fuse c 10 229; chmod 600 fuse; mount --bind fuse /dev/fuse; chmod 755 . mnt
        exec setpriv --reuid=nobody --regid=nogroup --clear-groups \"$1\" h: mnt";
    says_as_failure(
        &in_own_namespace(&user, script, &[ftpfs]),
        "no permission to use /dev/fuse",
    );

    let user = User::new();
    let script = format!("{OPEN_DEVICE} FUSERMOUNT_PATH=/nonexistent as_nobody \"$1\" h: mnt");
    says_as_failure(
        &in_own_namespace(&user, &script, &[ftpfs]),
        "there is no fusermount3",
    );

    let user = User::new();
    let script = format!(
        "{OPEN_DEVICE} echo > conf; mount --bind conf /etc/fuse.conf; as_nobody \"$1\" h: mnt -o allow_other"
    );
    says_as_failure(
        &in_own_namespace(&user, &script, &[ftpfs]),
        "user_allow_other",
    );
}

#[test]
fn an_ordinary_user_mounts_through_fusermount3() {
    let server = TestServer::start(Kind::Embedded);
    server.write("greeting", "hello, user");
    let user = User::new();
    let script = format!(
        "{OPEN_DEVICE}
        export FTPFS_PASSWORD=\"$3\"
        as_nobody \"$1\" \"$2\" mnt
        as_nobody cat mnt/greeting
        as_nobody bash -c 'echo from nobody > mnt/answer'
        grep -c ' fuse.ftpfs ' /proc/self/mounts >&2
        as_nobody fusermount3 -u mnt
        ! grep ' fuse.ftpfs .*user_id=65534' /proc/self/mounts"
    );
    let url = server.url();
    let output = in_own_namespace(&user, &script, &[FTPFS, &url, PASSWORD].map(OsStr::new));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    assert_eq!(output.stdout, b"hello, user", "{words}");
    assert_eq!(server.read("answer"), b"from nobody\n");
}

#[test]
fn serve_refuses_what_it_cannot_serve() {
    let user = User::new();
    let message = |arguments: &[&str]| failure(user.command(arguments));
    assert_says(
        &message(&["serve", "none", "--anonymous"]),
        "there is no directory none",
    );
    assert_says(
        &message(&["serve", "mnt", "--user", "me", "--listen", "127.0.0.1:0"]),
        "a password is missing",
    );
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_says(
        &message(&["serve", "mnt", "--anonymous", "--listen", &address]),
        "in use",
    );
}

#[test]
fn the_helper_of_mount_checks_without_mounting_when_told_to() {
    let user = User::new();
    let helper = user.home.path().join("mount.ftpfs");
    std::os::unix::fs::symlink(FTPFS, &helper).unwrap();
    let fake = |options: &str| {
        Command::new(&helper)
            .args(["h:", "mnt", "-f", "-v", "-n", "-t", "ftpfs", "-o", options])
            .current_dir(user.home.path())
            .status()
            .unwrap()
            .code()
    };
    assert_eq!(fake("rw,_netdev,nofail,x-systemd.automount"), Some(0));
    assert_eq!(fake("nonsense"), Some(1));
    assert!(!is_mounted(Path::new(&user.mountpoint)));
}
