//! A server that goes away and comes back: within the timeout it costs programs a wait, and with
//! `-o hard` it does at any time.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::support::{
    Kind, Mount, TestServer, assert_same_bytes, assert_same_tree, command, lines, run_with, shell,
    wait_for,
};
use tempfile::TempDir;

/// Maximum time for programs to end after the server is back.
const RETURN: Duration = Duration::from_secs(120);

/// Limit of the servers in bytes per second and transfer, so that transfers last while the server
/// goes away.
const RATE: &str = "6000000";

/// What programs do while the server goes away. `$local` is a local directory with `large`, `tree`,
/// `tree.tar` and `repository`; they run in the mount.
const PROGRAMS: [(&str, &str); 5] = [
    ("cat", "cat large > $local/cat"),
    ("cp", "cp $local/large cp"),
    ("rsync", "rsync -rt $local/tree $local/large rsync/"),
    ("tar", "mkdir tar && tar -xf $local/tree.tar -C tar"),
    ("git", "git clone -q $local/repository git"),
];

/// A program that a test started, with what it prints.
struct Program {
    name: &'static str,
    child: Child,
}

impl Program {
    fn start(mount: &Mount, local: &Path, name: &'static str, script: &str) -> Self {
        let child = command("bash")
            .args(["-c", script])
            .env("local", local)
            .current_dir(mount.path())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { name, child }
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    fn assert_success(mut self) {
        let name = self.name;
        assert!(wait_for(RETURN, || self.has_ended()), "{name} hangs");
        let errors = self.child.stderr.take().unwrap();
        let words = std::io::read_to_string(errors).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{name}: {status}: {words}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Creates what [`PROGRAMS`] need.
fn local_files() -> TempDir {
    let local = tempfile::tempdir().unwrap();
    shell(
        local.path(),
        "mkdir tree
         for d in 1 2 3 4; do
             mkdir tree/$d
             for n in $(seq 60); do seq $n $((n * 40)) > tree/$d/$n; done
         done
         head -c 40000000 /dev/urandom > large
         tar -cf tree.tar tree
         git init -q repository && cp -r tree repository && cd repository && git add . &&
         git -c user.name=a -c user.email=a@b commit -qm files",
    );
    local
}

fn start_slow(kind: Kind) -> TestServer {
    match kind {
        Kind::Embedded => TestServer::start(kind),
        _ => TestServer::start_with_arguments(kind, &["--rate", RATE]),
    }
}

/// All programs are at work when the server is killed. It is restarted after `seconds`.
fn outlive_a_restart(kind: Kind, seconds: u64) {
    let local = local_files();
    let server = start_slow(kind);
    fs::copy(local.path().join("large"), server.root().join("large")).unwrap();
    let mount = Mount::new(&server);
    let mut programs: Vec<_> = PROGRAMS
        .into_iter()
        .map(|(name, script)| Program::start(&mount, local.path(), name, script))
        .collect();
    let arrived = || fs::metadata(local.path().join("cat")).map_or(0, |found| found.len());
    assert!(wait_for(RETURN, || arrived() > 4 << 20));
    let at_work = programs
        .iter_mut()
        .filter_map(|it| (!it.has_ended()).then_some(it.name));
    let at_work: Vec<_> = at_work.collect();
    assert!(
        at_work.contains(&"cat") || kind == Kind::Embedded,
        "{at_work:?}"
    );
    server.kill();
    thread::sleep(Duration::from_secs(seconds));
    server.start_again();
    for program in programs {
        program.assert_success();
    }
    // An upload that broke is deleted in the background.
    let leftovers = || lines(&shell(server.root(), "find . -name '.ftpfs-*'"));
    assert!(wait_for(RETURN, || leftovers().is_empty()));
    let large = local.path().join("large");
    assert_same_bytes(&large, local.path().join("cat"));
    assert_same_bytes(&large, server.root().join("cp"));
    assert_same_bytes(&large, server.root().join("rsync/large"));
    let tree = local.path().join("tree");
    assert_same_tree(&tree, server.root().join("rsync/tree"));
    assert_same_tree(&tree, server.root().join("tar/tree"));
    shell(
        mount.join("git"),
        "git fsck && git status --porcelain | wc -l | grep -qx 0",
    );
    assert_same_tree(&tree, server.root().join("git/tree"));
}

macro_rules! restarts {
    ($($name:ident $kind:ident $seconds:literal),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                outlive_a_restart(Kind::$kind, $seconds);
            }
        )*
    };
}

restarts! {
    programs_outlive_one_second_without_the_embedded_server Embedded 1,
    programs_outlive_one_second_without_vsftpd Vsftpd 1,
    programs_outlive_five_seconds_without_vsftpd Vsftpd 5,
    programs_outlive_twenty_seconds_without_vsftpd Vsftpd 20,
    programs_outlive_one_second_without_proftpd Proftpd 1,
    programs_outlive_five_seconds_without_proftpd Proftpd 5,
    programs_outlive_twenty_seconds_without_proftpd Proftpd 20,
}

/// After the timeout, a program learns why the server cannot be reached.
#[test]
fn a_server_that_stays_away_refuses_connections() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::with_options(&server, &["timeout=2"]);
    server.kill();
    let output = Command::new("ls").arg(mount.path()).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("Connection refused"), "{words}");
    server.start_again();
}

