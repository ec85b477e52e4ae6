//! Changes by others on the server, and by several programs to one file, are seen correctly.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use crate::support::{
    Kind, Mount, TestServer, assert_errno, lines, run_with, shell, stories, wait_for,
};
use ftpfs::server::{Fault, Misdeed};

/// Longer than cached attributes are valid for opening a file.
const A_WHILE: Duration = Duration::from_millis(1200);

/// Limit for what appears after about `open_ttl`.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes `content` on the server and sets a time that FTP can distinguish from any other.
fn change(file: &Path, content: &[u8], minutes: u64) {
    fs::write(file, content).unwrap();
    let time = SystemTime::now() - Duration::from_secs(minutes * 60);
    let file = OpenOptions::new().append(true).open(file).unwrap();
    file.set_modified(time).unwrap();
}

/// Returns the bytes of `file` as another process sees them through a mapping.
fn mapped(file: &Path) -> Vec<u8> {
    let script = "import mmap, sys\n\
        with open(sys.argv[1], 'rb') as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as map:\n\
        \x20   sys.stdout.buffer.write(map[:])\n";
    let arguments = ["-c".as_ref(), script.as_ref(), file.as_os_str()];
    run_with("python3", &arguments).stdout
}

fn reads_on_when_the_time_is_set(server: &TestServer, mount: &Mount) {
    const SIZE: usize = 24 << 20;
    let on_server = server.write("pack", vec![b'1'; SIZE]);
    let name = mount.join("pack");
    let file = File::open(&name).unwrap();
    let read = |at: usize| {
        let mut bytes = [0; 4096];
        file.read_exact_at(&mut bytes, at as u64).map(|()| bytes)
    };
    assert_eq!(read(0).unwrap(), [b'1'; 4096]);
    for (round, year) in [2001, 2002, 2003].into_iter().enumerate() {
        thread::sleep(A_WHILE);
        shell(mount.path(), &format!("touch -cd {year}-05-06 pack"));
        assert_eq!(read((3 * round + 4) << 20).unwrap(), [b'1'; 4096]);
        thread::sleep(A_WHILE);
        assert_eq!(read((3 * round + 5) << 20).unwrap(), [b'1'; 4096]);
        let years = lines(&shell(mount.path(), "date -r pack +%Y; head -c 1 pack"));
        assert_eq!(years, ["1".to_owned(), year.to_string()]);
    }
    shell(mount.path(), "sync .");
    assert_eq!(lines(&shell(server.root(), "date -r pack +%Y")), ["2003"]);
    thread::sleep(A_WHILE);
    change(&on_server, &vec![b'2'; SIZE], 30);
    shell(mount.path(), "touch -cd 2004-05-06 pack");
    assert_errno(read(SIZE - 4096), libc::ESTALE);
    assert_eq!(fs::read(&name).unwrap(), vec![b'2'; SIZE]);
}

