//! The commands that control a running mount: refresh, flush, warmup, limit, log, umount, and the
//! signals.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use crate::support::{Ending, Kind, Mount, TestServer, is_mounted, run_with, shell, wait_for};
use ftpfs::server::{Fault, Misdeed};

const SOON: Duration = Duration::from_secs(30);
const FTPFS: &str = env!("CARGO_BIN_EXE_ftpfs");

fn ftpfs(arguments: &[&str]) -> Output {
    Command::new(FTPFS).args(arguments).output().unwrap()
}

/// Runs ftpfs, which must succeed, and returns what it printed.
fn done(arguments: &[&str]) -> String {
    let output = ftpfs(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs ftpfs, which must fail, and returns why.
fn failed(arguments: &[&str]) -> String {
    let output = ftpfs(arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn path(mount: &Mount, below: &str) -> String {
    mount.join(below).to_str().unwrap().to_owned()
}

/// Waits until the mount has its control socket, which it opens after the mount.
fn ready(mount: Mount) -> Mount {
    let point = path(&mount, "");
    assert!(wait_for(SOON, || ftpfs(&["status", &point])
        .status
        .success()));
    mount
}

fn refusing(code: u16, text: &str) -> Misdeed {
    Misdeed::Refuse {
        code,
        text: text.to_owned(),
    }
}

#[test]
fn a_refresh_shows_what_changed_on_the_server() {
    let server = TestServer::start(Kind::Embedded);
    for file in ["a/file", "a/deep/old", "b/file"] {
        server.write(file, "one");
    }
    let cached = ["dir_ttl=3600", "attr_ttl=3600", "open_ttl=3600"];
    let mount = ready(Mount::with_options(&server, &cached));
    let seen = |place: &str| {
        let script = format!("cat {place}/file; stat -c %s {place}/file; ls -R {place}");
        String::from_utf8(shell(mount.path(), &script).stdout).unwrap()
    };
    let before = (seen("a"), seen("b"));
    for file in ["a/file", "b/file"] {
        server.write(file, "another");
    }
    server.write("a/deep/new", "");
    fs::remove_file(server.root().join("a/deep/old")).unwrap();
    assert_eq!((seen("a"), seen("b")), before, "it is cached");
    done(&["refresh", &path(&mount, "a")]);
    let after = seen("a");
    assert!(after.starts_with("another7\n"), "{after}");
    assert!(after.contains("new") && !after.contains("old"), "{after}");
    assert_eq!(seen("b"), before.1, "only below the path");
    // A relative path, and the path of a single file.
    let output = Command::new(FTPFS)
        .args(["refresh", "file"])
        .current_dir(mount.join("b"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(seen("b").starts_with("another7\n"));
    // A program's working directory keeps its name.
    server.write("a/deep/newer", "");
    let script = format!(
        "{FTPFS} refresh .. && pwd -P && ls && ls {}",
        path(&mount, "a/deep")
    );
    let output = shell(mount.join("a/deep"), &script);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains(&path(&mount, "a/deep")), "{shown}");
    assert_eq!(shown.matches("newer").count(), 2, "{shown}");
}

/// What was uploaded a moment ago is forgotten, too, even if another client's file looks the same.
#[test]
fn a_refresh_forgets_what_was_uploaded() {
    let server = TestServer::start(Kind::Embedded);
    let slow = [
        "writeback",
        "dir_ttl=3600",
        "attr_ttl=3600",
        "open_ttl=3600",
    ];
    let mount = ready(Mount::with_options(&server, &slow));
    shell(mount.path(), "echo mine > file");
    done(&["flush", &path(&mount, "")]);
    let modified = fs::metadata(server.root().join("file")).unwrap().modified();
    server.write("file", "them\n");
    let changed = fs::File::options()
        .write(true)
        .open(server.root().join("file"));
    changed.unwrap().set_modified(modified.unwrap()).unwrap();
    assert_eq!(fs::read(mount.join("file")).unwrap(), b"mine\n");
    // An open file keeps its contents, and the kernel may report a close a moment later.
    assert!(wait_for(SOON, || {
        done(&["refresh", &path(&mount, "")]);
        fs::read(mount.join("file")).unwrap() == b"them\n"
    }));
}

#[test]
fn what_is_no_mount_cannot_be_controlled() {
    let plain = tempfile::tempdir().unwrap();
    let plain = plain.path().to_str().unwrap();
    for arguments in [
        vec!["refresh", plain],
        vec!["flush", plain],
        vec!["warmup", plain],
        vec!["limit", plain],
        vec!["log", plain, "info"],
        vec!["umount", plain],
        vec!["umount", "--wait", plain],
    ] {
        let words = failed(&arguments);
        let is_explained = ["nothing is mounted at", "no ftpfs of yours answers for"]
            .iter()
            .any(|reason| words.contains(reason));
        assert!(is_explained, "{words}");
    }
}

#[test]
fn a_flush_waits_until_closed_files_are_stored() {
    let server = TestServer::start(Kind::Embedded);
    fs::create_dir(server.root().join("other")).unwrap();
    let mount = ready(Mount::with_options(&server, &["writeback", "dir_ttl=600"]));
    assert_eq!(
        done(&["flush", &path(&mount, "")]),
        "nothing waits to be stored\n"
    );
    let embedded = server.embedded().unwrap();
    embedded
        .faults()
        .add(Fault::on("STOR", Misdeed::Freeze).always());
    shell(mount.path(), "echo content > file");
    assert_eq!(
        done(&["flush", &path(&mount, "other")]),
        "nothing waits to be stored\n"
    );
    let mut flush = Command::new(FTPFS)
        .args(["flush", &path(&mount, "file")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_secs(1));
    assert!(flush.try_wait().unwrap().is_none());
    embedded.faults().clear();
    // On a busy machine it may come only now.
    let flushed = flush.wait_with_output().unwrap().stdout;
    let stored = ["stored 1 file\n", "nothing waits to be stored\n"];
    assert!(stored.iter().any(|words| words.as_bytes() == flushed));
    assert_eq!(server.read("file"), b"content\n");

    // The error names the file and says why.
    let full = Misdeed::BreakData {
        after: 0,
        code: 552,
    };
    embedded.faults().add(Fault::on("STOR", full).always());
    shell(mount.path(), "echo more > refused");
    let words = failed(&["flush", &path(&mount, "")]);
    assert!(
        words.contains("/refused is not stored: ") && words.contains("552"),
        "{words}"
    );
    assert!(
        words.contains("ftpfs: 1 file could not be stored"),
        "{words}"
    );
    embedded.faults().clear();
    assert_eq!(done(&["flush", &path(&mount, "")]), "stored 1 file\n");
    assert_eq!(server.read("refused"), b"more\n");
}

/// A client that waits does not keep others from their replies, and one that hangs up ends its
/// work.
#[test]
fn clients_do_not_wait_for_each_other() {
    let server = TestServer::start(Kind::Embedded);
    let mount = ready(Mount::with_options(
        &server,
        &["writeback", "timeout=20", "dir_ttl=600"],
    ));
    shell(mount.path(), "ls");
    server.freeze();
    shell(mount.path(), "echo content > file");
    let mut waiting: Vec<_> = (0..5)
        .map(|_| {
            let mut flush = Command::new(FTPFS);
            flush.arg("flush").arg(mount.path());
            flush.stdout(Stdio::piped()).stderr(Stdio::piped());
            flush.spawn().unwrap()
        })
        .collect();
    let shown = done(&["status", &path(&mount, "")]);
    assert!(shown.contains("1 waiting"), "{shown}");
    let clients = || {
        let threads = fs::read_dir(format!("/proc/{}/task", mount.pid())).unwrap();
        let name = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("comm"));
        let names = threads.filter_map(|thread| name(thread.unwrap()).ok());
        names.filter(|name| name == "client\n").count()
    };
    assert!(wait_for(SOON, || clients() == 5), "{} clients", clients());
    let patient = waiting.remove(0);
    for mut flush in waiting {
        flush.kill().unwrap();
        flush.wait().unwrap();
    }
    assert!(wait_for(SOON, || clients() == 1), "{} clients", clients());
    server.thaw();
    let output = patient.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"stored 1 file\n");
    assert_eq!(server.read("file"), b"content\n");
}

#[test]
fn a_warm_up_fetches_all_listings_of_a_tree() {
    let server = TestServer::start(Kind::Embedded);
    for directory in 0..30 {
        server.write(format!("tree/{directory}/below/file"), "content");
    }
    server.write("elsewhere/file", "content");
    let cached = ["dir_ttl=3600", "attr_ttl=3600"];
    let mount = ready(Mount::with_options(&server, &cached));
    let listed = done(&["warmup", &path(&mount, "tree")]);
    assert_eq!(listed, "listed 61 directories with 90 names\n");
    let before = server.commands().len();
    let found = shell(
        mount.path(),
        "find tree | wc -l; stat tree/7/below/file > /dev/null",
    );
    assert_eq!(String::from_utf8(found.stdout).unwrap(), "91\n");
    let commands = server.commands();
    let listings = commands[before..].iter().filter(|it| {
        ["MLSD", "LIST", "STAT"]
            .iter()
            .any(|verb| it.starts_with(verb))
    });
    // The directory that contains the tree was not part of it.
    assert!(listings.count() <= 1, "{:?}", &commands[before..]);

    let embedded = server.embedded().unwrap();
    embedded
        .faults()
        .add(Fault::on("MLSD", refusing(550, "Permission denied")).always());
    let words = failed(&["warmup", &path(&mount, "elsewhere")]);
    assert!(
        words.contains("1 directory could not be listed, 0 were"),
        "{words}"
    );
    assert!(
        words.contains("/elsewhere: the server does not list it"),
        "{words}"
    );
    embedded.faults().clear();
    for (place, reason) in [
        ("none", "No such file"),
        ("elsewhere/file", "Not a directory"),
    ] {
        let words = failed(&["warmup", &path(&mount, place)]);
        assert!(words.contains(place) && words.contains(reason), "{words}");
    }
}

#[test]
fn limits_are_shown_changed_and_lifted() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", vec![7; 300_000]);
    let mount = ready(Mount::with_options(
        &server,
        &["limit_down=2M", "limit_up=off"],
    ));
    let point = path(&mount, "");
    assert_eq!(done(&["limit", &point]), "down=2.0 MiB/s, up=off\n");
    assert_eq!(
        done(&["limit", &point, "up=512K"]),
        "down=2.0 MiB/s, up=512.0 KiB/s\n"
    );
    assert_eq!(
        done(&["limit", &point, "down=off", "up=1G"]),
        "down=off, up=1.0 GiB/s\n"
    );
    let words = failed(&["limit", &point, "down=5"]);
    assert!(
        words.contains("bytes per second, such as 500K or 5M"),
        "{words}"
    );
    let shown = done(&["status", &point]);
    assert!(
        shown.contains("downloads not limited, uploads at most 1.0 GiB/s"),
        "{shown}"
    );

    // At 1 KiB/s, the file takes minutes; it arrives when the limit is lifted.
    done(&["limit", &point, "down=1K", "up=1K"]);
    let mut reader = Command::new("cmp")
        .arg(mount.join("file"))
        .arg(server.root().join("file"))
        .spawn()
        .unwrap();
    let source = server.root().join("file");
    let mut writer = Command::new("cp")
        .arg(&source)
        .arg(mount.join("copy"))
        .spawn()
        .unwrap();
    let transfers = || done(&["status", &point]);
    let is_slow = wait_for(SOON, || {
        let shown = transfers();
        shown.contains("from /file: ") && shown.contains("to /copy: ")
    });
    assert!(is_slow, "{}", transfers());
    assert!(reader.try_wait().unwrap().is_none() && writer.try_wait().unwrap().is_none());
    done(&["limit", &point, "down=off", "up=off"]);
    assert!(reader.wait().unwrap().success());
    assert!(writer.wait().unwrap().success());
    assert_eq!(server.read("copy"), vec![7; 300_000]);
}

fn signal(mount: &Mount, signal: &str) {
    let pid = mount.pid().to_string();
    run_with("kill", &[signal.as_ref(), pid.as_ref()]);
}

/// SIGHUP reopens the log file after it was rotated. The mount stays. SIGTERM ends it.
#[test]
fn the_log_can_be_changed_and_rotated() {
    let server = TestServer::start(Kind::Embedded);
    let directory = tempfile::tempdir().unwrap();
    let (log, rotated) = (directory.path().join("log"), directory.path().join("log.1"));
    let option = format!("log_file={}", log.display());
    let mount = ready(Mount::with_options(&server, &[&option, "log_level=warn"]));
    let point = path(&mount, "");
    let text = |file: &Path| fs::read_to_string(file).unwrap_or_default();
    shell(mount.path(), "ls; cat none || true");
    assert_eq!(text(&log), "");
    assert_eq!(done(&["log", &point, "debug"]), "the log level is debug\n");
    shell(mount.path(), "cat none-other || true");
    assert!(text(&log).contains("none-other"), "{}", text(&log));
    let words = failed(&["log", &point, "loud"]);
    assert!(words.contains("loud"), "{words}");
    fs::rename(&log, &rotated).unwrap();
    signal(&mount, "-HUP");
    assert!(wait_for(SOON, || text(&log).contains("reopened the log file")));
    shell(mount.path(), "cat after || true");
    assert!(text(&log).contains("after"), "{}", text(&log));
    assert!(!text(&rotated).contains("after"));
    done(&["log", &point, "off"]);
    let quiet = text(&log);
    shell(mount.path(), "cat quiet || true");
    assert_eq!(text(&log), quiet);
    let (status, _) = mount.end_within(SOON, Ending::Signal);
    assert!(status.success(), "{status}");
}

/// In the foreground of a terminal, SIGHUP means that the terminal was closed.
#[test]
fn a_hang_up_of_the_terminal_ends_a_mount_in_the_foreground() {
    let server = TestServer::start(Kind::Embedded);
    let directory = tempfile::tempdir().unwrap();
    let point = directory.path().join("mnt");
    fs::create_dir(&point).unwrap();
    let url = server.url();
    let script = format!("exec {FTPFS} -f {url} {}", point.display());
    let mut terminal = Command::new("script")
        .args(["-qfec", &script, "/dev/null"])
        .env("FTPFS_PASSWORD", server.password())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let point = point.to_str().unwrap();
    assert!(wait_for(SOON, || ftpfs(&["status", point])
        .status
        .success()));
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    assert!(wait_for(SOON, || !is_mounted(Path::new(point))));
}

fn start(server: &TestServer, options: &str, directory: &Path) -> PathBuf {
    let point = directory.join("mnt");
    fs::create_dir(&point).unwrap();
    let output = Command::new(FTPFS)
        .arg(server.url())
        .arg(&point)
        .args(["-o", options])
        .env("FTPFS_PASSWORD", server.password())
        .env("XDG_STATE_HOME", directory.join("state"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    point
}

fn processes(point: &Path) -> usize {
    let point = point.to_str().unwrap();
    let processes = crate::support::Process::all();
    processes
        .filter(|process| process.has_argument(point))
        .count()
}

#[test]
fn an_unmount_can_wait_until_everything_is_stored() {
    let server = TestServer::start(Kind::Embedded);
    let directory = tempfile::tempdir().unwrap();
    let point = start(
        &server,
        "writeback,timeout=20,dir_ttl=600",
        directory.path(),
    );
    shell(&point, "ls");
    let late = Misdeed::LateReply(Duration::from_secs(2));
    let embedded = server.embedded().unwrap();
    embedded.faults().add(Fault::on("STOR", late));
    let place = point.to_str().unwrap();
    let user = fs::File::open(&point).unwrap();
    let words = failed(&["umount", "--wait", place]);
    assert!(
        words.contains("cannot unmount") && is_mounted(&point),
        "{words}"
    );
    drop(user);
    fs::write(point.join("file"), "content").unwrap();
    assert_eq!(done(&["umount", "--wait", place]), "everything is stored\n");
    assert!(!is_mounted(&point));
    assert_eq!(processes(&point), 0);
    assert_eq!(server.read("file"), b"content");
}

#[test]
fn an_unmount_that_waits_says_what_could_not_be_stored() {
    let server = TestServer::start(Kind::Embedded);
    let directory = tempfile::tempdir().unwrap();
    let point = start(&server, "writeback,dir_ttl=600", directory.path());
    shell(&point, "ls");
    let full = Misdeed::BreakData {
        after: 0,
        code: 552,
    };
    server
        .embedded()
        .unwrap()
        .faults()
        .add(Fault::on("STOR", full).always());
    fs::write(point.join("file"), "content").unwrap();
    let words = failed(&["umount", "--wait", point.to_str().unwrap()]);
    assert!(
        words.contains("1 file not stored, left in the state directory"),
        "{words}"
    );
    assert!(
        words.contains("/file: ") && words.contains("552"),
        "{words}"
    );
    assert!(!is_mounted(&point));
    assert_eq!(processes(&point), 0);
}

#[test]
fn an_unmount_alone_does_not_wait_and_removes_a_dead_mount() {
    let server = TestServer::start(Kind::Embedded);
    let mount = ready(Mount::new(&server));
    let point = mount.path().to_owned();
    let place = point.to_str().unwrap();
    shell(Path::new("/"), &format!("kill -9 {}", mount.pid()));
    assert!(wait_for(SOON, || ftpfs(&["umount", place])
        .status
        .success()));
    mount.forget();
    let directory = tempfile::tempdir().unwrap();
    let point = start(&server, "ro", directory.path());
    assert_eq!(done(&["umount", point.to_str().unwrap()]), "");
    assert!(!is_mounted(&point));
    assert!(wait_for(SOON, || processes(&point) == 0));
}

/// Garbage, silence and hang-ups harm neither the mount nor other clients.
#[test]
fn hostile_clients_are_dropped() {
    let server = TestServer::start(Kind::Embedded);
    let mount = ready(Mount::new(&server));
    let point = path(&mount, "");
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table
        .lines()
        .find(|line| line.contains(point.trim_end_matches('/')));
    let device = line.unwrap().split(' ').nth(2).unwrap();
    let socket = format!("/run/ftpfs/{device}-{}.sock", mount.pid());
    let long = format!("refresh {}\n", "a".repeat(1 << 20));
    for nonsense in [
        "refresh\n",
        "refresh %f\n",
        "limit x y\n",
        "log loud\n",
        "bars -1\n",
        &long,
    ] {
        let mut client = UnixStream::connect(&socket).unwrap();
        // The process may close the connection before it has read everything.
        let _sent = client.write_all(nonsense.as_bytes());
        let mut answer = Vec::new();
        let _end = client.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{nonsense}");
    }
    for request in ["json\n", "flush \n", "await-end\n", "warmup \n"] {
        let mut client = UnixStream::connect(&socket).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        drop(client);
    }
    let silent: Vec<_> = (0..100)
        .filter_map(|_| UnixStream::connect(&socket).ok())
        .collect();
    assert!(wait_for(SOON, || ftpfs(&["status", &point])
        .status
        .success()));
    drop(silent);
    mount.unmount();
}
