//! `-o writeback`: a close returns when the local disk has the file. The server has it soon after,
//! under its last name and with its last content, and for certain after `fsync`, `sync` and the
//! unmount.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{
    Ending, Kind, Mount, TestServer, assert_errno, assert_same_tree, lines, shell, stories,
    wait_for,
};
use ftpfs::server::{Fault, Misdeed};
use tempfile::TempDir;

/// Maximum time for background work.
const SOON: Duration = Duration::from_secs(60);

/// Creates a tree of small files, a large one, and odd names.
fn local_tree() -> TempDir {
    let tree = tempfile::tempdir().unwrap();
    shell(
        tree.path(),
        "mkdir -p t/a/b 't/with blank' t/empty
         for n in $(seq 30); do seq $((n * 50)) > t/a/file$n.txt; done
         head -c 9000000 /dev/urandom > t/a/b/random.bin
         : > t/a/nothing
         echo odd > 't/with blank/näme (1).txt'
         printf '#!/bin/sh\\necho it runs\\n' > t/run.sh
         chmod 755 t/run.sh
         touch -d '2020-02-02 02:02:02 UTC' t/a/file1.txt",
    );
    tree
}

/// Whether the server eventually has exactly this content, without any call that waits for it.
fn comes_to_have(server: &TestServer, name: &str, content: &[u8]) -> bool {
    wait_for(SOON, || {
        fs::read(server.root().join(name)).is_ok_and(|found| found == content)
    })
}

/// Mounts a server that refuses to store anything; the mount knows the names in its root.
fn without_room(options: &[&str]) -> (TestServer, Mount) {
    let (server, mount) = embedded(options);
    refuse(&server, 552);
    (server, mount)
}

fn embedded(options: &[&str]) -> (TestServer, Mount) {
    let server = TestServer::start(Kind::Embedded);
    let options = [&["writeback", "dir_ttl=600", "timeout=3"], options].concat();
    let mount = Mount::with_options(&server, &options);
    shell(mount.path(), "ls");
    (server, mount)
}

/// Makes the server refuse every STOR from now on.
fn refuse(server: &TestServer, code: u16) {
    let full = Misdeed::BreakData { after: 0, code };
    let faults = server.embedded().unwrap();
    faults.faults().add(Fault::on("STOR", full).always());
}

/// Writes in a separate program that checks the result of close; a child of this process would
/// close a copy of its descriptor.
fn write(path: &Path, content: &str) -> io::Result<()> {
    let script = "import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
os.write(fd, sys.stdin.buffer.read())
os.close(fd)";
    let mut program = Command::new("python3")
        .args(["-c", script])
        .arg(path)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    program
        .stdin
        .take()
        .unwrap()
        .write_all(content.as_bytes())?;
    let output = program.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let number = words
        .split("[Errno ")
        .nth(1)
        .and_then(|it| it.split(']').next());
    Err(io::Error::from_raw_os_error(
        number.unwrap().parse().unwrap(),
    ))
}

