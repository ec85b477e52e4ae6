//! Tests of commands that print a password.

use super::*;

/// Longer than any command here takes.
const LONG: Duration = Duration::from_secs(60);

fn run(command: &str) -> Result<String, String> {
    run_within(LONG, command)
}

fn run_within(limit: Duration, command: &str) -> Result<String, String> {
    let command = PasswordCommand::parse(command).unwrap();
    match command.run(limit) {
        Ok(password) => Ok(password.reveal().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn a_command_is_split_like_in_a_shell_and_nothing_is_expanded() {
    let words = |text| PasswordCommand::parse(text).map(|it| (it.program, it.arguments));
    let expected = ["a b", "c d", "$HOME", "*", "e f"].map(str::to_owned);
    assert_eq!(
        words(r#"'/x y/p'  "a b" c\ d $HOME * e" "f"#),
        Ok(("/x y/p".to_owned(), expected.to_vec()))
    );
    for wrong in ["'a", r#"a "b"#, "", "  ", "''"] {
        assert!(words(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_first_line_is_the_password() {
    for (command, password) in [
        ("echo secret", "secret"),
        ("printf 'se cret'", "se cret"),
        (r"printf 'secret\r\nuser: me\n'", "secret"),
        (
            "sh -c 'printf sec; printf ret; echo; exec seq 1 100000'",
            "secret",
        ),
        ("sh -c 'read line || echo no-input'", "no-input"),
        ("sh -c 'echo noise >&2; echo secret'", "secret"),
    ] {
        assert_eq!(run(command).as_deref(), Ok(password), "{command}");
    }
}

#[test]
fn what_is_no_password_is_an_error_without_the_output() {
    for (command, reason) in [
        ("true", "its first line is empty"),
        (r"printf '\nhunter2'", "its first line is empty"),
        (r"printf 'hunter2\377\n'", "not UTF-8"),
        ("head -c 2000000 /dev/zero", "too long"),
    ] {
        let message = run(command).unwrap_err();
        let program = command.split(' ').next().unwrap();
        assert!(
            message.starts_with(&format!("{program} printed no password: ")),
            "{message}"
        );
        assert!(message.contains(reason), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn a_failure_shows_how_it_ended_and_the_last_lines_of_the_standard_error() {
    let message = run(
        r"sh -c 'echo hunter2; for i in 1 2 3 4; do echo line $i >&2; done; printf %500s x >&2; printf %b \\033 >&2; exit 7'",
    );
    let message = message.unwrap_err();
    assert!(
        message.starts_with("sh exited with status 7: "),
        "{message}"
    );
    assert!(message.contains("line 3; line 4; "), "{message}");
    assert!(!message.contains("line 2"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
    assert!(
        message.len() < 1000 && !message.contains('\u{1b}'),
        "{message}"
    );
    let message = run(r"sh -c 'printf \\033[2J >&2; exit 1'").unwrap_err();
    assert_eq!(message, r"sh exited with status 1: \u{1b}[2J");
    let killed = run("sh -c 'kill -9 $$'").unwrap_err();
    assert_eq!(killed, "sh was ended by signal 9");
    let missing = run("/nonexistent/program hunter2").unwrap_err();
    assert!(
        missing.starts_with("cannot run /nonexistent/program: "),
        "{missing}"
    );
    assert!(!missing.contains("hunter2"), "{missing}");
}

/// An agent that the command starts may keep its standard streams.
#[test]
fn a_grandchild_that_keeps_the_output_open_holds_nothing_up() {
    let start = Instant::now();
    assert_eq!(
        run("sh -c 'echo secret; sleep 50 & exit 0'").as_deref(),
        Ok("secret")
    );
    let failed = run("sh -c 'sleep 50 & exit 3'").unwrap_err();
    assert_eq!(failed, "sh exited with status 3");
    assert!(start.elapsed() < Duration::from_secs(40));
}

#[test]
fn a_command_that_takes_too_long_is_ended_with_what_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let script = format!(
        "sh -c 'sleep 600 & echo $! > {0}; echo $$ >> {0}; echo waiting >&2; wait'",
        pids.display()
    );
    let message = run_within(Duration::from_secs(3), &script).unwrap_err();
    assert_eq!(
        message,
        "sh did not end within 3 seconds, or printed too much, and was ended: waiting"
    );
    for pid in std::fs::read_to_string(pids).unwrap().lines() {
        if let Ok(process) = ProcessHandle::open(pid.parse().unwrap()) {
            assert!(process.wait(LONG).unwrap(), "{pid} still runs");
        }
    }
}

#[test]
fn arguments_are_in_no_debug_output() {
    let command = PasswordCommand::parse("curl -u me:hunter2 h").unwrap();
    assert_eq!(format!("{command:?}"), "curl ****");
}
