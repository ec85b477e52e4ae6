//! Whatever happens to an upload, the server gets the whole file, or the program gets an error and
//! the old file remains.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{Kind, Mount, TestServer, shell, stories, wait_for};
use ftpfs::server::{Fault, Misdeed};

const SIZE: usize = 12 << 20;

/// The offset at which the transfers of these tests break.
const HALF: u64 = 5 << 20;

/// Maximum time that a program waits here for a restarted server.
const RETURN: Duration = Duration::from_secs(60);

fn pattern(size: usize) -> Vec<u8> {
    (0..size)
        .map(|at| ((at / 251 + at) as u8).wrapping_mul(31))
        .collect()
}

/// The result of storing a file on a server while `faults` struck.
struct Stored {
    server: TestServer,
    /// The error message of `cp` if it failed.
    outcome: Result<(), String>,
    happened: u64,
}

impl Stored {
    fn under(faults: &[Fault], options: &[&str]) -> Self {
        Self::on(TestServer::start(Kind::Embedded), faults, options)
    }

    fn on(server: TestServer, faults: &[Fault], options: &[&str]) -> Self {
        server.write("file", "old");
        let mount = Mount::with_options(&server, options);
        let embedded = server.embedded().unwrap();
        for fault in faults {
            embedded.faults().add(fault.clone());
        }
        let local = tempfile::NamedTempFile::new().unwrap();
        fs::write(local.path(), pattern(SIZE)).unwrap();
        let outcome = Copy::start(local.path(), &mount.join("file")).outcome();
        let happened = embedded.faults().happened();
        embedded.faults().clear();
        drop(mount);
        Self {
            server,
            outcome,
            happened,
        }
    }

    #[track_caller]
    fn failed_with(&self, errno: i32) {
        let expected = io::Error::from_raw_os_error(errno).to_string();
        let expected = expected.split(" (").next().unwrap();
        let words = self.outcome.as_ref().unwrap_err();
        assert!(words.contains(expected), "{words}, expected: {expected}");
    }

    fn is_whole(&self) -> bool {
        self.server.read("file") == pattern(SIZE)
    }

    /// Returns how many uploads began at offset 0, not counting the probe for REST with STOR.
    fn begun(&self) -> usize {
        let commands = self.server.commands();
        let restarts = |command: &String| command.starts_with("REST ") && command != "REST 0";
        let stores = commands.iter().filter(|it| it.starts_with("STOR ")).count();
        let probes = usize::from(commands.iter().any(|it| *it == "REST 3"));
        stores - commands.iter().filter(|it| restarts(it)).count() - probes
    }

    fn count(&self, prefix: &str) -> usize {
        let commands = self.server.commands();
        commands.iter().filter(|it| it.starts_with(prefix)).count()
    }

    fn leftovers(&self) -> Vec<String> {
        names(self.server.root())
            .into_iter()
            .filter(|name| name != "file")
            .collect()
    }
}

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap();
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn refuses(verb: &str) -> Fault {
    let unknown = Misdeed::Refuse {
        code: 502,
        text: format!("{verb} is not implemented"),
    };
    Fault::on(verb, unknown).always()
}

#[test]
fn an_upload_that_breaks_goes_on_where_the_server_has_got_to() {
    let cases = [
        Misdeed::DropData { after: HALF },
        Misdeed::BreakData {
            after: HALF,
            code: 426,
        },
    ];
    for misdeed in cases {
        let fault = Fault::on("STOR", misdeed.clone()).times(2);
        let stored = Stored::under(&[fault], &[]);
        assert!(stored.outcome.is_ok(), "{misdeed:?}: {:?}", stored.outcome);
        assert_eq!(stored.happened, 2, "{misdeed:?}");
        assert!(stored.is_whole(), "{misdeed:?}");
        assert_eq!(stored.begun(), 1, "{misdeed:?}");
        assert_eq!(stored.leftovers(), [""; 0], "{misdeed:?}");
    }
}

#[test]
fn an_upload_that_stalls_goes_on_after_its_deadline() {
    let stall = Misdeed::StallData { after: HALF };
    let stored = Stored::under(&[Fault::on("STOR", stall)], &["timeout=5"]);
    stored.outcome.as_ref().unwrap();
    assert_eq!(stored.happened, 1);
    assert!(stored.is_whole());
    assert_eq!(stored.begun(), 1);
}

#[test]
fn without_rest_an_upload_goes_on_by_appe_and_without_that_from_its_start() {
    let breaks = || Fault::on("STOR", Misdeed::DropData { after: HALF });
    let stored = Stored::under(&[refuses("REST"), breaks()], &[]);
    stored.outcome.as_ref().unwrap();
    assert!(stored.is_whole());
    // Each method is probed with a separate file.
    assert_eq!(stored.count("APPE "), 1 + 1);
    assert_eq!(stored.count("STOR "), 1 + 2);
    let stored = Stored::under(&[refuses("REST"), refuses("APPE"), breaks()], &[]);
    stored.outcome.as_ref().unwrap();
    assert!(stored.is_whole());
    assert_eq!(stored.count("STOR "), 2 + 2);
}

