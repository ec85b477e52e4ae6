//! Files that wait for a server that cannot be reached: when they are tried, and what becomes of
//! them when it is back.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
use std::time::Duration;

use crate::offline::{NOTICED, find_again, is_offline, lose, names, plant, status, unreachable};
use crate::support::{
    Mount, Quirks, QuirkyServer, TestServer, assert_errno, shell, stories_on, wait_for,
};
use ftpfs::server::{Fault, Misdeed};

/// How long a sync may take that looks for the server. The next probe comes later.
const LOOKED_FOR: Duration = Duration::from_secs(4);

/// Number of files that wait in a story about many.
const MANY: usize = 200;

/// Runs `ftpfs flush` and returns whether it succeeded.
fn flush(mount: &Mount) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftpfs"));
    let output = command.arg("flush").arg(mount.path()).output().unwrap();
    output.status.success()
}

/// Returns how often the mount has tried to store a file without the server.
fn attempts(mount: &Mount) -> usize {
    let log = mount.log();
    let is_attempt = |line: &&str| line.contains("cannot store /docs/many-");
    log.lines().filter(is_attempt).count()
}

/// Writes `text` to docs/a.txt. The server stores it, but is lost before it says so.
fn save_without_answer(server: &TestServer, mount: &Mount, text: &str) {
    let embedded = server.embedded().unwrap();
    embedded
        .faults()
        .add(Fault::on("RNTO", Misdeed::NoReply).named("/a.txt").always());
    fs::write(mount.join("docs/a.txt"), text).unwrap();
    let is_placed = || server.read("docs/a.txt") == text.as_bytes();
    assert!(wait_for(NOTICED, is_placed), "{}", mount.log());
    drop(embedded);
    lose(server, mount);
}

/// Waits until nothing waits for its upload.
fn stored(mount: &Mount) {
    let is_done = || status(mount, "uploads")["waiting"] == 0;
    assert!(wait_for(NOTICED, is_done), "{}", mount.log());
}

/// A state directory with a cache, and the options to use it.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn mount(&self, server: &TestServer) -> Mount {
        let cache = format!("cache_dir={}", self.0.path().join("c").display());
        let options = [cache.as_str(), "writeback", "dir_ttl=1", "attr_ttl=0"];
        Mount::with_state(server, &options, self.0.path())
    }

    /// Waits until the listings of the root and of docs are on the disk.
    fn has_listings(&self) {
        assert!(wait_for(NOTICED, || {
            let stored = shell(self.0.path(), "find c -path '*/listings/*' -type f | wc -l");
            let count = String::from_utf8(stored.stdout).unwrap();
            count.trim().parse::<u32>().unwrap() >= 2
        }));
    }
}

stories_on! {
    [embedded Embedded]

    /// The server stored a file and was lost before it said so. What is saved afterwards replaces
    /// that file: no other client has changed it.
    fn our_own_upload_is_no_conflict(server: &TestServer, mount: &Mount)
    with ["offline=yes", "writeback", "dir_ttl=1", "attr_ttl=0"] {
        plant(server);
        assert_eq!(names(mount, "docs"), "a.txt b.txt");
        save_without_answer(server, mount, "first\n");
        fs::write(mount.join("docs/a.txt"), "second, which is longer\n").unwrap();
        find_again(server, mount);
        stored(mount);
        assert_eq!(server.read("docs/a.txt"), b"second, which is longer\n");
        assert_eq!(names(mount, "docs"), "a.txt b.txt", "{}", mount.log());
    }

    /// The same, if another client changes the file afterwards: both versions are kept.
    fn a_change_after_our_own_upload_is_a_conflict(server: &TestServer, mount: &Mount)
    with ["offline=yes", "writeback", "dir_ttl=1", "attr_ttl=0"] {
        plant(server);
        assert_eq!(names(mount, "docs"), "a.txt b.txt");
        save_without_answer(server, mount, "first\n");
        fs::write(mount.join("docs/a.txt"), "second, which is longer\n").unwrap();
        server.write("docs/a.txt", "their\n");
        find_again(server, mount);
        stored(mount);
        assert_eq!(server.read("docs/a.txt"), b"their\n");
        assert!(names(mount, "docs").starts_with("a.txt a.txt.conflict-"), "{}", mount.log());
    }

    /// The same across a kill: of the mount that saved twice, or between the two.
    fn our_own_upload_is_no_conflict_after_a_kill(server: &TestServer, first: &Mount)
    with ["offline=no"] {
        plant(server);
        for is_saved_before in [true, false] {
            let home = Home::new();
            let mount = home.mount(server);
            server.write("docs/a.txt", "old\n");
            assert_eq!(names(&mount, "."), "docs other");
            assert_eq!(names(&mount, "docs"), "a.txt b.txt");
            home.has_listings();
            save_without_answer(server, &mount, "first\n");
            let save = |mount: &Mount| fs::write(mount.join("docs/a.txt"), "second, longer\n");
            if is_saved_before {
                save(&mount).unwrap();
            }
            mount.kill_nine();
            let mount = home.mount(server);
            assert!(is_offline(&mount));
            if !is_saved_before {
                save(&mount).unwrap();
            }
            assert_eq!(fs::read(mount.join("docs/a.txt")).unwrap(), b"second, longer\n");
            find_again(server, &mount);
            stored(&mount);
            assert_eq!(server.read("docs/a.txt"), b"second, longer\n", "{}", mount.log());
            assert_eq!(names(&mount, "docs"), "a.txt b.txt", "{}", mount.log());
        }
    }

    /// What replaces a file that a killed mount left is compared with the server, too.
    fn a_change_under_a_killed_mount_is_a_conflict(server: &TestServer, first: &Mount)
    with ["offline=no"] {
        plant(server);
        let home = Home::new();
        let mount = home.mount(server);
        assert_eq!(names(&mount, "."), "docs other");
        assert_eq!(names(&mount, "docs"), "a.txt b.txt");
        home.has_listings();
        lose(server, &mount);
        fs::write(mount.join("docs/a.txt"), "first\n").unwrap();
        mount.kill_nine();
        let mount = home.mount(server);
        fs::write(mount.join("docs/a.txt"), "second\n").unwrap();
        server.write("docs/a.txt", "theirs, which is longer\n");
        find_again(server, &mount);
        stored(&mount);
        assert_eq!(server.read("docs/a.txt"), b"theirs, which is longer\n");
        assert!(names(&mount, "docs").starts_with("a.txt a.txt.conflict-"), "{}", mount.log());
    }
}

