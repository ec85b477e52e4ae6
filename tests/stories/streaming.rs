//! Files larger than the local disk has room for: they are sent while they are written, and only
//! appear on the server when they are complete.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::support::{
    Kind, Mount, TestServer, command, in_own_namespace, shell, stories, wait_for,
};
use ftpfs::server::{Fault, Misdeed};
use tempfile::TempDir;

/// The spool's limit in bytes, as in the options of these tests.
const LIMIT: u64 = 8 << 20;

/// A file several times as large.
const SIZE: usize = 24 << 20;

/// The offset at which transfers break.
const BREAK: u64 = 15 << 20;

/// Limit for what happens soon.
const SOON: Duration = Duration::from_secs(60);

fn pattern(size: usize) -> Vec<u8> {
    (0..size)
        .map(|at| ((at / 253 + at) as u8).wrapping_mul(29))
        .collect()
}

/// Returns the bytes of disk space that the files that the mount has open take.
fn local_bytes(mount: &Mount) -> u64 {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", mount.pid())).unwrap();
    let sizes = descriptors.filter_map(|entry| {
        let about = fs::metadata(entry.unwrap().path()).ok()?;
        about.is_file().then(|| about.blocks() * 512)
    });
    sizes.sum()
}

/// What the programs of these tests begin with. They are programs of their own because a process
/// that starts others, as this one does, closes its files in each of them.
const PRELUDE: &str = "
import os, sys, threading, time, subprocess
from errno import *
content = open(sys.argv[1], 'rb').read()
size = len(content)
NEW = os.O_RDWR | os.O_CREAT | os.O_TRUNC
def write(file, data):
    while data:
        data = data[os.write(file, data[:1 << 20]):]
def fails(number, call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        assert error.errno == number, error
    else:
        raise AssertionError('it succeeds')
";

/// Runs a program in the mount. Returns the errors that it prints if it fails.
fn run_program(mount: &Mount, script: &str) -> Result<(), String> {
    let local = tempfile::NamedTempFile::new().unwrap();
    fs::write(local.path(), pattern(SIZE)).unwrap();
    let output = command("python3")
        .args(["-c", &format!("{PRELUDE}{script}")])
        .arg(local.path())
        .current_dir(mount.path())
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[track_caller]
fn program(mount: &Mount, script: &str) {
    run_program(mount, script).unwrap_or_else(|error| panic!("{error}{}", mount.log()));
}

/// Writes the pattern to `file` and closes it.
const WRITE: &str = "
file = os.open('file', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
write(file, content)
os.close(file)
";

/// The result of storing a large file while `faults` struck.
fn store_under(faults: &[Fault], options: &[&str]) -> (TestServer, Result<(), String>, Mount) {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", "old");
    let mount = Mount::with_options(&server, options);
    let embedded = server.embedded().unwrap();
    for fault in faults {
        embedded.faults().add(fault.clone());
    }
    let stored = run_program(&mount, WRITE);
    embedded.faults().clear();
    (server, stored, mount)
}

stories! {
    #![every_server]

    /// The local disk never holds more than the limit, others see the old file until the new one is
    /// complete, and nothing else is left.
    fn a_file_larger_than_the_spool(server: &TestServer, mount: &Mount) with ["spool_size=8M"] {
        server.write("file", "old");
        server.hand_over();
        let content = pattern(SIZE);
        let mut most = 0;
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| run_program(mount, WRITE));
            while !writer.is_finished() {
                most = most.max(local_bytes(mount));
                // Some servers need a moment without either.
                if let Ok(seen) = fs::read(server.root().join("file")) {
                    assert!(seen == b"old" || seen == content, "{} bytes", seen.len());
                }
            }
            writer.join().unwrap().unwrap();
        });
        // The file system rounds up.
        assert!((1 << 20..=LIMIT + (1 << 20)).contains(&most), "{most}");
        assert!(server.read("file") == content);
        assert_eq!(server.names(), ["file"]);
        assert!(fs::read(mount.join("file")).unwrap() == content);
    }
}

