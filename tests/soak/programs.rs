//! Programs that must not hang.

use std::process::{Child, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Maximum time for a program, regardless of the server's behavior: the mount's timeouts, with a
/// few retries for each of a few files.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

const PAUSE: Duration = Duration::from_millis(5);

/// Runs a bash script; returns None if it exceeded its deadline and was killed.
pub(crate) fn script(directory: &std::path::Path, script: &str) -> Option<Output> {
    let mut command = crate::support::command("bash");
    command
        .args(["-c", script])
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    ends_in_time(&mut child).then(|| child.wait_with_output().unwrap())
}

/// Waits for a program; returns whether it ended before it had to be killed.
pub(crate) fn ends_in_time(child: &mut Child) -> bool {
    let deadline = Instant::now() + DEADLINE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            return false;
        }
        thread::sleep(PAUSE);
    }
    true
}
