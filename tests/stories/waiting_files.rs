//! What a killed ftpfs left behind: the next mount is there first, shows the waiting files, and
//! stores them in the background.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use ftpfs::server::{Fault, Misdeed};
use tempfile::TempDir;

use crate::support::{Kind, Mount, TestServer, lines, shell, wait_for};

/// Maximum time for work in the background.
const SOON: Duration = Duration::from_secs(30);

const FILES: usize = 6;

/// A server, and the state of a mount that was killed while files waited for their upload:
/// `dir/new0` and so on with `new 0`, and `dir/old` with `newer` in place of `old`.
struct Left {
    server: TestServer,
    state: TempDir,
}

impl Left {
    fn new(kind: Kind) -> Self {
        let server = TestServer::start(kind);
        let state = TempDir::new().unwrap();
        server.write("dir/old", "old");
        server.write("other/file", "other");
        let mount = Mount::with_state(&server, &["writeback"], state.path());
        shell(mount.path(), "ls -lR .");
        server.freeze();
        for number in 0..FILES {
            fs::write(
                mount.join(format!("dir/new{number}")),
                format!("new {number}"),
            )
            .unwrap();
        }
        fs::write(mount.join("dir/old"), "newer").unwrap();
        mount.kill_nine();
        // Sessions that go on after the freeze must not store the files.
        server.kill();
        server.start_again();
        if kind == Kind::Embedded {
            server.thaw();
        }
        assert_eq!(fs::read_dir(server.root().join("dir")).unwrap().count(), 1);
        Self { server, state }
    }

    fn mount(&self, options: &[&str]) -> Mount {
        Mount::with_state(&self.server, options, self.state.path())
    }

    /// Lets no upload end until [`Left::resume`].
    fn stall(&self) {
        let embedded = self.server.embedded().unwrap();
        let stall = Fault::on("STOR", Misdeed::StallControl).always();
        embedded.faults().add(stall);
    }

    fn resume(&self) {
        self.server.embedded().unwrap().faults().clear();
    }

    fn is_stored(&self) -> bool {
        let read = |name: &str| fs::read(self.server.root().join("dir").join(name));
        let is_new = |number| {
            let expected = format!("new {number}");
            read(&format!("new{number}")).is_ok_and(|found| found == expected.as_bytes())
        };
        (0..FILES).all(is_new) && read("old").is_ok_and(|found| found == b"newer")
    }

    /// Asserts that the state directory is empty after `mount` has ended.
    fn assert_nothing_waits(self, mount: Mount) {
        mount.unmount();
        assert!(self.is_stored());
        let logs = shell(self.state.path(), "find . -name log");
        assert_eq!(lines(&logs), [""; 0]);
    }
}

#[test]
fn the_mount_is_there_first_and_shows_what_waits() {
    let left = Left::new(Kind::Embedded);
    left.stall();
    let mount = left.mount(&["timeout=300"]);
    for number in 0..FILES {
        let shown = fs::read_to_string(mount.join(format!("dir/new{number}"))).unwrap();
        assert_eq!(shown, format!("new {number}"));
    }
    assert_eq!(fs::read(mount.join("dir/old")).unwrap(), b"newer");
    assert_eq!(fs::metadata(mount.join("dir/old")).unwrap().len(), 5);
    assert_eq!(fs::read_dir(mount.join("dir")).unwrap().count(), FILES + 1);
    assert_eq!(fs::read(mount.join("other/file")).unwrap(), b"other");
    let embedded = left.server.embedded().unwrap();
    let several = || embedded.faults().happened() > 1;
    assert!(wait_for(SOON, several), "several connections are used");
    let status = Command::new(env!("CARGO_BIN_EXE_ftpfs"))
        .arg("status")
        .arg(mount.path())
        .env("XDG_STATE_HOME", left.state.path())
        .output()
        .unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    for number in 0..FILES {
        assert!(status.contains(&format!("dir/new{number}")), "{status}");
    }
    left.resume();
    // What stalled ends with the mount and is left to the next one.
    mount.kill_nine();
    let mount = left.mount(&[]);
    assert!(wait_for(SOON, || left.is_stored()), "{}", mount.log());
    left.assert_nothing_waits(mount);
}

#[test]
fn real_servers_get_what_waits_as_well() {
    for kind in [Kind::Vsftpd, Kind::Proftpd] {
        let left = Left::new(kind);
        let mount = left.mount(&[]);
        assert_eq!(fs::read(mount.join("dir/new0")).unwrap(), b"new 0");
        assert!(wait_for(SOON, || left.is_stored()), "{}", mount.log());
        left.assert_nothing_waits(mount);
    }
}

/// The server does not answer the uploads, which have begun. No program waits until it is given up.
#[test]
fn what_waits_can_be_renamed_removed_and_written() {
    let left = Left::new(Kind::Embedded);
    left.stall();
    let mount = left.mount(&["timeout=300", "writeback", "connections=8"]);
    let happened = || left.server.embedded().unwrap().faults().happened() > 3;
    assert!(wait_for(SOON, happened), "{}", mount.log());
    shell(
        mount.path(),
        "timeout 100 mv dir/new0 dir/renamed; timeout 100 rm dir/new1",
    );
    let append = OpenOptions::new().append(true).open(mount.join("dir/new2"));
    append.unwrap().write_all(b", longer").unwrap();
    assert_eq!(fs::read(mount.join("dir/new2")).unwrap(), b"new 2, longer");
    left.resume();
    mount.kill_nine();
    let mount = left.mount(&[]);
    let has = |name: &str, content: &str| {
        let found = fs::read(left.server.root().join("dir").join(name));
        found.is_ok_and(|found| found == content.as_bytes())
    };
    let is_stored =
        || has("renamed", "new 0") && has("new2", "new 2, longer") && has("old", "newer");
    assert!(wait_for(SOON, is_stored), "{}", mount.log());
    assert!(!mount.join("dir/new0").exists());
    assert!(!mount.join("dir/new1").exists());
    mount.unmount();
    assert!(!left.server.root().join("dir/new1").exists());
}

