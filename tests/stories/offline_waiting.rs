//! Files that wait for a server that cannot be reached: when they are tried, and what becomes of
//! them when it is back.

use std::fs::{self, File};
use std::process::Command;

use crate::offline::{NOTICED, find_again, is_offline, lose, names, plant, status, unreachable};
use crate::support::{Mount, TestServer, shell, stories_on, wait_for};
use ftpfs::server::{Fault, Misdeed};

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
        File::open(mount.join("docs/synced")).unwrap().sync_all().unwrap();
        assert_eq!(server.read("docs/synced"), b"1");
        long_lost();
        fs::write(mount.join("docs/below"), "2").unwrap();
        unreachable(File::open(mount.join("docs")).unwrap().sync_all());
        server.start_again();
        assert!(wait_for(NOTICED, || flush(mount)));
        assert_eq!(server.read("docs/below"), b"2");
    }
}