stories! {
    /// A program reads on when another one on this mount sets the time of the file: git does that
    /// with a pack that it reads. If others changed it before that, it is another version.
    fn a_program_reads_on_when_the_time_is_set(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "attr_ttl=600"] {
        reads_on_when_the_time_is_set(server, mount);
    }

    fn a_program_reads_on_when_the_time_is_set_in_order(server: &TestServer, mount: &Mount) with ["writeback=names", "dir_ttl=600", "attr_ttl=600"] {
        reads_on_when_the_time_is_set(server, mount);
    }

    /// A file that gets the time of an older version has its own bytes, not those that were read of
    /// that version.
    fn an_old_time_does_not_bring_back_old_bytes(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "attr_ttl=600"] {
        let on_server = server.write("file", vec![b'1'; 3000]);
        shell(server.root(), "touch -d 2001-05-06 file");
        assert_eq!(fs::read(mount.join("file")).unwrap(), [b'1'; 3000]);
        thread::sleep(A_WHILE);
        change(&on_server, &[b'2'; 3000], 30);
        shell(mount.path(), "touch -cd 2001-05-06 file");
        assert_eq!(fs::read(mount.join("file")).unwrap(), [b'2'; 3000]);
    }

    /// Opening a file opens the server's current version, however fresh the listing is.
    fn open_sees_what_others_wrote(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "attr_ttl=600"] {
        let on_server = server.write("dir/file", "old");
        change(&on_server, b"old", 30);
        let file = mount.join("dir/file");
        shell(mount.path(), "ls -l dir");
        assert_eq!(fs::read(&file).unwrap(), b"old");
        for (minutes, content) in [(20, &b"new, and longer"[..]), (10, b"short"), (5, b"SHORT")] {
            thread::sleep(A_WHILE);
            change(&on_server, content, minutes);
            assert_eq!(fs::read(&file).unwrap(), content);
            assert_eq!(mapped(&file), content);
            assert_eq!(fs::metadata(&file).unwrap().len(), content.len() as u64);
        }
        let large = vec![b'x'; 3 << 20];
        thread::sleep(A_WHILE);
        change(&on_server, &large, 2);
        assert!(fs::read(&file).unwrap() == large);
    }

    /// A time known to the second is preserved where listings show minutes: tar compares it before
    /// and after it reads.
    fn exact_times_survive_an_open(server: &TestServer, mount: &Mount) with ["open_ttl=0"] {
        fs::create_dir(mount.join("dir")).unwrap();
        let files = ["one", "two"].map(|name| mount.join("dir").join(name));
        for file in &files {
            fs::write(file, "content").unwrap();
        }
        let times = || files.each_ref().map(|file| fs::metadata(file).unwrap().modified().unwrap());
        let before = times();
        for file in &files {
            assert_eq!(fs::read(file).unwrap(), b"content");
            assert_eq!(times(), before);
        }
    }

    /// A removed name is gone, even if a fresh listing has it.
    fn open_sees_what_others_removed(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "attr_ttl=600"] {
        let on_server = server.write("dir/file", "content");
        assert_eq!(lines(&shell(mount.path(), "ls dir")), ["file"]);
        fs::remove_file(on_server).unwrap();
        thread::sleep(A_WHILE);
        assert_eq!(File::open(mount.join("dir/file")).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(lines(&shell(mount.path(), "ls dir")).is_empty());
    }

    /// A name that another client created is found, although the cached listing lacks it.
    fn a_name_that_others_created_is_found(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "attr_ttl=600"] {
        server.write("dir/file", "content");
        assert_eq!(lines(&shell(mount.path(), "ls dir")), ["file"]);
        for new in ["dir/first", "dir/second", "dir/third", "dir/fourth"] {
            let name = mount.join(new);
            assert_eq!(fs::metadata(&name).unwrap_err().kind(), ErrorKind::NotFound);
            server.write(new, new);
            assert!(wait_for(PATIENCE, || name.exists()), "{new}");
            assert_eq!(fs::read_to_string(&name).unwrap(), new);
        }
    }

    /// A name that another client created is found in a directory that this mount writes to.
    fn a_name_of_others_is_found_between_own_writes(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "attr_ttl=600"] {
        server.write("dir/file", "content");
        assert_eq!(lines(&shell(mount.path(), "ls dir")), ["file"]);
        thread::sleep(A_WHILE);
        fs::write(mount.join("dir/own"), "own").unwrap();
        let name = mount.join("dir/other");
        assert_eq!(fs::metadata(&name).unwrap_err().kind(), ErrorKind::NotFound);
        server.write("dir/other", "other");
        let mut own = 0;
        let is_found = || {
            own += 1;
            fs::write(mount.join(format!("dir/own {own}")), "own").unwrap();
            name.exists()
        };
        assert!(wait_for(PATIENCE, is_found));
        assert_eq!(fs::read_to_string(&name).unwrap(), "other");
        let expected = own + 3;
        assert_eq!(lines(&shell(mount.path(), "ls dir")).len(), expected);
    }

    /// A listing in the background shows links as the user wants them, as any other does.
    fn a_background_listing_follows_links(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "symlinks=follow"] {
        server.write("target", "content");
        server.write("dir/file", "content");
        std::os::unix::fs::symlink("../target", server.root().join("dir/link")).unwrap();
        let names = || lines(&shell(mount.path(), "ls dir")).len();
        let known = names();
        thread::sleep(A_WHILE);
        fs::write(mount.join("dir/own"), "own").unwrap();
        server.write("dir/other", "other");
        let other = mount.join("dir/other");
        let is_found = || {
            fs::write(mount.join("dir/own"), "own").unwrap();
            other.exists()
        };
        assert!(wait_for(PATIENCE, is_found));
        assert_eq!(names(), known + 2);
        assert!(fs::symlink_metadata(mount.join("dir/link")).unwrap().is_file());
    }

    /// Of two mounts of one server, one opens what the other stored.
    fn one_mount_sees_what_another_stored(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "attr_ttl=600"] {
        server.write("file", "0");
        let other = Mount::with_options(server, &["dir_ttl=600", "attr_ttl=600"]);
        for round in 1..4 {
            let (writer, reader) = if round % 2 == 0 { (mount, &other) } else { (&other, mount) };
            let content = "x".repeat(round * 1000);
            assert!(fs::metadata(reader.join("file")).is_ok());
            fs::write(writer.join("file"), &content).unwrap();
            thread::sleep(A_WHILE);
            assert_eq!(fs::read_to_string(reader.join("file")).unwrap(), content);
        }
    }

    /// Appending continues at the end of the file on the server.
    fn appending_goes_on_after_what_others_appended(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "attr_ttl=600"] {
        let on_server = server.write("log", "one\n");
        shell(mount.path(), "cat log");
        thread::sleep(A_WHILE);
        change(&on_server, b"one\ntwo\n", 30);
        shell(mount.path(), "echo three >> log");
        assert_eq!(server.read("log"), b"one\ntwo\nthree\n");
    }

    /// When two programs append in parallel, both sets of lines arrive complete.
    fn two_programs_append_to_one_file(server: &TestServer, mount: &Mount) {
        shell(
            mount.path(),
            "for name in a b; do (for n in $(seq 40); do echo $name$n; done >> log) & done; wait",
        );
        let log = String::from_utf8(server.read("log")).unwrap();
        for name in ["a", "b"] {
            let lines: Vec<&str> = log.lines().filter(|line| line.starts_with(name)).collect();
            let expected: Vec<String> = (1..=40).map(|n| format!("{name}{n}")).collect();
            assert_eq!(lines, expected);
        }
    }

    /// A truncated and extended file follows POSIX, in the mount and on the server.
    fn truncating_down_and_up(server: &TestServer, mount: &Mount) {
        server.write("file", "0123456789");
        shell(mount.path(), "truncate -s 4 file; truncate -s 8 file");
        assert_eq!(server.read("file"), b"0123\0\0\0\0");
        let file = OpenOptions::new().read(true).write(true).open(mount.join("file")).unwrap();
        file.set_len(2).unwrap();
        file.write_all_at(b"xy", 5).unwrap();
        let mut bytes = [0; 16];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 7);
        assert_eq!(&bytes[..7], b"01\0\0\0xy");
        file.sync_all().unwrap();
        assert_eq!(server.read("file"), b"01\0\0\0xy");
    }

    /// An open file outlives its name, and data written afterwards is discarded.
    fn an_open_file_outlives_its_name(server: &TestServer, mount: &Mount) {
        server.write("file", "content");
        let mut file = OpenOptions::new().read(true).write(true).open(mount.join("file")).unwrap();
        fs::remove_file(mount.join("file")).unwrap();
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content, "content");
        file.write_all(b", and more").unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        content.clear();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content, "content, and more");
        drop(file);
        assert!(!server.root().join("file").exists());
    }

    /// An open file stays usable after it or its directory is renamed.
    fn open_files_go_along_with_a_rename(server: &TestServer, mount: &Mount) {
        server.write("dir/file", "old");
        let mut open = OpenOptions::new().read(true).write(true).open(mount.join("dir/file")).unwrap();
        let mut new = File::create(mount.join("dir/new")).unwrap();
        new.write_all(b"begun").unwrap();
        fs::rename(mount.join("dir"), mount.join("moved")).unwrap();
        fs::rename(mount.join("moved/file"), mount.join("moved/other")).unwrap();
        let mut content = String::new();
        open.read_to_string(&mut content).unwrap();
        assert_eq!(content, "old");
        open.write_all(b", new").unwrap();
        new.write_all(b", ended").unwrap();
        drop((open, new));
        assert_eq!(server.read("moved/other"), b"old, new");
        assert_eq!(server.read("moved/new"), b"begun, ended");
        assert!(!server.root().join("dir").exists());
    }

    /// If others remove a file while it is being written, it exists again after its close: nothing
    /// is lost.
    fn what_is_written_to_a_file_that_others_removed_is_stored(server: &TestServer, mount: &Mount) {
        let on_server = server.write("file", "old");
        let mut file = OpenOptions::new().append(true).open(mount.join("file")).unwrap();
        file.write_all(b", new").unwrap();
        fs::remove_file(on_server).unwrap();
        drop(file);
        assert_eq!(server.read("file"), b"old, new");
    }
}

