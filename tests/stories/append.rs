//! Appending to large files: only the new bytes travel, whatever happens meanwhile.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use ftpfs::server::{Fault, Misdeed};
use tempfile::TempDir;

use crate::crash::{SOON, left_in};
use crate::support::{
    Kind, Mount, PASSWORD, Random, TestServer, Told, USER, assert_errno, behind, link, shell,
    stories, wait_for, word,
};

/// Larger than a file that is stored whole.
const LARGE: usize = 1 << 20;

/// Long enough that a part of it can be cut off.
const LONG: usize = 3 << 20;

/// Returns the old contents of a large file.
fn old() -> Vec<u8> {
    (0..LARGE).map(|at| (at / 249 + at) as u8).collect()
}

/// Returns bytes to append, other ones than the file has.
fn long() -> Vec<u8> {
    (0..LONG).map(|at| (at / 241 + 3 * at) as u8).collect()
}

fn with(old: &[u8], new: &[u8]) -> Vec<u8> {
    [old, new].concat()
}

/// Appends in another process, which reports the result of its close(2).
fn append(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), String> {
    let new = tempfile::NamedTempFile::new().unwrap();
    fs::write(new.path(), bytes).unwrap();
    let words = ["oflag=append", "conv=notrunc", "bs=1M", "status=none"];
    let appended = Command::new("dd")
        .arg(format!("if={}", new.path().display()))
        .arg(format!("of={}", path.display()))
        .args(words)
        .output()
        .unwrap();
    if appended.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&appended.stderr).into_owned())
}

/// Returns what `ftpfs status --json` says about the mount.
fn status(mount: &Mount) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftpfs"));
    let output = command.args(["status", "--json"]).arg(mount.path());
    String::from_utf8(output.output().unwrap().stdout).unwrap()
}

/// Returns a number of `ftpfs status --json`, or 0 if it is not there.
fn number(mount: &Mount, name: &str) -> usize {
    let told = status(mount);
    let Some((_, after)) = told.split_once(&format!("\"{name}\":")) else {
        return 0;
    };
    let digits = after.trim_start().split(|it: char| !it.is_ascii_digit());
    digits.into_iter().next().unwrap().parse().unwrap()
}

/// Whether appends to files on this server send only the new bytes.
fn appends(kind: Kind) -> bool {
    match kind {
        Kind::Embedded
        | Kind::Vsftpd
        | Kind::Proftpd
        | Kind::PureFtpd
        | Kind::Pyftpdlib
        | Kind::Inetutils
        | Kind::FtpSrv => true,
        // aioftp has no SIZE, Twisted no APPE, rclone serves whole files, and libunftp's APPE
        // replaces the file.
        Kind::Aioftp | Kind::Twisted | Kind::Rclone | Kind::Libunftp => false,
    }
}

/// Asserts that not much more was sent and received than was appended.
fn assert_alone(server: &TestServer, mount: &Mount, appended: usize) {
    if appends(server.kind()) {
        let sent = number(mount, "bytes_sent");
        assert!(sent < appended + 100, "{sent}: {}", mount.log());
        assert!(number(mount, "APPE") > 1, "{}", mount.log());
    }
}