#[test]
fn a_mount_of_another_directory_stores_it_too() {
    let left = Left::new(Kind::Embedded);
    let url = format!("{}/other", left.server.url());
    let state = left.state.path().to_str().unwrap();
    let variables = [("XDG_STATE_HOME", state)];
    let mount = Mount::in_environment(&url, left.server.password(), &[], &variables);
    assert!(wait_for(SOON, || left.is_stored()), "{}", mount.log());
    mount.unmount();
}

#[test]
fn a_read_only_mount_says_that_something_waits() {
    let left = Left::new(Kind::Embedded);
    let mount = left.mount(&["ro"]);
    assert_eq!(fs::read(mount.join("dir/old")).unwrap(), b"old");
    let log = mount.log();
    assert!(log.contains("7 files that a killed ftpfs left"), "{log}");
    mount.unmount();
    let mount = left.mount(&[]);
    assert!(wait_for(SOON, || left.is_stored()));
    left.assert_nothing_waits(mount);
}

/// A program writes what the server's file contains already, later, and ftpfs is killed before it
/// is uploaded. The file gets its time, and what replaces it later is not taken for a conflict.
#[test]
fn the_same_contents_written_again_get_their_time() {
    let without: [&[&str]; 2] = [&["MLSD", "MLST"], &[]];
    for (option, disabled) in ["writeback=names", "writeback"]
        .into_iter()
        .flat_map(|option| without.map(|disabled| (option, disabled)))
    {
        let server = TestServer::start_with(Kind::Embedded, |options| {
            options.disabled = disabled.iter().map(ToString::to_string).collect();
        });
        let embedded = server.embedded().unwrap();
        let faults = embedded.faults();
        let state = TempDir::new().unwrap();
        let stored = server.write("file", "the same");
        let old = SystemTime::now() - Duration::from_secs(90);
        fs::File::open(&stored).unwrap().set_modified(old).unwrap();
        let seconds = |path: &Path| fs::metadata(path).unwrap().mtime();
        let next_mount = || {
            let mount = Mount::with_state(&server, &[option, "log_level=info"], state.path());
            let is_stored = || {
                !mount.log().contains("is being stored") || mount.log().contains("is stored now")
            };
            assert!(wait_for(SOON, is_stored), "{}", mount.log());
            mount
        };
        let killed_writing = |contents: &str| {
            let mount = next_mount();
            faults.add(Fault::on("STOR", Misdeed::StallControl).always());
            fs::write(mount.join("file"), contents).unwrap();
            let written = seconds(&mount.join("file"));
            mount.kill_nine();
            faults.clear();
            written
        };
        let again = killed_writing("the same");
        assert!(seconds(&stored) < again - 60);
        killed_writing("the new contents");
        let time = seconds(&stored);
        let last = next_mount();
        assert_eq!(server.read("file"), b"the new contents", "{}", last.log());
        assert_eq!(server.names(), ["file"]);
        assert_eq!(time, again, "{option} {disabled:?}");
    }
}

/// The server stops receiving within a file. The upload is given up when the file is renamed, and
/// what the server has of it is deleted.
#[test]
fn an_upload_that_is_given_up_leaves_nothing() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::with_options(&server, &["timeout=300", "writeback"]);
    let embedded = server.embedded().unwrap();
    let stall = Misdeed::StallData { after: 1 << 20 };
    embedded.faults().add(Fault::on("STOR", stall).always());
    let content: Vec<u8> = (0..3 << 20).map(|at: u32| (at / 251 + at) as u8).collect();
    fs::write(mount.join("file"), &content).unwrap();
    let has_some = || fs::read_dir(server.root()).unwrap().count() > 0;
    assert!(wait_for(SOON, has_some), "{}", mount.log());
    shell(mount.path(), "timeout 100 mv file moved");
    embedded.faults().clear();
    let is_as_wanted = || server.names() == ["moved"] && server.read("moved") == content;
    assert!(wait_for(SOON, is_as_wanted), "{:?}", server.names());
}

/// The server begins to store a file long after its upload was given up.
#[test]
fn what_the_server_stores_later_does_not_stay() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::with_options(&server, &["timeout=60", "writeback"]);
    let embedded = server.embedded().unwrap();
    let frozen = Fault::on("STOR", Misdeed::Freeze).always();
    embedded.faults().add(frozen);
    fs::write(mount.join("file"), "content").unwrap();
    let mut part = None;
    let has_begun = || {
        let commands = server.commands();
        part = commands
            .iter()
            .find_map(|line| Some(line.strip_prefix("STOR /")?.to_owned()));
        part.is_some()
    };
    assert!(wait_for(SOON, has_begun), "{}", mount.log());
    let part = part.unwrap();
    shell(mount.path(), "timeout 50 mv file moved");
    let look = format!("DELE /{part}");
    let was_looked_for = || server.commands().contains(&look);
    assert!(wait_for(SOON, was_looked_for), "{:?}", server.commands());
    assert!(!server.root().join(&part).exists());
    embedded.faults().clear();
    let is_there = || server.root().join(&part).exists();
    assert!(wait_for(SOON, is_there), "the server has stored nothing");
    let is_as_wanted = || server.names() == ["moved"] && server.read("moved") == b"content";
    assert!(wait_for(SOON, is_as_wanted), "{:?}", server.names());
}
