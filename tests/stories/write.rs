//! Files written, truncated, extended and changed in place, as programs do on a local disk.

use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::{
    Kind, Lack, Mount, TestServer, assert_errno, lines, run, shell, stories, wait_for,
};
use ftpfs::server::{Fault, Misdeed};

/// Maximum time for something that happens after a close.
const SOON: Duration = Duration::from_secs(10);

/// 2001-02-03T04:05:06Z.
const LONG_AGO: i64 = 981_173_106;

fn open_to_change(path: impl AsRef<Path>) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

/// Opens a file with O_RDONLY | O_TRUNC, which std has no option for.
fn emptied_for_reading(path: impl AsRef<Path>) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_TRUNC).open(path)
}

stories! {
    #![every_server]

    /// `dd conv=notrunc` changes the middle and keeps the rest.
    fn middle_of_a_file_overwritten(server: &TestServer, mount: &Mount) {
        let mut content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        server.write("file", &content);
        shell(mount.path(), "printf MIDDLE | dd of=file bs=1 seek=200001 conv=notrunc status=none");
        content[200_001..200_007].copy_from_slice(b"MIDDLE");
        assert!(server.read("file") == content);
        assert!(fs::read(mount.join("file")).unwrap() == content);
    }

    /// O_CREAT creates a file regardless of the access mode.
    fn made_by_an_open_for_reading(server: &TestServer, mount: &Mount) {
        let made = "import os; os.close(os.open('file', os.O_CREAT | os.O_EXCL | os.O_RDONLY, 0o640))";
        shell(mount.path(), &format!("python3 -c \"{made}\""));
        assert_eq!(server.read("file"), b"");
        assert_eq!(fs::metadata(mount.join("file")).unwrap().len(), 0);
    }

    /// The gap between the old end and a later write reads as zeros.
    fn hole_reads_as_zeros(server: &TestServer, mount: &Mount) {
        server.write("file", "begin");
        let file = open_to_change(mount.join("file"));
        file.write_all_at(b"end", 70_000).unwrap();
        drop(file);
        let mut expected = b"begin".to_vec();
        expected.resize(70_000, 0);
        expected.extend(b"end");
        assert!(server.read("file") == expected);
        assert!(fs::read(mount.join("file")).unwrap() == expected);
    }

    /// `truncate -s` by path truncates and extends.
    fn truncated_by_path(server: &TestServer, mount: &Mount) {
        server.write("file", "0123456789");
        shell(mount.path(), "truncate -s 4 file");
        assert_eq!(server.read("file"), b"0123");
        shell(mount.path(), "truncate -s 8 file");
        assert_eq!(server.read("file"), b"0123\0\0\0\0");
        shell(mount.path(), "truncate -s 0 file");
        assert_eq!(server.read("file"), b"");
        assert_eq!(fs::metadata(mount.join("file")).unwrap().len(), 0);
    }

    /// ftruncate(2) on an open file truncates and extends, with an immediate effect on reads and
    /// writes.
    fn truncated_by_handle(server: &TestServer, mount: &Mount) {
        server.write("file", "0123456789");
        let file = open_to_change(mount.join("file"));
        file.set_len(4).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 4);
        file.set_len(6).unwrap();
        let mut content = Vec::new();
        (&file).read_to_end(&mut content).unwrap();
        assert_eq!(content, b"0123\0\0");
        file.write_all_at(b"!", 6).unwrap();
        drop(file);
        assert_eq!(server.read("file"), b"0123\0\0!");
    }

    /// `>>` appends a line each time.
    fn appended(server: &TestServer, mount: &Mount) {
        server.write("log", "one\n");
        shell(mount.path(), "echo two >> log; echo three >> log; echo first >> fresh");
        assert_eq!(server.read("log"), b"one\ntwo\nthree\n");
        assert_eq!(server.read("fresh"), b"first\n");
        assert_eq!(fs::read(mount.join("log")).unwrap(), b"one\ntwo\nthree\n");
    }

    /// O_EXCL creates a file only once.
    fn created_only_if_absent(server: &TestServer, mount: &Mount) {
        let create = || OpenOptions::new().write(true).create_new(true).open(mount.join("lock"));
        create().unwrap().write_all(b"mine").unwrap();
        assert_errno(create(), libc::EEXIST);
        assert_eq!(server.read("lock"), b"mine");
    }

    /// O_TRUNC empties a file, even if nothing is written afterwards, or can be.
    fn emptied_by_open(server: &TestServer, mount: &Mount) {
        server.write("kept", "old content");
        server.write("emptied", "old content");
        server.write("read", "old content");
        shell(mount.path(), "echo new > kept; : > emptied");
        assert_eq!(server.read("kept"), b"new\n");
        assert_eq!(server.read("emptied"), b"");
        let mut reader = emptied_for_reading(mount.join("read")).unwrap();
        let mut content = Vec::new();
        reader.read_to_end(&mut content).unwrap();
        assert_eq!(content, b"");
        drop(reader);
        assert_eq!(server.read("read"), b"");
        assert_eq!(fs::metadata(mount.join("read")).unwrap().len(), 0);
    }

    /// An open file without a name stays usable, and nothing of it remains on the server.
    fn usable_after_unlink(server: &TestServer, mount: &Mount) {
        server.write("scratch", "old content");
        let file = open_to_change(mount.join("scratch"));
        fs::remove_file(mount.join("scratch")).unwrap();
        assert!(!mount.join("scratch").exists());
        file.write_all_at(b"NEW", 0).unwrap();
        file.write_all_at(b"!", 11).unwrap();
        let mut content = Vec::new();
        (&file).read_to_end(&mut content).unwrap();
        assert_eq!(content, b"NEW content!");
        drop(file);
        let is_empty = || fs::read_dir(server.root()).unwrap().next().is_none();
        assert!(wait_for(SOON, is_empty), "{:?}", crate::support::run_with("ls", &["-la".as_ref(), server.root().as_os_str()]));
    }

    /// fsync(2) stores written data on the server while the file stays open.
    fn stored_by_fsync(server: &TestServer, mount: &Mount) {
        let mut file = File::create(mount.join("journal")).unwrap();
        file.write_all(b"first").unwrap();
        file.sync_all().unwrap();
        assert_eq!(server.read("journal"), b"first");
        file.write_all(b" second").unwrap();
        file.sync_data().unwrap();
        assert_eq!(server.read("journal"), b"first second");
        drop(file);
        assert_eq!(server.read("journal"), b"first second");
    }

    /// Two programs that have the same file open see each other's writes immediately.
    fn two_handles_see_each_other(server: &TestServer, mount: &Mount) {
        server.write("shared", "....");
        let (one, other) = (open_to_change(mount.join("shared")), open_to_change(mount.join("shared")));
        one.write_all_at(b"1", 0).unwrap();
        other.write_all_at(b"2", 3).unwrap();
        let mut seen = [0; 4];
        one.read_exact_at(&mut seen, 0).unwrap();
        assert_eq!(&seen, b"1..2");
        other.read_exact_at(&mut seen, 0).unwrap();
        assert_eq!(&seen, b"1..2");
        drop(one);
        other.write_all_at(b"3", 1).unwrap();
        drop(other);
        assert_eq!(server.read("shared"), b"13.2");
    }

    /// A reader that has the file open sees what a writer appends.
    fn reader_sees_a_writer(server: &TestServer, mount: &Mount) {
        server.write("file", "old");
        let reader = File::open(mount.join("file")).unwrap();
        let mut seen = [0; 3];
        reader.read_exact_at(&mut seen, 0).unwrap();
        fs::write(mount.join("file"), "brand new").unwrap();
        let mut seen = [0; 9];
        reader.read_exact_at(&mut seen, 0).unwrap();
        assert_eq!(&seen, b"brand new");
    }

    /// `chmod` reaches the server.
    fn mode_changed(server: &TestServer, mount: &Mount) {
        let file = server.write("dir/script", "true");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        if !server.kind().can(Lack::SetMode) {
            let before = mode(&file);
            let changed = fs::set_permissions(mount.join("dir/script"), Permissions::from_mode(0o750));
            assert_errno(changed, libc::EOPNOTSUPP);
            assert_eq!(mode(&file), before);
            return;
        }
        shell(mount.path(), "chmod 0750 dir/script; chmod 0711 dir");
        assert_eq!(mode(&file), 0o750);
        assert_eq!(mode(&server.root().join("dir")), 0o711);
        assert_eq!(mode(&mount.join("dir/script")), 0o750);
    }

    /// `touch -d` reaches the server.
    fn time_changed(server: &TestServer, mount: &Mount) {
        let file = server.write("file", "content");
        if !server.kind().can(Lack::SetTime) {
            let touched = shell(mount.path(), "LC_ALL=C touch -d @981173106 file 2>&1 || echo refused");
            assert!(lines(&touched).contains(&"refused".to_owned()), "{touched:?}");
            assert_eq!(fs::read(&file).unwrap(), b"content");
            return;
        }
        shell(mount.path(), "touch -d @981173106 file");
        assert_eq!(fs::metadata(file).unwrap().mtime(), LONG_AGO);
        assert_eq!(fs::metadata(mount.join("file")).unwrap().mtime(), LONG_AGO);
    }

    /// A time set on an open file, as `cp -p` and `tar` do, is preserved.
    fn time_changed_while_open(server: &TestServer, mount: &Mount) {
        let mut file = File::create(mount.join("copy")).unwrap();
        file.write_all(b"content").unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(LONG_AGO.unsigned_abs());
        let set = file.set_times(FileTimes::new().set_modified(time));
        drop(file);
        assert_eq!(server.read("copy"), b"content");
        if !server.kind().can(Lack::SetTime) {
            // The server's inability to set it may only be detected when the file is stored.
            return;
        }
        set.unwrap();
        assert_eq!(fs::metadata(server.root().join("copy")).unwrap().mtime(), LONG_AGO);
        assert_eq!(fs::metadata(mount.join("copy")).unwrap().mtime(), LONG_AGO);
    }

    /// An executable stays executable after an edit in place.
    fn mode_kept_by_an_edit(server: &TestServer, mount: &Mount) {
        let file = server.write("tool", "#!/bin/sh\necho one\n");
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
        shell(mount.path(), "echo 'echo two' >> tool");
        if server.kind().can(Lack::ShowMode) && server.kind().can(Lack::SetMode) {
            shell(mount.path(), "./tool > said");
        } else {
            shell(mount.path(), "sh tool > said");
        }
        assert_eq!(server.read("said"), b"one\ntwo\n");
        if !server.kind().can(Lack::SetMode) {
            return;
        }
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o755);
        shell(mount.path(), "printf '#!/bin/sh\\necho three\\n' > tool");
        assert_eq!(server.read("tool"), b"#!/bin/sh\necho three\n");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o755);
    }
}

