//! Appends that are interrupted or refused, and files that others change meanwhile: nothing is lost
//! and no file is damaged.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime};

use ftpfs::server::{Fault, Misdeed};
use tempfile::TempDir;

use crate::append::{LARGE, append, old, with};
use crate::crash::SOON;
use crate::support::{Kind, Mount, TestServer, shell, wait_for};

/// Long enough that a part of it can be cut off.
const LONG: usize = 3 << 20;

/// Returns bytes to append, other ones than the file has.
pub(crate) fn long() -> Vec<u8> {
    (0..LONG).map(|at| (at / 241 + 3 * at) as u8).collect()
}

/// A program that keeps a file open. A descriptor of this process would be copied into the children
/// of other tests, which store the file when they close it.
pub(crate) struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Program {
    const SCRIPT: &str = r"
import os, sys
file = os.open(sys.argv[1], os.O_RDWR | (os.O_APPEND if sys.argv[2] == 'append' else 0))
for line in sys.stdin:
    word, _, rest = line.rstrip('\n').partition(' ')
    try:
        if word == 'sync':
            os.fsync(file)
        elif word == 'write':
            os.write(file, rest.encode())
        elif word == 'begin':
            os.pwrite(file, rest.encode(), 0)
        elif word == 'end':
            data = open(rest, 'rb').read()
            at = os.fstat(file).st_size
            while data:
                count = os.pwrite(file, data, at)
                data, at = data[count:], at + count
        print(0, flush=True)
    except OSError as error:
        print(error.errno, flush=True)
";

    /// Opens the file, for appending or for writing.
    pub(crate) fn open(path: &Path, how: &str) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", Self::SCRIPT])
            .arg(path)
            .arg(how)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// Does one thing. Returns its errno, or 0.
    pub(crate) fn does(&mut self, what: &str) -> i32 {
        writeln!(self.input, "{what}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }

    /// Writes bytes at the end. Returns the errno, or 0.
    fn writes(&mut self, bytes: &[u8]) -> i32 {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        self.does(&format!("end {}", file.path().display()))
    }

    /// Closes the file and ends.
    pub(crate) fn end(mut self) {
        drop(self.input);
        self.child.wait().unwrap();
    }
}

/// An embedded server with a large file, and a mount of it that has proven APPE.
struct Proven {
    server: TestServer,
    mount: Mount,
}

impl Proven {
    fn new(options: &[&str]) -> Self {
        let server = TestServer::start(Kind::Embedded);
        server.write("file", old());
        server.write("proof", old());
        let mount = Mount::with_options(&server, options);
        append(&mount.join("proof"), "x").unwrap();
        assert!(mount_appends(&server), "{:?}", server.commands());
        server.embedded().unwrap().clear_commands();
        Self { server, mount }
    }

    fn append(&self, bytes: &[u8]) -> Result<(), String> {
        append(&self.mount.join("file"), bytes)
    }

    fn fault(&self, fault: Fault) {
        self.server.embedded().unwrap().faults().add(fault);
    }

    fn happened(&self) -> u64 {
        self.server.embedded().unwrap().faults().happened()
    }

    /// Asserts that the server and programs have these contents, and that nothing else was stored.
    #[track_caller]
    fn assert_has(&self, contents: &[u8]) {
        let stored = self.server.read("file");
        assert!(
            stored == contents,
            "{} bytes: {}",
            stored.len(),
            self.mount.log()
        );
        let shown = fs::read(self.mount.join("file")).unwrap();
        assert!(
            shown == contents,
            "{} bytes: {}",
            shown.len(),
            self.mount.log()
        );
        assert_eq!(self.server.names(), ["file", "proof"]);
    }

    fn count(&self, verb: &str) -> usize {
        count(&self.server, verb)
    }
}

fn count(server: &TestServer, verb: &str) -> usize {
    let commands = server.commands();
    let is = |line: &&String| line.split(' ').next() == Some(verb);
    commands.iter().filter(is).count()
}

fn mount_appends(server: &TestServer) -> bool {
    count(server, "APPE") > 0
}

#[test]
fn an_append_that_breaks_is_completed() {
    let half = LONG as u64 / 2;
    let cases = [
        ("APPE", Misdeed::DropControl),
        ("APPE", Misdeed::DropData { after: 0 }),
        ("APPE", Misdeed::DropData { after: half }),
        (
            "APPE",
            Misdeed::BreakData {
                after: half,
                code: 426,
            },
        ),
        ("APPE", Misdeed::ShortThen226 { after: half }),
        ("APPE", Misdeed::DoneThenDrop),
        ("APPE", Misdeed::CutReply(2)),
        (
            "APPE",
            Misdeed::DoneThenRefuse {
                code: 426,
                text: "Connection closed; transfer aborted".to_owned(),
            },
        ),
        ("MLST", Misdeed::DropControl),
        ("MLST", Misdeed::DoneThenDrop),
    ];
    for (verb, misdeed) in cases {
        let proven = Proven::new(&[]);
        for skip in 0..2 {
            proven.fault(Fault::on(verb, misdeed.clone()).named("file").skip(skip));
        }
        let appended = proven.append(&long());
        let log = proven.mount.log();
        assert!(appended.is_ok(), "{verb} {misdeed:?}: {appended:?} {log}");
        assert!(proven.happened() > 0, "{verb} {misdeed:?}");
        proven.assert_has(&with(&old(), &long()));
        assert_eq!(proven.count("STOR"), 0, "{verb} {misdeed:?}");
    }
}

/// Nothing is heard of the append any more, and the bytes are there.
#[test]
fn an_append_whose_reply_never_comes_is_found_complete() {
    for misdeed in [
        Misdeed::NoReply,
        Misdeed::StallData { after: 1 << 20 },
        Misdeed::StallControl,
    ] {
        let proven = Proven::new(&["timeout=5"]);
        proven.fault(Fault::on("APPE", misdeed.clone()).named("file"));
        let appended = proven.append(&long());
        assert!(
            appended.is_ok(),
            "{misdeed:?}: {appended:?} {}",
            proven.mount.log()
        );
        proven.assert_has(&with(&old(), &long()));
        assert_eq!(proven.count("STOR"), 0);
    }
}

/// A server that acknowledges what it does not store is not sent the bytes for ever.
#[test]
fn an_append_that_is_acknowledged_and_not_stored_fails() {
    let proven = Proven::new(&[]);
    let lost = Fault::on("APPE", Misdeed::ShortThen226 { after: 0 });
    proven.fault(lost.named("file").always());
    let failed = proven.append(b"one\n").unwrap_err();
    assert!(failed.contains("error"), "{failed}");
    let log = proven.mount.log();
    assert!(log.contains("does not have them"), "{log}");
    assert_eq!(proven.server.read("file").len(), LARGE);
}

/// A program that gets an error can try again, in the same descriptor.
#[test]
fn an_append_that_fails_is_completed_by_the_next_sync() {
    let proven = Proven::new(&[]);
    let half = LONG as u64 / 2;
    let full = Misdeed::BreakData {
        after: half,
        code: 552,
    };
    proven.fault(Fault::on("APPE", full));
    let mut program = Program::open(&proven.mount.join("file"), "append");
    assert_eq!(program.writes(&long()), 0);
    assert_eq!(program.does("sync"), libc::EDQUOT);
    assert!(proven.server.read("file").len() > LARGE);
    // Reads see everything, although the server has grown by a part.
    let shown = fs::read(proven.mount.join("file")).unwrap();
    assert!(shown == with(&old(), &long()), "{}", proven.mount.log());
    assert_eq!(program.does("write more"), 0);
    assert_eq!(program.does("sync"), 0, "{}", proven.mount.log());
    program.end();
    proven.assert_has(&with(&with(&old(), &long()), b"more"));
    assert_eq!(proven.count("STOR"), 0);
}

/// After a failure, a change before the end is made in the whole file.
#[test]
fn a_change_after_an_append_that_fails_stores_the_whole_file() {
    let proven = Proven::new(&[]);
    let full = Misdeed::BreakData {
        after: 1000,
        code: 552,
    };
    proven.fault(Fault::on("APPE", full));
    let mut program = Program::open(&proven.mount.join("file"), "write");
    assert_eq!(program.writes(&long()), 0);
    assert_eq!(program.does("sync"), libc::EDQUOT);
    assert_eq!(program.does("begin changed"), 0, "{}", proven.mount.log());
    assert_eq!(program.does("sync"), 0, "{}", proven.mount.log());
    program.end();
    let mut expected = with(&old(), &long());
    expected[..7].copy_from_slice(b"changed");
    proven.assert_has(&expected);
}

/// A server that refuses APPE to this file gets the whole file.
#[test]
fn a_refused_append_stores_the_whole_file() {
    for (code, text) in [
        (550, "Permission denied"),
        (553, "Overwrite not allowed"),
        (502, "APPE is not implemented"),
    ] {
        let proven = Proven::new(&[]);
        let refuse = Misdeed::Refuse {
            code,
            text: text.to_owned(),
        };
        proven.fault(Fault::on("APPE", refuse).always());
        proven.append(b"new").unwrap();
        proven.assert_has(&with(&old(), b"new"));
        assert_eq!(proven.count("STOR"), 1, "{code}");
    }
}

/// copyparty replaced a file on APPE.
#[test]
fn a_server_that_replaces_on_appe_gets_the_whole_file() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", old());
    let embedded = server.embedded().unwrap();
    embedded
        .faults()
        .add(Fault::on("APPE", Misdeed::AppendReplaces).always());
    let state = TempDir::new().unwrap();
    for round in 1..=2 {
        let mount = Mount::with_state(&server, &[], state.path());
        append(&mount.join("file"), "new").unwrap();
        let expected = with(&old(), "new".repeat(round).as_bytes());
        assert!(server.read("file") == expected, "{}", mount.log());
        assert!(fs::read(mount.join("file")).unwrap() == expected);
        mount.unmount();
    }
    let tried = embedded.commands();
    let tried: Vec<_> = tried.iter().filter(|it| it.starts_with("APPE")).collect();
    assert_eq!(tried.len(), 1, "that is remembered: {tried:?}");
    assert!(tried[0].contains(".ftpfs-"), "{tried:?}");
}

/// The proof is remembered for the next mount.
#[test]
fn appe_is_proven_once_per_server() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", old());
    let state = TempDir::new().unwrap();
    for _ in 0..2 {
        let mount = Mount::with_state(&server, &[], state.path());
        append(&mount.join("file"), "a").unwrap();
        append(&mount.join("file"), "b").unwrap();
        mount.unmount();
    }
    assert!(server.read("file") == with(&old(), b"abab"));
    assert_eq!(count(&server, "STOR"), 1);
    assert_eq!(count(&server, "APPE"), 1 + 4);
}

