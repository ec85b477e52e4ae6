//! Files of killed mounts that cannot simply be uploaded: another client changed them on the
//! server, there are several versions, or the server has a part of one.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ftpfs::server::{Fault, Misdeed};
use tempfile::TempDir;

use crate::crash::{Killed, SOON, close_in_python, left_in};
use crate::support::{Ending, Kind, Mount, PASSWORD, TestServer, wait_for};

/// The old contents, those that wait, and those of another client. The last two have the same size,
/// so that ftpfs compares their bytes.
const OLD: &str = "old";
const NEW: &str = "new contents";
const THEIRS: &str = "her contents";

/// A killed mount left `file`, which another client has changed since.
fn in_conflict() -> Killed {
    let killed = Killed::at("RNTO", Some(OLD), NEW);
    killed.server.write("file", THEIRS);
    killed
}

/// Waits until the log of `mount` says where the contents are that could not be stored.
fn kept_by(mount: &Mount) -> PathBuf {
    let kept = |log: &str| {
        let kept = log.split("its bytes are in ").nth(1)?;
        Some(PathBuf::from(kept.lines().next()?))
    };
    assert!(
        wait_for(SOON, || kept(&mount.log()).is_some()),
        "{}",
        mount.log()
    );
    kept(&mount.log()).unwrap()
}

/// Puts a file where contents that cannot be stored would be moved. Returns its path.
fn in_the_way(state: &Path) -> PathBuf {
    let places = fs::read_dir(state.join("ftpfs")).unwrap();
    let places: Vec<_> = places.map(|place| place.unwrap().path()).collect();
    let [place] = places.as_slice() else {
        panic!("one server: {places:?}");
    };
    let path = place.join("recovered");
    File::create_new(&path).unwrap();
    path
}

#[test]
fn contents_that_cannot_be_moved_away_stay_with_their_file() {
    let killed = in_conflict();
    let in_the_way = in_the_way(killed.state.path());
    for _ in 0..2 {
        let mount = killed.next_mount();
        let is_told = || mount.log().contains("can neither be stored");
        assert!(wait_for(SOON, is_told), "{}", mount.log());
        assert_eq!(fs::read_to_string(mount.join("file")).unwrap(), NEW);
        assert_eq!(killed.server.read("file"), THEIRS.as_bytes());
        let (status, log) = mount.end_within(SOON, Ending::Unmount);
        assert!(status.success(), "{log}");
    }
    fs::remove_file(in_the_way).unwrap();
    let mount = killed.next_mount();
    assert_eq!(fs::read_to_string(kept_by(&mount)).unwrap(), NEW);
    assert_eq!(fs::read_to_string(mount.join("file")).unwrap(), THEIRS);
    mount.unmount();
}

/// Such a file is not shown, and a thread stores it.
#[test]
fn contents_outside_of_the_mounted_directory_stay_as_well() {
    let killed = in_conflict();
    killed.server.write("other/file", "other");
    let in_the_way = in_the_way(killed.state.path());
    let mount_other = || {
        let url = format!("{}other", killed.server.url());
        let state = killed.state.path().to_str().unwrap();
        Mount::in_environment(&url, PASSWORD, &[], &[("XDG_STATE_HOME", state)])
    };
    for _ in 0..2 {
        let mount = mount_other();
        let is_told = || mount.log().contains("can neither be stored");
        assert!(wait_for(SOON, is_told), "{}", mount.log());
        mount.unmount();
        assert_eq!(killed.server.read("file"), THEIRS.as_bytes());
    }
    fs::remove_file(in_the_way).unwrap();
    let mount = mount_other();
    assert_eq!(fs::read_to_string(kept_by(&mount)).unwrap(), NEW);
    mount.unmount();
}

