//! Working without a server that cannot be reached (`-o offline=yes`): what was seen is shown, what
//! is written waits, and everything else fails immediately.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use crate::support::{Mount, TestServer, assert_errno, shell, stories_on, wait_for};

/// Longest time until the mount notices that the server is away or back.
pub(crate) const NOTICED: Duration = Duration::from_secs(40);

/// Returns the value at `key` in `ftpfs status --json`. A mount answers some time after it shows
/// files.
pub(crate) fn status(mount: &Mount, key: &str) -> serde_json::Value {
    let mut status: Option<serde_json::Value> = None;
    let is_told = wait_for(NOTICED, || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ftpfs"));
        let output = command.args(["status", "--json"]).arg(mount.path());
        status = serde_json::from_slice(&output.output().unwrap().stdout).ok();
        status.is_some()
    });
    assert!(is_told, "{}", mount.log());
    status.unwrap()[key].clone()
}

pub(crate) fn is_offline(mount: &Mount) -> bool {
    !status(mount, "offline").is_null()
}

/// Kills the server and waits until the mount has given it up, which takes operations.
pub(crate) fn lose(server: &TestServer, mount: &Mount) {
    server.kill();
    assert!(wait_for(NOTICED, || {
        let _ = fs::metadata(mount.join("a name to ask for"));
        is_offline(mount)
    }));
}

/// Starts the server again and waits until the mount has found it.
pub(crate) fn find_again(server: &TestServer, mount: &Mount) {
    server.start_again();
    shell(
        mount.path(),
        &format!("{} refresh .", env!("CARGO_BIN_EXE_ftpfs")),
    );
    assert!(wait_for(NOTICED, || !is_offline(mount)));
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

/// Lists the names in a directory of the mount, in order.
pub(crate) fn names(mount: &Mount, directory: &str) -> String {
    // A program that starts in a directory of the mount holds the sockets of an embedded server.
    let listed = shell(mount.path(), &format!("ls {directory}")).stdout;
    String::from_utf8(listed)
        .unwrap()
        .replace('\n', " ")
        .trim_end()
        .to_owned()
}

/// Asserts that what `act` asks of the mount fails because the server cannot be reached.
pub(crate) fn unreachable<T: std::fmt::Debug>(act: std::io::Result<T>) {
    assert_errno(act, libc::ENETUNREACH);
}

pub(crate) fn plant(server: &TestServer) {
    // What was changed just now is not kept: it may change again without a sign.
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 3600);
    for (path, text) in [
        ("docs/a.txt", "alpha\n"),
        ("docs/b.txt", "beta\n"),
        ("other/c.txt", "gamma\n"),
    ] {
        let file = File::options().write(true).open(server.write(path, text));
        file.unwrap().set_modified(yesterday).unwrap();
    }
    server.hand_over();
}