#[test]
fn whole_files_are_stored_if_the_user_says_so() {
    for option in ["append=never", "atomic=require", "without=appe"] {
        let server = TestServer::start(Kind::Embedded);
        server.write("file", old());
        let mount = Mount::with_options(&server, &[option]);
        append(&mount.join("file"), "new").unwrap();
        assert!(server.read("file") == with(&old(), b"new"));
        assert_eq!(count(&server, "APPE"), 0, "{option}");
        assert_eq!(count(&server, "STOR"), 1, "{option}");
    }
}

/// A smaller file is stored whole, which is atomic.
#[test]
fn a_small_file_is_stored_whole() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", vec![7; (256 << 10) - 1]);
    let mount = Mount::new(&server);
    append(&mount.join("file"), "new").unwrap();
    assert_eq!(count(&server, "APPE"), 0);
    assert_eq!(server.read("file").len(), (256 << 10) + 2);
}

/// Returns where the bytes are that could not be stored, as the log says.
pub(crate) fn recovered(mount: &Mount) -> Option<PathBuf> {
    let log = mount.log();
    let (_, path) = log.split_once("the appended bytes are in ")?;
    Some(PathBuf::from(path.lines().next()?))
}

/// Another writer changes the file before the append: its change stays, and so do our bytes.
#[test]
fn an_append_to_a_file_that_others_changed_fails_and_its_bytes_stay() {
    let changes: [fn(&mut Vec<u8>); 4] = [
        |file| file.extend(b"theirs"),
        |file| file.truncate(LARGE / 2),
        |file| file.fill(b'T'),
        |file| file.extend(vec![b'T'; LONG]),
    ];
    for (number, change) in changes.iter().enumerate() {
        let proven = Proven::new(&[]);
        let mut program = Program::open(&proven.mount.join("file"), "append");
        assert_eq!(program.does("write ours"), 0);
        let mut theirs = old();
        change(&mut theirs);
        let path = proven.server.write("file", &theirs);
        let later = SystemTime::now() + Duration::from_secs(60);
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(later)
            .unwrap();
        let log = || proven.mount.log();
        assert_eq!(program.does("sync"), libc::EIO, "{number} {}", log());
        assert!(proven.server.read("file") == theirs, "{number}");
        let kept = recovered(&proven.mount).unwrap_or_else(|| panic!("{}", log()));
        assert_eq!(fs::read(kept).unwrap(), b"ours", "{number}");
        // The program goes on with the file as it is now.
        assert_eq!(program.does("write again"), 0, "{number} {}", log());
        assert_eq!(program.does("sync"), 0, "{number} {}", log());
        program.end();
        proven.assert_has(&with(&theirs, b"again"));
    }
}