#[test]
fn what_a_program_writes_into_a_waiting_file_stays_when_that_is_given_up() {
    let killed = in_conflict();
    let embedded = killed.server.embedded().unwrap();
    let stall = Misdeed::StallData { after: 0 };
    embedded
        .faults()
        .add(Fault::on("RETR", stall).named("file"));
    let mount = Mount::with_state(&killed.server, &["timeout=300"], killed.state.path());
    let is_compared = || embedded.faults().happened() > 1;
    assert!(wait_for(SOON, is_compared), "{}", mount.log());
    // Another process: a copy of the descriptor in a child of another test would close the file.
    let script = "import sys; f = open(sys.argv[1], 'ab', 0); f.write(b', and more'); print(flush=True); sys.stdin.read()";
    let mut program = Command::new("python3")
        .args(["-c", script])
        .arg(mount.join("file"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0];
    let mut output = program.stdout.take().unwrap();
    output.read_exact(&mut line).unwrap();
    let written = format!("{NEW}, and more");
    // The comparison goes on.
    killed.server.kill();
    killed.server.start_again();

    assert_eq!(fs::read_to_string(kept_by(&mount)).unwrap(), NEW);
    assert_eq!(fs::read_to_string(mount.join("file")).unwrap(), written);
    assert_eq!(killed.server.read("file"), THEIRS.as_bytes());
    drop(program.stdin.take());
    assert!(program.wait().unwrap().success());
    assert_eq!(killed.server.read("file"), written.as_bytes());
    mount.unmount();
}

/// Three mounts of a server are killed while each has another version of the file. The first was
/// mounted first.
#[test]
fn of_several_killed_mounts_the_newest_has_the_last_word() {
    let server = TestServer::start(Kind::Embedded);
    let state = TempDir::new().unwrap();
    server.write("file", OLD);
    // No program waits for the frozen server.
    let options = ["writeback", "dir_ttl=600", "attr_ttl=600", "open_ttl=600"];
    let mounts = ["first", "second", "third"].map(|contents| {
        let mount = Mount::with_state(&server, &options, state.path());
        assert_eq!(fs::read_to_string(mount.join("file")).unwrap(), OLD);
        let journals = left_in(state.path());
        (mount, contents, journals)
    });
    server.freeze();
    for (mount, contents, _) in &mounts {
        fs::write(mount.join("file"), contents).unwrap();
    }
    // The names of the journals, which are random, sort the other way.
    let mut known = Vec::new();
    for (name, (mount, _, journals)) in ["ffffffff", "88888888", "00000000"].iter().zip(mounts) {
        mount.kill_nine();
        let new = journals.iter().find(|journal| !known.contains(*journal));
        let new = new.unwrap().clone();
        fs::rename(&new, new.with_file_name(name)).unwrap();
        known.push(new);
    }
    server.kill();
    server.start_again();

    slow(&server);
    let mount = Mount::with_state(&server, &[], state.path());
    assert_eq!(server.read("file"), b"third", "{}", mount.log());
    assert_eq!(fs::read_to_string(mount.join("file")).unwrap(), "third");
    mount.unmount();
    assert_eq!(server.read("file"), b"third");
    assert_eq!(left_in(state.path()), [""; 0].map(PathBuf::from));
}

/// Makes the server answer late what ftpfs asks before it stores `file`. A mount that does not wait
/// for that is there earlier.
fn slow(server: &TestServer) {
    let embedded = server.embedded().unwrap();
    let late = Misdeed::LateReply(Duration::from_secs(2));
    embedded
        .faults()
        .add(Fault::on("MLST", late).named("/file"));
}

#[test]
fn a_file_that_was_being_overwritten_in_place_is_whole_before_the_mount_is_there() {
    let server = TestServer::start_with(Kind::Embedded, |options| {
        options.disabled = ["RNFR", "RNTO"].map(str::to_owned).into();
    });
    let state = TempDir::new().unwrap();
    server.write("file", OLD);
    let mount = Mount::with_state(&server, &["timeout=300"], state.path());
    let embedded = server.embedded().unwrap();
    let stall = Misdeed::StallData { after: 5 };
    embedded
        .faults()
        .add(Fault::on("STOR", stall).named("/file"));
    let mut closing = close_in_python(&mount.join("file"), NEW);
    assert!(wait_for(SOON, || embedded.faults().happened() > 0));
    mount.kill_nine();
    assert!(!closing.wait().unwrap().success());
    server.kill();
    server.start_again();
    let incomplete = server.read("file");
    assert!(incomplete != NEW.as_bytes(), "{incomplete:?}");

    slow(&server);
    let mount = Mount::with_state(&server, &[], state.path());
    assert_eq!(server.read("file"), NEW.as_bytes(), "{}", mount.log());
    assert_eq!(fs::read_to_string(mount.join("file")).unwrap(), NEW);
    mount.unmount();
    assert_eq!(left_in(state.path()), [""; 0].map(PathBuf::from));
}
