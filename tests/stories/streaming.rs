//! Files larger than the local disk has room for: they are sent while they are written, and only
//! appear on the server when they are complete.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use crate::support::{
    Kind, Mount, TestServer, assert_errno, command, in_own_namespace, lines, run_with, shell,
    stories, wait_for,
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

/// Returns the names in the server's root.
fn names(server: &TestServer) -> Vec<String> {
    let entries = fs::read_dir(server.root()).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
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

/// Writes `content` in pieces. After each, `check` is called.
fn write_with(file: &mut File, content: &[u8], mut check: impl FnMut()) -> io::Result<()> {
    for piece in content.chunks(1 << 20) {
        file.write_all(piece)?;
        check();
    }
    Ok(())
}

/// Closes `file`, and returns the error.
fn close(file: File) -> io::Result<()> {
    Ok(nix::unistd::close(file)?)
}

/// Writes `SIZE` bytes of the pattern like an ordinary program, which no other one inherits files
/// from. Returns the errno with which a write or the close failed.
fn write_in_a_program(path: &Path) -> io::Result<()> {
    let script = "
import os, sys
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
content = open(sys.argv[2], 'rb').read()
try:
    while content:
        content = content[os.write(file, content[:1 << 20]):]
    os.close(file)
except OSError as error:
    print(error.errno)
";
    let local = tempfile::NamedTempFile::new().unwrap();
    fs::write(local.path(), pattern(SIZE)).unwrap();
    let arguments = [
        "-c".as_ref(),
        script.as_ref(),
        path.as_os_str(),
        local.path().as_os_str(),
    ];
    let output = run_with("python3", &arguments);
    match lines(&output).first() {
        None => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno.parse().unwrap())),
    }
}

/// The result of storing a large file while `faults` struck.
fn store_under(faults: &[Fault], options: &[&str]) -> (TestServer, io::Result<()>, Mount) {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", "old");
    let mount = Mount::with_options(&server, options);
    let embedded = server.embedded().unwrap();
    for fault in faults {
        embedded.faults().add(fault.clone());
    }
    let stored = write_in_a_program(&mount.join("file"));
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
            let writer = scope.spawn(|| write_in_a_program(&mount.join("file")));
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
        assert_eq!(names(server), ["file"]);
        assert!(fs::read(mount.join("file")).unwrap() == content);
    }
}

stories! {
    /// What was sent is read back from the server, and only the part that is still here can change.
    fn what_was_sent_is_read_back(server: &TestServer, mount: &Mount) with ["spool_size=8M"] {
        let content = pattern(SIZE);
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(true)
            .open(mount.join("file"))
            .unwrap();
        write_with(&mut file, &content, || {}).unwrap();
        let mut piece = vec![0; 300_000];
        for at in [0, 5 << 20, 13 << 20, SIZE - piece.len()] {
            file.read_exact_at(&mut piece, at as u64).unwrap();
            assert!(piece == content[at..at + piece.len()], "{at}");
        }
        assert_errno(file.write_at(b"x", 10), libc::ENOSPC);
        assert_errno(file.set_len(1000), libc::ENOSPC);
        file.set_len(SIZE as u64).unwrap();
        file.write_all_at(b"more", SIZE as u64).unwrap();
        close(file).unwrap();
        let stored = server.read("file");
        assert!(stored[..SIZE] == content && stored[SIZE..] == *b"more");
        assert_eq!(names(server), ["file"]);
    }

    /// A program that empties the file begins again.
    fn an_emptied_file_is_written_again(server: &TestServer, mount: &Mount) with ["spool_size=8M"] {
        let mut file = File::create(mount.join("file")).unwrap();
        write_with(&mut file, &pattern(SIZE), || {}).unwrap();
        file.set_len(0).unwrap();
        file.write_all_at(b"short", 0).unwrap();
        close(file).unwrap();
        assert_eq!(server.read("file"), b"short");
        assert!(wait_for(SOON, || names(server) == ["file"]), "{:?}", names(server));
    }

    /// Even with writeback, the server has the file when its close returns.
    fn close_waits_for_the_server(server: &TestServer, mount: &Mount) with ["spool_size=8M", "writeback"] {
        let content = pattern(SIZE);
        let mut file = File::create(mount.join("file")).unwrap();
        write_with(&mut file, &content, || {}).unwrap();
        close(file).unwrap();
        assert!(server.read("file") == content);
    }

    /// Programs that write at the same time share the limit.
    fn several_writers_share_the_limit(server: &TestServer, mount: &Mount) with ["spool_size=8M"] {
        let content = pattern(SIZE / 2);
        std::thread::scope(|scope| {
            for name in ["one", "two", "three"] {
                let content = &content;
                scope.spawn(move || {
                    let mut file = File::create(mount.join(name)).unwrap();
                    write_with(&mut file, content, || {}).unwrap();
                    close(file).unwrap();
                });
            }
        });
        assert_eq!(names(server), ["one", "three", "two"]);
        assert!(names(server).iter().all(|name| server.read(name) == content));
    }

    /// The shell closes the file after each command.
    fn commands_of_a_shell_write_one_after_the_other(server: &TestServer, mount: &Mount) with ["spool_size=8M"] {
        shell(
            mount.path(),
            "for n in 5 30; do { head -c ${n}000000 /dev/zero; head -c 30000000 /dev/zero | tr '\\0' x; } > $n; done",
        );
        for zeros in [5_000_000, 30_000_000] {
            let stored = server.read((zeros / 1_000_000).to_string());
            assert_eq!(stored.len(), zeros + 30_000_000);
            assert!(stored[..zeros].iter().all(|byte| *byte == 0));
            assert!(stored[zeros..].iter().all(|byte| *byte == b'x'));
        }
    }

    /// A removed file leaves nothing on the server.
    fn a_file_removed_while_it_is_sent(server: &TestServer, mount: &Mount) with ["spool_size=8M"] {
        let mut file = File::create(mount.join("file")).unwrap();
        write_with(&mut file, &pattern(SIZE), || {}).unwrap();
        fs::remove_file(mount.join("file")).unwrap();
        drop(file);
        assert!(wait_for(SOON, || names(server).is_empty()), "{:?}", names(server));
    }

    /// The directory cannot be renamed, and the file is stored.
    fn a_directory_of_a_file_that_is_sent_stays(server: &TestServer, mount: &Mount) with ["spool_size=8M"] {
        fs::create_dir(mount.join("dir")).unwrap();
        let content = pattern(SIZE);
        let mut file = File::create(mount.join("dir/file")).unwrap();
        write_with(&mut file, &content, || {}).unwrap();
        assert_errno(fs::rename(mount.join("dir"), mount.join("other")), libc::EBUSY);
        fs::rename(mount.join("dir/file"), mount.join("renamed")).unwrap();
        close(file).unwrap();
        assert!(server.read("renamed") == content);
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
        let (server, stored, mount) = store_under(&[fault], &["spool_size=8M", "timeout=2"]);
        stored.unwrap_or_else(|error| panic!("{misdeed:?}: {error}: {}", mount.log()));
        assert!(server.read("file") == pattern(SIZE), "{misdeed:?}");
        assert_eq!(names(&server), ["file"], "{misdeed:?}");
    }
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
            assert_errno(stored, errno);
            assert_eq!(server.read("file"), b"old");
            assert_eq!(names(&server), ["file"]);
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
        assert_eq!(names(&server).len(), 2, "it is under way");
        mount.kill_nine();
        writer.kill().unwrap();
        writer.wait().unwrap();
        let next = Mount::with_state(&server, &options, state.path());
        assert!(
            wait_for(SOON, || names(&server) == ["file"]),
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