stories! {
    #![every_server]

    /// `>>` appends a line each time, and `cat` shows them.
    fn lines_are_appended_alone(server: &TestServer, mount: &Mount) {
        server.write("log", old());
        shell(mount.path(), "echo one >> log");
        assert!(server.read("log") == with(&old(), b"one\n"), "{}", mount.log());
        shell(mount.path(), "echo two >> log; echo three >> log");
        let expected = with(&old(), b"one\ntwo\nthree\n");
        assert!(server.read("log") == expected, "{}", mount.log());
        assert_eq!(fs::metadata(mount.join("log")).unwrap().len(), expected.len() as u64);
        assert_alone(server, mount, 14);
        if appends(server.kind()) {
            // Only the proof was read.
            assert!(number(mount, "bytes_received") < 10_000, "{}", mount.log());
        }
        assert!(fs::read(mount.join("log")).unwrap() == expected);
        assert_eq!(server.names(), ["log"]);
    }

    /// A program that logs keeps its file open and syncs each line.
    fn each_sync_appends_what_is_new(server: &TestServer, mount: &Mount) {
        server.write("log", old());
        let mut log = OpenOptions::new().append(true).open(mount.join("log")).unwrap();
        let mut expected = old();
        for line in 0..5 {
            let line = format!("line {line}\n");
            log.write_all(line.as_bytes()).unwrap();
            log.sync_all().unwrap();
            expected.extend(line.as_bytes());
            assert!(server.read("log") == expected, "{}", mount.log());
        }
        drop(log);
        assert_alone(server, mount, 5 * 7);
        assert!(fs::read(mount.join("log")).unwrap() == expected);
    }

    /// What is appended is seen with the rest before and after it is stored, through the same
    /// descriptor, another one, and a mapping.
    fn old_and_new_bytes_are_read_back(server: &TestServer, mount: &Mount) {
        server.write("log", old());
        let reader = File::open(mount.join("log")).unwrap();
        let mut begin = [0; 10];
        reader.read_exact_at(&mut begin, 0).unwrap();
        let mut writer = OpenOptions::new().read(true).append(true).open(mount.join("log")).unwrap();
        writer.write_all(b"new").unwrap();
        let expected = with(&old(), b"new");
        let read = |file: &File| {
            let mut bytes = vec![0; expected.len() + 10];
            let count = file.read_at(&mut bytes, 0).unwrap();
            let mut count = count;
            while count < bytes.len() {
                match file.read_at(&mut bytes[count..], count as u64).unwrap() {
                    0 => break,
                    more => count += more,
                }
            }
            bytes.truncate(count);
            bytes
        };
        let mapped = "import mmap, sys; f = open('log', 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); sys.stdout.buffer.write(m[:])";
        let mapped = || Command::new("python3").args(["-c", mapped]).current_dir(mount.path()).output().unwrap().stdout;
        assert!(read(&writer) == expected, "{}", mount.log());
        assert!(read(&reader) == expected, "{}", mount.log());
        let mut other = Vec::new();
        File::open(mount.join("log")).unwrap().read_to_end(&mut other).unwrap();
        assert!(other == expected);
        writer.sync_all().unwrap();
        assert!(server.read("log") == expected);
        assert!(read(&writer) == expected, "{}", mount.log());
        assert!(read(&reader) == expected, "{}", mount.log());
        assert!(mapped() == expected);
        drop(writer);
        assert!(read(&reader) == expected);
        assert!(fs::read(mount.join("log")).unwrap() == expected);
        assert!(mapped() == expected);
    }

    /// A program changes its mind: what is before the end is changed after all.
    fn the_rest_is_fetched_when_it_is_changed(server: &TestServer, mount: &Mount) {
        let mut expected = with(&old(), b"and more");
        server.write("file", old());
        let file = OpenOptions::new().read(true).write(true).open(mount.join("file")).unwrap();
        file.write_all_at(b"and more", LARGE as u64).unwrap();
        file.write_all_at(b"CHANGED", 1000).unwrap();
        expected[1000..1007].copy_from_slice(b"CHANGED");
        file.write_all_at(b"AND", LARGE as u64).unwrap();
        expected[LARGE..LARGE + 3].copy_from_slice(b"AND");
        file.sync_all().unwrap();
        assert!(server.read("file") == expected, "{}", mount.log());
        drop(file);

        let file = OpenOptions::new().read(true).write(true).open(mount.join("file")).unwrap();
        file.write_all_at(b"tail", expected.len() as u64).unwrap();
        file.set_len(500_000).unwrap();
        expected.truncate(500_000);
        drop(file);
        assert!(server.read("file") == expected, "{}", mount.log());

        let file = OpenOptions::new().read(true).write(true).open(mount.join("file")).unwrap();
        file.write_all_at(b"tail", expected.len() as u64).unwrap();
        file.set_len(0).unwrap();
        file.write_all_at(b"short", 0).unwrap();
        drop(file);
        assert!(server.read("file") == b"short", "{}", mount.log());
        assert_eq!(server.names(), ["file"]);
    }

    /// Stored bytes are stored: a change of those that were just appended is one before the end.
    fn appended_bytes_are_changed_after_their_sync(server: &TestServer, mount: &Mount) {
        server.write("file", old());
        let file = OpenOptions::new().write(true).open(mount.join("file")).unwrap();
        file.write_all_at(b"one two", LARGE as u64).unwrap();
        file.sync_all().unwrap();
        file.write_all_at(b"ONE", LARGE as u64).unwrap();
        file.sync_all().unwrap();
        drop(file);
        assert!(server.read("file") == with(&old(), b"ONE two"), "{}", mount.log());
    }

    /// A gap before what is written reads as zeros, and so does an extension by truncate(1).
    fn gaps_are_zeros(server: &TestServer, mount: &Mount) {
        server.write("file", old());
        let file = OpenOptions::new().write(true).open(mount.join("file")).unwrap();
        file.write_all_at(b"end", LARGE as u64 + 5).unwrap();
        drop(file);
        let mut expected = with(&old(), b"\0\0\0\0\0end");
        assert!(server.read("file") == expected, "{}", mount.log());
        shell(mount.path(), "truncate -s +7 file");
        expected.extend([0; 7]);
        assert!(server.read("file") == expected, "{}", mount.log());
        assert!(fs::read(mount.join("file")).unwrap() == expected);
    }

    /// A file that was written here and synced is continued in the same way.
    fn a_new_file_that_grows_is_appended_to(server: &TestServer, mount: &Mount) {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(mount.join("new")).unwrap();
        file.write_all_at(&old(), 0).unwrap();
        file.sync_all().unwrap();
        let sent = number(mount, "bytes_sent");
        for line in 0..3 {
            file.write_all_at(b"more", (LARGE + 4 * line) as u64).unwrap();
            file.sync_all().unwrap();
        }
        let mut expected = with(&old(), b"moremoremore");
        assert!(server.read("new") == expected, "{}", mount.log());
        if appends(server.kind()) {
            let more = number(mount, "bytes_sent") - sent;
            assert!(more < 200, "{more}: {}", mount.log());
        }
        file.write_all_at(b"X", 5).unwrap();
        expected[5] = b'X';
        let mut seen = vec![0; expected.len()];
        file.read_exact_at(&mut seen, 0).unwrap();
        assert!(seen == expected);
        drop(file);
        assert!(server.read("new") == expected, "{}", mount.log());
    }
}

