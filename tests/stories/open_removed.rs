//! Files that are removed or replaced while programs have them open: they are renamed on the
//! server, and deleted at the last close. Their contents are not transferred.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use crate::support::{Kind, Mount, TestServer, assert_errno, shell, stories, wait_for};
use ftpfs::server::{Fault, Misdeed};
use tempfile::TempDir;

/// Larger than what ftpfs holds in memory for a reader.
const SIZE: usize = 24 << 20;

/// Maximum time for the work after a close, which the program does not wait for.
const SOON: Duration = Duration::from_secs(20);

fn pattern(stamp: u8) -> Vec<u8> {
    (0..SIZE)
        .map(|at| ((at / 251 + at) as u8).wrapping_mul(31) ^ stamp)
        .collect()
}

/// Returns the names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[track_caller]
fn assert_soon_holds(server: &TestServer, expected: &[&str]) {
    let is_so = || names(server.root()) == expected;
    assert!(wait_for(SOON, is_so), "{:?}", names(server.root()));
}

/// Opens a file and reads the beginning of it.
fn open(path: &Path) -> File {
    let file = File::open(path).unwrap();
    file.read_exact_at(&mut [0; 4096], 0).unwrap();
    file
}

#[track_caller]
fn assert_reads_on(file: &File, expected: &[u8]) {
    for at in [20 << 20, 8 << 20, SIZE - 4096] {
        let mut read = [0; 4096];
        file.read_exact_at(&mut read, at as u64).unwrap();
        assert!(read == expected[at..at + 4096], "at {at}");
    }
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    assert_eq!(file.metadata().unwrap().len(), SIZE as u64);
}

stories! {
    fn a_removed_file_is_read_to_its_end(server: &TestServer, mount: &Mount) {
        let content = pattern(1);
        server.write("dir/file", &content);
        let file = open(&mount.join("dir/file"));
        fs::remove_file(mount.join("dir/file")).unwrap();
        assert_errno(fs::metadata(mount.join("dir/file")), libc::ENOENT);
        assert!(names(&mount.join("dir")).is_empty());
        assert_eq!(shell(mount.path(), "find . | sort").stdout, b".\n./dir\n");
        assert_reads_on(&file, &content);
        drop(file);
        assert!(wait_for(SOON, || names(&server.root().join("dir")).is_empty()));
    }

    fn a_replaced_file_is_read_to_its_end(server: &TestServer, mount: &Mount) {
        let content = pattern(2);
        server.write("old", &content);
        server.write("new", "the new content");
        let file = open(&mount.join("old"));
        fs::rename(mount.join("new"), mount.join("old")).unwrap();
        assert_eq!(names(mount.path()), ["old"]);
        assert_eq!(fs::read(mount.join("old")).unwrap(), b"the new content");
        assert_reads_on(&file, &content);
        drop(file);
        assert_soon_holds(server, &["old"]);
        assert_eq!(server.read("old"), b"the new content");
    }

    fn a_file_removed_with_its_directories_is_read_to_its_end(server: &TestServer, mount: &Mount) {
        let content = pattern(3);
        server.write("a/b/file", &content);
        let file = open(&mount.join("a/b/file"));
        shell(mount.path(), "rm -r a");
        assert!(names(mount.path()).is_empty());
        assert_reads_on(&file, &content);
        drop(file);
        assert_soon_holds(server, &[]);
    }

    fn a_removed_file_follows_its_directory(server: &TestServer, mount: &Mount) {
        let content = pattern(4);
        server.write("a/b/file", &content);
        let file = open(&mount.join("a/b/file"));
        fs::remove_file(mount.join("a/b/file")).unwrap();
        fs::rename(mount.join("a"), mount.join("moved")).unwrap();
        assert_reads_on(&file, &content);
        drop(file);
        assert!(wait_for(SOON, || names(&server.root().join("moved/b")).is_empty()));
    }

    fn a_removed_file_can_be_written_to(server: &TestServer, mount: &Mount) {
        server.write("file", "0123456789");
        let file = OpenOptions::new().read(true).write(true).open(mount.join("file")).unwrap();
        fs::remove_file(mount.join("file")).unwrap();
        fs::write(mount.join("file"), "another").unwrap();
        file.write_all_at(b"XX", 2).unwrap();
        file.set_len(6).unwrap();
        let mut read = [0; 6];
        file.read_exact_at(&mut read, 0).unwrap();
        assert_eq!(&read, b"01XX45");
        file.sync_all().unwrap();
        drop(file);
        assert_soon_holds(server, &["file"]);
        assert_eq!(server.read("file"), b"another");
    }

    fn a_file_closed_in_writeback_replaces_an_open_one(server: &TestServer, mount: &Mount) with ["writeback"] {
        let content = pattern(5);
        server.write("old", &content);
        let file = open(&mount.join("old"));
        fs::write(mount.join("new"), "the new content").unwrap();
        fs::rename(mount.join("new"), mount.join("old")).unwrap();
        assert_reads_on(&file, &content);
        drop(file);
        assert_soon_holds(server, &["old"]);
        assert!(wait_for(SOON, || server.read("old") == b"the new content"));
    }
}