stories! {
    /// What was sent is read back from the server, and only the part that is still here can change.
    fn what_was_sent_is_read_back(server: &TestServer, mount: &Mount) with ["spool_size=8M"] {
        // It locks files until their upload ends.
        let is_locked = if server.kind() == Kind::Vsftpd { "True" } else { "False" };
        program(mount, &format!("
file = os.open('file', NEW)
write(file, content)
os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
for at in 0, 5 << 20, 13 << 20, size - 300_000:
    if {is_locked} and at < 14 << 20:
        fails(ENOSPC, os.pread, file, 300_000, at)
    else:
        assert os.pread(file, 300_000, at) == content[at:at + 300_000], at
fails(ENOSPC, os.pwrite, file, b'x', 10)
fails(ENOSPC, os.ftruncate, file, 1000)
os.ftruncate(file, size)
os.pwrite(file, b'more', size)
os.close(file)
"));
        let stored = server.read("file");
        assert!(stored[..SIZE] == pattern(SIZE) && stored[SIZE..] == *b"more");
        assert_eq!(server.names(), ["file"]);
    }

    /// A program that empties the file begins again.
    fn an_emptied_file_is_written_again(server: &TestServer, mount: &Mount) with ["spool_size=8M"] {
        program(mount, "
file = os.open('file', NEW)
write(file, content)
os.ftruncate(file, 0)
os.pwrite(file, b'short', 0)
os.close(file)
");
        assert_eq!(server.read("file"), b"short");
        assert!(wait_for(SOON, || server.names() == ["file"]), "{:?}", server.names());
    }

    /// Even with writeback, the server has the file when its close returns.
    fn close_waits_for_the_server(server: &TestServer, mount: &Mount) with ["spool_size=8M", "writeback"] {
        program(mount, WRITE);
        assert!(server.read("file") == pattern(SIZE));
    }

    /// Programs that write at the same time share the limit, even if each of the connections is
    /// used by one of them.
    fn several_writers_share_the_limit(server: &TestServer, mount: &Mount) with ["spool_size=8M", "connections=3"] {
        program(mount, "
def store(name):
    file = os.open(name, NEW)
    write(file, content)
    os.close(file)
    done.append(name)
done = []
threads = [threading.Thread(target=store, args=(name,)) for name in ('one', 'two', 'three')]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(done) == 3, done
");
        assert_eq!(server.names(), ["one", "three", "two"]);
        assert!(server.names().iter().all(|name| server.read(name) == pattern(SIZE)));
    }

    /// The shell closes the file after each command.
    fn commands_of_a_shell_write_one_after_the_other(server: &TestServer, mount: &Mount) with ["spool_size=8M"] {
        shell(
            mount.path(),
            "{ head -c 5000000 /dev/zero; head -c 30000000 /dev/zero | tr '\\0' x; } > file",
        );
        let stored = server.read("file");
        assert_eq!(stored.len(), 35_000_000);
        assert!(stored[..5_000_000].iter().all(|byte| *byte == 0));
        assert!(stored[5_000_000..].iter().all(|byte| *byte == b'x'));
    }

    /// A child process that writes what its parent opened: its end means that the file is stored.
    fn a_child_process_writes_the_file(server: &TestServer, mount: &Mount) with ["spool_size=8M"] {
        let stored = server.root().join("file");
        program(mount, &format!("
file = os.open('file', NEW)
child = subprocess.Popen(['head', '-c', '20000000', '/dev/zero'], stdout=file)
os.close(file)
assert child.wait() == 0
assert os.path.getsize({stored:?}) == 20_000_000
"));
    }

    /// Another program opens the file for writing and closes it, as touch does.
    fn another_program_touches_the_file(server: &TestServer, mount: &Mount) with ["spool_size=8M"] {
        program(mount, "
file = os.open('file', NEW)
write(file, content[:size // 2])
subprocess.run([sys.executable, '-c', 'import os; os.close(os.open(\"file\", os.O_WRONLY))'], check=True)
write(file, content[size // 2:])
os.close(file)
");
        assert!(server.read("file") == pattern(SIZE));
    }

    /// A child process closes what it inherited when exactly as much is written as the local disk
    /// may hold: the server has it, so there is room for the rest.
    fn a_stored_file_that_fills_the_spool_is_continued(server: &TestServer, mount: &Mount) with ["spool_size=8M"] {
        program(mount, "
file = os.open('file', NEW)
write(file, content[:8 << 20])
os.close(os.dup(file))
write(file, content[8 << 20:])
os.close(file)
");
        assert!(server.read("file") == pattern(SIZE));
        assert_eq!(server.names(), ["file"]);
    }

    /// A file that is stored and still open gives up its room to others, and is changed again.
    fn a_stored_file_makes_room_for_others(server: &TestServer, mount: &Mount) with ["spool_size=8M"] {
        program(mount, "
file = os.open('file', NEW)
write(file, content[:7 << 20])
os.fsync(file)
other = os.open('other', NEW)
os.pwrite(other, content[:2 << 20], 0)
os.close(other)
assert os.pread(file, 10, 1 << 20) == content[1 << 20:(1 << 20) + 10]
os.pwrite(file, b'more', 7 << 20)
os.pwrite(file, b'changed', 0)
os.close(file)
");
        assert!(server.read("other") == pattern(SIZE)[..2 << 20]);
        let expected = [b"changed", &pattern(SIZE)[7..7 << 20], b"more"].concat();
        assert!(server.read("file") == expected);
    }

    /// A change at the end of a file that fills the local disk makes its own room. The file is not
    /// fetched again and again.
    fn a_change_of_a_file_that_fills_the_spool(server: &TestServer, mount: &Mount) with ["spool_size=8M", "append=never"] {
        let content = &pattern(SIZE)[..(8 << 20) - 4096];
        server.write("file", content);
        server.hand_over();
        program(mount, "
file = os.open('file', os.O_RDWR)
os.pwrite(file, b'x' * 65536, (8 << 20) - 8192)
os.close(file)
");
        let expected = [&content[..(8 << 20) - 8192], &vec![b'x'; 65536]].concat();
        assert!(server.read("file") == expected);
    }

    /// A removed file leaves nothing on the server.
    fn a_file_removed_while_it_is_sent(server: &TestServer, mount: &Mount) with ["spool_size=8M"] {
        program(mount, "
file = os.open('file', NEW)
write(file, content)
os.unlink('file')
os.close(file)
");
        assert!(wait_for(SOON, || server.names().is_empty()), "{:?}", server.names());
        assert!(!mount.log().contains("ERROR"), "{}", mount.log());
    }

    /// The directory cannot be renamed, and the file is stored.
    fn a_directory_of_a_file_that_is_sent_stays(server: &TestServer, mount: &Mount) with ["spool_size=8M"] {
        program(mount, "
os.mkdir('dir')
file = os.open('dir/file', NEW)
write(file, content)
fails(EBUSY, os.rename, 'dir', 'other')
os.rename('dir/file', 'renamed')
os.close(file)
");
        assert!(server.read("renamed") == pattern(SIZE));
    }
}

#[test]
fn a_broken_upload_is_resumed_from_what_is_still_here() {
    let cases = [
        Misdeed::DropData { after: BREAK },
        Misdeed::StallData { after: BREAK },
        Misdeed::BreakData {
            after: BREAK,
            code: 426,
        },
        Misdeed::ShortThen226 { after: BREAK },
    ];
    for misdeed in cases {
        let fault = Fault::on("STOR", misdeed.clone());
        let (server, stored, mount) = store_under(&[fault], &["spool_size=8M", "timeout=5"]);
        stored.unwrap_or_else(|error| panic!("{misdeed:?}: {error}: {}", mount.log()));
        assert!(server.read("file") == pattern(SIZE), "{misdeed:?}");
        assert_eq!(server.names(), ["file"], "{misdeed:?}");
    }
}

/// A file whose old contents were fetched for a change stays changeable while another program fills
/// the local disk.
#[test]
fn a_large_file_leaves_others_changeable() {
    let server = TestServer::start(Kind::Embedded);
    server.write("old", &pattern(SIZE)[..5 << 20]);
    let mount = Mount::with_options(&server, &["spool_size=8M", "append=never"]);
    program(
        &mount,
        "
old = os.open('old', os.O_RDWR)
os.pwrite(old, b'begin', 0)
file = os.open('file', NEW)
write(file, content)
os.pwrite(old, b'middle', 3 << 20)
os.close(file)
os.pwrite(old, b'end', (5 << 20) - 3)
os.close(old)
",
    );
    assert!(server.read("file") == pattern(SIZE));
    let mut expected = pattern(SIZE)[..5 << 20].to_vec();
    for (at, bytes) in [
        (0, &b"begin"[..]),
        (3 << 20, b"middle"),
        ((5 << 20) - 3, b"end"),
    ] {
        expected[at..at + bytes.len()].copy_from_slice(bytes);
    }
    assert!(server.read("old") == expected);
}

/// What can never fit is refused, and other files need not make room for it.
#[test]
fn a_change_that_can_never_fit_costs_others_nothing() {
    let server = TestServer::start(Kind::Embedded);
    server.write("old", pattern(SIZE));
    let mount = Mount::with_options(&server, &["spool_size=8M"]);
    program(
        &mount,
        "
old = os.open('old', os.O_RDWR | os.O_APPEND)
os.write(old, b'more')
file = os.open('file', NEW)
write(file, content[:6 << 20])
fails(ENOSPC, os.ftruncate, old, 10 << 20)
fails(ENOSPC, os.pwrite, file, b'x', 1 << 30)
os.pwrite(file, b'begin', 0)
os.close(file)
os.close(old)
",
    );
    assert!(server.read("old") == [&pattern(SIZE), &b"more"[..]].concat());
    assert!(server.read("file") == [b"begin", &pattern(SIZE)[5..6 << 20]].concat());
}

/// The upload that makes room sends nothing that the program is about to change, however late the
/// server shows what it has received.
#[test]
fn a_change_waits_for_room_on_a_slow_server() {
    let server = TestServer::start(Kind::Embedded);
    let content = &pattern(SIZE)[..(8 << 20) - 4096];
    server.write("file", content);
    let mount = Mount::with_options(&server, &["spool_size=8M", "append=never"]);
    let embedded = server.embedded().unwrap();
    let nothing_yet = Misdeed::WrongSize(-(SIZE as i64));
    embedded.faults().add(Fault::on("SIZE", nothing_yet));
    program(
        &mount,
        "
file = os.open('file', os.O_RDWR)
os.pwrite(file, b'x' * 65536, (8 << 20) - 8192)
os.close(file)
",
    );
    assert_eq!(embedded.faults().happened(), 1);
    let expected = [&content[..(8 << 20) - 8192], &vec![b'x'; 65536]].concat();
    assert!(server.read("file") == expected);
}

#[test]
fn an_upload_that_cannot_be_resumed_is_an_error_and_the_old_file_stays() {
    let breaks = || Fault::on("STOR", Misdeed::DropData { after: BREAK });
    let unknown = |verb: &str| {
        let text = format!("{verb} is not implemented");
        Fault::on(verb, Misdeed::Refuse { code: 502, text }).always()
    };
    let without_rest = [breaks(), unknown("REST"), unknown("APPE")];
    let full = Misdeed::BreakData {
        after: BREAK,
        code: 552,
    };
    let refuses_the_name = Misdeed::Refuse {
        code: 553,
        text: "not here".to_owned(),
    };
    let cases = [
        (without_rest.to_vec(), libc::EIO),
        (vec![Fault::on("STOR", full)], libc::EDQUOT),
        (
            vec![Fault::on("RNTO", refuses_the_name).always()],
            libc::EIO,
        ),
    ];
    for (faults, errno) in cases {
        for options in [vec!["spool_size=8M"], vec!["spool_size=8M", "writeback"]] {
            let (server, stored, mount) = store_under(&faults, &options);
            let expected = format!("[Errno {errno}]");
            let error = stored.unwrap_err();
            assert!(error.contains(&expected), "{error}");
            assert_eq!(server.read("file"), b"old");
            assert_eq!(server.names(), ["file"]);
            assert_eq!(fs::read(mount.join("file")).unwrap(), b"old");
            // The next one works.
            fs::write(mount.join("file"), "new").unwrap();
            drop(mount);
            assert_eq!(server.read("file"), b"new");
        }
    }
}

#[test]
fn after_a_kill_the_server_has_the_old_file_and_the_next_mount_removes_the_rest() {
    for options in [vec!["spool_size=8M"], vec!["spool_size=8M", "writeback"]] {
        let server = TestServer::start(Kind::Embedded);
        let state = TempDir::new().unwrap();
        server.write("file", "old");
        let mount = Mount::with_state(&server, &options, state.path());
        let script = "
import os, sys, time
file = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)
for _ in range(40):
    os.write(file, bytes(1_000_000))
time.sleep(1000)
";
        let mut writer = command("python3")
            .args(["-c", script])
            .arg(mount.join("file"))
            .spawn()
            .unwrap();
        let size = || fs::metadata(mount.join("file")).unwrap().len();
        assert!(wait_for(SOON, || size() == 40_000_000));
        assert_eq!(server.names().len(), 2, "it is under way");
        mount.kill_nine();
        writer.kill().unwrap();
        writer.wait().unwrap();
        let next = Mount::with_state(&server, &options, state.path());
        assert!(
            wait_for(SOON, || server.names() == ["file"]),
            "{}",
            next.log()
        );
        assert_eq!(fs::read(next.join("file")).unwrap(), b"old");
        assert!(
            next.log().contains("neither closed nor synced"),
            "{}",
            next.log()
        );
        next.unmount();
        assert_eq!(server.read("file"), b"old");
    }
}

/// Without a limit, the same happens when the local disk is full.
#[test]
fn a_full_local_disk_is_no_limit_for_a_file() {
    for kind in [Kind::Embedded, Kind::Vsftpd, Kind::Proftpd] {
        let server = TestServer::start(kind);
        let home = TempDir::new().unwrap();
        let script = "
            mkdir spool mnt
            mount -t tmpfs -o size=12M spool spool
            FTPFS_PASSWORD=$3 \"$1\" \"$2\" mnt -o spool=$PWD/spool
            trap 'fusermount3 -u mnt' EXIT
            head -c 40000000 /dev/zero | tr '\\0' y > mnt/file
        ";
        let program = Path::new(env!("CARGO_BIN_EXE_ftpfs"));
        let url = server.url();
        let arguments = [
            program.as_os_str(),
            url.as_ref(),
            server.password().as_ref(),
        ];
        let output = in_own_namespace(home.path(), script, &arguments);
        assert!(output.status.success(), "{kind:?}: {output:?}");
        let stored = server.read("file");
        assert_eq!(stored.len(), 40_000_000, "{kind:?}");
        assert!(stored.iter().all(|byte| *byte == b'y'), "{kind:?}");
    }
}
