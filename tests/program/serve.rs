//! `ftpfs serve` behind firewalls and NAT: its options, what it announces, and its log.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

const PASSWORD: &str = "never-in-the-log";

/// A running `ftpfs serve`; it is stopped on drop.
struct RunningServe {
    program: Child,
    /// Port of the server, on 127.0.0.1.
    port: u16,
}

/// A raw client.
struct RawClient(BufReader<TcpStream>);

fn serve(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftpfs"));
    command.arg("serve").arg(root).args(arguments);
    command.env("FTPFS_PASSWORD", PASSWORD).stdin(Stdio::null());
    command
}

impl RunningServe {
    fn start(root: &Path, arguments: &[&str]) -> Self {
        let mut program = serve(root, arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(program.stdout.take().unwrap())
            .read_line(&mut url)
            .unwrap();
        let port = url.trim_end().trim_end_matches('/').rsplit(':').next();
        let port = port.unwrap().parse().expect(&url);
        Self { program, port }
    }

    fn client(&self) -> RawClient {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        RawClient(BufReader::new(stream))
    }

    /// Ends the server with SIGTERM and returns its log.
    fn log(mut self) -> String {
        let process = Pid::from_raw(self.program.id().cast_signed()).unwrap();
        kill_process(process, Signal::TERM).unwrap();
        let mut log = String::new();
        let mut stderr = self.program.stderr.take().unwrap();
        stderr.read_to_string(&mut log).unwrap();
        assert!(self.program.wait().unwrap().success(), "{log}");
        log
    }
}

impl Drop for RunningServe {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

impl RawClient {
    #[track_caller]
    fn expect(&mut self, code: &str) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        assert!(line.starts_with(code), "{line}, not {code}");
        line
    }

    #[track_caller]
    fn command(&mut self, line: &str, code: &str) -> String {
        self.0
            .get_mut()
            .write_all(format!("{line}\r\n").as_bytes())
            .unwrap();
        self.expect(code)
    }

    fn log_in(&mut self, user: &str, password: &str) {
        self.expect("220");
        self.command(&format!("USER {user}"), "331");
        self.command(&format!("PASS {password}"), "230");
    }
}

/// Returns a port that is free now and that the kernel gives to no other socket.
fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let start = 25_000 + (std::process::id() % 40) as u16 * 20;
    (start..start + 200).find(is_free).unwrap()
}

#[test]
fn the_options_reach_the_clients_and_each_session_the_log() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), "hello").unwrap();
    let port = free_port();
    let range = port.to_string();
    let server = RunningServe::start(
        root.path(),
        &[
            "--user",
            "joe",
            "--listen",
            "127.0.0.1:0",
            "--passive-ports",
            &range,
            "--public-address",
            "203.0.113.7",
            "--max-sessions",
            "1",
        ],
    );
    let mut client = server.client();
    client.log_in("joe", PASSWORD);
    server.client().expect("421 Too many sessions");
    let words = client.command("PASV", "227");
    let announced = format!("(203,0,113,7,{},{})", port >> 8, port & 255);
    assert!(words.contains(&announced), "{words}");
    let mut data = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.command("RETR file", "150");
    let mut contents = String::new();
    data.read_to_string(&mut contents).unwrap();
    assert_eq!(contents, "hello");
    client.expect("226");
    client.command("QUIT", "221");
    // The slot is free when the client has read the last reply.
    let mut next = server.client();
    next.log_in("joe", PASSWORD);
    let log = server.log();
    let line = |words| log.lines().find(|line| line.contains(words)).expect(&log);
    let summary = line("ended by QUIT");
    assert!(summary.contains("INFO"), "{summary}");
    assert!(
        summary.contains("session of \"joe\" from 127.0.0.1:"),
        "{summary}"
    );
    assert!(
        summary.contains("received 0 files (0 bytes), sent 1 file (5 bytes)"),
        "{summary}"
    );
    line("ended by server stop");
    line("too many sessions");
    assert!(!log.contains(PASSWORD), "{log}");
}

#[test]
fn anonymous_clients_elsewhere_write_only_if_that_was_asked_for() {
    for (listen, option, code) in [
        ("127.0.0.1:0", None, "257"),
        ("127.0.0.1:0", Some("--read-only"), "550"),
        ("0.0.0.0:0", None, "550"),
        ("0.0.0.0:0", Some("--anonymous-writes"), "257"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let arguments = ["--anonymous", "--listen", listen];
        let arguments: Vec<&str> = arguments.into_iter().chain(option).collect();
        let server = RunningServe::start(root.path(), &arguments);
        let mut client = server.client();
        client.log_in("anonymous", "me@");
        client.command("MKD new", code);
        assert_eq!(server.log().contains("WARN"), listen != "127.0.0.1:0");
    }
}

#[test]
fn a_server_for_the_network_warns_of_what_is_not_safe() {
    let root = tempfile::tempdir().unwrap();
    let server = RunningServe::start(
        root.path(),
        &["--anonymous", "--anonymous-writes", "--listen", "0.0.0.0:0"],
    );
    let log = server.log();
    for words in ["unencrypted; --tls", "anyone on the network can change"] {
        assert!(log.contains(words), "{log}");
    }
}

#[test]
fn arguments_that_cannot_work_are_explained() {
    let root = tempfile::tempdir().unwrap();
    for (arguments, words) in [
        (
            ["--passive-ports", "50100-50000"],
            "write the lower port first: 50000-50100",
        ),
        (
            ["--passive-ports", "0-10"],
            "\"0\" is not a port from 1 to 65535",
        ),
        (
            ["--passive-ports", "many"],
            "a range is written as 50000-50100",
        ),
        (["--public-address", "2001:db8::1"], "clients use EPSV"),
        (
            ["--public-address", "no.such.host.invalid"],
            "not an IPv4 address such as 203.0.113.7",
        ),
        (
            ["--public-address", "0.0.0.0"],
            "no client can connect to the public address 0.0.0.0",
        ),
        (
            ["--max-sessions", "0"],
            "not a number of sessions from 1 on, such as 50",
        ),
        (["--max-sessions", "-1"], "not a number of sessions"),
        (["--anonymous-writes", "--read-only"], "--anonymous"),
    ] {
        let base = ["--user", "joe", "--listen", "127.0.0.1:0"];
        let output = serve(root.path(), &[&base[..], &arguments].concat())
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
        assert!(message.contains(words), "{arguments:?}: {message}");
    }
}
