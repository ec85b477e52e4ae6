//! A mount from start to end: background and foreground, signals, passwords, subcommands.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::home::MountingHome;
use crate::support::{
    Kind, Mount, PASSWORD, Process, TestServer, USER, contains, is_mounted, wait_for,
};

const FTPFS: &str = env!("CARGO_BIN_EXE_ftpfs");

/// Maximum time to wait for anything here.
const LIMIT: Duration = Duration::from_secs(20);

/// An empty home with a mountpoint in it; on drop, it unmounts whatever is still mounted there.
struct Home(MountingHome);

impl std::ops::Deref for Home {
    type Target = MountingHome;

    fn deref(&self) -> &MountingHome {
        &self.0
    }
}

impl Home {
    fn new() -> Self {
        Self(MountingHome::new("mnt"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.command_here(FTPFS, arguments)
    }

    /// Runs a command that must mount, and unmounts afterwards.
    fn mounts(&self, command: &mut Command) {
        let output = command.output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words}");
        assert!(is_mounted(&self.mountpoint), "{words}");
        self.unmount();
    }

    fn unmount(&self) {
        crate::support::run_with("fusermount3", &["-u".as_ref(), self.mountpoint.as_os_str()]);
    }
}

fn signal(pid: u32, name: &str) {
    crate::support::run(&format!("kill -{name} {pid}"));
}

fn end_of(child: &mut Child) -> ExitStatus {
    let mut status = None;
    assert!(
        wait_for(LIMIT, || {
            status = child.try_wait().unwrap();
            status.is_some()
        }),
        "still running"
    );
    status.unwrap()
}

#[test]
fn the_command_returns_when_the_mount_answers_and_the_rest_goes_to_the_background() {
    let server = TestServer::start(Kind::Embedded);
    server.write("greeting", "hello");
    let home = Home::new();
    let mountpoint = home.mountpoint.to_str().unwrap();
    let output = home
        .command(&[&server.url(), mountpoint])
        .env("FTPFS_PASSWORD", PASSWORD)
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!((output.stdout.len(), output.stderr.len()), (0, 0));
    assert_eq!(
        fs::read(home.mountpoint.join("greeting")).unwrap(),
        b"hello"
    );

    let process = Process::with_argument(mountpoint).unwrap();
    let place = process.place().to_owned();
    assert_eq!(fs::read_link(place.join("cwd")).unwrap(), Path::new("/"));
    assert_eq!(
        fs::read_link(place.join("fd/1")).unwrap(),
        Path::new("/dev/null")
    );

    fs::write(home.mountpoint.join("answer"), "stored").unwrap();
    home.unmount();
    // A process that has ended has no arguments, even before its parent has reaped it.
    let has_ended = || process.read("cmdline").is_none_or(|words| words.is_empty());
    assert!(wait_for(LIMIT, has_ended), "still running");
    assert_eq!(server.read("answer"), b"stored");
}

#[test]
fn each_ending_signal_unmounts_and_is_a_good_end() {
    let server = TestServer::start(Kind::Embedded);
    for name in ["INT", "TERM"] {
        let home = Home::new();
        let mut program = foreground(&home, &server);
        fs::write(home.mountpoint.join(name), name).unwrap();
        signal(program.id(), name);
        assert_eq!(end_of(&mut program).code(), Some(0), "{name}");
        assert!(!is_mounted(&home.mountpoint), "{name}");
        assert_eq!(server.read(name), name.as_bytes());
    }
}

#[test]
fn a_busy_mount_ends_on_a_signal_all_the_same() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", "content");
    let home = Home::new();
    let mut program = foreground(&home, &server);
    let open = File::open(home.mountpoint.join("file")).unwrap();
    signal(program.id(), "TERM");
    assert_eq!(end_of(&mut program).code(), Some(0));
    assert!(!is_mounted(&home.mountpoint));
    drop(open);
}