#[test]
fn a_lost_reply_is_no_lost_file_and_short_data_is_no_file() {
    let stored = Stored::under(&[Fault::on("STOR", Misdeed::DoneThenDrop)], &[]);
    stored.outcome.as_ref().unwrap();
    assert!(stored.is_whole());
    assert_eq!(stored.begun(), 1, "its size shows that all arrived");
    let short = Misdeed::ShortThen226 { after: HALF };
    let stored = Stored::under(&[Fault::on("STOR", short)], &[]);
    stored.outcome.as_ref().unwrap();
    assert!(stored.is_whole(), "it is stored on");
    let short = Misdeed::ShortThen226 { after: 0 };
    let stored = Stored::under(&[Fault::on("STOR", short).always()], &[]);
    stored.failed_with(libc::EIO);
    assert_eq!(stored.server.read("file"), b"old");
}

#[test]
fn what_the_server_refuses_is_told_in_its_sense_and_the_old_file_stays() {
    let cases = [
        (452, "insufficient storage", libc::ENOSPC),
        (552, "exceeded storage allocation", libc::ENOSPC),
        (552, "disk quota exceeded", libc::EDQUOT),
        (550, "permission denied", libc::EACCES),
        (553, "permission denied", libc::EACCES),
        (451, "local error in processing", libc::EIO),
        (450, "file busy", libc::EBUSY),
    ];
    for (code, text, errno) in cases {
        let misdeed = Misdeed::Refuse {
            code,
            text: text.to_owned(),
        };
        let stored = Stored::under(&[Fault::on("STOR", misdeed).always()], &[]);
        assert!(stored.happened > 0);
        stored.failed_with(errno);
        assert_eq!(stored.server.read("file"), b"old");
    }
    for (code, errno) in [(452, libc::ENOSPC), (552, libc::EDQUOT), (451, libc::EIO)] {
        let full = Misdeed::BreakData { after: HALF, code };
        let stored = Stored::under(&[Fault::on("STOR", full).always()], &[]);
        stored.failed_with(errno);
        assert_eq!(stored.server.read("file"), b"old");
        assert_eq!(stored.leftovers(), [""; 0]);
    }
}

#[test]
fn overwriting_is_as_atomic_as_was_asked_for() {
    let no_replace = || Fault::on("RNTO", Misdeed::NoReplace).always();
    let no_new_name = || {
        let misdeed = Misdeed::Refuse {
            code: 553,
            text: "Permission denied".to_owned(),
        };
        Fault::on("STOR", misdeed).named(".part").always()
    };
    for fault in [no_replace(), no_new_name()] {
        let stored = Stored::under(&[fault], &["atomic=auto"]);
        stored.outcome.as_ref().unwrap();
        assert!(stored.is_whole());
    }
    for (fault, errno) in [
        (no_replace(), libc::EOPNOTSUPP),
        (no_new_name(), libc::EACCES),
    ] {
        let stored = Stored::under(&[fault], &["atomic=require"]);
        stored.failed_with(errno);
        assert_eq!(stored.server.read("file"), b"old");
        assert_eq!(stored.leftovers(), [""; 0]);
    }
    let stored = Stored::under(&[], &["atomic=never"]);
    stored.outcome.as_ref().unwrap();
    assert!(stored.is_whole());
    let commands = stored.server.commands();
    assert!(commands.iter().any(|it| it == "STOR /file"));
    assert!(!commands.iter().any(|it| it.starts_with("RNFR")));
}

/// A server that does not replace files by rename, and refuses a rename that it has done.
#[test]
fn a_file_is_replaced_though_a_rename_that_was_done_is_refused() {
    let refused = || Misdeed::DoneThenRefuse {
        code: 451,
        text: "not now".to_owned(),
    };
    let no_replace = || Fault::on("RNTO", Misdeed::NoReplace).always();
    let aside = Fault::on("RNTO", refused()).named(".old");
    let into_place = Fault::on("RNTO", refused()).named("/file").skip(1);
    for fault in [aside, into_place] {
        let stored = Stored::under(&[fault, no_replace()], &[]);
        stored.outcome.as_ref().unwrap();
        assert!(stored.is_whole());
        assert_eq!(stored.leftovers(), [""; 0]);
    }
}

#[test]
fn what_was_replaced_does_not_come_back_when_its_name_is_free_again() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::new(&server);
    let faults = || server.embedded().unwrap();
    server.write("file", "old");
    let no_replace = Fault::on("RNTO", Misdeed::NoReplace);
    faults().faults().add(no_replace.always());
    let undeletable = Fault::on("DELE", Misdeed::DropControl).named(".old");
    faults().faults().add(undeletable.always());
    let new = tempfile::NamedTempFile::new().unwrap();
    fs::write(new.path(), "new").unwrap();
    Copy::start(new.path(), &mount.join("file"))
        .outcome()
        .unwrap();
    assert_eq!(names(server.root()).len(), 2, "the old one is aside");
    faults().faults().clear();
    shell(mount.path(), "mv file renamed");
    mount.unmount();
    assert_eq!(names(server.root()), ["renamed"]);
    assert_eq!(server.read("renamed"), b"new");
}

