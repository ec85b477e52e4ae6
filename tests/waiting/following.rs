//! Programs that follow a file to which others append: `tail -f`, `tail -F`, and a program that
//! reads to the end, sleeps and reads again, as `less +F` does.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Kind, Mount, TestServer, assert_errno, command, shell, stories, wait_for};

/// Limit for what appears after about `open_ttl`.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longer than cached attributes are valid for a reader at the end.
const A_WHILE: Duration = Duration::from_millis(1200);

/// A program that follows a file, and what it has printed.
struct Follower {
    program: Child,
    home: TempDir,
}

impl Follower {
    fn start(program: &str, arguments: &[&OsStr]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let output = |name| Stdio::from(File::create(home.path().join(name)).unwrap());
        let program = command(program)
            .args(arguments)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(output("out"))
            .stderr(output("err"))
            .spawn()
            .unwrap();
        Self { program, home }
    }

    fn tail(option: &str, file: &Path) -> Self {
        let arguments = [option, "-s0.2", "-n+1"].map(OsStr::new);
        Self::start("tail", &[&arguments[..], &[file.as_os_str()]].concat())
    }

    /// Starts a program that reads to the end, sleeps and reads again, without fstat(2).
    fn reader(file: &Path) -> Self {
        let script = "import os, sys, time\n\
            file = os.open(sys.argv[1], os.O_RDONLY)\n\
            while True:\n\
            \x20   data = os.read(file, 65536)\n\
            \x20   os.write(1, data)\n\
            \x20   if not data: time.sleep(0.2)\n";
        let arguments = ["-c".as_ref(), script.as_ref(), file.as_os_str()];
        Self::start("python3", &arguments)
    }

    fn printed(&self, name: &str) -> Vec<u8> {
        fs::read(self.home.path().join(name)).unwrap()
    }