/// A server that is away for several timeouts, or says nothing for as long.
#[test]
fn a_hard_mount_waits_for_as_long_as_it_takes() {
    const TIMEOUTS: [&str; 3] = ["hard", "timeout=2", "connect_timeout=1"];
    type Deed = fn(&TestServer);
    let ways: [(Deed, Deed); 2] = [
        (TestServer::kill, TestServer::start_again),
        (TestServer::freeze, TestServer::thaw),
    ];
    for kind in [Kind::Embedded, Kind::Vsftpd] {
        for (leave, come_back) in ways {
            let local = local_files();
            let server = start_slow(kind);
            fs::copy(local.path().join("large"), server.root().join("large")).unwrap();
            let mount = Mount::with_options(&server, &TIMEOUTS);
            let start = |name, script| Program::start(&mount, local.path(), name, script);
            let mut programs = vec![start("cat", PROGRAMS[0].1), start("cp", PROGRAMS[1].1)];
            let arrived = || fs::metadata(local.path().join("cat")).map_or(0, |it| it.len());
            assert!(wait_for(RETURN, || arrived() > 4 << 20));
            leave(&server);
            programs.push(start("ls", "ls -l > $local/ls"));
            programs.push(start("mkdir", "mkdir made"));
            thread::sleep(Duration::from_secs(12));
            come_back(&server);
            for program in programs {
                program.assert_success();
            }
            let large = local.path().join("large");
            assert_same_bytes(&large, local.path().join("cat"));
            assert_same_bytes(&large, server.root().join("cp"));
            assert!(server.root().join("made").is_dir());
        }
    }
}

/// What waits for a server that never comes back can be interrupted, and the mount can be ended.
#[test]
fn what_a_hard_mount_waits_for_can_be_interrupted() {
    for leave in [TestServer::kill, TestServer::freeze] {
        let server = TestServer::start(Kind::Vsftpd);
        let local = tempfile::tempdir().unwrap();
        server.write("file", vec![7; 20 << 20]);
        let mount = Mount::with_options(&server, &["hard", "timeout=2", "connect_timeout=1"]);
        leave(&server);
        let scripts = ["exec cat file", "exec ls -l", "exec cp /etc/passwd new"];
        for script in scripts {
            let mut program = Program::start(&mount, local.path(), "it", script);
            thread::sleep(Duration::from_secs(4));
            assert!(!program.has_ended(), "{script}");
            let pid = program.child.id().to_string();
            run_with("kill", &["-INT".as_ref(), pid.as_ref()]);
            assert!(wait_for(RETURN, || program.has_ended()), "{script} hangs");
        }
    }
}