/// Another writer comes between the question and the append.
#[test]
fn a_writer_that_comes_between_spoils_nothing() {
    let proven = Proven::new(&[]);
    let delay = Duration::from_secs(2);
    proven.fault(
        Fault::on("MLST", Misdeed::LateReply(delay))
            .named("file")
            .skip(1),
    );
    let mut program = Program::open(&proven.mount.join("file"), "append");
    assert_eq!(program.does("write ours"), 0);
    let path = proven.server.root().join("file");
    let mut others = OpenOptions::new().append(true).open(path).unwrap();
    let stored = std::thread::scope(|scope| {
        let syncing = scope.spawn(|| program.does("sync"));
        assert!(wait_for(SOON, || proven.happened() > 0));
        others.write_all(b"theirs").unwrap();
        syncing.join().unwrap()
    });
    assert_eq!(stored, 0, "{}", proven.mount.log());
    program.end();
    proven.assert_has(&with(&old(), b"theirsours"));
}

/// `tail -f` of another program in the same mount shows what is appended.
#[test]
fn a_follower_sees_what_is_appended() {
    let proven = Proven::new(&["open_ttl=0"]);
    let output = tempfile::NamedTempFile::new().unwrap();
    let mut follower = Command::new("timeout")
        .args(["60", "tail", "-c", "3", "-f", "-s", "0.1"])
        .arg(proven.mount.join("file"))
        .stdout(output.reopen().unwrap())
        .spawn()
        .unwrap();
    let shows = |expected: &[u8]| {
        let is_shown = || fs::read(output.path()).unwrap() == expected;
        assert!(wait_for(SOON, is_shown), "{}", proven.mount.log());
    };
    let mut expected = old().split_off(old().len() - 3);
    shows(&expected);
    for line in ["one\n", "two\n", "three\n"] {
        proven.append(line.as_bytes()).unwrap();
        expected.extend(line.as_bytes());
        shows(&expected);
    }
    shell("/", &format!("kill {}", follower.id()));
    follower.wait().unwrap();
    proven.assert_has(&with(&old(), b"one\ntwo\nthree\n"));
}