    fn expect(&self, content: &[u8]) {
        let is_printed = || self.printed("out") == content;
        if !wait_for(PATIENCE, is_printed) {
            let printed = self.printed("out");
            panic!(
                "{} of {} bytes were printed, then {:?}; {}",
                printed.len(),
                content.len(),
                String::from_utf8_lossy(&printed[printed.len().saturating_sub(80)..]),
                String::from_utf8_lossy(&self.printed("err")),
            );
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn append(file: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().append(true).open(file).unwrap();
    file.write_all(bytes).unwrap();
}

/// Appends to `log` on the server in pieces of many sizes, and expects each of them.
fn follows(log: &Path, mut content: Vec<u8>, follower: &Follower) {
    follower.expect(&content);
    for length in [10, 4096, 200_000, 3] {
        let line = format!("{length} more\n");
        let piece: Vec<u8> = line.bytes().cycle().take(length).collect();
        append(log, &piece);
        content.extend(piece);
        follower.expect(&content);
    }
}

fn writer_keeps_the_name(server: &TestServer, mount: &Mount) {
    let on_server = server.write("file", vec![b'1'; 20_000]);
    let name = mount.join("file");
    let reader = File::open(&name).unwrap();
    reader.read_exact_at(&mut [0; 4096], 0).unwrap();
    thread::sleep(A_WHILE);
    fs::rename(server.write("new", vec![b'2'; 80_000]), &on_server).unwrap();
    thread::sleep(A_WHILE);
    let writer = OpenOptions::new().read(true).write(true).open(&name);
    let mut writer = writer.unwrap();
    writer.write_all(b"edit").unwrap();
    let mut at = 4096;
    let ended = loop {
        match reader.read_at(&mut [0; 4096], at) {
            Ok(0) => break Ok(()),
            Ok(count) => at += count as u64,
            Err(error) => break Err(error),
        }
    };
    assert_eq!(at, 20_000);
    assert_errno(ended, libc::ESTALE);
    assert_eq!(writer.metadata().unwrap().len(), 80_000);
    rustix::fs::fsync(&writer).unwrap();
    drop(writer);
    let stored = server.read("file");
    assert_eq!((&stored[..5], stored.len()), (&b"edit2"[..], 80_000));
}

stories! {
    /// `tail -f` prints what others append.
    fn tail_prints_what_others_append(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "attr_ttl=600"] {
        let log = server.write("dir/log", "one\n");
        let tail = Follower::tail("-f", &mount.join("dir/log"));
        follows(&log, b"one\n".to_vec(), &tail);
    }

    /// The end of the file may be in the kernel's page cache already, and the file may be read by
    /// others in the meantime.
    fn tail_follows_a_file_that_others_read(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "attr_ttl=600"] {
        let content = vec![b'x'; 10_000];
        let log = server.write("log", &content);
        shell(mount.path(), "ls -l; cat log > /dev/null");
        let tail = Follower::tail("-f", &mount.join("log"));
        tail.expect(&content);
        append(&log, b"more\n");
        thread::sleep(A_WHILE);
        let read = fs::read(mount.join("log")).unwrap();
        assert_eq!(read.len(), content.len() + 5);
        tail.expect(&read);
        shell(mount.path(), "ls -l");
        follows(&log, read, &tail);
    }

    /// An empty file is followed from its beginning.
    fn tail_follows_an_empty_file(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "attr_ttl=600"] {
        let log = server.write("log", "");
        let tail = Follower::tail("-f", &mount.join("log"));
        follows(&log, Vec::new(), &tail);
    }

    /// A program that only reads gets what others append.
    fn a_reader_at_the_end_reads_on(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "attr_ttl=600"] {
        let log = server.write("log", "one\n");
        let reader = Follower::reader(&mount.join("log"));
        follows(&log, b"one\n".to_vec(), &reader);
    }

    /// The same without the page cache.
    fn a_reader_at_the_end_reads_on_without_page_cache(server: &TestServer, mount: &Mount) with ["direct_io", "dir_ttl=600"] {
        let log = server.write("log", "one\n");
        let reader = Follower::reader(&mount.join("log"));
        follows(&log, b"one\n".to_vec(), &reader);
        let tail = Follower::tail("-f", &mount.join("log"));
        follows(&log, server.read("log"), &tail);
    }

    /// A program that has read the end goes back and forth in a file that grows.
    fn a_reader_at_the_end_goes_back(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "attr_ttl=600"] {
        let mut content: Vec<u8> = (0..3 << 20).map(|at| (at / 1000) as u8).collect();
        let log = server.write("log", &content);
        let file = File::open(mount.join("log")).unwrap();
        let read = |from: usize| {
            let mut bytes = vec![0; 10_000];
            let count = file.read_at(&mut bytes, from as u64).unwrap();
            bytes.truncate(count);
            bytes
        };
        for back in [1 << 20, 0, 2 << 20] {
            let end = content.len() - 10_000;
            assert!(read(end) == content[end..]);
            thread::sleep(A_WHILE);
            append(&log, b"more\n");
            assert!(read(back) == content[back..back + 10_000]);
            content.extend(b"more\n");
            let end = content.len() - 10_000;
            assert!(wait_for(PATIENCE, || read(end) == content[end..]));
        }
    }

    /// Lines that programs on the mount append neither hide nor replace those of others.
    fn own_lines_and_those_of_others_are_kept(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "attr_ttl=600"] {
        let log = server.write("log", "one\n");
        let tail = Follower::tail("-f", &mount.join("log"));
        let mut content = b"one\n".to_vec();
        tail.expect(&content);
        for round in 0..3 {
            let own = format!("own {round}\n");
            shell(mount.path(), &format!("echo 'own {round}' >> log"));
            content.extend(own.bytes());
            tail.expect(&content);
            assert_eq!(server.read("log"), content);
            append(&log, b"other\n");
            content.extend(b"other\n");
            if round == 1 {
                tail.expect(&content);
            }
            thread::sleep(A_WHILE);
        }
        assert_eq!(fs::read(mount.join("log")).unwrap(), content);
        tail.expect(&content);
        assert_eq!(server.read("log"), content);
    }

    /// A program that has a file open does not hide from others what is on the server.
    fn an_open_file_hides_no_change(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "attr_ttl=600"] {
        let on_server = server.write("file", "old\n");
        let name = mount.join("file");
        let mut open = File::open(&name).unwrap();
        open.read_to_end(&mut Vec::new()).unwrap();
        shell(mount.path(), "echo 'written here' > file");
        assert_eq!(server.read("file"), b"written here\n");
        thread::sleep(A_WHILE);
        fs::write(&on_server, "by others\n").unwrap();
        assert_eq!(fs::read(&name).unwrap(), b"by others\n");
        shell(mount.path(), "echo more >> file");
        assert_eq!(server.read("file"), b"by others\nmore\n");
        drop(open);
        assert_eq!(fs::read(&name).unwrap(), b"by others\nmore\n");
    }

    /// `tail -F` prints the files that take the name, whether they are shorter or longer.
    fn tail_follows_the_name(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "attr_ttl=600"] {
        let log = server.write("log", "first\n");
        let tail = Follower::tail("-F", &mount.join("log"));
        let mut content = b"first\n".to_vec();
        tail.expect(&content);
        append(&log, b"and more\n");
        content.extend(b"and more\n");
        tail.expect(&content);
        for (number, new) in ["a much longer file\nthan the one before\n", "short\n"].iter().enumerate() {
            thread::sleep(A_WHILE);
            let rotated = server.root().join(format!("log.{number}"));
            fs::rename(&log, rotated).unwrap();
            server.write("new", new);
            fs::rename(server.root().join("new"), &log).unwrap();
            content.extend(new.bytes());
            tail.expect(&content);
        }
        thread::sleep(A_WHILE);
        fs::write(&log, "cut\n").unwrap();
        content.extend(b"cut\n");
        tail.expect(&content);
        append(&log, b"and on\n");
        content.extend(b"and on\n");
        tail.expect(&content);
    }

    /// An open file never continues in another one, even if that is longer.
    fn a_longer_file_in_its_place_is_another(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "attr_ttl=600"] {
        let log = server.write("log", vec![b'1'; 5000]);
        let mut file = File::open(mount.join("log")).unwrap();
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        assert_eq!(content.len(), 5000);
        thread::sleep(A_WHILE);
        fs::rename(server.write("new", vec![b'2'; 9000]), &log).unwrap();
        for _ in 0..10 {
            assert_eq!(file.read(&mut [0; 64]).unwrap(), 0);
            assert_eq!(file.metadata().unwrap().len(), 5000);
            thread::sleep(A_WHILE / 4);
        }
        assert!(fs::read(mount.join("log")).unwrap() == vec![b'2'; 9000]);
        assert_eq!(fs::metadata(mount.join("log")).unwrap().len(), 9000);
        content.fill(0);
        file.read_exact_at(&mut content, 0).unwrap();
        assert!(content == vec![b'1'; 5000]);
    }

    /// A program that reads the replaced file to its end does not take the new one from a program
    /// that writes to it.
    fn a_writer_keeps_the_name_when_a_reader_of_the_replaced_file_ends(server: &TestServer, mount: &Mount) with ["direct_io", "dir_ttl=600"] {
        writer_keeps_the_name(server, mount);
    }

    /// The same when the file is stored after it is closed.
    fn a_writer_keeps_the_name_with_writeback(server: &TestServer, mount: &Mount) with ["direct_io", "dir_ttl=600", "writeback"] {
        writer_keeps_the_name(server, mount);
    }

    /// What a program has read since the file grew counts too: a file that was overwritten from
    /// there on is another.
    fn a_file_overwritten_after_it_grew_is_another(server: &TestServer, mount: &Mount) with ["direct_io", "dir_ttl=600", "attr_ttl=600"] {
        let head = b"time,value,name\n".repeat(8);
        let table = server.write("table", &head);
        let file = File::open(mount.join("table")).unwrap();
        let read = |at: usize| {
            let mut bytes = vec![0; 64 << 10];
            let count = file.read_at(&mut bytes, at as u64)?;
            bytes.truncate(count);
            std::io::Result::Ok(bytes)
        };
        let mut content = read(0).unwrap();
        assert_eq!(content, head);
        thread::sleep(A_WHILE);
        append(&table, &vec![b'1'; 3 << 20]);
        assert!(wait_for(PATIENCE, || !read(content.len()).unwrap().is_empty()));
        while content.len() < 1 << 20 {
            content.extend(read(content.len()).unwrap());
        }
        thread::sleep(A_WHILE);
        let other = [head, vec![b'2'; 4 << 20]].concat();
        OpenOptions::new().write(true).open(&table).unwrap().write_all(&other).unwrap();
        thread::sleep(A_WHILE);
        let mut is_stale = false;
        for _ in 0..100 {
            match read(content.len()) {
                Ok(bytes) if bytes.is_empty() => thread::sleep(A_WHILE / 50),
                Ok(bytes) => content.extend(bytes),
                Err(_) => {
                    is_stale = true;
                    break;
                }
            }
        }
        // A transfer that was under way may have ended with bytes of the other one.
        assert!(is_stale || !content.contains(&b'2'));
        assert!(fs::read(mount.join("table")).unwrap() == other);
    }

    /// A program that reads a file of which the local disk had only a part takes no other for one
    /// that grew.
    fn a_file_in_place_of_a_streamed_one_is_another(server: &TestServer, mount: &Mount) with ["spool_size=8M", "dir_ttl=600", "attr_ttl=600"] {
        const SIZE: usize = 16 << 20;
        let name = mount.join("file");
        let mut writer = File::create_new(&name).unwrap();
        for _ in 0..64 {
            writer.write_all(&vec![b'1'; SIZE / 64]).unwrap();
        }
        let reader = File::open(&name).unwrap();
        reader.read_exact_at(&mut [0; 4096], SIZE as u64 - 4096).unwrap();
        assert_eq!(reader.read_at(&mut [0; 10], SIZE as u64).unwrap(), 0);
        drop(writer);
        thread::sleep(A_WHILE);
        let on_server = OpenOptions::new().write(true).open(server.root().join("file"));
        on_server.unwrap().write_all(&vec![b'2'; SIZE + 5000]).unwrap();
        for _ in 0..3 {
            thread::sleep(A_WHILE);
            let _ = reader.metadata();
            let mut bytes = [b'1'; 10];
            let _ = reader.read_at(&mut bytes, SIZE as u64);
            let _ = reader.read_at(&mut bytes, 0);
            assert_eq!(bytes, [b'1'; 10]);
        }
    }

    /// What is not in memory of a file that was replaced is an error, never that of the new one.
    fn a_replaced_file_has_only_what_is_in_memory(server: &TestServer, mount: &Mount) with ["direct_io", "dir_ttl=600", "attr_ttl=600"] {
        const SIZE: usize = 12 << 20;
        let on_server = server.write("file", vec![b'1'; SIZE]);
        let name = mount.join("file");
        let file = File::open(&name).unwrap();
        let read = |at: usize| {
            let mut bytes = [0; 4096];
            file.read_exact_at(&mut bytes, at as u64).map(|()| bytes)
        };
        assert_eq!(read(SIZE - 4096).unwrap(), [b'1'; 4096]);
        thread::sleep(A_WHILE);
        fs::rename(server.write("new", vec![b'2'; SIZE + 1]), &on_server).unwrap();
        for _ in 0..10 {
            thread::sleep(A_WHILE / 4);
            assert_eq!(file.metadata().unwrap().len(), SIZE as u64);
        }
        assert_eq!(read(SIZE - 4096).unwrap(), [b'1'; 4096]);
        assert_errno(read(0), libc::ESTALE);
        assert_eq!(file.metadata().unwrap().len(), SIZE as u64);
        assert!(fs::read(&name).unwrap() == vec![b'2'; SIZE + 1]);
        assert_eq!(fs::metadata(&name).unwrap().len(), SIZE as u64 + 1);
        assert_errno(read(0), libc::ESTALE);
    }

    /// What a program has read of a small file that was replaced can be read again, even if the
    /// kernel has dropped its pages.
    fn a_small_replaced_file_stays_in_memory(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "attr_ttl=600"] {
        let on_server = server.write("file", vec![b'1'; 3000]);
        let file = File::open(mount.join("file")).unwrap();
        let read = || {
            let mut bytes = [0; 3000];
            file.read_exact_at(&mut bytes, 0).map(|()| bytes)
        };
        assert_eq!(read().unwrap(), [b'1'; 3000]);
        thread::sleep(A_WHILE);
        fs::rename(server.write("new", vec![b'2'; 3001]), &on_server).unwrap();
        for _ in 0..3 {
            assert_eq!(file.metadata().unwrap().len(), 3000);
            thread::sleep(A_WHILE);
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            assert_eq!(read().unwrap(), [b'1'; 3000]);
        }
        assert_eq!(fs::read(mount.join("file")).unwrap(), [b'2'; 3001]);
        assert_eq!(read().unwrap(), [b'1'; 3000]);
    }

    /// A shell script runs to its end if others touch it, replace it or remove it. Its name runs
    /// the new one.
    ///
    /// Each has its own name: what was read by an earlier program is only in the kernel's pages,
    /// which a machine that needs memory drops.
    fn a_script_that_is_replaced_runs_to_its_end(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "attr_ttl=600"] {
        let lines = |word: &str| format!("echo {word}; sleep 0.7\n# {}\n", "x".repeat(500)).repeat(6);
        let printed = |word: &str| format!("{word}\n").repeat(6);
        for change in ["touch", "replace", "overwrite", "remove"] {
            let script = server.write(change, lines("old"));
            let name = mount.join(change);
            thread::sleep(A_WHILE);
            let mut shell = Follower::start("bash", &[name.as_os_str()]);
            assert!(wait_for(PATIENCE, || !shell.printed("out").is_empty()));
            match change {
                "touch" => File::open(&script).unwrap().set_modified(std::time::UNIX_EPOCH + PATIENCE).unwrap(),
                "replace" => fs::rename(server.write("new", lines("replaced")), &script).unwrap(),
                "overwrite" => fs::write(&script, lines("overwritten")).unwrap(),
                _ => fs::remove_file(&script).unwrap(),
            }
            let ended = shell.program.wait().unwrap();
            shell.expect(printed("old").as_bytes());
            assert!(ended.success(), "{change}: {ended}");
            assert_eq!(String::from_utf8_lossy(&shell.printed("err")), "");
            let now = fs::read_to_string(&name);
            match change {
                "touch" => assert_eq!(now.unwrap(), lines("old")),
                "replace" => assert_eq!(now.unwrap(), lines("replaced")),
                "overwrite" => assert_eq!(now.unwrap(), lines("overwritten")),
                _ => assert_eq!(now.unwrap_err().kind(), ErrorKind::NotFound),
            }
        }
    }

    /// The same for a shorter file, and for one that is gone.
    fn a_shorter_file_in_its_place_is_another(server: &TestServer, mount: &Mount) with ["dir_ttl=600", "attr_ttl=600"] {
        let log = server.write("log", vec![b'1'; 5000]);
        for new in [Some(vec![b'2'; 3000]), None] {
            let mut file = File::open(mount.join("log")).unwrap();
            file.read_to_end(&mut Vec::new()).unwrap();
            thread::sleep(A_WHILE);
            match &new {
                Some(new) => fs::write(&log, new).unwrap(),
                None => fs::remove_file(&log).unwrap(),
            }
            let before = file.metadata().unwrap();
            for _ in 0..10 {
                let after = file.metadata().unwrap();
                assert_eq!((after.len(), after.modified().unwrap()), (before.len(), before.modified().unwrap()));
                assert_eq!(file.read(&mut [0; 64]).unwrap(), 0);
                thread::sleep(A_WHILE / 4);
            }
            match &new {
                Some(new) => assert!(fs::read(mount.join("log")).unwrap() == *new),
                None => assert_eq!(File::open(mount.join("log")).unwrap_err().kind(), ErrorKind::NotFound),
            }
        }
    }
}

/// On a server that has only LIST, sizes show that a file grew.
#[test]
fn tail_works_with_listings_only() {
    let server = crate::support::TestServer::start_with(Kind::Embedded, |options| {
        let disabled = ["MLST", "MLSD", "SIZE", "MDTM", "STAT"];
        options.disabled = disabled.iter().map(ToString::to_string).collect();
    });
    let log = server.write("dir/log", "one\n");
    let mount = crate::support::Mount::with_options(&server, &["dir_ttl=600", "attr_ttl=600"]);
    let tail = Follower::tail("-F", &mount.join("dir/log"));
    follows(&log, b"one\n".to_vec(), &tail);
}

/// While the server does not answer, a program at the end of a file waits for it once.
#[test]
fn polling_waits_once_for_a_server_that_does_not_answer() {
    let server = TestServer::start(Kind::Embedded);
    server.write("log", "one\n");
    let mount = Mount::with_options(&server, &["dir_ttl=600", "attr_ttl=600", "timeout=2"]);
    let mut open = File::open(mount.join("log")).unwrap();
    open.read_to_end(&mut Vec::new()).unwrap();
    thread::sleep(A_WHILE);
    server.freeze();
    assert_eq!(open.metadata().unwrap().len(), 4);
    let began = std::time::Instant::now();
    for _ in 0..4 {
        thread::sleep(A_WHILE);
        assert_eq!(open.metadata().unwrap().len(), 4);
        assert_eq!(fs::metadata(mount.join("log")).unwrap().len(), 4);
    }
    let waited = began.elapsed().saturating_sub(4 * A_WHILE);
    server.thaw();
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}

/// Polling costs at most one question per `open_ttl`, and a file that is only open costs none.
#[test]
fn polling_asks_once_per_open_ttl() {
    let server = crate::support::TestServer::start(Kind::Embedded);
    server.write("log", "one\n");
    let mount = crate::support::Mount::with_options(&server, &["dir_ttl=600", "attr_ttl=600"]);
    let mut open = File::open(mount.join("log")).unwrap();
    open.read_to_end(&mut Vec::new()).unwrap();
    let questions = || {
        let commands = server.commands();
        let is_question = |line: &&String| !line.starts_with("NOOP") && !line.starts_with("QUIT");
        commands.iter().filter(is_question).count()
    };
    thread::sleep(A_WHILE);
    server.embedded().unwrap().clear_commands();
    thread::sleep(A_WHILE * 3);
    assert_eq!(questions(), 0, "{:?}", server.commands());
    let tail = Follower::tail("-f", &mount.join("log"));
    tail.expect(b"one\n");
    let before = questions();
    let began = std::time::Instant::now();
    thread::sleep(A_WHILE * 4);
    let asked = questions() - before;
    let periods = 1 + began.elapsed().as_secs() as usize;
    assert!((2..=periods).contains(&asked), "{:?}", server.commands());
}