/// Starts the embedded server with a sparse file of 1 GiB, and a mount that has the file open.
fn with_large_file() -> (TestServer, Mount, File) {
    let server = TestServer::start(Kind::Embedded);
    let path = server.write("large", "");
    let large = OpenOptions::new().write(true).open(path).unwrap();
    large.set_len(1 << 30).unwrap();
    server.write("new", "the new content");
    let mount = Mount::with_options(&server, &["dir_ttl=600", "open_ttl=600"]);
    shell(mount.path(), "ls -l");
    let file = open(&mount.join("large"));
    server.embedded().unwrap().clear_commands();
    (server, mount, file)
}

/// Returns the commands that change names, by flight.
fn changes(server: &TestServer) -> Vec<String> {
    const CHANGES: [&str; 3] = ["RNFR", "RNTO", "DELE"];
    let verb = |line: &String| line.split(' ').next().unwrap().to_owned();
    let flights = server.embedded().unwrap().flights();
    flights
        .iter()
        .map(|flight| flight.iter().map(verb).collect::<Vec<_>>())
        .map(|mut verbs| {
            verbs.retain(|verb| CHANGES.contains(&verb.as_str()));
            verbs.join("+")
        })
        .filter(|flight| !flight.is_empty())
        .collect()
}

fn transfers(server: &TestServer) -> usize {
    let commands = server.commands();
    commands.iter().filter(|it| it.starts_with("RETR")).count()
}

#[test]
fn removing_an_open_file_costs_one_rename() {
    let (server, mount, file) = with_large_file();
    fs::remove_file(mount.join("large")).unwrap();
    assert_eq!(changes(&server), ["RNFR+RNTO"]);
    assert_eq!(transfers(&server), 0);
    drop(file);
    assert_soon_holds(&server, &["new"]);
    assert_eq!(changes(&server), ["RNFR+RNTO", "DELE"]);
}

#[test]
fn replacing_an_open_file_costs_one_rename_more() {
    let (server, mount, file) = with_large_file();
    fs::rename(mount.join("new"), mount.join("large")).unwrap();
    assert_eq!(changes(&server), ["RNFR+RNTO", "RNFR+RNTO"]);
    assert_eq!(transfers(&server), 0);
    drop(file);
    assert_soon_holds(&server, &["large"]);
}

fn refuses(verb: &str, code: u16, text: &str) -> Fault {
    let text = text.to_owned();
    Fault::on(verb, Misdeed::Refuse { code, text })
}

#[test]
fn an_open_file_is_fetched_where_the_server_renames_nothing() {
    for (verb, code) in [("RNFR", 502), ("RNFR", 550), ("RNTO", 553)] {
        let server = TestServer::start(Kind::Embedded);
        let content = pattern(6);
        server.write("file", &content);
        let mount = Mount::new(&server);
        let file = open(&mount.join("file"));
        let fault = refuses(verb, code, "Not here.").always();
        server.embedded().unwrap().faults().add(fault);
        fs::remove_file(mount.join("file")).unwrap();
        assert!(names(server.root()).is_empty());
        assert_reads_on(&file, &content);
    }
}

/// Runs `change`, and closes `file` between a rename that it makes on the server and the reply.
fn close_during(server: &TestServer, file: File, change: impl FnOnce() + Send) {
    let embedded = server.embedded().unwrap();
    let faults = embedded.faults();
    let late = Misdeed::LateReply(Duration::from_millis(500));
    faults.add(Fault::on("RNTO", late));
    std::thread::scope(|scope| {
        let changing = scope.spawn(change);
        assert!(wait_for(SOON, || faults.happened() > 0));
        drop(file);
        changing.join().unwrap();
    });
}