stories_on! {
    [embedded Embedded, vsftpd Vsftpd, proftpd Proftpd]

    /// However many files wait, the mount looks for the server, and does not try each file.
    fn many_files_wait_without_a_storm(server: &TestServer, mount: &Mount)
    with ["offline=yes", "writeback", "dir_ttl=1", "attr_ttl=0", "log_level=debug"] {
        plant(server);
        assert_eq!(names(mount, "docs"), "a.txt b.txt");
        lose(server, mount);
        for number in 0..MANY {
            fs::write(mount.join(format!("docs/many-{number}")), "x").unwrap();
        }
        assert_eq!(status(mount, "uploads")["waiting"], MANY);
        // All of them are due, and a user asks for them, too.
        assert!(!flush(mount));
        assert!(!flush(mount));
        assert_eq!(attempts(mount), 0, "{}", mount.log());
        assert_eq!(status(mount, "uploads")["waiting"], MANY);
        find_again(server, mount);
        let is_stored = |number| server.root().join(format!("docs/many-{number}")).exists();
        assert!(wait_for(NOTICED, || (0..MANY).all(is_stored)), "{}", mount.log());
        assert!(flush(mount));
        let commands = server.commands();
        let logins = commands.iter().filter(|it| it.starts_with("USER")).count();
        assert!(logins < MANY / 4, "{logins}");
    }

    /// fsync(2), `ftpfs flush` and the end of the mount look for the server and do not wait for the
    /// next probe.
    fn who_needs_the_server_looks_for_it(server: &TestServer, mount: &Mount)
    with ["offline=yes", "writeback", "dir_ttl=1", "attr_ttl=0"] {
        plant(server);
        assert_eq!(names(mount, "docs"), "a.txt b.txt");
        // One that was just looked for is not looked for again.
        let long_lost = || {
            lose(server, mount);
            let is_long_ago = || status(mount, "offline")["seconds"].as_f64() > Some(1.5);
            assert!(wait_for(NOTICED, is_long_ago), "{}", status(mount, "offline"));
        };
        long_lost();
        fs::write(mount.join("docs/synced"), "1").unwrap();
        server.start_again();
        // The mount may just have looked for it, or the server may be slow to greet.
        let synced = || File::open(mount.join("docs/synced")).unwrap().sync_all();
        assert!(wait_for(LOOKED_FOR, || synced().is_ok()), "{:?}", synced());
        assert_eq!(server.read("docs/synced"), b"1");
        long_lost();
        fs::write(mount.join("docs/below"), "2").unwrap();
        unreachable(File::open(mount.join("docs")).unwrap().sync_all());
        server.start_again();
        assert!(wait_for(NOTICED, || flush(mount)));
        assert_eq!(server.read("docs/below"), b"2");
    }
}

