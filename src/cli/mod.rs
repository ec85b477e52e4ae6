//! The command line: what was typed, what it means, and one file for each subcommand.

mod build;
mod check;
mod command;
mod config;
mod demo;
mod help;
mod log_limit;
mod logging;
mod mount;
mod option_list;
mod options;
mod proxy_env;
mod sample_tree;
mod secrets;
mod security;
mod serve;
mod status;
mod value;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::ArgMatches;

use self::secrets::Environment;
use crate::source;

/// Any subcommand's failure, to be printed once.
type Failure = Box<dyn std::error::Error>;

/// Runs the program: `arguments` begin with its name.
///
/// Called as `mount.ftpfs` it takes mount(8)'s helper arguments instead of its own. Every failure
/// is one line on the standard error and exit status 1.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let environment = match secrets::hide() {
        Ok(environment) => environment,
        Err(error) => return fail(&*error),
    };
    let arguments: Vec<OsString> = arguments.collect();
    let command = if command::is_mount_helper(&arguments) {
        command::mount_helper()
    } else {
        command::ftpfs()
    };
    let matches = match command.try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(message) => return print_usage(&message),
    };
    match dispatch(&matches, environment) {
        Ok(status) => status,
        Err(failure) => fail(&*failure),
    }
}

fn dispatch(matches: &ArgMatches, environment: Environment) -> Result<ExitCode, Failure> {
    match matches.subcommand() {
        Some(("check", matches)) => check::run(matches, environment),
        Some(("demo", matches)) => demo::run(matches),
        Some(("status", matches)) => status::run(matches),
        Some(("serve", matches)) => serve::run(matches, environment.password),
        Some(("man", _)) => print(&help::man_page()?),
        _ if command::is_set(matches, command::OPTIONS_TABLE) => {
            print(help::markdown_table().as_bytes())
        }
        _ => mount::run(matches, environment),
    }
}

fn print(bytes: &[u8]) -> Result<ExitCode, Failure> {
    let mut output = std::io::stdout().lock();
    output.write_all(bytes)?;
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// `--help` and `--version` are no failures; a mistake is mount(8)'s status 1, not clap's 2.
fn print_usage(message: &clap::Error) -> ExitCode {
    // Nothing can be said to a closed output.
    if !message.use_stderr() {
        let _ = message.print();
        return ExitCode::SUCCESS;
    }
    let text = message.to_string();
    let concealed = source::conceal(&text);
    // What clap repeats may be a source with its password.
    let _ = if concealed == text {
        message.print()
    } else {
        write!(std::io::stderr(), "{concealed}")
    };
    ExitCode::FAILURE
}

fn fail(failure: &dyn std::error::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "ftpfs: {failure}");
    ExitCode::FAILURE
}
