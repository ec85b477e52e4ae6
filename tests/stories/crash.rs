//! ftpfs is killed at any moment: the server keeps the old file or has the new one, and the next
//! mount of the same server cleans up and completes pending work.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::{Kind, Mount, TestServer, stories, wait_for};
use ftpfs::server::{Fault, Misdeed};
use tempfile::TempDir;

/// Maximum time for a transfer to start.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Larger than a file that is stored in a single step when it is closed.
const LARGE: usize = 32 << 20;

/// Returns the temporary names of ftpfs in the server's root.
fn temporary_names(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".ftpfs-")).collect()
}

/// Returns what mounts left in their state directory for the next one.
pub(crate) fn left_in(state: &Path) -> Vec<PathBuf> {
    let entries = |directory: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let places = entries(&state.join("ftpfs"));
    let left = places.iter().flat_map(|place| entries(place));
    // The server's profile outlives its mounts.
    left.filter(|path| {
        let name = path.file_name().unwrap();
        name != "lock" && name != "profile"
    })
    .collect()
}

/// A program that writes a large file and keeps it open until its input ends. It is a separate
/// process because any child of ours briefly gets a copy of the descriptor, and closing that copy
/// would store the file.
struct Writer(Child);

impl Writer {
    fn start(path: &Path) -> Self {
        let script = "import sys; f = open(sys.argv[1], 'wb', 0); f.write(b'\\7' * int(sys.argv[2])); sys.stdin.read()";
        let program = Command::new("python3")
            .args(["-c", script])
            .arg(path)
            .arg(LARGE.to_string())
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self(program.unwrap())
    }

    /// Lets the program close its file and exit; returns whether that succeeded.
    fn end(mut self) -> bool {
        drop(self.0.stdin.take());
        self.0.wait().unwrap().success()
    }
}

stories! {
    fn a_killed_upload_leaves_the_old_file_and_the_next_mount_clears_up(server: &TestServer, mount: &Mount) {
        let state = TempDir::new().unwrap();
        server.write("file", "old contents");
        server.write("other", "other contents");

        let killed = Mount::with_state(server, &[], state.path());
        let writer = Writer::start(&killed.join("file"));
        assert!(
            wait_for(SOON, || !temporary_names(server.root()).is_empty()),
            "a large file is on its way while it is written"
        );
        killed.kill_nine();
        writer.end();
        assert_eq!(fs::read(server.root().join("file")).unwrap(), b"old contents");

        let next = Mount::with_state(server, &[], state.path());
        assert!(wait_for(SOON, || temporary_names(server.root()).is_empty()));
        assert_eq!(fs::read(next.join("file")).unwrap(), b"old contents");
        let log = next.log();
        assert!(log.contains("/file was being written, neither closed nor synced"), "{log}");
        next.unmount();
        assert_eq!(left_in(state.path()), [""; 0].map(PathBuf::from));
    }

    fn the_next_mount_lets_a_running_mounts_upload_be(server: &TestServer, mount: &Mount) {
        let state = TempDir::new().unwrap();
        let running = Mount::with_state(server, &[], state.path());
        let writer = Writer::start(&running.join("file"));
        assert!(wait_for(SOON, || !temporary_names(server.root()).is_empty()));

        let second = Mount::with_state(server, &[], state.path());
        assert_eq!(fs::read_dir(second.path()).unwrap().count(), 0, "it does not show");
        assert_eq!(temporary_names(server.root()).len(), 1, "it is not cleared away");
        assert!(writer.end());
        second.unmount();
        running.unmount();
        assert!(server.read("file") == vec![7; LARGE]);
        assert_eq!(left_in(state.path()), [""; 0].map(PathBuf::from));
    }
}

