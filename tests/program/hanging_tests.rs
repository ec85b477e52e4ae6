//! `scripts/run-test`: a test that hangs fails, and what it waits for is shown.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// Seconds that the program may go on after what it waits for was killed.
const ENDING: u32 = 10;

/// Runs a shell script in the place of a test program, which hangs after so many seconds without
/// output.
fn run(patience: u32, script: &str) -> (Output, String) {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("stories-1");
    fs::write(&program, format!("#!/bin/sh\n{script}")).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/run-test"))
        .arg(&program)
        .env("FTPFS_TEST_PATIENCE", patience.to_string())
        .env("FTPFS_TEST_ENDING", ENDING.to_string())
        // It unmounts what is mounted there.
        .env("TMPDIR", directory.path())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, words)
}

#[test]
fn a_program_of_tests_that_end_is_run_as_it_is() {
    let (output, words) = run(60, "echo test one ... ok; sleep 0.1; echo end; exit 7");
    assert_eq!(words, "test one ... ok\nend\n");
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn what_a_hanging_test_waits_for_is_shown_and_killed() {
    let (output, words) = run(
        5,
        "
        echo test one has been running for over 60 seconds
        echo test two has been running for over 60 seconds
        echo test one ... ok
        sleep 1000
        echo test two ... FAILED
        exit 101
    ",
    );
    assert!(words.contains("Still running: two\n"), "{words}");
    assert!(words.contains("sleep 1000 \n"), "{words}");
    assert_eq!(words.matches("test two ... FAILED").count(), 1, "{words}");
    assert_eq!(output.status.code(), Some(101), "{words}");
}

#[test]
fn a_test_that_hangs_by_itself_is_killed_with_its_program() {
    let (output, words) = run(
        5,
        "
        echo test one has been running for over 60 seconds
        exec sleep 1000
    ",
    );
    assert!(words.contains("test one ... FAILED"), "{words}");
    assert_eq!(output.status.code(), Some(128 + 9), "{words}");
}
