//! A server that dies, hangs or comes back: its mount never hangs.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use crate::support::{Ending, Kind, Mount, TestServer, lines, shell, stories, wait_for};
use ftpfs::server::{Fault, Misdeed};

/// Maximum time for a mount to end, regardless of the server: a few waits of a few seconds each.
const AN_END: Duration = Duration::from_secs(25);

/// Maximum time for a mount to notice that its server is back.
const RETURN: Duration = Duration::from_secs(60);

type Deed = fn(&TestServer);

/// Ways in which a server can become silent.
const WAYS: [(Deed, Deed); 2] = [
    (TestServer::kill, TestServer::start_again),
    (TestServer::freeze, TestServer::thaw),
];

/// A program that has written 9 MiB to a file and holds it open. It is a separate process: in this
/// one, every child of another test would close a copy of the descriptor and so store the file.
struct Writer(Child);

impl Writer {
    fn start(file: &Path) -> Self {
        let mut writer = crate::support::command("dd")
            .args(["bs=1M", "iflag=fullblock", "conv=notrunc", "status=none"])
            .arg(format!("of={}", file.display()))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let input = writer.stdin.as_mut().unwrap();
        input.write_all(&vec![7; 9 << 20]).unwrap();
        Self(writer)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes a file and waits until the server has it; `fs::write` would not report a failure.
fn store(file: &Path, content: &str) -> io::Result<()> {
    let mut file = File::create(file)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

fn parts(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap();
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".ftpfs-"))
        .collect()
}

stories! {
    /// `umount` and SIGTERM end a mount whose server is dead or silent, within seconds.
    fn an_idle_mount_ends(server: &TestServer, _mount: &Mount) {
        server.write("file", "content");
        for (leave, come_back) in WAYS {
            for is_signal in [false, true] {
                let mount = Mount::new(server);
                shell(mount.path(), "cat file && cp file copy && ls");
                leave(server);
                let ending = if is_signal { Ending::Signal } else { Ending::Unmount };
                let (status, log) = mount.end_within(AN_END, ending);
                assert!(status.success(), "{status}: {log}");
                come_back(server);
            }
        }
    }

    /// A file that was being written when the server went silent blocks nothing. The server keeps
    /// the old file, and the next mount cleans up.
    fn a_mount_with_half_a_file_ends(server: &TestServer, _mount: &Mount) {
        let on_server = server.write("file", "old");
        for (leave, come_back) in WAYS {
            let state = tempfile::tempdir().unwrap();
            let mount = Mount::with_state(server, &[], state.path());
            let mut writer = Writer::start(&mount.join("file"));
            assert!(wait_for(AN_END, || !parts(server.root()).is_empty()), "the upload has begun");
            leave(server);
            // Whether or not its connection breaks, the program gets the error from its close if it
            // is still alive then.
            mount.end_within(AN_END, Ending::Signal);
            writer.0.wait().unwrap();
            come_back(server);
            assert_eq!(fs::read(&on_server).unwrap(), b"old");
            let next = Mount::with_state(server, &[], state.path());
            assert_eq!(fs::read(next.join("file")).unwrap(), b"old");
            next.unmount();
            assert!(wait_for(AN_END, || parts(server.root()).is_empty()), "{:?}", parts(server.root()));
        }
    }

    /// While the server is gone, known data is served and other requests fail in time. Once the
    /// server is back, everything works without a new mount. This uses one connection: then nothing
    /// is prefetched, and no vsftpd session is logging in when vsftpd is stopped, which would leave
    /// its log locked forever.
    fn the_mount_lives_on_when_the_server_is_back(server: &TestServer, mount: &Mount) with ["timeout=5", "connect_timeout=3", "dir_ttl=600", "connections=1"] {
        server.write("known/file", "content");
        for unknown in ["unknown0/file", "unknown1/file"] {
            server.write(unknown, "content");
        }
        shell(mount.path(), "ls -l . known");
        for (number, (leave, come_back)) in WAYS.into_iter().enumerate() {
            let unknown = mount.join(format!("unknown{number}"));
            leave(server);
            assert_eq!(lines(&shell(mount.path(), "ls known")), ["file"]);
            assert_eq!(fs::metadata(mount.join("known/file")).unwrap().len(), 7);
            fs::read_dir(&unknown).and_then(|mut names| names.next().transpose()).unwrap_err();
            store(&mount.join("known/new"), "new").unwrap_err();
            come_back(server);
            let is_back = || fs::read(unknown.join("file")).is_ok_and(|read| read == b"content");
            assert!(wait_for(RETURN, is_back), "still gone");
            store(&mount.join("known/new"), "newer").unwrap();
            assert_eq!(server.read("known/new"), b"newer");
            fs::remove_file(mount.join("known/new")).unwrap();
        }
    }
}

/// A directory whose listing never arrives and a file that stalls do not delay anything else.
#[test]
fn what_is_stuck_disturbs_nobody_else() {
    let server = TestServer::start(Kind::Embedded);
    server.write("known/file", "content");
    server.write("stuck/file", vec![7; 1 << 20]);
    for number in 0..20 {
        server.write(format!("other{number}/file"), "content");
    }
    let mount = Mount::with_options(&server, &["timeout=300", "dir_ttl=600"]);
    shell(mount.path(), "ls known; stat stuck/file");
    let embedded = server.embedded().unwrap();
    for (verb, name) in [("MLSD", "stuck"), ("RETR", "stuck/file")] {
        let stall = Misdeed::StallData { after: 0 };
        embedded
            .faults()
            .add(Fault::on(verb, stall).named(name).always());
    }
    let mut waiting: Vec<_> = ["cat stuck/file", "find stuck -newer known"]
        .map(|script| {
            let mut program = crate::support::command("bash");
            program
                .args(["-c", &format!("exec {script}")])
                .current_dir(mount.path());
            program.spawn().unwrap()
        })
        .into();
    assert!(wait_for(AN_END, || embedded.faults().happened() >= 1));
    thread::sleep(Duration::from_millis(200));
    for number in 0..20 {
        let directory = mount.join(format!("other{number}"));
        assert_eq!(fs::read(directory.join("file")).unwrap(), b"content");
        fs::write(directory.join("new"), "new").unwrap();
        assert_eq!(fs::read_dir(mount.join("known")).unwrap().count(), 1);
    }
    assert!(
        waiting[0].try_wait().unwrap().is_none(),
        "the stuck one still waits"
    );
    for program in &mut waiting {
        program.kill().unwrap();
        program.wait().unwrap();
    }
}