/// If the server forbids writing, the program gets an error, and the old content remains.
mod refused_writes_are_told {
    use super::*;
    use crate::support::{Kind, Mount, TestServer};

    fn tell(server: &TestServer) {
        let mount = Mount::new(server);
        let attempt = |name: &str, content: &[u8]| {
            let script = "import os, sys\n\
                fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)\n\
                os.write(fd, sys.argv[2].encode())\n\
                os.close(fd)\n";
            Command::new("python3")
                .args(["-c", script])
                .arg(mount.join(name))
                .arg(String::from_utf8_lossy(content).as_ref())
                .output()
                .unwrap()
        };
        for name in ["closed/old", "closed/new"] {
            let output = attempt(name, b"intruder");
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success(), "writing {name} succeeded");
            assert!(words.contains("[Errno 13]"), "{name}: {words}");
        }
        assert_eq!(server.read("closed/old"), b"old content");
        assert!(!server.root().join("closed/new").exists());
        assert_eq!(
            fs::read(mount.join("closed/old")).unwrap(),
            b"old content",
            "what was not stored is not shown either"
        );
        mount.unmount();
        assert_eq!(server.read("closed/old"), b"old content");
    }

    fn tell_foreign(kind: Kind) {
        let server = TestServer::start(kind);
        server.write("closed/old", "old content");
        run(&format!(
            "chown -R root: {}/closed",
            server.root().display()
        ));
        tell(&server);
    }

    #[test]
    fn embedded() {
        let server = TestServer::start_with(Kind::Embedded, |options| options.read_only = true);
        server.write("closed/old", "old content");
        tell(&server);
    }

    #[test]
    fn vsftpd() {
        tell_foreign(Kind::Vsftpd);
    }

    #[test]
    fn proftpd() {
        tell_foreign(Kind::Proftpd);
    }

    #[test]
    fn pure_ftpd() {
        tell_foreign(Kind::PureFtpd);
    }

    #[test]
    fn pyftpdlib() {
        tell_foreign(Kind::Pyftpdlib);
    }
}