stories! {
    fn the_server_has_a_closed_file_soon(server: &TestServer, mount: &Mount) with ["writeback"] {
        write(&mount.join("file"), "content").unwrap();
        assert!(comes_to_have(server, "file", b"content"));
        write(&mount.join("file"), "more content").unwrap();
        assert_eq!(fs::read(mount.join("file")).unwrap(), b"more content");
        assert!(comes_to_have(server, "file", b"more content"));
        assert!(wait_for(SOON, || server.names() == ["file"]));
    }

    fn cp_tar_and_rsync_bring_trees_over(server: &TestServer, mount: &Mount) with ["writeback"] {
        let local = local_tree();
        let from = local.path().display();
        shell(local.path(), "tar cf t.tar t");
        shell(mount.path(), &format!(
            "cp -a {from}/t copied; mkdir untarred; tar xf {from}/t.tar -C untarred --strip-components=1; rsync -a {from}/t/ synced"
        ));
        shell(mount.path(), "sync .");
        for tree in ["copied", "untarred", "synced"] {
            assert_same_tree(local.path().join("t"), server.root().join(tree));
            let time = lines(&shell(server.root(), &format!("date -u -r {tree}/a/file1.txt +%FT%T")));
            assert_eq!(time, ["2020-02-02T02:02:02"], "{tree}");
            let mode = lines(&shell(server.root(), &format!("stat -c %a {tree}/run.sh")));
            assert_eq!(mode, ["755"], "{tree}");
        }
        let again = lines(&shell(mount.path(), &format!("rsync -a --itemize-changes {from}/t/ synced")));
        let sent: Vec<_> = again.iter().filter(|line| line.starts_with(">f")).collect();
        assert!(sent.is_empty(), "{sent:?}");
        for tree in ["copied", "untarred", "synced"] {
            assert_same_tree(local.path().join("t"), mount.join(tree));
        }
        let left = shell(server.root(), "find . -name '.ftpfs-*'");
        assert_eq!(lines(&left), [""; 0]);
    }

    fn git_works_in_it(server: &TestServer, mount: &Mount) with ["writeback"] {
        let git = "git -c user.name=T -c user.email=t@example.org -c gc.auto=0 -c safe.directory=*";
        shell(mount.path(), &format!(
            "git init -q -b main work; cd work; for n in $(seq 12); do echo $n > $n; done; {git} add .; {git} commit -qm one
             {git} switch -qc branch; echo more >> 3; {git} rm -q 4; {git} commit -qam two; {git} switch -q main; {git} merge -q branch
             {git} fsck --strict; test -z \"$({git} status --porcelain)\"; sync ."
        ));
        let there = shell(server.root(), &format!("cd work; {git} fsck --strict; {git} log --oneline | wc -l"));
        assert_eq!(lines(&there), ["2"]);
        assert_eq!(server.read("work/3"), b"3\nmore\n");
    }

    fn fsync_waits_for_the_server(server: &TestServer, mount: &Mount) with ["writeback"] {
        for content in ["one", "another"] {
            let mut file = File::create(mount.join("file")).unwrap();
            file.write_all(content.as_bytes()).unwrap();
            file.sync_all().unwrap();
            assert_eq!(server.read("file"), content.as_bytes());
        }
        write(&mount.join("closed"), "content").unwrap();
        // Like sync(1): through a read-only descriptor.
        File::open(mount.join("closed")).unwrap().sync_all().unwrap();
        assert_eq!(server.read("closed"), b"content");
    }

    fn the_end_of_the_mount_waits_for_the_server(server: &TestServer, _mount: &Mount) {
        for (number, ending) in [Ending::Unmount, Ending::Signal].into_iter().enumerate() {
            let mount = Mount::with_options(server, &["writeback"]);
            let directory = format!("d{number}");
            shell(mount.path(), &format!("mkdir {directory}; for n in $(seq 50); do echo $n > {directory}/$n; done"));
            let (status, log) = mount.end_within(SOON, ending);
            assert!(status.success(), "{log}");
            for n in 1..=50 {
                assert_eq!(server.read(format!("{directory}/{n}")), format!("{n}\n").as_bytes());
            }
        }
    }

    /// Every program of this mount sees the pending files, regardless of the server.
    fn what_waits_is_seen_moved_and_removed_without_the_server(server: &TestServer, _mount: &Mount) {
        server.write("old", "old");
        server.write("target", "on the server");
        fs::create_dir(server.root().join("dir")).unwrap();
        server.hand_over();
        let mount = Mount::with_options(server, &["writeback", "dir_ttl=600", "attr_ttl=600", "timeout=5"]);
        shell(mount.path(), "ls -l . dir");
        server.freeze();
        write(&mount.join("new"), "new content").unwrap();
        write(&mount.join("dir/gone"), "gone").unwrap();
        write(&mount.join("temporary"), "to be the target").unwrap();
        write(&mount.join("unnamed"), "to be renamed").unwrap();
        assert_eq!(lines(&shell(mount.path(), "ls dir")), ["gone"]);
        assert_eq!(fs::read(mount.join("new")).unwrap(), b"new content");
        assert_eq!(fs::metadata(mount.join("new")).unwrap().len(), 11);
        fs::rename(mount.join("unnamed"), mount.join("dir/named")).unwrap();
        fs::rename(mount.join("temporary"), mount.join("target")).unwrap();
        fs::remove_file(mount.join("dir/gone")).unwrap();
        let shown = ["dir", "new", "old", "target"];
        assert_eq!(lines(&shell(mount.path(), "ls")), shown);
        assert_eq!(fs::read(mount.join("target")).unwrap(), b"to be the target");
        assert_errno(fs::remove_dir(mount.join("dir")), libc::ENOTEMPTY);
        server.thaw();
        assert!(comes_to_have(server, "dir/named", b"to be renamed"));
        assert!(comes_to_have(server, "target", b"to be the target"));
        assert!(comes_to_have(server, "new", b"new content"));
        mount.unmount();
        assert_eq!(server.names(), shown);
        assert_eq!(lines(&shell(server.root(), "ls -A dir")), ["named"]);
    }

    /// A name finally has the content that was last written.
    fn the_last_content_wins(server: &TestServer, mount: &Mount) with ["writeback"] {
        for round in 0..5 {
            for step in 0..8 {
                let content = format!("{round} {step}\n");
                match step {
                    0..3 => write(&mount.join("a"), &content).unwrap(),
                    3 => shell(mount.path(), &format!("printf '{content}' >> a; truncate -s 3 a")).status.success().then_some(()).unwrap(),
                    4 => { write(&mount.join("b"), &content).unwrap(); fs::rename(mount.join("b"), mount.join("a")).unwrap(); }
                    5 => { fs::remove_file(mount.join("a")).unwrap(); write(&mount.join("a"), &content).unwrap(); }
                    6 => fs::rename(mount.join("a"), mount.join("c")).unwrap(),
                    _ => { write(&mount.join("a"), &content).unwrap(); shell(mount.path(), "echo more >> a; mkdir -p d; mv c d/c; mv d e; mv e/c c; rmdir e"); }
                }
            }
        }
        assert_eq!(fs::read(mount.join("a")).unwrap(), b"4 7\nmore\n");
        shell(mount.path(), "sync .");
        assert_eq!(server.read("a"), b"4 7\nmore\n");
        assert_eq!(server.read("c"), b"4 5\n");
        assert_eq!(server.names(), ["a", "c"]);
    }

    /// Pending files move along with their directory.
    fn a_moved_directory_takes_its_files_along(server: &TestServer, mount: &Mount) with ["writeback"] {
        shell(mount.path(), "mkdir -p a/b; for n in $(seq 20); do echo $n > a/b/$n; done; mv a c; mv c/b d; rmdir c");
        assert_eq!(fs::read_dir(mount.join("d")).unwrap().count(), 20);
        shell(mount.path(), "sync d");
        for n in 1..=20 {
            assert_eq!(server.read(format!("d/{n}")), format!("{n}\n").as_bytes());
        }
        assert_eq!(server.names(), ["d"]);
    }

    /// A tree that is removed right after it was written does not reappear.
    fn what_is_removed_does_not_come_back(server: &TestServer, mount: &Mount) with ["writeback"] {
        shell(mount.path(), "mkdir t; for n in $(seq 40); do head -c 100000 /dev/zero > t/$n; done; rm -r t");
        assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 0);
        shell(mount.path(), "sync .");
        assert_eq!(server.names(), [""; 0]);
    }

    /// The server is killed and comes back: files closed in the meantime are stored automatically.
    fn a_server_that_comes_back_gets_what_was_closed(server: &TestServer, mount: &Mount) with ["writeback", "dir_ttl=600", "timeout=5"] {
        shell(mount.path(), "ls");
        server.kill();
        for n in 0..10 {
            write(&mount.join(format!("file{n}")), &format!("content {n}")).unwrap();
        }
        assert_eq!(fs::read(mount.join("file7")).unwrap(), b"content 7");
        let file = OpenOptions::new().append(true).open(mount.join("file7")).unwrap();
        assert!(file.sync_all().is_err(), "fsync says how it is");
        drop(file);
        server.start_again();
        for n in 0..10 {
            assert!(comes_to_have(server, &format!("file{n}"), format!("content {n}").as_bytes()), "{n}");
        }
    }
}

