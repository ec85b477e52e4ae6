//! A mount as a systemd service: what it reports to the service manager, and the units.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{
    Ending, Kind, Mount, PASSWORD, Process, TestServer, command, contains, installed, is_mounted,
    wait_for,
};

const FTPFS: &str = env!("CARGO_BIN_EXE_ftpfs");

/// Maximum time to wait for anything here.
const LIMIT: Duration = Duration::from_secs(60);

/// The variable with the address of the service manager (sd_notify(3)).
const VARIABLE: &str = "NOTIFY_SOCKET";

/// What a mount sends while it ends, with the time in microseconds.
const EXTEND: &str = "EXTEND_TIMEOUT_USEC=30000000";

/// A service manager that only listens.
struct ServiceManager {
    address: String,
    arriving: Receiver<String>,
    /// All messages so far.
    received: Vec<String>,
    _directory: TempDir,
}

impl ServiceManager {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let (sender, arriving) = channel();
        // Ends with the test process, or with its last message after the test.
        thread::spawn(move || {
            let mut message = [0; 4096];
            while let Ok(length) = socket.recv(&mut message) {
                let text = String::from_utf8(message[..length].to_vec()).unwrap();
                if sender.send(text).is_err() {
                    return;
                }
            }
        });
        Self {
            address: path.to_str().unwrap().to_owned(),
            arriving,
            received: Vec::new(),
            _directory: directory,
        }
    }

    fn mount(&self, server: &TestServer, options: &[&str]) -> Mount {
        let variables = [(VARIABLE, self.address.as_str())];
        Mount::in_environment(&server.url(), PASSWORD, options, &variables)
    }

    /// Returns the position of the first message from `start` on that contains `words`, after
    /// waiting for it.
    fn await_message(&mut self, start: usize, words: &str) -> usize {
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut sent = self.received.iter().skip(start);
            if let Some(found) = sent.position(|message| message.contains(words)) {
                return start + found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.arriving.recv_timeout(left) {
                Ok(message) => self.received.push(message),
                Err(error) => panic!("no {words:?} ({error}) among {:?}", self.received),
            }
        }
    }
}

#[test]
fn a_service_manager_sees_start_uploads_and_end() {
    let server = TestServer::start(Kind::Embedded);
    let mut manager = ServiceManager::start();
    let mount = manager.mount(&server, &["writeback,limit_up=60K"]);
    let mounted = format!(
        "STATUS=mounted {} at {}",
        server.url(),
        mount.path().display()
    );
    let connecting = manager.await_message(0, "STATUS=connecting to 127.0.0.1");
    let ready = manager.await_message(connecting, "READY=1");
    assert_eq!(manager.received[ready], format!("READY=1\n{mounted}"));

    // Takes longer than the pauses between two signs of life.
    let contents = vec![b'x'; 800 << 10];
    fs::write(mount.join("slow"), &contents).unwrap();
    let waiting = manager.await_message(ready, "STATUS=1 upload waiting");
    let (status, log) = mount.end_within(LIMIT, Ending::Signal);
    assert!(status.success(), "{log}");

    let stopping = manager.await_message(waiting, "STOPPING=1");
    assert_eq!(manager.received[stopping], format!("STOPPING=1\n{EXTEND}"));
    let storing = manager.await_message(stopping, "STATUS=storing 1 file");
    let extended = manager.await_message(stopping + 1, EXTEND);
    assert_eq!(manager.received[extended], EXTEND);
    assert!(storing > stopping);
    let of_kind = |words: &str| {
        let sent = manager.received.iter();
        sent.filter(|message| message.contains(words)).count()
    };
    assert_eq!(of_kind("READY=1"), 1, "{:?}", manager.received);
    assert_eq!(of_kind("STOPPING=1"), 1, "{:?}", manager.received);
    assert!(
        manager
            .received
            .windows(2)
            .all(|pair| pair[0] != pair[1] || pair[0] == EXTEND),
        "an unchanged status was repeated: {:?}",
        manager.received
    );
    assert_eq!(server.read("slow"), contents);
}

#[test]
fn an_unmount_by_someone_else_is_reported_too() {
    let server = TestServer::start(Kind::Embedded);
    let mut manager = ServiceManager::start();
    let mount = manager.mount(&server, &[]);
    let (status, log) = mount.end_within(LIMIT, Ending::Unmount);
    assert!(status.success(), "{log}");
    let ready = manager.await_message(0, "READY=1");
    manager.await_message(ready, "STOPPING=1");
}

#[test]
fn the_status_says_what_is_wrong_with_the_server_until_it_is_back() {
    let server = TestServer::start(Kind::Embedded);
    let mut manager = ServiceManager::start();
    let mount = manager.mount(&server, &["timeout=1,dir_ttl=0,attr_ttl=0"]);
    let ready = manager.await_message(0, "READY=1");
    server.kill();
    assert!(fs::read_dir(mount.path()).is_err());
    let problem = manager.await_message(ready, "STATUS=the server is down");
    assert!(
        manager.received[problem].contains("refused"),
        "{:?}",
        manager.received
    );
    server.start_again();
    assert!(wait_for(LIMIT, || fs::read_dir(mount.path()).is_ok()));
    manager.await_message(problem, "STATUS=mounted");
}