stories! {
    /// Names and attributes change while an append waits for its close.
    fn renamed_and_removed_while_it_is_appended_to(server: &TestServer, mount: &Mount) {
        server.write("log", old());
        let mut log = OpenOptions::new().read(true).append(true).open(mount.join("log")).unwrap();
        log.write_all(b"one").unwrap();
        shell(mount.path(), "mv log log.1");
        log.write_all(b" two").unwrap();
        shell(mount.path(), "chmod 0600 log.1; touch -d @981173106 log.1");
        log.sync_all().unwrap();
        let expected = with(&old(), b"one two");
        assert!(server.read("log.1") == expected, "{}", mount.log());
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(server.root().join("log.1")).unwrap();
        assert_eq!((metadata.mtime(), metadata.mode() & 0o777), (981_173_106, 0o600));
        log.write_all(b" three").unwrap();
        fs::remove_file(mount.join("log.1")).unwrap();
        let mut seen = vec![0; expected.len()];
        log.read_exact_at(&mut seen, 0).unwrap();
        assert!(seen == expected, "{}", mount.log());
        drop(log);
        assert!(wait_for(SOON, || server.names().is_empty()), "{:?}", server.names());
    }

    /// fallocate(2) extends a file with zeros, as posix_fallocate(3) requires.
    fn space_is_allocated(server: &TestServer, mount: &Mount) with ["spool_size=8m"] {
        server.write("large", old());
        shell(mount.path(), "fallocate -l 100000 new; fallocate -o 1048570 -l 10 large; fallocate -l 5 large");
        assert!(server.read("new") == vec![0; 100_000]);
        assert!(server.read("large") == with(&old(), &[0; 4]), "{}", mount.log());
        let full = shell(mount.path(), "LC_ALL=C fallocate -l 9m full 2>&1 || true; stat -c %s full");
        let full = String::from_utf8(full.stdout).unwrap();
        assert!(full.contains("No space left on device") && full.ends_with("\n0\n"), "{full}");
        for refused in ["-n -l 10m", "-p -l 4096", "-z -l 4096"] {
            let command = format!("LC_ALL=C fallocate {refused} new 2>&1 || true");
            let told = String::from_utf8(shell(mount.path(), &command).stdout).unwrap();
            assert!(told.contains("not supported"), "{told}");
        }
        assert!(server.read("new") == vec![0; 100_000]);
    }

    /// More is appended than the local disk has room for.
    fn more_is_appended_than_the_spool_holds(server: &TestServer, mount: &Mount) with ["spool_size=1m"] {
        server.write("log", old());
        append(&mount.join("log"), long()).unwrap();
        assert!(server.read("log") == with(&old(), &long()), "{}", mount.log());
        assert_eq!(server.names(), ["log"]);
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
        let proven = Proven::new(&["timeout=2"]);
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
    let mut file = OpenOptions::new()
        .append(true)
        .open(proven.mount.join("file"))
        .unwrap();
    file.write_all(&long()).unwrap();
    assert!(file.sync_all().is_err());
    assert!(proven.server.read("file").len() > LARGE);
    // Reads see everything, although the server has grown by a part.
    let shown = fs::read(proven.mount.join("file")).unwrap();
    assert!(shown == with(&old(), &long()), "{}", proven.mount.log());
    file.write_all(b"more").unwrap();
    file.sync_all().unwrap();
    drop(file);
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
    let file = OpenOptions::new()
        .write(true)
        .open(proven.mount.join("file"))
        .unwrap();
    file.write_all_at(&long(), LARGE as u64).unwrap();
    assert!(file.sync_all().is_err());
    file.write_all_at(b"changed", 0).unwrap();
    file.sync_all().unwrap();
    let mut expected = with(&old(), &long());
    expected[..7].copy_from_slice(b"changed");
    drop(file);
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
fn recovered(mount: &Mount) -> Option<PathBuf> {
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
        let mut file = OpenOptions::new()
            .append(true)
            .open(proven.mount.join("file"))
            .unwrap();
        file.write_all(b"ours").unwrap();
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
        assert_errno(file.sync_all(), libc::EIO);
        assert!(proven.server.read("file") == theirs, "{number}");
        let kept = recovered(&proven.mount).expect(&proven.mount.log());
        assert_eq!(fs::read(kept).unwrap(), b"ours", "{number}");
        // The program goes on with the file as it is now.
        file.write_all(b"again").unwrap();
        file.sync_all().unwrap();
        drop(file);
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
    let mut file = OpenOptions::new()
        .append(true)
        .open(proven.mount.join("file"))
        .unwrap();
    file.write_all(b"ours").unwrap();
    let path = proven.server.root().join("file");
    let mut others = OpenOptions::new().append(true).open(path).unwrap();
    let stored = std::thread::scope(|scope| {
        let syncing = scope.spawn(|| file.sync_all());
        assert!(wait_for(SOON, || proven.happened() > 0));
        others.write_all(b"theirs").unwrap();
        syncing.join().unwrap()
    });
    stored.unwrap();
    drop(file);
    proven.assert_has(&with(&old(), b"theirsours"));
}

/// A program in close when ftpfs is killed, or with `writeback` after its close.
#[test]
fn the_next_mount_completes_the_append_of_a_killed_one() {
    let half = LONG as u64 / 2;
    let cases = [
        ("MLST", Misdeed::StallControl),
        ("APPE", Misdeed::StallControl),
        ("APPE", Misdeed::StallData { after: 0 }),
        ("APPE", Misdeed::StallData { after: half }),
        ("APPE", Misdeed::NoReply),
    ];
    for (verb, misdeed) in cases {
        for options in [&[][..], &["writeback"]] {
            let server = TestServer::start(Kind::Embedded);
            server.write("file", old());
            let state = TempDir::new().unwrap();
            let mount = Mount::with_state(&server, options, state.path());
            append(&mount.join("file"), "first").unwrap();
            let first = with(&old(), b"first");
            assert!(wait_for(SOON, || server.read("file") == first));
            assert!(wait_for(SOON, || number(&mount, "waiting") == 0));
            let embedded = server.embedded().unwrap();
            let faults = embedded.faults();
            let name = if verb == "MLST" { "none" } else { "file" };
            if verb == "MLST" {
                faults.add(Fault::on("EPSV", misdeed.clone()).always());
            }
            faults.add(Fault::on(verb, misdeed.clone()).named(name).always());
            let script = "import sys; f = open(sys.argv[1], 'ab', 0); f.write(open(sys.argv[2], 'rb').read()); f.close()";
            let new = tempfile::NamedTempFile::new().unwrap();
            fs::write(new.path(), long()).unwrap();
            let mut closing = Command::new("python3")
                .args(["-c", script])
                .arg(mount.join("file"))
                .arg(new.path())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            if options.is_empty() {
                assert!(wait_for(SOON, || faults.happened() > 0), "{}", mount.log());
                // Bytes that the kernel has taken may still be on their way.
                std::thread::sleep(Duration::from_millis(100));
            } else {
                assert!(closing.wait().unwrap().success(), "{}", mount.log());
                wait_for(SOON, || faults.happened() > 0);
            }
            mount.kill_nine();
            let _ = closing.wait();
            faults.clear();
            embedded.drop_sessions();
            assert!(
                server.read("file").starts_with(&first),
                "{verb} {misdeed:?}"
            );

            let next = Mount::with_state(&server, &[], state.path());
            let expected = with(&first, &long());
            let shown = fs::read(next.join("file")).unwrap();
            assert!(
                shown == expected,
                "{verb} {misdeed:?}: {} {}",
                shown.len(),
                next.log()
            );
            let is_stored = || next.log().contains("is stored now");
            assert!(
                wait_for(SOON, is_stored),
                "{verb} {misdeed:?}: {}",
                next.log()
            );
            let stored = server.read("file");
            assert!(stored == expected, "{verb} {misdeed:?}: {}", stored.len());
            next.unmount();
            assert_eq!(left_in(state.path()), [""; 0].map(PathBuf::from));
            assert_eq!(server.names(), ["file"]);
        }
    }
}

/// The next mount finds another writer's file.
#[test]
fn an_append_that_a_killed_mount_left_never_spoils_a_file_that_others_changed() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", old());
    let state = TempDir::new().unwrap();
    let mount = Mount::with_state(&server, &["writeback"], state.path());
    server
        .embedded()
        .unwrap()
        .faults()
        .add(Fault::on("APPE", Misdeed::StallControl).always());
    append(&mount.join("file"), "ours").unwrap();
    mount.kill_nine();
    server.embedded().unwrap().faults().clear();
    let mut theirs = old();
    theirs.extend(b"theirs");
    server.write("file", &theirs);
    let next = Mount::with_state(&server, &[], state.path());
    assert!(
        wait_for(SOON, || recovered(&next).is_some()),
        "{}",
        next.log()
    );
    assert_eq!(fs::read(recovered(&next).unwrap()).unwrap(), b"ours");
    assert!(server.read("file") == theirs);
    assert!(wait_for(SOON, || fs::read(next.join("file"))
        .is_ok_and(|it| it == theirs)));
}

/// With `writeback`, many appends come before the first is stored.
#[test]
fn appends_that_wait_are_stored_in_order() {
    let server = TestServer::start(Kind::Embedded);
    server.write("log", old());
    let state = TempDir::new().unwrap();
    let mount = Mount::with_state(&server, &["writeback"], state.path());
    let mut expected = old();
    for line in 0..50 {
        let line = format!("line {line}\n");
        append(&mount.join("log"), &line).unwrap();
        expected.extend(line.as_bytes());
    }
    assert!(
        fs::read(mount.join("log")).unwrap() == expected,
        "{}",
        mount.log()
    );
    assert!(
        wait_for(SOON, || server.read("log") == expected),
        "{}",
        mount.log()
    );
    assert!(number(&mount, "bytes_sent") < 10_000);
    mount.unmount();
    assert!(server.read("log") == expected);
    assert_eq!(server.names(), ["log"]);
}

/// `tail -f` of another program in the same mount shows what is appended.
#[test]
fn a_follower_sees_what_is_appended() {
    let proven = Proven::new(&["open_ttl=0"]);
    let mut follower = Command::new("tail")
        .args(["-c", "3", "-f", "-s", "0.1"])
        .arg(proven.mount.join("file"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = follower.stdout.take().unwrap();
    let mut seen = [0; 3];
    output.read_exact(&mut seen).unwrap();
    let mut ends = Vec::new();
    for line in ["one\n", "two\n", "three\n"] {
        proven.append(line.as_bytes()).unwrap();
        let mut bytes = vec![0; line.len()];
        output.read_exact(&mut bytes).unwrap();
        ends.extend(bytes);
    }
    follower.kill().unwrap();
    follower.wait().unwrap();
    assert_eq!(ends, b"one\ntwo\nthree\n");
    proven.assert_has(&with(&old(), b"one\ntwo\nthree\n"));
}

/// Returns the bytes that the near end of a link has sent and received.
fn on_the_wire(link: &Told) -> u64 {
    let table = format!("/proc/{}/net/dev", word(&link.first, "pid"));
    let table = fs::read_to_string(table).unwrap();
    let far = table.lines().filter_map(|line| line.split_once(':'));
    far.filter(|(name, _)| name.trim() != "lo")
        .map(|(_, fields)| {
            let fields: Vec<u64> = fields
                .split_whitespace()
                .map(|it| it.parse().unwrap())
                .collect();
            fields[0] + fields[8]
        })
        .sum()
}

/// One line for a file of 64 MiB, on a server 40 ms away.
#[test]
fn a_line_for_a_distant_large_file_costs_few_round_trips_and_bytes() {
    let root = TempDir::new().unwrap();
    let bytes = Random::new().bytes(64 << 20);
    fs::write(root.path().join("large"), &bytes).unwrap();
    fs::write(root.path().join("proof"), &bytes).unwrap();
    let link = link(&["rtt=40", "rate=200"]);
    let listen = format!("{}:0", word(&link.first, "address"));
    let mut command = behind(&link);
    command
        .arg(env!("CARGO_BIN_EXE_ftpfs"))
        .args(["serve", "--user", USER, "--listen", &listen])
        .arg(root.path())
        .env("FTPFS_PASSWORD", PASSWORD);
    let server = Told::start(&mut command);
    let place = server.first.rsplit("//").next().unwrap();
    let place = place.rsplit('@').next().unwrap().trim_end_matches('/');
    let mount = Mount::of_url(&format!("ftp://{USER}@{place}/"), PASSWORD, &[]);
    shell(mount.path(), "ls; echo proof >> proof");
    let measure = || (number(&mount, "round_trips"), on_the_wire(&link));
    let before = measure();
    shell(mount.path(), "echo one line >> large");
    let after = measure();
    let (trips, wire) = (after.0 - before.0, after.1 - before.1);
    println!("{trips} round trips, {wire} bytes on the wire");
    assert!(trips <= 8, "{trips}: {}", mount.log());
    assert!(wire < 100_000, "{wire}");
    assert!(fs::read(root.path().join("large")).unwrap() == with(&bytes, b"one line\n"));
}