/// Closing small files sends nothing: it works while no command is answered.
#[test]
fn closing_sends_nothing() {
    let (server, mount) = embedded(&[]);
    let local = tempfile::tempdir().unwrap();
    shell(
        local.path(),
        "for n in $(seq 100); do head -c 4096 /dev/urandom > $n; done",
    );
    server.freeze();
    let before = server.commands().len();
    shell(mount.path(), &format!("cp {}/* .", local.path().display()));
    let sent = server.commands().split_off(before);
    assert!(
        sent.iter().all(|line| !line.starts_with("RNTO")),
        "nothing came through: {sent:?}"
    );
    server.thaw();
    assert!(wait_for(SOON, || server.names().len() == 100));
    mount.unmount();
    assert_same_tree(local.path(), server.root());
}

/// More files than may be pending, and fewer descriptors than files.
#[test]
fn many_files_do_not_all_wait() {
    let (server, mount) = embedded(&[]);
    shell(mount.path(), "for n in $(seq 700); do echo $n > $n; done");
    let descriptors = fs::read_dir(format!("/proc/{}/fd", mount.pid()))
        .unwrap()
        .count();
    assert!(descriptors < 400, "{descriptors} descriptors");
    mount.unmount();
    assert_eq!(server.names().len(), 700);
    assert_eq!(server.read("700"), b"700\n");
}

