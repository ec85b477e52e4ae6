//! A foreign FTP server run by `scripts/ftpd`. The script stops the server when our end of its
//! standard input closes, so a killed test leaves no server behind.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use super::wait_for;

/// Maximum time for `scripts/ftpd` to stop its server.
const STOP: Duration = Duration::from_secs(15);

/// A running `scripts/ftpd`, and what it printed about its server.
pub(crate) struct Foreign {
    runner: Child,
    answers: Mutex<BufReader<ChildStdout>>,
    errors: Mutex<Option<ChildStderr>>,
    port: u16,
    commands: Option<PathBuf>,
    ca: Option<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
}

impl Foreign {
    /// Starts a server of this kind and waits until it greets.
    pub(crate) fn start(kind: &str, root: &Path, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/ftpd");
        let mut runner = Command::new(&script)
            .args(["run", kind, "--root"])
            .arg(root)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
        let mut answers = BufReader::new(runner.stdout.take().expect("its output is piped"));
        let answer = line(&mut answers);
        let Some(port) = number(&answer, "port") else {
            let words = everything(runner.stderr.take().expect("its errors are piped"));
            let status = runner.wait().expect("it can be waited for");
            panic!("{kind} did not start ({status}): {words}");
        };
        let errors = Mutex::new(runner.stderr.take());
        let file = |name| text(&answer, name).map(PathBuf::from);
        Self {
            runner,
            errors,
            answers: Mutex::new(answers),
            port,
            commands: file("commands"),
            ca: file("ca"),
            client: file("client_cert").zip(file("client_key")),
        }
    }

    /// Returns the port the server listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the CA of the server's certificate if it speaks TLS.
    pub(crate) fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// Returns the client certificate and key that the server accepts.
    pub(crate) fn client(&self) -> Option<&(PathBuf, PathBuf)> {
        self.client.as_ref()
    }

    /// Returns every command the server has logged so far.
    pub(crate) fn commands(&self) -> Vec<String> {
        let log = self
            .commands
            .as_ref()
            .expect("this server keeps no log of commands");
        let log = fs::read(log).unwrap_or_default();
        String::from_utf8_lossy(&log)
            .lines()
            .filter_map(command)
            .collect()
    }

    /// Sends a command for the server to `scripts/ftpd`: `kill`, `start`, `freeze` or `thaw`.
    pub(crate) fn tell(&self, command: &str) {
        let mut answers = self.answers.lock().expect("no test panics in here");
        let mut input = self.runner.stdin.as_ref().expect("open until the end");
        let sent = input.write_all(format!("{command}\n").as_bytes());
        if sent.is_err() || line(&mut answers).trim_end() != command {
            let errors = self.errors.lock().expect("no test panics in here").take();
            let words = errors.map(everything).unwrap_or_default();
            panic!("scripts/ftpd cannot {command} its server: {words}");
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.runner.try_wait().expect("our own child")
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        drop(self.runner.stdin.take());
        let mut status = None;
        wait_for(STOP, || {
            status = self.ended();
            status.is_some()
        });
        if status.is_none() {
            let _ = self.runner.kill();
            let _ = self.runner.wait();
        }
        if !std::thread::panicking() {
            assert!(
                status.is_some_and(|status| status.success()),
                "scripts/ftpd: {status:?}"
            );
        }
    }
}

/// Returns the command in a log line: the last word of vsftpd's
/// `… [pid 7] … FTP command: Client "127.0.0.1", "NOOP"`, the whole line of other servers.
fn command(line: &str) -> Option<String> {
    if let Some((_, told)) = line.split_once(" FTP command: Client ") {
        let (_, command) = told.split_once("\", \"")?;
        return Some(command.strip_suffix('"').unwrap_or(command).to_owned());
    }
    let is_other_note_of_vsftpd = line.contains(" [pid ");
    (!is_other_note_of_vsftpd && !line.is_empty()).then(|| line.to_owned())
}

fn line(answers: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    answers
        .read_line(&mut line)
        .expect("scripts/ftpd speaks UTF-8");
    line
}

fn everything(mut errors: ChildStderr) -> String {
    let mut words = String::new();
    let _ = errors.read_to_string(&mut words);
    words
}

/// Returns a number from the flat JSON object that `scripts/ftpd` prints.
fn number(json: &str, name: &str) -> Option<u16> {
    let (_, value) = json.split_once(&format!("\"{name}\": "))?;
    value.split([',', '}']).next()?.trim().parse().ok()
}

/// Returns a string from that JSON object; no string there needs escaping.
fn text<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = json.split_once(&format!("\"{name}\": \""))?;
    value.split('"').next()
}