/// A program that runs from the mount is not emptied below itself.
#[test]
fn a_running_program_is_not_emptied() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::new(&server);
    let program = mount.join("program");
    shell(
        mount.path(),
        "cp \"$(command -v sleep)\" program; chmod 755 program",
    );
    let mut running = Command::new(&program).arg("60").spawn().unwrap();
    let size = fs::metadata(&program).unwrap().len();
    for _ in 0..3 {
        assert_errno(emptied_for_reading(&program), libc::ETXTBSY);
        assert_errno(File::create(&program), libc::ETXTBSY);
        assert_eq!(fs::metadata(&program).unwrap().len(), size);
    }
    assert_eq!(running.try_wait().unwrap(), None);
    running.kill().unwrap();
    running.wait().unwrap();
    // The kernel reports the end of the program after the program's parent.
    let emptied = || emptied_for_reading(&program).is_ok();
    assert!(wait_for(SOON, emptied));
    assert_eq!(server.read("program"), b"");
}

/// A child process that closes what it inherited has the file stored. A time that is set meanwhile
/// is that of the file, on the server and in the mount.
#[test]
fn a_time_set_while_the_file_is_stored_is_shown() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::with_options(&server, &[]);
    let embedded = server.embedded().unwrap();
    let faults = embedded.faults();
    faults.add(Fault::on(
        "RNTO",
        Misdeed::LateReply(Duration::from_secs(2)),
    ));
    let mut file = File::create(mount.join("file")).unwrap();
    file.write_all(b"content").unwrap();
    let inherited = file.try_clone().unwrap();
    let closing = std::thread::spawn(move || drop(inherited));
    assert!(wait_for(SOON, || faults.happened() > 0));
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(LONG_AGO.unsigned_abs());
    file.set_modified(time).unwrap();
    closing.join().unwrap();
    let shown = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(shown(&server.root().join("file")), time);
    assert_eq!(shown(&mount.join("file")), time);
    drop(file);
    assert_eq!(shown(&mount.join("file")), time);
}