#[test]
fn a_refused_file_is_told_once_kept_and_stored_when_it_is_closed_again() {
    let (server, mount) = without_room(&[]);
    let file = mount.join("file");
    write(&file, "content").unwrap();
    assert!(
        wait_for(SOON, || mount.log().contains("/file: ")),
        "{}",
        mount.log()
    );
    assert_eq!(
        fs::read(&file).unwrap(),
        b"content",
        "it is there all the same"
    );
    let told = OpenOptions::new().append(true).open(&file);
    assert_errno(told, libc::EDQUOT);
    assert_eq!(
        mount.log().matches("it is kept").count(),
        1,
        "{}",
        mount.log()
    );
    let tries = |server: &TestServer| {
        let commands = server.commands();
        commands
            .iter()
            .filter(|line| line.starts_with("STOR"))
            .count()
    };
    let before = tries(&server);
    server.embedded().unwrap().faults().clear();
    assert_eq!(
        tries(&server),
        before,
        "what is refused is not tried for ever"
    );
    let mut again = OpenOptions::new().append(true).open(&file).unwrap();
    again.write_all(b" and more").unwrap();
    drop(again);
    assert!(comes_to_have(&server, "file", b"content and more"));
}

/// A 451 without a reason means that a later attempt may succeed.
#[test]
fn what_the_server_calls_temporary_is_stored_by_itself() {
    let (server, mount) = embedded(&[]);
    refuse(&server, 451);
    write(&mount.join("file"), "content").unwrap();
    let is_told = || mount.log().contains("it is kept and will be retried\n");
    assert!(wait_for(SOON, is_told), "{}", mount.log());
    server.embedded().unwrap().faults().clear();
    assert!(comes_to_have(&server, "file", b"content"));
}