/// Starts the embedded server with `verb` as its only digest command.
fn with_digests_by(verb: &str) -> TestServer {
    TestServer::start_with(Kind::Embedded, |options| {
        options.digests = true;
        let others = DIGESTS.iter().filter(|other| **other != verb);
        options.disabled = others.map(ToString::to_string).collect();
    })
}

const DIGESTS: [&str; 5] = ["HASH", "XSHA256", "XSHA1", "XMD5", "XCRC"];

#[test]
fn a_file_that_is_another_on_the_server_is_sent_again_or_told() {
    let corrupt = || Fault::on("STOR", Misdeed::Corrupt).named(".part");
    for verb in DIGESTS {
        let stored = Stored::on(with_digests_by(verb), &[corrupt()], &[]);
        stored.outcome.as_ref().unwrap();
        assert_eq!(stored.happened, 1, "{verb}");
        assert!(stored.is_whole(), "{verb}");
        let commands = stored.server.commands();
        let asked = commands.iter().filter(|it| it.starts_with(verb));
        assert_eq!(asked.count(), 2, "{verb}: {commands:?}");
    }
    let stored = Stored::on(with_digests_by("HASH"), &[corrupt().always()], &[]);
    stored.failed_with(libc::EIO);
    assert_eq!(stored.server.read("file"), b"old");
    assert_eq!(stored.leftovers(), [""; 0]);

    let unseen = Stored::on(with_digests_by("HASH"), &[corrupt()], &["verify=size"]);
    unseen.outcome.as_ref().unwrap();
    assert!(!unseen.is_whole(), "its size is right");
}

/// Without a digest, the 226 and the size are sufficient.
#[test]
fn a_digest_that_is_not_told_is_no_fault_of_the_file() {
    for (code, times) in [(500, 1), (550, 1), (450, 9)] {
        let refused = Misdeed::Refuse {
            code,
            text: "no digest".to_owned(),
        };
        let fault = Fault::on("XMD5", refused).times(times);
        let stored = Stored::on(with_digests_by("XMD5"), &[fault], &[]);
        stored.outcome.as_ref().unwrap();
        assert!(stored.happened > 0);
        assert!(stored.is_whole());
    }
}

#[test]
fn proftpds_digest_is_that_of_the_file() {
    let server = TestServer::start_with_arguments(Kind::Proftpd, &["--digests"]);
    let mount = Mount::with_options(&server, &["log_level=debug"]);
    shell(
        mount.path(),
        "mkdir 'a b'; seq 100000 >'a b/c d'; seq 9 >e; : >empty",
    );
    let log = mount.log();
    assert!(log.matches("] > HASH /").count() >= 2, "{log}");
    assert!(log.matches("digest SHA-1 0-").count() >= 2, "{log}");
    assert!(!log.contains("does not tell digests"), "{log}");
    assert!(!log.contains("cannot get a digest of"), "{log}");
}

/// A separate process: in this one, every child of another test would close a copy of the
/// descriptor, and so store the file too early.
struct Copy(Child);

impl Copy {
    fn start(from: &Path, to: &Path) -> Self {
        let program = Command::new("cp")
            .args([from, to])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        Self(program.unwrap())
    }

    fn outcome(&mut self) -> Result<(), String> {
        let mut words = String::new();
        let errors = self.0.stderr.as_mut().unwrap();
        errors.read_to_string(&mut words).unwrap();
        let status = self.0.wait().unwrap();
        if status.success() { Ok(()) } else { Err(words) }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

stories! {
    #![every_server]

    /// A server that is killed in the middle of an upload and restarted has the whole file when
    /// `cp` succeeds.
    fn a_restart_in_the_middle_of_a_copy(server: &TestServer, mount: &Mount) {
        let local = tempfile::NamedTempFile::new().unwrap();
        let content = pattern(96 << 20);
        fs::write(local.path(), &content).unwrap();
        let on_server = server.write("file", "old");
        for _ in 0..2 {
            let mut copy = Copy::start(local.path(), &mount.join("file"));
            let has_begun = || {
                let entries = fs::read_dir(server.root()).unwrap();
                entries.flatten().any(|entry| {
                    entry.file_name().to_string_lossy().starts_with(".ftpfs-")
                        && entry.metadata().is_ok_and(|found| found.len() > 4 << 20)
                })
            };
            wait_for(RETURN, || has_begun() || copy.0.try_wait().unwrap().is_some());
            server.kill();
            server.start_again();
            if let Err(words) = copy.outcome() {
                assert!(words.contains("No route to host"), "{words}");
                assert_eq!(fs::read(&on_server).unwrap(), b"old");
                // A server refuses connections until it has started.
                let copied = || Copy::start(local.path(), &mount.join("file")).outcome().is_ok();
                assert!(wait_for(RETURN, copied));
            }
            assert!(fs::read(&on_server).unwrap() == content);
            fs::write(&on_server, "old").unwrap();
        }
    }
}
