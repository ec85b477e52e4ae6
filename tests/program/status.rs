//! `ftpfs status`: what a running mount is doing, reported to its user and to no one else.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::support::{Kind, Mount, TestServer, is_mounted, shell, wait_for};
use ftpfs::server::{Fault, Misdeed};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(30);

/// All keys in the JSON of a mount, in order.
const NAMES: &str = "version mountpoint source server pid uptime_seconds unmounted writeback problem offline totals limits \
                     connections transfers cache spool uploads names capabilities leftovers incomplete_listings commands";

fn ftpfs(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftpfs"));
    command.args(arguments).output().unwrap()
}

fn status_of(point: &Path) -> String {
    let output = ftpfs(&["status", point.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the value of a Python expression on the JSON `j` of a mount.
fn asked(point: &Path, expression: &str) -> String {
    let output = ftpfs(&["status", "--json", point.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    evaluated(&output.stdout, expression)
}

fn evaluated(json: &[u8], expression: &str) -> String {
    let script = format!("import json, sys; j = json.load(sys.stdin); print({expression})");
    let mut python = Command::new("python3")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(json).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(json));
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

/// Returns the reason why a mountpoint has no status.
fn refusal(point: &Path) -> String {
    let output = ftpfs(&["status", point.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

/// Returns the control socket of a mount, in root's directory for such sockets.
fn socket(point: &Path, process: u32) -> PathBuf {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table
        .lines()
        .find(|line| line.contains(point.to_str().unwrap()));
    let device = line.unwrap().split(' ').nth(2).unwrap();
    let socket = Path::new("/run/ftpfs").join(format!("{device}-{process}.sock"));
    // It is created when the mount starts to answer.
    assert!(wait_for(SOON, || socket.exists()));
    socket
}

#[test]
fn an_idle_mount_tells_who_and_where_it_is() {
    let server = TestServer::start(Kind::Embedded);
    server.write("dir/file", "content");
    let mount = Mount::with_options(&server, &["spool_size=1G", "connections=5"]);
    shell(mount.path(), "cat dir/file; ls -R; echo new > new");
    // On a busy machine a second session may be created, and is ready as well.
    let is_ready = |text: &str| {
        let ready =
            (1..=5).map(|count| format!(" 0 in use, {count} ready for a transfer, at most 5"));
        ready.into_iter().any(|figures| text.contains(&figures))
    };
    let mut text = String::new();
    wait_for(SOON, || {
        text = status_of(mount.path());
        is_ready(&text)
    });
    assert!(
        is_ready(&text),
        "the next transfer's data connection is open: {text}"
    );
    for told in [
        format!("{} at {}", server.url(), mount.path().display()),
        format!(
            "server       127.0.0.1 port {}, as {}",
            server.port(),
            server.user()
        ),
        "cache        2 directories with 2 names".to_owned(),
        "spool        0 bytes of 1.0 GiB".to_owned(),
        "uploads      none waits".to_owned(),
        "RETR 1".to_owned(),
    ] {
        assert!(text.contains(&told), "{told} in\n{text}");
    }
    assert!(!text.contains(server.password()));
    let json = ftpfs(&["status", "--json", mount.path().to_str().unwrap()]).stdout;
    assert_eq!(
        evaluated(&json, "*j"),
        NAMES.split_whitespace().collect::<Vec<_>>().join(" ")
    );
    assert!(!String::from_utf8_lossy(&json).contains(server.password()));
    for (expression, expected) in [
        ("j['mountpoint']", mount.path().to_str().unwrap().to_owned()),
        ("j['pid']", mount.pid().to_string()),
        ("j['server']['port']", server.port().to_string()),
        (
            "j['connections']['armed'] > 0, j['connections']['limit']",
            "True 5".to_owned(),
        ),
        (
            "j['spool']",
            format!("{{'bytes': 0, 'limit_bytes': {}}}", 1 << 30),
        ),
        (
            "j['uploads']",
            "{'waiting': 0, 'failed': 0, 'files': []}".to_owned(),
        ),
        (
            "j['commands']['RETR'], j['transfers'], j['unmounted']",
            "1 [] False".to_owned(),
        ),
    ] {
        assert_eq!(evaluated(&json, expression), expected, "{expression}");
    }
}

/// With a silent server, status shows what is waiting, with its age and size, then why it failed
/// and how it ended.
#[test]
fn what_waits_and_what_failed_is_told() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::with_options(&server, &["writeback", "timeout=6", "dir_ttl=600"]);
    shell(mount.path(), "ls");
    server.freeze();
    shell(
        mount.path(),
        "printf 12345 > one; printf 'x%.0s' {1..5000} > two",
    );
    let text = status_of(mount.path());
    assert!(text.contains("uploads      2 waiting"), "{text}");
    assert!(text.contains("/one, 5 bytes, closed"), "{text}");
    assert!(text.contains("spool        4.9 KiB"), "{text}");
    let files =
        "sorted((f['path'], f['bytes'], f['age_seconds'] < 60) for f in j['uploads']['files'])";
    assert_eq!(
        asked(mount.path(), files),
        "[('/one', 5, True), ('/two', 5000, True)]"
    );
    let tried = wait_for(SOON, || {
        asked(
            mount.path(),
            "all(f['reason'] for f in j['uploads']['files'])",
        ) == "True"
    });
    assert!(tried, "{}", status_of(mount.path()));
    server.thaw();
    assert!(wait_for(SOON, || status_of(mount.path()).contains("none waits")));

    let full = Misdeed::BreakData {
        after: 0,
        code: 552,
    };
    let embedded = server.embedded().unwrap();
    embedded.faults().add(Fault::on("STOR", full).always());
    shell(mount.path(), "echo more > one");
    let failed = "j['uploads']['failed'], j['uploads']['waiting'], [(f['stage'], f['reason']) for f in j['uploads']['files']]";
    let mut told = String::new();
    let refused = wait_for(SOON, || {
        told = asked(mount.path(), failed);
        told.starts_with("1 0 [('failed', 'cannot store /one: ") && told.contains("552")
    });
    assert!(refused, "{told}");
    let text = status_of(mount.path());
    assert!(text.contains("uploads      0 waiting, 1 failed"), "{text}");
    assert!(text.contains("failed: cannot store /one: "), "{text}");
    embedded.faults().clear();
    shell(mount.path(), "sync one");
    assert!(status_of(mount.path()).contains("none waits"));
}

/// Mounts `server` and starts a program that reads a file of 8 MiB, which stalls after so many
/// bytes until the transfer times out.
pub(crate) fn stalled_read(server: &TestServer, after: u64) -> (Mount, Child) {
    server.write("large", vec![7; 8 << 20]);
    let mount = Mount::with_options(server, &["timeout=10"]);
    let stall = Misdeed::StallData { after };
    let embedded = server.embedded().unwrap();
    embedded.faults().add(Fault::on("RETR", stall));
    let reader = Command::new("cat")
        .arg(mount.join("large"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    (mount, reader)
}

#[test]
fn a_transfer_under_way_is_told() {
    let server = TestServer::start(Kind::Embedded);
    let (mount, mut reader) = stalled_read(&server, 1 << 20);
    let told = wait_for(SOON, || {
        let transfers = "[(t['path'], t['direction'], t['bytes']) for t in j['transfers']]";
        asked(mount.path(), transfers) == "[('/large', 'download', 1048576)]"
    });
    assert!(told, "{}", status_of(mount.path()));
    assert!(
        status_of(mount.path()).contains("transfer     from /large: 1.0 MiB of 8.0 MiB (12%), ")
    );
    assert!(reader.wait().unwrap().success());
}

#[test]
fn all_mounts_are_told_where_none_is_named() {
    let server = TestServer::start(Kind::Embedded);
    let mounts = [Mount::new(&server), Mount::new(&server)];
    for mount in &mounts {
        socket(mount.path(), mount.pid());
    }
    let text = String::from_utf8(ftpfs(&["status"]).stdout).unwrap();
    let json = ftpfs(&["status", "--json"]).stdout;
    let told = evaluated(&json, "*(m['mountpoint'] for m in j)");
    for mount in &mounts {
        let point = mount.path().to_str().unwrap();
        assert!(text.contains(point), "{text}");
        assert!(told.split(' ').any(|it| it == point), "{told}");
    }
}

#[test]
fn what_is_no_mount_of_ftpfs_is_said_to_be_none() {
    let plain = TempDir::new().unwrap();
    assert!(refusal(plain.path()).contains("nothing is mounted at"));
    let words = refusal(Path::new("/proc"));
    assert!(
        words.contains("no ftpfs of yours answers for /proc: proc"),
        "{words}"
    );
    assert!(refusal(&plain.path().join("absent")).contains("nothing is mounted at"));
}

/// After a kill the mount exists but no process serves it; its socket is removed.
#[test]
fn a_killed_mount_is_said_to_be_gone() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::new(&server);
    let (point, socket) = (mount.path().to_owned(), socket(mount.path(), mount.pid()));
    shell(Path::new("/"), &format!("kill -9 {}", mount.pid()));
    let gone = wait_for(SOON, || {
        let output = ftpfs(&["status", point.to_str().unwrap()]);
        String::from_utf8_lossy(&output.stderr).contains("has ended; unmount it")
    });
    assert!(gone && is_mounted(&point));
    assert!(!socket.exists());
    assert!(refusal(&point).contains("no ftpfs of yours answers"));
    mount.kill_nine();
}

/// Only this user can access the socket. It ignores nonsense and disappears with its mount.
#[test]
fn nobody_else_can_ask() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::new(&server);
    let socket = socket(mount.path(), mount.pid());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    // systemd-tmpfiles leaves files with the sticky bit alone, however old they are.
    assert_eq!(mode(&socket), 0o1600);
    assert_eq!(mode(socket.parent().unwrap()), 0o700);
    let script = format!("test ! -e {}; ! ls /run/ftpfs", socket.display());
    let output = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "bash",
            "-ec",
            &script,
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");

    for nonsense in ["nonsense\n", "", "text", "json json json json json json"] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(nonsense.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // Unread data resets the connection.
        let _end = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{nonsense}");
    }
    // A silent client does not block others for long.
    let silent = UnixStream::connect(&socket).unwrap();
    assert!(status_of(mount.path()).contains("connections"));
    drop(silent);
    mount.unmount();
    assert!(!socket.exists());
}

/// The kernel reuses the device number of a mount that is ending for a newer one. Each has its own
/// socket, and the newer one neither answers for the other nor removes its socket.
#[test]
fn mounts_that_share_a_device_number_share_no_socket() {
    let server = TestServer::start(Kind::Embedded);
    let older = Mount::new(&server);
    let older_socket = socket(older.path(), older.pid());
    let newer = Mount::new(&server);
    let newer_socket = socket(newer.path(), newer.pid());
    let of_process = |process: &str| {
        let name = newer_socket.file_name().unwrap().to_str().unwrap();
        let (device, _) = name.rsplit_once('-').unwrap();
        newer_socket.with_file_name(format!("{device}-{process}.sock"))
    };
    let shared = of_process(&older.pid().to_string());
    fs::rename(&older_socket, &shared).unwrap();
    let killed = of_process("killed");
    drop(UnixListener::bind(&killed).unwrap());
    // Sockets created within one tick of the kernel's clock have the same time.
    shell(
        Path::new("/"),
        &format!(
            "touch -d '1 minute ago' {} && touch -d '1 minute' {}",
            shared.display(),
            killed.display()
        ),
    );
    assert_eq!(asked(newer.path(), "j['pid']"), newer.pid().to_string());
    newer.unmount();
    assert!(!newer_socket.exists());
    assert!(shared.exists(), "it is another's socket");
    fs::rename(&shared, &older_socket).unwrap();
    older.unmount();
    assert!(!older_socket.exists());
    assert!(!killed.exists());
}

/// An unmounted mount with pending files is still reported and listed until they are stored.
#[test]
fn an_unmounted_mount_is_told_until_all_is_stored() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::with_options(&server, &["writeback", "timeout=60", "dir_ttl=600"]);
    shell(mount.path(), "ls");
    let embedded = server.embedded().unwrap();
    let frozen = Fault::on("STOR", Misdeed::Freeze).always();
    embedded.faults().add(frozen);
    File::create(mount.join("file"))
        .unwrap()
        .write_all(b"content")
        .unwrap();
    let pid = mount.pid();
    crate::support::unmount_unused(mount.path());
    let expression =
        format!("[(m['unmounted'], m['uploads']['waiting']) for m in j if m['pid'] == {pid}]");
    let mut told = String::new();
    let is_told = wait_for(SOON, || {
        told = evaluated(&ftpfs(&["status", "--json"]).stdout, &expression);
        told == "[(True, 1)]"
    });
    assert!(is_told, "{told}");
    embedded.faults().clear();
    assert!(wait_for(SOON, || {
        evaluated(&ftpfs(&["status", "--json"]).stdout, &expression) == "[]"
    }));
    assert_eq!(server.read("file"), b"content");
}

/// A temporary name that the server fails to delete is shown with the time of the next attempt, and
/// finally deleted.
#[test]
fn what_cannot_be_cleared_away_is_listed() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::new(&server);
    assert_eq!(asked(mount.path(), "j['leftovers']"), "[]");
    let embedded = server.embedded().unwrap();
    let faults = embedded.faults();
    let refused = |code| Misdeed::Refuse {
        code,
        text: "not now".to_owned(),
    };
    faults.add(Fault::on("RNFR", refused(550)).always());
    faults.add(Fault::on("DELE", refused(550)).always());
    // The close fails, which `fs::write` does not report.
    fs::write(mount.join("file"), "content").unwrap();
    let listed = "[l['path'][:8] for l in j['leftovers'] if 0 < l['next_try_seconds'] <= 3600]";
    assert!(wait_for(SOON, || asked(mount.path(), listed) == "['/.ftpfs-']"));
    let text = status_of(mount.path());
    assert!(
        text.contains("remains to be cleaned up, next attempt in "),
        "{text}"
    );
    faults.clear();
    let root = server.root().to_owned();
    let leftovers = || {
        let entries = fs::read_dir(&root).unwrap();
        entries
            .filter(|entry| entry.as_ref().unwrap().file_name() != "file")
            .count()
    };
    assert_eq!(leftovers(), 1);
    mount.unmount();
    assert_eq!(leftovers(), 0);
}