#[test]
fn a_program_that_closes_after_a_refusal_is_told() {
    let (_server, mount) = without_room(&[]);
    let file = mount.join("file");
    let script = "import os, sys, time
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o644)
os.write(fd, b'content')
os.close(os.dup(fd))
while 'it is kept' not in open(sys.argv[2]).read(): time.sleep(0.01)
try: os.close(fd)
except OSError as error: sys.exit(error.errno)";
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut program = Command::new("python3")
        .args(["-c", script])
        .arg(&file)
        .arg(log.path())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut status = None;
    wait_for(SOON, || {
        fs::write(log.path(), mount.log()).unwrap();
        status = program.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(libc::EDQUOT));
    let synced = OpenOptions::new().read(true).open(&file).unwrap();
    assert_errno(synced.sync_all(), libc::EDQUOT);
    assert_errno(File::open(mount.path()).unwrap().sync_all(), libc::EDQUOT);
}

#[test]
fn what_is_refused_until_the_end_waits_for_the_next_mount() {
    let server = TestServer::start(Kind::Embedded);
    let state = TempDir::new().unwrap();
    let mount = Mount::with_state(&server, &["writeback", "timeout=3"], state.path());
    refuse(&server, 452);
    write(&mount.join("file"), "content").unwrap();
    let (status, log) = mount.end_within(SOON, Ending::Unmount);
    assert!(status.success(), "{log}");
    assert!(
        log.contains("/file is not stored yet; the next mount"),
        "{log}"
    );
    server.embedded().unwrap().faults().clear();
    let next = Mount::with_state(&server, &["writeback"], state.path());
    assert_eq!(fs::read(next.join("file")).unwrap(), b"content");
    next.unmount();
    assert_eq!(server.read("file"), b"content");
    assert_eq!(left_in(state.path()), [""; 0].map(PathBuf::from));
}

/// Returns what mounts left in their state directory.
fn left_in(state: &Path) -> Vec<PathBuf> {
    let entries = |directory: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let places = entries(&state.join("ftpfs"));
    let left = places.iter().flat_map(|place| entries(place));
    // The server's profile outlives mounts.
    left.filter(|path| {
        !["lock", "profile"]
            .map(AsRef::as_ref)
            .contains(&path.file_name().unwrap())
    })
    .collect()
}

