//! A program on a terminal of its own.

use std::io::{BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::wait_for;

/// Maximum time to wait for a question or the end of the program.
const LIMIT: Duration = Duration::from_secs(20);

/// A running program whose terminal the test sees and types on. It is killed on drop.
pub(crate) struct Terminal {
    script: Child,
    screen: Receiver<u8>,
}

impl Terminal {
    /// Starts a command line. `script` is script(1) with its environment, which provides the
    /// terminal.
    pub(crate) fn start(mut script: Command, line: &str) -> Self {
        let mut script = script
            .args(["-qefc", line, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = script.stdout.take().unwrap();
        let (sender, screen) = channel();
        thread::spawn(move || {
            for byte in BufReader::new(output).bytes() {
                if byte.is_err() || sender.send(byte.unwrap()).is_err() {
                    break;
                }
            }
        });
        Self { script, screen }
    }

    /// Returns what is shown until the program asks something that ends with `question`.
    #[track_caller]
    pub(crate) fn asks(&mut self, question: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        let mut shown = Vec::new();
        while !shown.ends_with(question.as_bytes())
            && let left = deadline.saturating_duration_since(Instant::now())
            && let Ok(byte) = self.screen.recv_timeout(left)
        {
            shown.push(byte);
        }
        let shown = String::from_utf8_lossy(&shown).into_owned();
        assert!(shown.ends_with(question), "no {question:?}: {shown}");
        shown
    }

    /// Types a line.
    pub(crate) fn types(&self, line: &str) {
        self.presses(format!("{line}\n").as_bytes());
    }

    /// Presses keys.
    pub(crate) fn presses(&self, keys: &[u8]) {
        self.script.stdin.as_ref().unwrap().write_all(keys).unwrap();
    }

    /// Waits for the end. Returns the rest of what is shown, and whether the program succeeds.
    #[track_caller]
    pub(crate) fn ends(mut self) -> (String, bool) {
        let mut status = None;
        let has_ended = wait_for(LIMIT, || {
            status = self.script.try_wait().unwrap();
            status.is_some()
        });
        let shown: Vec<u8> = if has_ended {
            self.screen.iter().collect()
        } else {
            self.screen.try_iter().collect()
        };
        let shown = String::from_utf8_lossy(&shown).into_owned();
        assert!(has_ended, "still running: {shown}");
        (shown, status.unwrap().success())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}
