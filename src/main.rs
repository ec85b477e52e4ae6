//! The `ftpfs` program: runs the command line and converts its result to an exit status.

use std::process::ExitCode;

fn main() -> ExitCode {
    ftpfs::run(std::env::args_os())
}