#[test]
fn a_file_still_open_for_writing_at_the_end_is_not_stored_by_half() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", "the old content");
    let home = Home::new();
    let mut program = foreground(&home, &server);
    // A program that starts no child: closing a descriptor in a child would store what was written.
    let script = "import os, sys; f = os.open('mnt/file', os.O_WRONLY | os.O_TRUNC); \
                  [os.write(f, b'n' * 1000000) for _ in range(9)]; print('written', flush=True); sys.stdin.read()";
    let mut writer = Command::new("python3")
        .args(["-c", script])
        .current_dir(home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(writer.stdout.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    assert_eq!(said, "written\n");
    signal(program.id(), "TERM");
    assert_eq!(end_of(&mut program).code(), Some(0));
    drop(writer.stdin.take());
    writer.wait().unwrap();
    assert!(
        server.read("file") == b"the old content",
        "half a file was stored"
    );
    let left: Vec<_> = fs::read_dir(server.root()).unwrap().collect();
    assert_eq!(left.len(), 1, "an unfinished upload is left: {left:?}");
}

#[test]
fn a_signal_before_the_server_answered_leaves_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let home = Home::new();
    let source = format!("ftp://{}/", listener.local_addr().unwrap());
    let mut program = home
        .command(&["-f", &source, "mnt"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _silent = listener.accept().unwrap();
    signal(program.id(), "INT");
    assert_eq!(end_of(&mut program).code(), Some(1));
    assert!(!is_mounted(&home.mountpoint));
}

#[test]
fn an_unmount_from_outside_is_a_good_end() {
    let server = TestServer::start(Kind::Embedded);
    let home = Home::new();
    let mut program = foreground(&home, &server);
    home.unmount();
    assert_eq!(end_of(&mut program).code(), Some(0));
}

fn foreground(home: &Home, server: &TestServer) -> Child {
    let program = home
        .command(&["-f", &server.url(), "mnt"])
        .env("FTPFS_PASSWORD", PASSWORD)
        .spawn()
        .unwrap();
    assert!(wait_for(LIMIT, || is_mounted(&home.mountpoint)));
    program
}

#[test]
fn a_password_can_come_from_each_place_there_is() {
    let server = TestServer::start(Kind::Embedded);
    let home = Home::new();
    let url = server.url();
    let file = home.write("password", &format!("{PASSWORD}\n"), 0o600);
    let file = format!("password_file={}", file.display());
    let netrc = format!("machine 127.0.0.1 login {USER} password {PASSWORD}\n");
    let other = home.write("other-netrc", &netrc, 0o600);
    let other = format!("netrc={}", other.display());
    let nameless = format!("ftp://127.0.0.1:{}/", server.port());

    home.mounts(&mut home.command(&[&server.url_with_password(), "mnt"]));
    home.mounts(home.command(&[&url, "mnt"]).env("FTPFS_PASSWORD", PASSWORD));
    home.mounts(&mut home.command(&[&url, "mnt", "-o", &file]));
    home.mounts(&mut home.command(&[&nameless, "mnt", "-o", &other]));
    home.write(".netrc", &netrc, 0o600);
    home.mounts(&mut home.command(&[&nameless, "mnt", "-o", "netrc,_netdev,nofail"]));
    home.mounts(&mut home.command(&[&nameless, "mnt"]));
    let short = format!("{USER}@127.0.0.1:");
    let port = format!("port={}", server.port());
    home.mounts(&mut home.command(&["-o", &port, &short, "mnt"]));
}

#[test]
fn a_password_can_be_piped_or_typed() {
    let server = TestServer::start(Kind::Embedded);
    let home = Home::new();
    let mut piped = home
        .command(&[&server.url(), "mnt", "-o", "password_file=-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = piped.stdin.take().unwrap();
    writeln!(input, "{PASSWORD}").unwrap();
    assert!(end_of(&mut piped).success());
    home.unmount();

    // script(1) gives the program its own terminal.
    let line = format!("{FTPFS} {} mnt", server.url());
    let mut typed = crate::support::command("script")
        .args(["-qefc", &line, "/dev/null"])
        .env("HOME", home.path())
        .env_remove("FTPFS_PASSWORD")
        .current_dir(home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut screen = typed.stdout.take().unwrap();
    let mut shown = Vec::new();
    let mut byte = [0];
    while !shown.ends_with(b": ") && screen.read(&mut byte).unwrap() == 1 {
        shown.push(byte[0]);
    }
    assert!(
        String::from_utf8_lossy(&shown).contains(&format!("Password for {USER} at 127.0.0.1: "))
    );
    writeln!(typed.stdin.as_ref().unwrap(), "{PASSWORD}").unwrap();
    assert!(wait_for(LIMIT, || is_mounted(&home.mountpoint)));
    assert!(end_of(&mut typed).success());
    screen.read_to_end(&mut shown).unwrap();
    assert!(
        !String::from_utf8_lossy(&shown).contains(PASSWORD),
        "echoed"
    );
    home.unmount();
}

#[test]
fn the_kernel_is_told_type_source_and_options() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::with_options(
        &server,
        &["ro,noexec,allow_other", r"fsname=a\,b", "suid,dev"],
    );
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let path = mount.path().to_str().unwrap();
    let line = mounts.lines().find(|line| line.contains(path)).unwrap();
    assert!(line.starts_with("a,b "), "{line}");
    assert!(
        line.contains(" fuse.ftpfs ro,nosuid,nodev,noexec,"),
        "{line}"
    );
    assert!(line.contains("default_permissions,allow_other"), "{line}");
    assert!(fs::write(mount.join("file"), "").is_err());
}

#[test]
fn a_log_file_is_written_by_the_background_process() {
    let server = TestServer::start(Kind::Embedded);
    let home = Home::new();
    let url = server.url_with_password();
    home.mounts(&mut home.command(&[&url, "mnt", "-o", "log_file=log,log_level=info"]));
    let log = home.path().join("log");
    let mut text = String::new();
    assert!(
        wait_for(LIMIT, || {
            text = fs::read_to_string(&log).unwrap();
            text.contains("mounted ftp://")
        }),
        "{text}"
    );
    assert!(!text.contains(PASSWORD));
}

#[test]
fn a_server_can_be_served_checked_and_mounted() {
    let home = Home::new();
    home.write("greeting", "hello", 0o644);
    let mut serving = home
        .command(&[
            "serve",
            ".",
            "--listen",
            "127.0.0.1:0",
            "--user",
            "me",
            "--password",
            PASSWORD,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(serving.stdout.as_mut().unwrap())
        .read_line(&mut url)
        .unwrap();
    let url = url.trim();
    assert!(url.starts_with("ftp://me@127.0.0.1:"), "{url}");
    let arguments = fs::read(format!("/proc/{}/cmdline", serving.id())).unwrap();
    assert!(!contains(&arguments, PASSWORD.as_bytes()));

    let mut check = home.command(&["check", url, "-o", "connections=3"]);
    let output = check.env("FTPFS_PASSWORD", PASSWORD).output().unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for words in [
        "as me",
        "directories: 1, files: 1",
        " ms",
        "MLSD",
        "3 at once",
    ] {
        assert!(report.contains(words), "{words:?} is not in\n{report}");
    }
    let mut wrong = home.command(&["check", url]);
    let output = wrong.env("FTPFS_PASSWORD", "wrong").output().unwrap();
    assert_eq!(output.status.code(), Some(1));

    signal(serving.id(), "TERM");
    assert_eq!(end_of(&mut serving).code(), Some(0));
}

#[test]
fn the_demo_runs_a_command_in_its_tree_and_cleans_up() {
    let home = Home::new();
    let script = "cat README.txt; pwd; echo more > new; cmp new \"$FTPFS_DEMO_SERVED/new\"
        echo \"$FTPFS_DEMO_SERVED\"; exit 7";
    let output = home
        .command(&["demo", "--", "bash", "-c", script])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{words}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("This tree is on an FTP server"), "{text}");
    let places: Vec<&Path> = text.lines().rev().take(2).map(Path::new).collect();
    for place in places {
        assert!(place.is_absolute(), "{text}");
        assert!(!place.exists(), "{} was left behind", place.display());
    }
}

#[test]
fn the_demo_mounts_where_it_is_told_to_until_ctrl_c() {
    let home = Home::new();
    let mut program = home
        .command(&["demo", "mnt"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(wait_for(LIMIT, || is_mounted(&home.mountpoint)));
    let text = fs::read_to_string(home.mountpoint.join("README.txt")).unwrap();
    assert!(text.contains("ftpfs mounted it"));
    signal(program.id(), "INT");
    assert_eq!(end_of(&mut program).code(), Some(0));
    let mut shown = String::new();
    program
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut shown)
        .unwrap();
    assert!(shown.contains("Ctrl-C here unmounts it"), "{shown}");
    assert!(!is_mounted(&home.mountpoint) && home.mountpoint.exists());
}