stories_on! {
    [embedded Embedded, vsftpd Vsftpd, proftpd Proftpd]

    /// Listings that were seen are shown, names that they lack do not exist, and no program waits.
    fn what_was_seen_is_shown(server: &TestServer, mount: &Mount)
    with ["offline=yes", "dir_ttl=1", "attr_ttl=0"] {
        plant(server);
        assert_eq!(names(mount, "docs"), "a.txt b.txt");
        lose(server, mount);
        let began = Instant::now();
        assert_eq!(names(mount, "docs"), "a.txt b.txt");
        assert_eq!(fs::metadata(mount.join("docs/a.txt")).unwrap().len(), 6);
        assert_errno(fs::metadata(mount.join("docs/nosuch")), libc::ENOENT);
        unreachable(fs::read_dir(mount.join("other")));
        unreachable(fs::create_dir(mount.join("docs/new")));
        unreachable(fs::remove_file(mount.join("docs/b.txt")));
        unreachable(fs::rename(mount.join("docs/b.txt"), mount.join("docs/c.txt")));
        unreachable(fs::write(mount.join("docs/new.txt"), "x"));
        assert!(began.elapsed() < Duration::from_secs(4), "nobody waits");
        assert_eq!(names(mount, "docs"), "a.txt b.txt");
        find_again(server, mount);
        assert_eq!(names(mount, "other"), "c.txt");
        fs::write(mount.join("docs/new.txt"), "x").unwrap();
        assert_eq!(server.read("docs/new.txt"), b"x");
        assert_eq!(names(mount, "docs"), "a.txt b.txt new.txt");
    }

    /// With writeback, files are written without the server and stored when it is back.
    fn what_is_written_waits(server: &TestServer, mount: &Mount)
    with ["offline=yes", "writeback", "dir_ttl=1", "attr_ttl=0"] {
        plant(server);
        assert_eq!(names(mount, "docs"), "a.txt b.txt");
        lose(server, mount);
        fs::write(mount.join("docs/new.txt"), "new\n").unwrap();
        fs::write(mount.join("docs/a.txt"), "replaced\n").unwrap();
        shell(mount.path(), "echo more >> docs/new.txt");
        assert_eq!(read(mount.join("docs/new.txt")), "new\nmore\n");
        assert_eq!(read(mount.join("docs/a.txt")), "replaced\n");
        assert_eq!(names(mount, "docs"), "a.txt b.txt new.txt");
        unreachable(File::open(mount.join("docs/new.txt")).unwrap().sync_all());
        unreachable(fs::OpenOptions::new().append(true).open(mount.join("docs/b.txt")));
        fs::write(mount.join("docs/gone.txt"), "x").unwrap();
        fs::remove_file(mount.join("docs/gone.txt")).unwrap();
        assert_eq!(names(mount, "docs"), "a.txt b.txt new.txt");
        find_again(server, mount);
        assert!(wait_for(NOTICED, || server.root().join("docs/new.txt").exists()));
        assert!(wait_for(NOTICED, || server.read("docs/a.txt") == b"replaced\n"));
        assert_eq!(server.read("docs/new.txt"), b"new\nmore\n");
        shell(mount.path(), &format!("{} flush .", env!("CARGO_BIN_EXE_ftpfs")));
        assert!(!server.root().join("docs/gone.txt").exists());
    }

    /// A server that no longer says anything is given up after some seconds, also by those who wait
    /// for it.
    fn silence_is_noticed(server: &TestServer, mount: &Mount)
    with ["offline=yes", "dir_ttl=1", "attr_ttl=0", "open_ttl=0"] {
        plant(server);
        assert_eq!(names(mount, "docs"), "a.txt b.txt");
        server.freeze();
        let began = Instant::now();
        unreachable(fs::read_dir(mount.join("other")));
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        assert!(is_offline(mount));
        assert_eq!(names(mount, "docs"), "a.txt b.txt");
        server.thaw();
        shell(mount.path(), &format!("{} refresh .", env!("CARGO_BIN_EXE_ftpfs")));
        assert!(wait_for(NOTICED, || !is_offline(mount)));
        assert_eq!(names(mount, "other"), "c.txt");
    }

    /// A later mount starts without the server, and shows and reads what an earlier one has seen.
    fn a_mount_starts_without_the_server(server: &TestServer, first: &Mount)
    with ["offline=no"] {
        plant(server);
        let cache = tempfile::tempdir().unwrap();
        let option = format!("cache_dir={}", cache.path().join("c").display());
        let options = [option.as_str(), "dir_ttl=1", "attr_ttl=0"];
        let seen = Mount::with_options(server, &options);
        assert_eq!(names(&seen, "docs"), "a.txt b.txt");
        assert_eq!(names(&seen, "."), "docs other");
        assert_eq!(read(seen.join("docs/a.txt")), "alpha\n");
        seen.unmount();
        server.kill();
        let mount = Mount::with_options(server, &options);
        assert!(is_offline(&mount));
        assert_eq!(names(&mount, "."), "docs other");
        assert_eq!(names(&mount, "docs"), "a.txt b.txt");
        assert_eq!(read(mount.join("docs/a.txt")), "alpha\n");
        unreachable(fs::read(mount.join("docs/b.txt")));
        assert_errno(fs::metadata(mount.join("docs/nosuch")), libc::ENOENT);
        unreachable(fs::read_dir(mount.join("other")));
        mount.unmount();
        let options = [options.as_slice(), &["delay_connect"]].concat();
        let mount = Mount::with_options(server, &options);
        assert_eq!(names(&mount, "docs"), "a.txt b.txt");
        find_again(server, &mount);
        assert_eq!(read(mount.join("docs/b.txt")), "beta\n");
        assert_eq!(names(&mount, "other"), "c.txt");
    }

    /// What was changed on both sides is kept in both versions.
    fn both_versions_of_a_conflict_are_kept(server: &TestServer, mount: &Mount)
    with ["offline=yes", "writeback", "dir_ttl=1", "attr_ttl=0"] {
        plant(server);
        assert_eq!(names(mount, "docs"), "a.txt b.txt");
        lose(server, mount);
        fs::write(mount.join("docs/a.txt"), "mine\n").unwrap();
        fs::write(mount.join("docs/b.txt"), "mine, too\n").unwrap();
        fs::write(mount.join("docs/new.txt"), "my new one\n").unwrap();
        let mut late = File::create(mount.join("docs/late.txt")).unwrap();
        server.write("docs/late.txt", "their late one\n");
        server.write("docs/a.txt", "theirs, which is longer\n");
        fs::remove_file(server.root().join("docs/b.txt")).unwrap();
        server.write("docs/new.txt", "their new one\n");
        server.hand_over();
        find_again(server, mount);
        // It was begun without the server and is closed with it.
        late.write_all(b"my late one\n").unwrap();
        drop(late);
        assert!(wait_for(NOTICED, || status(mount, "uploads")["waiting"] == 0), "{}", mount.log());
        assert_eq!(server.read("docs/late.txt"), b"their late one\n");
        assert_eq!(server.read("docs/a.txt"), b"theirs, which is longer\n");
        assert_eq!(server.read("docs/b.txt"), b"mine, too\n");
        assert_eq!(server.read("docs/new.txt"), b"their new one\n");
        let beside = |name: &str| {
            let prefix = format!("{name}.conflict-");
            let listed = fs::read_dir(mount.join("docs")).unwrap();
            let names = listed.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let found: Vec<_> = names.filter(|it| it.starts_with(&prefix)).collect();
            assert_eq!(found.len(), 1, "{found:?}");
            read(mount.join("docs").join(&found[0]))
        };
        assert_eq!(beside("a.txt"), "mine\n");
        assert_eq!(beside("new.txt"), "my new one\n");
        assert_eq!(beside("late.txt"), "my late one\n");
        assert_eq!(read(mount.join("docs/a.txt")), "theirs, which is longer\n");
        assert!(mount.log().contains("was changed there; this version is /docs/a.txt.conflict-"));
    }

    /// What a killed mount left is shown by the next one, also without the server, and stored when
    /// that is back. A file that was read can be changed without the server.
    fn what_waits_survives_a_kill(server: &TestServer, first: &Mount)
    with ["offline=no"] {
        plant(server);
        let home = tempfile::tempdir().unwrap();
        let option = format!("cache_dir={}", home.path().join("c").display());
        let options = [option.as_str(), "writeback", "dir_ttl=1", "attr_ttl=0"];
        let mount = Mount::with_state(server, &options, home.path());
        assert_eq!(names(&mount, "docs"), "a.txt b.txt");
        assert_eq!(names(&mount, "."), "docs other");
        assert_eq!(read(mount.join("docs/a.txt")), "alpha\n");
        // A listing is on the disk some seconds after it came.
        assert!(wait_for(NOTICED, || {
            let stored = shell(home.path(), "find c -path '*/listings/*' -type f | wc -l");
            String::from_utf8(stored.stdout).unwrap().trim() == "2"
        }));
        lose(server, &mount);
        fs::write(mount.join("docs/new.txt"), "new\n").unwrap();
        shell(mount.path(), "echo more >> docs/a.txt");
        mount.kill_nine();
        let mount = Mount::with_state(server, &options, home.path());
        assert!(is_offline(&mount));
        assert_eq!(names(&mount, "docs"), "a.txt b.txt new.txt");
        assert_eq!(read(mount.join("docs/new.txt")), "new\n");
        assert_eq!(read(mount.join("docs/a.txt")), "alpha\nmore\n");
        find_again(server, &mount);
        assert!(wait_for(NOTICED, || server.root().join("docs/new.txt").exists()), "{}", mount.log());
        assert!(wait_for(NOTICED, || server.read("docs/a.txt") == b"alpha\nmore\n"));
        assert_eq!(server.read("docs/new.txt"), b"new\n");
        // The end of the mount looks for the server.
        lose(server, &mount);
        fs::write(mount.join("docs/last.txt"), "last\n").unwrap();
        server.start_again();
        mount.unmount();
        assert_eq!(server.read("docs/last.txt"), b"last\n");
    }

    /// A large file whose contents are not here can be appended to.
    fn a_line_is_appended_without_the_contents(server: &TestServer, mount: &Mount)
    with ["offline=yes", "writeback", "dir_ttl=1", "attr_ttl=0"] {
        plant(server);
        let mut large = vec![b'x'; 1 << 20];
        server.write("docs/large", &large);
        server.hand_over();
        assert_eq!(names(mount, "docs"), "a.txt b.txt large");
        lose(server, mount);
        shell(mount.path(), "echo line >> docs/large; echo more >> docs/large");
        large.extend(b"line\nmore\n");
        assert_eq!(fs::metadata(mount.join("docs/large")).unwrap().len(), large.len() as u64);
        unreachable(fs::read(mount.join("docs/large")));
        find_again(server, mount);
        assert!(wait_for(NOTICED, || server.read("docs/large") == large), "{}", mount.log());
        assert!(fs::read(mount.join("docs/large")).unwrap() == large);
    }
}