#[test]
fn the_last_status_says_why_the_mount_failed() {
    let server = TestServer::start(Kind::Embedded);
    let mut manager = ServiceManager::start();
    let mount = manager.mount(&server, &["writeback,limit_up=60K"]);
    fs::write(mount.join("slow"), vec![b'x'; 800 << 10]).unwrap();
    let waiting = manager.await_message(0, "STATUS=1 upload waiting");
    server.kill();
    let (status, log) = mount.end_within(LIMIT, Ending::Signal);
    assert!(!status.success(), "{log}");
    let gone = "STATUS=the server does not respond";
    let failed = manager.await_message(waiting, gone);
    assert_eq!(failed + 1, manager.received.len(), "{:?}", manager.received);
    assert_eq!(manager.arriving.try_iter().count(), 0);
}

/// fusermount3 keeps running next to ftpfs, and would otherwise speak for the service.
#[test]
fn a_program_that_the_mount_starts_does_not_know_the_service_manager() {
    let server = TestServer::start(Kind::Embedded);
    let manager = ServiceManager::start();
    let variables = [
        (VARIABLE, manager.address.as_str()),
        ("FTPFS_TEST_INHERITED", "yes"),
    ];
    let options = ["auto_unmount,allow_other"];
    let mount = Mount::in_environment(&server.url(), PASSWORD, &options, &variables);
    let own = Process::of(mount.pid()).read("environ").unwrap();
    assert!(!contains(&own, manager.address.as_bytes()));
    let point = mount.path().to_str().unwrap();
    let is_child = |process: &Process| {
        process.has_argument(point)
            && process
                .read("comm")
                .is_some_and(|name| name.starts_with(b"fusermount"))
    };
    let child = Process::all().find(is_child).expect("fusermount3 runs");
    let environment = child.read("environ").unwrap();
    assert!(contains(&environment, b"FTPFS_TEST_INHERITED"));
    assert!(!contains(&environment, VARIABLE.as_bytes()));
}

/// A script of another service that mounts something must not make that service ready.
#[test]
fn a_mount_in_the_background_reports_nothing() {
    let server = TestServer::start(Kind::Embedded);
    let manager = ServiceManager::start();
    let home = tempfile::tempdir().unwrap();
    let point = home.path().join("mnt");
    fs::create_dir(&point).unwrap();
    let output = command(FTPFS)
        .arg(server.url_with_password())
        .arg(&point)
        .env(VARIABLE, &manager.address)
        .env("XDG_STATE_HOME", home.path().join("state"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && is_mounted(&point), "{words}");
    crate::support::unmount_unused(&point);
    let word = point.to_str().unwrap();
    assert!(wait_for(LIMIT, || Process::with_argument(word).is_none()));
    assert_eq!(manager.arriving.try_iter().collect::<Vec<_>>(), [""; 0]);
}

/// Returns the text of the unit for `manager`.
fn unit(manager: &str) -> String {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = repository.join("dist/systemd").join(manager);
    fs::read_to_string(place.join("ftpfs@.service")).unwrap()
}

/// Returns whether systemd accepts a unit for `manager`, and what it says about it. The built
/// program takes the place of the installed one.
fn verify(manager: &str, unit: &str) -> (bool, String) {
    assert!(unit.contains("ExecStart=/usr/bin/ftpfs -f %i:\n"), "{unit}");
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("ftpfs@.service");
    fs::write(&copy, unit.replace("/usr/bin/ftpfs", FTPFS)).unwrap();
    let output = command("systemd-analyze")
        .args(["verify", "--man=no", &format!("--{manager}")])
        .arg(directory.path().join("ftpfs@nas.service"))
        // A login session has these; the tests may run outside of one.
        .env("XDG_RUNTIME_DIR", directory.path())
        .env("HOME", directory.path())
        .env("SYSTEMD_LOG_LEVEL", "warning")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), words)
}

#[test]
fn systemd_accepts_the_units_without_a_warning() {
    installed(&["systemd-analyze"]);
    for manager in ["system", "user"] {
        let unit = unit(manager);
        let (is_accepted, words) = verify(manager, &unit);
        assert!(is_accepted && words.is_empty(), "{manager}: {words}");
        // It warns about mistakes, with success.
        let (_, words) = verify(manager, &unit.replace("KillMode=", "KilMode="));
        assert!(words.contains("KilMode"), "{manager}: {words}");
    }
}

/// Such options give the service a mount namespace of its own, in which the mount is hidden, or
/// keep fusermount3 from gaining its privileges (systemd.exec(5)).
#[test]
fn the_units_have_no_option_that_hides_or_prevents_the_mount() {
    const BEGINNINGS: [&str; 18] = [
        "Bind",
        "Capability",
        "DynamicUser",
        "Inaccessible",
        "LockPersonality",
        "MemoryDeny",
        "MountAPIVFS",
        "MountFlags",
        "NoExec",
        "NoNewPrivileges",
        "Private",
        "Protect",
        "ReadOnly",
        "ReadWrite",
        "Restrict",
        "Root",
        "SystemCall",
        "TemporaryFileSystem",
    ];
    for manager in ["system", "user"] {
        for line in unit(manager).lines() {
            let is_forbidden = BEGINNINGS.iter().any(|option| line.starts_with(option));
            assert!(!is_forbidden, "{manager}: {line}");
        }
    }
}
