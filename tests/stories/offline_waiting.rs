//! Files that wait for a server that cannot be reached: when they are tried, and what becomes of
//! them when it is back.

use std::fs::{self, File};
use std::process::Command;

use crate::offline::{NOTICED, find_again, lose, names, plant, status, unreachable};
use crate::support::{Mount, stories_on, wait_for};

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