/// Killed before anything reached the server: the next mount stores the closed files under their
/// last names, and nothing that was removed.
#[test]
fn what_was_closed_survives_a_kill() {
    let server = TestServer::start(Kind::Embedded);
    let state = TempDir::new().unwrap();
    server.write("over", "old");
    server.write("renamed over", "old");
    server.write("half", "old");
    let mount = Mount::with_state(
        &server,
        &["writeback", "dir_ttl=600", "timeout=5"],
        state.path(),
    );
    shell(mount.path(), "ls -l");
    server.freeze();
    write(&mount.join("new"), "new").unwrap();
    write(&mount.join("over"), "over").unwrap();
    write(&mount.join("over"), "over again").unwrap();
    write(&mount.join("removed"), "removed").unwrap();
    write(&mount.join("temporary"), "renamed").unwrap();
    write(&mount.join("half"), "closed").unwrap();
    fs::remove_file(mount.join("removed")).unwrap();
    fs::rename(mount.join("temporary"), mount.join("renamed over")).unwrap();
    shell(
        mount.path(),
        "chmod 600 new; touch -d '2020-02-02 02:02:02 UTC' new",
    );
    // Rewritten and not closed: the content of the previous close counts.
    let script = "import os, sys; f = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC); os.write(f, b'ha'); print(flush=True); sys.stdin.read()";
    let mut writer = Command::new("python3")
        .args(["-c", script])
        .arg(mount.join("half"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    io::Read::read_exact(writer.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    assert_eq!(fs::read(mount.join("half")).unwrap(), b"ha");
    mount.kill_nine();
    drop(writer.stdin.take());
    let _ended = writer.wait();
    assert_eq!(server.read("over"), b"old", "nothing had come through");
    server.thaw();
    let next = Mount::with_state(&server, &["writeback"], state.path());
    let expected = [
        ("half", "closed"),
        ("new", "new"),
        ("over", "over again"),
        ("renamed over", "renamed"),
    ];
    for (name, content) in expected {
        let shown = fs::read_to_string(next.join(name)).unwrap();
        assert_eq!(shown, content, "{name}: {}", next.log());
    }
    let is_stored = || {
        server.names() == expected.map(|(name, _)| name)
            && expected
                .iter()
                .all(|(name, content)| server.read(name) == content.as_bytes())
    };
    assert!(wait_for(SOON, is_stored), "{}", next.log());
    let new = fs::metadata(server.root().join("new")).unwrap();
    assert_eq!((new.mode() & 0o777, new.mtime()), (0o600, 1_580_608_922));
    next.unmount();
    assert_eq!(left_in(state.path()), [""; 0].map(PathBuf::from));
}

/// A full spool makes writers wait as long as files are being stored or sent, and is an error when
/// none are.
#[test]
fn writers_wait_for_room_in_the_spool() {
    let (server, mount) = embedded(&["spool_size=4M"]);
    shell(
        mount.path(),
        "for n in $(seq 12); do head -c 1000000 /dev/zero > $n; done; sync .",
    );
    assert!((1..=12).all(|n| server.read(n.to_string()).len() == 1_000_000));
    shell(mount.path(), "head -c 5000000 /dev/zero > large; sync .");
    assert_eq!(server.read("large").len(), 5_000_000);
    refuse(&server, 552);
    for n in 0..4 {
        let file = mount.join(format!("stuck{n}"));
        write(&file, &"x".repeat(1_000_000)).unwrap();
    }
    assert!(wait_for(SOON, || mount.log().matches("it is kept").count() == 4));
    assert_errno(
        write(&mount.join("more"), &"x".repeat(250_000)),
        libc::ENOSPC,
    );
}

/// The time of a pending file is its write time, before and after it is stored.
#[test]
fn the_time_of_a_file_does_not_change_when_it_is_stored() {
    let (server, mount) = embedded(&[]);
    server.freeze();
    write(&mount.join("file"), "content").unwrap();
    let before = fs::metadata(mount.join("file")).unwrap().mtime();
    let passed = wait_for(SOON, || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_secs() as i64 > before + 1
    });
    assert!(passed);
    server.thaw();
    assert!(comes_to_have(&server, "file", b"content"));
    shell(mount.path(), "sync .");
    assert_eq!(fs::metadata(mount.join("file")).unwrap().mtime(), before);
    assert_eq!(
        fs::metadata(server.root().join("file")).unwrap().mtime(),
        before
    );
}

#[test]
fn without_a_state_directory_there_is_no_writeback() {
    let server = TestServer::start(Kind::Embedded);
    let point = TempDir::new().unwrap();
    let output = Command::new("timeout")
        .args([
            "60",
            env!("CARGO_BIN_EXE_ftpfs"),
            "-f",
            "-o",
            "writeback",
            &server.url(),
        ])
        .arg(point.path())
        .env("FTPFS_PASSWORD", server.password())
        .env("XDG_STATE_HOME", "/proc/nothing")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        words.contains("cannot keep the state of this mount in /proc/nothing"),
        "{words}"
    );
    assert!(!crate::support::is_mounted(point.path()));
}

/// A rename interrupts the upload that a sync of the directory above waits for.
#[test]
fn a_sync_waits_for_a_file_that_is_renamed_meanwhile() {
    let server = TestServer::start(Kind::Embedded);
    fs::create_dir(server.root().join("d")).unwrap();
    let mount = Mount::with_options(&server, &["writeback"]);
    let embedded = server.embedded().unwrap();
    let faults = embedded.faults();
    let late = Misdeed::LateReply(Duration::from_secs(1));
    faults.add(Fault::on("STOR", late));
    write(&mount.join("d/file"), "content").unwrap();
    std::thread::scope(|scope| {
        let syncing = scope.spawn(|| shell(mount.path(), "sync ."));
        assert!(wait_for(SOON, || faults.happened() > 0));
        fs::rename(mount.join("d/file"), mount.join("d/renamed")).unwrap();
        syncing.join().unwrap();
        assert_eq!(server.read("d/renamed"), b"content");
    });
}
