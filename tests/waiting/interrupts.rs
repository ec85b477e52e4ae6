//! A program that waits for a silent server can be stopped, and others are not disturbed.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use crate::support::{Kind, Mount, TestServer, command, run_with, shell, stories, wait_for};
use ftpfs::server::{Fault, Misdeed};

/// Longer than a stopped program needs to end, but far shorter than the network timeouts.
const SOON: Duration = Duration::from_secs(10);

/// Maximum recovery time: a request on a dead connection times out before it is retried.
const RETURN: Duration = Duration::from_secs(60);

/// A timeout that no test here waits for.
const PATIENT: [&str; 1] = ["timeout=300"];

/// A program in the background that is stopped by signals; it is killed on drop.
struct Program(Child);

impl Program {
    fn start(mount: &Mount, script: &str) -> Self {
        let program = command("bash")
            .args(["-c", &format!("exec {script}")])
            .current_dir(mount.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(program.unwrap())
    }

    /// Waits until the program sleeps in a call to the mount, as reported by the kernel.
    fn wait_until_it_waits(&self) {
        let place = format!("/proc/{}/wchan", self.0.id());
        let calls = ["request_wait_answer", "folio_wait", "fuse"];
        let is_waiting = || {
            let place = fs::read_to_string(&place).unwrap_or_default();
            calls.iter().any(|call| place.contains(call))
        };
        assert!(wait_for(SOON, is_waiting), "it waits for nothing");
    }

    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        run_with("kill", &["-s".as_ref(), name.as_ref(), pid.as_ref()]);
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        let mut status = None;
        wait_for(SOON, || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asserts that Ctrl-C, as sent by a terminal, stops the script.
fn stops(mount: &Mount, script: &str) {
    let mut program = Program::start(mount, script);
    program.wait_until_it_waits();
    program.signal("INT");
    let status = program
        .ended()
        .unwrap_or_else(|| panic!("`{script}` goes on"));
    assert_eq!(status.signal(), Some(libc::SIGINT), "{script}");
}

stories! {
    /// Ctrl-C stops any request that waits for a frozen server.
    fn ctrl_c_ends_what_waits_for_a_frozen_server(server: &TestServer, mount: &Mount) with ["timeout=15", "dir_ttl=600"] {
        server.write("dir/file", "content");
        server.write("known", vec![7; 300_000]);
        shell(mount.path(), "ls");
        server.freeze();
        for script in ["ls dir", "stat dir/file", "cat known", "cat dir/file", "touch dir/new", "mkdir new", "rm known", "mv known other"] {
            stops(mount, script);
        }
        server.thaw();
        assert!(
            wait_for(RETURN, || fs::read(mount.join("dir/file")).is_ok_and(|bytes| bytes == b"content")),
            "the mount works again"
        );
    }
}

#[test]
fn ctrl_c_on_cat_of_a_file_that_stalls_halfway() {
    let server = TestServer::start(Kind::Embedded);
    server.write("large", vec![7; 8 << 20]);
    server.write("other", "content");
    let mount = Mount::with_options(&server, &PATIENT);
    let faults = server.embedded().unwrap();
    let stall = Misdeed::StallData { after: 4 << 20 };
    faults
        .faults()
        .add(Fault::on("RETR", stall).named("large").always());
    stops(&mount, "cat large");
    assert_eq!(fs::read(mount.join("other")).unwrap(), b"content");
    faults.faults().clear();
    assert_eq!(fs::read(mount.join("large")).unwrap(), vec![7; 8 << 20]);
}

#[test]
fn a_copy_that_waits_in_close_can_be_stopped_and_leaves_the_old_file() {
    let server = TestServer::start(Kind::Embedded);
    let old = server.write("file", "old");
    let mount = Mount::with_options(&server, &PATIENT);
    let embedded = server.embedded().unwrap();
    embedded
        .faults()
        .add(Fault::on("RNFR", Misdeed::StallControl));
    stops(&mount, "cp /etc/passwd file");
    let now = fs::read(old).unwrap();
    assert!(now == b"old" || now == fs::read("/etc/passwd").unwrap());
}

#[test]
fn a_kill_ends_at_once_and_a_signal_that_is_handled_does_not_disturb() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::with_options(&server, &PATIENT);
    let embedded = server.embedded().unwrap();
    let late = Misdeed::LateReply(Duration::from_secs(2));
    embedded.faults().add(Fault::on("RNTO", late));
    let script = "import signal, sys\n\
        signal.signal(signal.SIGALRM, lambda *_: None)\n\
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)\n\
        with open(sys.argv[1], 'wb') as file: file.write(b'content')\n\
        signal.setitimer(signal.ITIMER_REAL, 0)\n";
    // A Python process that is exiting no longer handles the signal: stop the timer first.
    run_with(
        "python3",
        &[
            "-c".as_ref(),
            script.as_ref(),
            mount.join("file").as_os_str(),
        ],
    );
    assert_eq!(server.read("file"), b"content");

    server.freeze();
    let mut program = Program::start(&mount, "ls");
    program.wait_until_it_waits();
    program.signal("KILL");
    let status = program.ended().expect("it is killed");
    assert_eq!(status.signal(), Some(libc::SIGKILL));
    server.thaw();
}

/// A program that waits for another program's upload of the same file can be interrupted, and its
/// request is not carried out later.
#[test]
fn a_removal_that_waits_behind_an_upload_can_be_stopped() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", "old");
    let mount = Mount::with_options(&server, &PATIENT);
    let embedded = server.embedded().unwrap();
    embedded
        .faults()
        .add(Fault::on("RNFR", Misdeed::StallControl));
    let mut copy = Program::start(&mount, "cp /etc/passwd file");
    assert!(wait_for(SOON, || embedded.faults().happened() > 0));
    stops(&mount, "rm file");
    drop(embedded);
    server.kill();
    server.start_again();
    let mut ended = None;
    wait_for(RETURN, || {
        ended = copy.0.try_wait().unwrap();
        ended.is_some()
    });
    assert!(ended.is_some(), "the upload ends when the server is back");
    mount.unmount();
    assert_eq!(server.read("file"), fs::read("/etc/passwd").unwrap());
}

/// The request of a stopped program is not sent later, when a connection becomes free.
#[test]
fn a_program_stopped_before_it_had_a_connection_sends_nothing() {
    let server = TestServer::start(Kind::Embedded);
    server.write("slow/file", "content");
    for name in ["unwanted", "unwanted-dir/file", "last"] {
        server.write(name, "content");
    }
    let options = [
        "timeout=300",
        "connections=1",
        "open_ttl=600",
        "dir_ttl=600",
    ];
    let mount = Mount::with_options(&server, &options);
    shell(mount.path(), "ls -l");
    let embedded = server.embedded().unwrap();
    embedded
        .faults()
        .add(Fault::on("MLSD", Misdeed::StallControl).named("slow"));
    let mut slow = Program::start(&mount, "ls slow");
    assert!(wait_for(SOON, || embedded.faults().happened() > 0));
    drop(embedded);
    for script in [
        "cat unwanted",
        "ls unwanted-dir",
        "stat unwanted-dir/file",
        "touch unwanted-dir/file",
        "mkdir unwanted-new",
        "mv unwanted unwanted-moved",
        "rm unwanted",
    ] {
        stops(&mount, script);
    }
    server.kill();
    server.start_again();
    assert_eq!(fs::read(mount.join("last")).unwrap(), b"content");
    assert!(slow.ended().is_some_and(|status| status.success()));
    let commands = server.embedded().unwrap().commands();
    assert!(commands.iter().any(|line| line.contains("last")));
    let unwanted: Vec<_> = commands
        .iter()
        .filter(|line| line.contains("unwanted"))
        .collect();
    assert!(unwanted.is_empty(), "{unwanted:?}");
}
