//! Programs run the way a user runs them, and waiting for a condition with a deadline.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

/// How long [`wait_for`] sleeps between two checks.
const PAUSE: Duration = Duration::from_millis(10);

/// At most so much of a check counts as time waited.
const MOST_PAUSE: Duration = Duration::from_millis(500);

/// Environment variables that change what tools do or where git works.
const NOT_INHERITED: [&str; 10] = [
    "BASH_ENV",
    "BLOCKSIZE",
    "BLOCK_SIZE",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_WORK_TREE",
    "POSIXLY_CORRECT",
    "QUOTING_STYLE",
    "TAR_OPTIONS",
    "TIME_STYLE",
];

/// Returns a command with the default action for a terminal's signals.
///
/// A shell's background jobs and nohup(1) start the tests with some of these signals ignored, and a
/// program would inherit that (signal(7)).
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("env");
    command
        .arg("--default-signal=INT,QUIT,HUP")
        .arg(program.as_ref());
    command
}

/// Runs one command line, split into words without quoting, and asserts that it succeeds.
pub(crate) fn run(command_line: &str) -> Output {
    let mut words = command_line.split_whitespace();
    let program = words.next().expect("a command");
    run_with(program, &words.map(OsStr::new).collect::<Vec<_>>())
}

/// Runs a program with these exact arguments and asserts that it succeeds.
pub(crate) fn run_with(program: &str, arguments: &[&OsStr]) -> Output {
    let mut command = command(program);
    command.args(arguments);
    succeed(command, &format!("{program} {arguments:?}"))
}

/// Runs a bash script in a directory. The first failing command stops it and fails the test.
pub(crate) fn shell(directory: impl AsRef<Path>, script: &str) -> Output {
    let mut command = command("bash");
    command
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(directory);
    succeed(command, script)
}

/// Asserts that programs which a minimal system does not have are installed.
pub(crate) fn installed(programs: &[&str]) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    for program in programs {
        assert!(
            std::env::split_paths(&path).any(|directory| directory.join(program).is_file()),
            "there is no {program}: scripts/test installs what the tests need"
        );
    }
}

/// Returns the lines of a program's standard output, sorted.
pub(crate) fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Waits until the condition holds or the time limit is reached; returns whether it holds.
pub(crate) fn wait_for(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let mut waited = Duration::ZERO;
    loop {
        let began = Instant::now();
        if condition() {
            return true;
        }
        if waited >= limit {
            return false;
        }
        thread::sleep(PAUSE);
        // While a virtual machine stops, nothing can happen.
        waited += began.elapsed().min(MOST_PAUSE);
    }
}

/// Whether these tests run as root.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn succeed(mut command: Command, told: &str) -> Output {
    // Tests compare the output of tools, and nothing must wait for a terminal.
    for variable in NOT_INHERITED {
        command.env_remove(variable);
    }
    command
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .stdin(std::process::Stdio::null());
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{told}: {error}"));
    assert!(
        output.status.success(),
        "{told}\nended with {}\n-- standard output:\n{}\n-- standard error:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output
}