/// With a single connection, there is none for a listing in the background: the names of others
/// appear later, but they do.
#[test]
fn a_name_of_others_is_found_between_own_writes_over_one_connection() {
    let server = crate::support::TestServer::start(crate::support::Kind::Embedded);
    server.write("dir/file", "content");
    let options = ["dir_ttl=600", "attr_ttl=600", "connections=1"];
    let mount = crate::support::Mount::with_options(&server, &options);
    shell(mount.path(), "ls dir");
    thread::sleep(A_WHILE);
    fs::write(mount.join("dir/own"), "own").unwrap();
    server.write("dir/other", "other");
    let is_found = || {
        fs::write(mount.join("dir/own"), "own").unwrap();
        thread::sleep(A_WHILE / 4);
        mount.join("dir/other").exists()
    };
    assert!(wait_for(PATIENCE, is_found));
}

/// While the server does not answer, the cached listing says which names are absent, after one wait
/// for all of them.
#[test]
fn absent_names_do_not_each_wait_for_a_server_that_is_silent() {
    let server = crate::support::TestServer::start(crate::support::Kind::Embedded);
    server.write("dir/file", "content");
    let options = ["dir_ttl=600", "timeout=2", "connect_timeout=2"];
    let mount = crate::support::Mount::with_options(&server, &options);
    shell(mount.path(), "ls dir");
    thread::sleep(A_WHILE);
    server.freeze();
    let mut asked = 0;
    let are_all_absent = || {
        asked += 1;
        let absent = fs::metadata(mount.join(format!("dir/absent {asked}")));
        assert_eq!(absent.unwrap_err().kind(), ErrorKind::NotFound);
        asked == 50
    };
    assert!(wait_for(PATIENCE, are_all_absent));
    server.thaw();
}