stories! {
    fn a_file_saved_twice_is_stored_as_it_was_saved_the_second_time(server: &TestServer, mount: &Mount) {
        let state = TempDir::new().unwrap();
        let killed = Mount::with_state(server, &[], state.path());
        fs::write(killed.join("file"), "first").unwrap();
        assert_eq!(server.read("file"), b"first");
        server.freeze();
        let mut closing = close_in_python(&killed.join("file"), "second");
        assert!(
            wait_for(SOON, || is_pending(state.path(), "/file")),
            "it is being stored"
        );
        killed.kill_nine();
        closing.wait().unwrap();
        // Sessions that continue after the freeze must not store the file.
        server.kill();
        server.start_again();

        let next = Mount::with_state(server, &[], state.path());
        let stored = fs::read(next.join("file")).unwrap();
        assert_eq!(stored, b"second", "{}", next.log());
        next.unmount();
    }
}

/// Whether the journal of a running mount has the file at `path` as being stored.
fn is_pending(state: &Path, path: &str) -> bool {
    let logs = left_in(state).into_iter().map(|page| page.join("log"));
    let end = format!("\t{path}");
    let records: Vec<String> = logs
        .flat_map(|log| {
            fs::read_to_string(log)
                .unwrap_or_default()
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter(|line| {
            line.starts_with("settled") || line.starts_with("pending") && line.ends_with(&end)
        })
        .collect();
    records
        .last()
        .is_some_and(|last| last.starts_with("pending"))
}

/// Starts a program that writes a file and reports the result of its close.
pub(crate) fn close_in_python(path: &Path, contents: &str) -> Child {
    let script = "import sys; f = open(sys.argv[1], 'w'); f.write(sys.argv[2]); f.close()";
    let program = Command::new("python3")
        .args(["-c", script])
        .arg(path)
        .arg(contents)
        .stderr(Stdio::null())
        .spawn();
    program.unwrap()
}

/// The state after ftpfs was killed: a server on which storing `file` hung at `verb`, while a
/// program waited in close. The next mount starts from this state.
pub(crate) struct Killed {
    pub(crate) server: TestServer,
    pub(crate) state: TempDir,
}

impl Killed {
    pub(crate) fn at(verb: &str, old: Option<&str>, new: &str) -> Self {
        let server = TestServer::start(Kind::Embedded);
        if let Some(old) = old {
            server.write("file", old);
        }
        Self::on(server, verb, new)
    }

    fn on(server: TestServer, verb: &str, new: &str) -> Self {
        let state = TempDir::new().unwrap();
        let mount = Mount::with_state(&server, &[], state.path());
        let embedded = server.embedded().unwrap();
        let faults = embedded.faults();
        let name = if verb == "RNTO" { "/file" } else { ".part" };
        faults.add(Fault::on(verb, Misdeed::StallControl).named(name).always());
        let mut closing = close_in_python(&mount.join("file"), new);
        assert!(wait_for(SOON, || faults.happened() > 0));
        mount.kill_nine();
        assert!(
            !closing.wait().unwrap().success(),
            "its close did not say that all was well"
        );
        faults.clear();
        Self { server, state }
    }

    pub(crate) fn next_mount(&self) -> Mount {
        Mount::with_state(&self.server, &[], self.state.path())
    }

    pub(crate) fn assert_nothing_is_left(self, mount: Mount) {
        mount.unmount();
        assert_eq!(temporary_names(self.server.root()), [""; 0]);
        assert_eq!(left_in(self.state.path()), [""; 0].map(PathBuf::from));
    }
}

#[test]
fn a_file_that_was_being_closed_is_stored_by_the_next_mount() {
    for verb in ["STOR", "MLST", "RNFR", "RNTO"] {
        for old in [None, Some("old")] {
            let killed = Killed::at(verb, old, "new contents");
            let before = fs::read_to_string(killed.server.root().join("file")).ok();
            assert_eq!(before.as_deref(), old, "{verb}");
            let mount = killed.next_mount();
            let shown = fs::read_to_string(mount.join("file")).ok();
            let log = mount.log();
            assert_eq!(shown.as_deref(), Some("new contents"), "{verb}: {log}");
            let is_stored = || mount.log().contains("is stored now");
            assert!(wait_for(SOON, is_stored), "{verb}: {}", mount.log());
            assert_eq!(killed.server.read("file"), b"new contents");
            killed.assert_nothing_is_left(mount);
        }
    }
}

#[test]
fn a_file_that_others_changed_meanwhile_is_kept_aside_and_told() {
    let killed = Killed::at("RNTO", Some("old"), "new contents");
    killed.server.write("file", "somebody else's");
    let mount = killed.next_mount();
    let is_shown = || fs::read(mount.join("file")).is_ok_and(|it| it == b"somebody else's");
    assert!(wait_for(SOON, is_shown), "{}", mount.log());
    let is_said = || mount.log().contains("its bytes are in ");
    assert!(wait_for(SOON, is_said), "{}", mount.log());
    let log = mount.log();
    let kept = log.split("its bytes are in ").nth(1).expect(&log);
    let kept = kept.lines().next().unwrap();
    assert_eq!(fs::read(kept).unwrap(), b"new contents");
    fs::remove_dir_all(Path::new(kept).parent().unwrap()).unwrap();
    killed.assert_nothing_is_left(mount);
}

/// A server without MLST lists times to the minute, and MDTM, if supported, shows the seconds. A
/// change is detected as precisely as the server shows it, and none is detected by mistake.
#[test]
fn what_a_file_was_based_on_is_compared_as_exactly_as_the_server_shows_it() {
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 3600);
    let seconds = yesterday.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let minute = UNIX_EPOCH + Duration::from_secs(seconds - seconds % 60);
    for disabled in [&["MLST", "MLSD"][..], &["MLST", "MLSD", "MDTM", "SIZE"]] {
        for later in [None, Some(600)] {
            let server = TestServer::start_with(Kind::Embedded, |options| {
                options.disabled = disabled.iter().map(ToString::to_string).collect();
            });
            let path = server.write("file", "old");
            let set_modified = |seconds| {
                let file = fs::File::options().write(true).open(&path).unwrap();
                let modified = minute + Duration::from_secs(seconds);
                file.set_modified(modified).unwrap();
            };
            set_modified(17);
            let killed = Killed::on(server, "STOR", "new contents");
            if let Some(later) = later {
                fs::write(&path, "odd").unwrap();
                set_modified(17 + later);
            }
            let mount = killed.next_mount();
            let expected = if later.is_some() {
                "odd"
            } else {
                "new contents"
            };
            let is_decided = || {
                let log = mount.log();
                log.contains("is stored now") || log.contains("its bytes are in")
            };
            assert!(wait_for(SOON, is_decided), "{}", mount.log());
            let log = mount.log();
            let found = fs::read_to_string(mount.join("file")).unwrap();
            assert_eq!(found, expected, "{disabled:?} {later:?} {log}");
            assert_eq!(
                log.contains("was changed on the server"),
                later.is_some(),
                "{log}"
            );
        }
    }
}

#[test]
fn a_file_that_cannot_be_stored_yet_waits_for_another_mount() {
    let killed = Killed::at("RNTO", Some("old"), "new contents");
    let embedded = killed.server.embedded().unwrap();
    let faults = embedded.faults();
    // A full disk, and an error without a reason that the server calls temporary.
    for code in [452, 451] {
        let fails = Misdeed::BreakData { after: 0, code };
        faults.add(Fault::on("STOR", fails).always());
        let mount = killed.next_mount();
        assert_eq!(fs::read(mount.join("file")).unwrap(), b"new contents");
        let is_kept = || mount.log().contains("it is kept and will be retried");
        assert!(wait_for(SOON, is_kept), "{code}: {}", mount.log());
        assert_eq!(killed.server.read("file"), b"old");
        mount.unmount();
        faults.clear();
    }
    let mount = killed.next_mount();
    assert_eq!(fs::read(mount.join("file")).unwrap(), b"new contents");
    killed.assert_nothing_is_left(mount);
}

#[test]
fn a_file_moved_aside_by_a_server_that_does_not_replace_is_found_again() {
    let server = TestServer::start(Kind::Embedded);
    let state = TempDir::new().unwrap();
    server.write("file", "old");
    let mount = Mount::with_state(&server, &[], state.path());
    let embedded = server.embedded().unwrap();
    let faults = embedded.faults();
    faults.add(Fault::on("RNTO", Misdeed::NoReplace).named("/file"));
    // The old file is moved aside, and nothing replaces it.
    faults.add(
        Fault::on("RNTO", Misdeed::StallControl)
            .named("/file")
            .always(),
    );
    let mut closing = close_in_python(&mount.join("file"), "new");
    assert!(wait_for(SOON, || faults.happened() > 1));
    assert!(
        !server.root().join("file").exists(),
        "the moment with neither"
    );
    mount.kill_nine();
    assert!(!closing.wait().unwrap().success());
    faults.clear();
    let mount = Mount::with_state(&server, &[], state.path());
    assert_eq!(fs::read(mount.join("file")).unwrap(), b"new");
    mount.unmount();
    assert_eq!(temporary_names(server.root()), [""; 0]);
    assert_eq!(left_in(state.path()), [""; 0].map(PathBuf::from));
}

/// A server with `dir/file`, whose previous version a killed mount left moved aside.
fn with_a_file_left_aside(state: &Path) -> TestServer {
    let server = TestServer::start(Kind::Embedded);
    server.write("dir/file", "old");
    let mount = Mount::with_state(&server, &[], state);
    let embedded = server.embedded().unwrap();
    let faults = embedded.faults();
    faults.add(Fault::on("RNTO", Misdeed::NoReplace).named("/dir/file"));
    faults.add(
        Fault::on("RNTO", Misdeed::StallControl)
            .named("/dir/file")
            .always(),
    );
    let mut closing = close_in_python(&mount.join("dir/file"), "new");
    assert!(wait_for(SOON, || faults.happened() > 1));
    mount.kill_nine();
    assert!(!closing.wait().unwrap().success());
    faults.clear();
    server
}

/// The directory's disk is not mounted, or the directory was renamed for a moment: the next mount
/// waits for it.
#[test]
fn a_file_moved_aside_is_found_again_when_its_directory_is_back() {
    let state = TempDir::new().unwrap();
    let server = with_a_file_left_aside(state.path());
    let (directory, elsewhere) = (server.root().join("dir"), server.root().join("elsewhere"));
    fs::rename(&directory, &elsewhere).unwrap();
    // Neither the next mount nor the one after it gives up the file.
    Mount::with_state(&server, &[], state.path()).unmount();
    let mount = Mount::with_state(&server, &[], state.path());
    assert!(!elsewhere.join("file").exists());
    fs::rename(&elsewhere, &directory).unwrap();
    assert!(wait_for(SOON, || directory.join("file").exists()));
    let found = fs::read_to_string(mount.join("dir/file")).unwrap();
    assert!(["old", "new"].contains(&found.as_str()), "{found}");
    mount.unmount();
    let left = temporary_names(&directory);
    assert!(!left.iter().any(|name| name.contains(".old")), "{left:?}");
}

#[test]
fn a_file_moved_aside_is_found_again_when_its_directory_comes_back_during_the_search() {
    let state = TempDir::new().unwrap();
    let server = with_a_file_left_aside(state.path());
    let (directory, elsewhere) = (server.root().join("dir"), server.root().join("elsewhere"));
    fs::rename(&directory, &elsewhere).unwrap();
    let embedded = server.embedded().unwrap();
    let faults = embedded.faults();
    // The name is searched for without the directory, and the directory with it.
    faults.add(Fault::on("RNFR", Misdeed::LateReply(Duration::from_secs(2))).named(".old"));
    let mount = Mount::with_state(&server, &[], state.path());
    wait_for(Duration::from_secs(1), || faults.happened() > 0);
    fs::rename(&elsewhere, &directory).unwrap();
    assert!(wait_for(SOON, || directory.join("file").exists()));
    mount.unmount();
}