#[test]
fn a_file_that_is_closed_while_it_is_removed_does_not_keep_its_directory() {
    let server = TestServer::start(Kind::Embedded);
    server.write("dir/file", pattern(1));
    let mount = Mount::new(&server);
    let path = mount.join("dir/file");
    close_during(&server, open(&path), || fs::remove_file(&path).unwrap());
    assert!(names(&server.root().join("dir")).is_empty());
    fs::remove_dir(mount.join("dir")).unwrap();
}

#[test]
fn a_file_that_is_closed_while_it_is_replaced_does_not_keep_its_directory() {
    let server = TestServer::start(Kind::Embedded);
    server.write("dir/old", pattern(2));
    server.write("dir/new", "the new content");
    let mount = Mount::new(&server);
    let path = mount.join("dir/old");
    close_during(&server, open(&path), || {
        fs::rename(mount.join("dir/new"), &path).unwrap();
    });
    assert_eq!(names(&server.root().join("dir")), ["old"]);
    shell(mount.path(), "rm -r dir");
}

/// The file is closed while its directory is renamed or removed.
#[test]
fn a_removed_file_that_is_closed_while_it_is_moved_leaves_nothing() {
    let server = TestServer::start(Kind::Embedded);
    server.write("a/b/file", pattern(3));
    let mount = Mount::new(&server);
    let path = mount.join("a/b/file");
    let removed = open(&path);
    fs::remove_file(&path).unwrap();
    close_during(&server, removed, || {
        fs::remove_dir(mount.join("a/b")).unwrap();
    });
    fs::remove_dir(mount.join("a")).unwrap();
}

#[test]
fn an_open_file_gets_its_name_back_when_it_is_not_replaced() {
    let server = TestServer::start(Kind::Embedded);
    let content = pattern(7);
    server.write("old", &content);
    server.write("new", "the new content");
    let mount = Mount::new(&server);
    let file = open(&mount.join("old"));
    let fault = refuses("RNFR", 550, "Permission denied.")
        .named("new")
        .always();
    server.embedded().unwrap().faults().add(fault);
    assert_errno(
        fs::rename(mount.join("new"), mount.join("old")),
        libc::EACCES,
    );
    assert_eq!(names(server.root()), ["new", "old"]);
    assert_eq!(names(mount.path()), ["new", "old"]);
    let mut read = [0; 4096];
    file.read_exact_at(&mut read, 20 << 20).unwrap();
    assert!(read == content[20 << 20..][..4096]);
    assert_eq!(file.metadata().unwrap().nlink(), 1);
    drop(file);
    assert!(fs::read(mount.join("old")).unwrap() == content);
}

#[test]
fn the_next_mount_deletes_what_a_killed_one_left() {
    let server = TestServer::start(Kind::Embedded);
    let state = TempDir::new().unwrap();
    server.write("removed", pattern(8));
    server.write("kept", "kept");
    let killed = Mount::with_state(&server, &[], state.path());
    let file = open(&killed.join("removed"));
    fs::remove_file(killed.join("removed")).unwrap();
    assert_eq!(names(server.root()).len(), 2);
    killed.kill_nine();
    drop(file);
    let _next = Mount::with_state(&server, &[], state.path());
    assert_soon_holds(&server, &["kept"]);
}

/// A mount that is killed between the two renames has replaced nothing.
#[test]
fn the_next_mount_gives_a_file_its_name_back() {
    let server = TestServer::start(Kind::Embedded);
    let state = TempDir::new().unwrap();
    let content = pattern(9);
    server.write("old", &content);
    server.write("new", "the new content");
    let killed = Mount::with_state(&server, &[], state.path());
    let file = open(&killed.join("old"));
    let fault = Fault::on("RNFR", Misdeed::StallControl)
        .named("new")
        .always();
    server.embedded().unwrap().faults().add(fault);
    let (from, to) = (killed.join("new"), killed.join("old"));
    let renaming = std::thread::spawn(move || fs::rename(from, to));
    let is_between = || names(server.root()).iter().all(|name| name != "old");
    assert!(wait_for(SOON, is_between));
    let is_stalled = || server.embedded().unwrap().faults().happened() > 0;
    assert!(wait_for(SOON, is_stalled));
    killed.kill_nine();
    assert!(renaming.join().unwrap().is_err());
    drop(file);
    server.embedded().unwrap().faults().clear();
    let _next = Mount::with_state(&server, &[], state.path());
    assert_soon_holds(&server, &["new", "old"]);
    assert!(server.read("old") == content);
}