/// The server has renamed the file, or a directory above it, and its reply is on its way: a program
/// that reads the file meanwhile reads on, and gets the bytes of this file.
#[test]
fn a_program_reads_on_while_its_file_is_moved_removed_or_replaced() {
    const SIZE: usize = 24 << 20;
    for work in ["mv d/f d/g", "rm d/f", "mv new d/f", "mv d e"] {
        let server = TestServer::start(Kind::Embedded);
        server.write("d/f", vec![b'1'; SIZE]);
        server.write("new", vec![b'2'; SIZE]);
        let mount = Mount::with_options(&server, &["dir_ttl=600", "attr_ttl=600"]);
        let file = File::open(mount.join("d/f")).unwrap();
        let read = |at: usize| {
            let mut bytes = [0; 4096];
            file.read_exact_at(&mut bytes, at as u64).map(|()| bytes)
        };
        assert_eq!(read(0).unwrap(), [b'1'; 4096]);
        shell(mount.path(), "stat new");
        thread::sleep(A_WHILE);
        let embedded = server.embedded().unwrap();
        let late = Misdeed::LateReply(Duration::from_secs(3));
        embedded.faults().add(Fault::on("RNTO", late));
        thread::scope(|scope| {
            let moved = scope.spawn(|| shell(mount.path(), work));
            assert!(wait_for(PATIENCE, || embedded.faults().happened() > 0));
            // The server renames it now.
            thread::sleep(A_WHILE / 4);
            assert_eq!(read(SIZE / 2).unwrap(), [b'1'; 4096], "{work}");
            assert!(moved.join().unwrap().status.success(), "{work}");
        });
        thread::sleep(A_WHILE);
        assert_eq!(read(SIZE - 4096).unwrap(), [b'1'; 4096], "{work}");
    }
}

/// A program that follows a file asks for its size while the server has renamed the directory, and
/// the reply is on its way.
#[test]
fn a_program_follows_a_file_while_its_directory_is_renamed() {
    let server = TestServer::start(Kind::Embedded);
    server.write("d/log", "one\n");
    let mount = Mount::with_options(&server, &["dir_ttl=600", "attr_ttl=600"]);
    shell(mount.path(), "ls -l d");
    let mut file = File::open(mount.join("d/log")).unwrap();
    file.read_to_end(&mut Vec::new()).unwrap();
    thread::sleep(A_WHILE);
    let embedded = server.embedded().unwrap();
    let late = Misdeed::LateReply(Duration::from_secs(3));
    embedded.faults().add(Fault::on("RNTO", late));
    thread::scope(|scope| {
        let renamed = scope.spawn(|| shell(mount.path(), "mv d e"));
        assert!(wait_for(PATIENCE, || server.root().join("e").exists()));
        assert_eq!(file.metadata().unwrap().len(), 4);
        assert!(renamed.join().unwrap().status.success());
    });
    thread::sleep(A_WHILE);
    assert_eq!(file.metadata().unwrap().len(), 4);
    let log = OpenOptions::new()
        .append(true)
        .open(server.root().join("e/log"));
    log.unwrap().write_all(b"two\n").unwrap();
    let mut more = Vec::new();
    assert!(wait_for(PATIENCE, || {
        file.read_to_end(&mut more).unwrap();
        thread::sleep(A_WHILE / 4);
        !more.is_empty()
    }));
    assert_eq!(more, b"two\n");
    assert_eq!(lines(&shell(mount.path(), "ls e")), ["log"]);
}