stories_on! {
    [embedded Embedded, vsftpd Vsftpd, proftpd Proftpd]

    /// A file that a program opened for writing without the server, and did not change, is the
    /// server's for all other programs as soon as that is back.
    fn an_unchanged_file_is_the_servers_when_it_is_back(server: &TestServer, first: &Mount)
    with ["offline=no"] {
        plant(server);
        let home = Home::new();
        let mount = home.mount(server);
        assert_eq!(names(&mount, "docs"), "a.txt b.txt");
        // What was read is in the cache some time after the server has completed the transfer.
        assert!(wait_for(NOTICED, || {
            assert_eq!(fs::read(mount.join("docs/a.txt")).unwrap(), b"alpha\n");
            let cached = shell(
                mount.path(),
                "getfattr --only-values -n user.ftpfs.cached docs/a.txt",
            );
            cached.stdout == b"whole"
        }));
        lose(server, &mount);
        let open = || File::options().read(true).write(true).open(mount.join("docs/a.txt"));
        let opened = open().unwrap();
        assert_eq!(fs::read(mount.join("docs/a.txt")).unwrap(), b"alpha\n");
        server.write("docs/a.txt", "theirs, which is longer\n");
        server.hand_over();
        find_again(server, &mount);
        let shows = || fs::read(mount.join("docs/a.txt")).unwrap();
        assert!(wait_for(NOTICED, || shows() == b"theirs, which is longer\n"), "{}", mount.log());
        // The program that has it open can still write, to the server's file.
        (&opened).write_all(b"THEIRS").unwrap();
        drop(opened);
        stored(&mount);
        assert_eq!(server.read("docs/a.txt"), b"THEIRS, which is longer\n", "{}", mount.log());
        assert_eq!(names(&mount, "docs"), "a.txt b.txt");
    }

    /// Two killed mounts left versions of the same file. They are stored when the server is back,
    /// also if the first attempt finds it away again.
    fn what_cannot_be_shown_is_stored_when_the_server_is_back(server: &TestServer, first: &Mount)
    with ["offline=no"] {
        plant(server);
        let home = Home::new();
        let (one, two) = (home.mount(server), home.mount(server));
        assert_eq!(names(&one, "."), "docs other");
        assert_eq!(names(&one, "docs"), "a.txt b.txt");
        assert_eq!(names(&two, "docs"), "a.txt b.txt");
        home.has_listings();
        lose(server, &one);
        assert!(wait_for(NOTICED, || {
            let _ = fs::metadata(two.join("a name to ask for"));
            is_offline(&two)
        }));
        fs::write(one.join("docs/new.txt"), "one\n").unwrap();
        fs::write(two.join("docs/new.txt"), "two\n").unwrap();
        one.kill_nine();
        two.kill_nine();
        let mount = home.mount(server);
        assert!(is_offline(&mount));
        // The first return finds a server that is lost again in the middle of the upload.
        if let Some(embedded) = { server.start_again(); server.embedded() } {
            embedded.faults().add(Fault::on("STOR", Misdeed::StallControl).always());
            assert!(wait_for(NOTICED, || embedded.faults().happened() > 0), "{}", mount.log());
            drop(embedded);
            lose(server, &mount);
            server.start_again();
        }
        let is_stored = || server.root().join("docs/new.txt").exists();
        assert!(wait_for(NOTICED * 2, is_stored), "{}", mount.log());
        let text = server.read("docs/new.txt");
        assert!(text == b"one\n" || text == b"two\n");
        assert!(wait_for(NOTICED, || names(&mount, "docs") == "a.txt b.txt new.txt"));
    }
}

/// Another spelling of a name is the same file on a server that ignores case, also without it.
#[test]
fn another_spelling_is_the_same_file_without_the_server() {
    let server = QuirkyServer::start(Quirks::none().case_blind());
    server.tree().file("/foo", "precious");
    let home = tempfile::tempdir().unwrap();
    let cache = format!("cache_dir={}", home.path().join("c").display());
    let state = home.path().to_str().unwrap().to_owned();
    let url = server.url();
    let mount = || {
        let options = [cache.as_str(), "dir_ttl=1", "attr_ttl=0"];
        Mount::in_environment(&url, "", &options, &[("XDG_STATE_HOME", &state)])
    };
    let seen = mount();
    assert_eq!(names(&seen, "."), "foo");
    assert_eq!(fs::metadata(seen.join("FOO")).unwrap().len(), 8);
    seen.unmount();
    drop(server);
    let mount = mount();
    assert!(is_offline(&mount));
    assert_eq!(names(&mount, "."), "foo");
    assert_eq!(fs::metadata(mount.join("FOO")).unwrap().len(), 8);
    assert_errno(fs::metadata(mount.join("FO")), libc::ENOENT);
}
