//! Command line.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the program.
pub fn run(_arguments: impl Iterator<Item = OsString>) -> ExitCode {
    todo!()
}
