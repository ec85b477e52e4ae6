//! Appending to large files: only the new bytes travel.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::crash::SOON;
use crate::support::{
    Kind, Mount, PASSWORD, Random, TestServer, Told, USER, behind, link, shell, stories, wait_for,
    word,
};

/// Larger than a file that is stored whole.
pub(crate) const LARGE: usize = 1 << 20;

/// Returns the old contents of a large file.
pub(crate) fn old() -> Vec<u8> {
    (0..LARGE).map(|at| (at / 249 + at) as u8).collect()
}

pub(crate) fn with(old: &[u8], new: &[u8]) -> Vec<u8> {
    [old, new].concat()
}

/// Appends in another process, which reports the result of its close(2).
pub(crate) fn append(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), String> {
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
pub(crate) fn status(mount: &Mount) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftpfs"));
    let output = command.args(["status", "--json"]).arg(mount.path());
    String::from_utf8(output.output().unwrap().stdout).unwrap()
}

/// Returns a number of `ftpfs status --json`, or 0 if it is not there.
pub(crate) fn number(mount: &Mount, name: &str) -> usize {
    let told = status(mount);
    let Some((_, after)) = told.split_once(&format!("\"{name}\":")) else {
        return 0;
    };
    let digits = after.trim_start().split(|it: char| !it.is_ascii_digit());
    digits.into_iter().next().unwrap().parse().unwrap()
}

/// Whether appends to files on this server send only the new bytes.
fn appends(kind: Kind) -> bool {
    // Twisted has no APPE, and rclone stores whole files.
    !matches!(kind, Kind::Twisted | Kind::Rclone)
}

/// Asserts that not much more was sent and received than was appended.
fn assert_alone(server: &TestServer, mount: &Mount, appended: usize) {
    if appends(server.kind()) {
        let sent = number(mount, "bytes_sent");
        assert!(sent < appended + 100, "{sent}: {}", mount.log());
        assert!(number(mount, "APPE") > 1, "{}", mount.log());
    }
}

/// Whether APPE keeps what a file contains is tried on servers that are not known.
#[test]
fn nothing_is_tried_on_a_known_server() {
    for (kind, is_tried) in [(Kind::Vsftpd, false), (Kind::Pyftpdlib, true)] {
        let server = TestServer::start(kind);
        server.write("log", old());
        server.hand_over();
        let mount = Mount::new(&server);
        shell(mount.path(), "echo one >> log");
        let expected = with(&old(), b"one\n");
        assert!(server.read("log") == expected, "{}", mount.log());
        let has_tried = number(&mount, "STOR") > 0;
        assert_eq!(has_tried, is_tried, "{kind:?}: {}", mount.log());
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
        let stored = server.read("log");
        assert!(stored == expected, "{} bytes: {}", stored.len(), mount.log());
        let seen = read(&writer);
        let differs = seen.iter().zip(&expected).position(|(one, other)| one != other);
        assert!(seen == expected, "{} bytes, {differs:?}: {}", seen.len(), mount.log());
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
            assert!(told.contains("supported"), "{told}");
        }
        assert!(server.read("new") == vec![0; 100_000]);
    }

    /// More is appended than the local disk has room for.
    fn more_is_appended_than_the_spool_holds(server: &TestServer, mount: &Mount) with ["spool_size=1m"] {
        server.write("log", old());
        let long = vec![7; 3 << 20];
        append(&mount.join("log"), &long).unwrap();
        assert!(server.read("log") == with(&old(), &long), "{}", mount.log());
        assert_eq!(server.names(), ["log"]);
    }
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
