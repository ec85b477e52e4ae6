//! The command line: parsing, conversion to typed options, and one file for each subcommand.

mod accounts;
mod advice;
mod build;
mod cache;
mod check;
mod child;
mod command;
mod completions;
mod config;
mod contradiction;
mod control;
mod control_args;
mod demo;
mod early_warnings;
mod foreign_use;
mod help;
mod journald;
mod log_fields;
mod log_json;
mod log_limit;
mod logging;
mod login;
mod man;
mod mount;
mod named_mountpoint;
mod old_source;
mod option_error;
mod option_list;
mod options;
mod pins;
mod proxy_env;
mod reload;
mod request;
mod sample_tree;
mod screen;
mod secrets;
mod security;
mod serve;
mod settings;
mod status;
mod syslog;
mod trust;
mod value;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use clap::ArgMatches;

use self::config::ConfigChoice;
use self::secrets::Environment;
use crate::source;

/// The failure of a subcommand, which is printed once.
type Failure = Box<dyn std::error::Error>;

/// Runs the program with `arguments`, of which the first is its name.
///
/// If called as `mount.ftpfs`, it accepts the arguments of mount(8)'s helpers instead of its own.
/// Every failure prints one line on the standard error and exits with status 1.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let environment = match secrets::hide() {
        Ok(environment) => environment,
        Err(error) => return fail(&*error),
    };
    let arguments: Vec<OsString> = arguments.collect();
    let program = arguments.first();
    let command = if command::is_mount_helper(&arguments) {
        command::mount_helper()
    } else if program.is_some_and(|name| command::is_curlftpfs(name.as_bytes())) {
        command::curlftpfs()
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
        Some(("check", matches)) => check::run(matches, &environment),
        Some(("demo", matches)) => demo::run(matches),
        Some(("status", matches)) => status::run(matches),
        Some(("refresh", matches)) => control::refresh(matches),
        Some(("flush", matches)) => control::flush(matches),
        Some(("warmup", matches)) => control::warm_up(matches),
        Some(("limit", matches)) => control::limit(matches),
        Some(("log", matches)) => control::log(matches),
        Some(("cache", matches)) => cache::run(matches),
        Some(("umount", matches)) => control::unmount(matches),
        Some(("serve", matches)) => serve::run(matches, environment.password),
        Some(("config", matches)) => configuration(matches),
        Some(("man", matches)) => {
            let page = matches.get_one::<String>(command::PAGE);
            print(&man::page(page.map_or("", String::as_str))?)
        }
        Some(("completions", matches)) => {
            let shell = matches.get_one::<String>(command::SHELL);
            print(completions::script(shell.map_or("", String::as_str))?.as_bytes())
        }
        _ if command::is_set(matches, command::OPTIONS_TABLE) => {
            print(help::markdown_table().as_bytes())
        }
        _ => mount::run(matches, &environment),
    }
}

fn configuration(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let (action, arguments) = matches.subcommand().ok_or("check or show is missing")?;
    let file = arguments.get_one::<OsString>(command::FILE).cloned();
    let choice = file.map_or_else(request::environment, ConfigChoice::parse);
    let report = if action == "check" {
        config::check(&choice, contradiction::check)?
    } else {
        let typed = arguments.get_one::<OsString>(command::SOURCE);
        config::show(&choice, typed.map(OsString::as_os_str))?
    };
    print(report.as_bytes())
}

fn print(bytes: &[u8]) -> Result<ExitCode, Failure> {
    let mut output = std::io::stdout().lock();
    output.write_all(bytes)?;
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a message of clap. `--help` and `--version` are successes; an error exits with status 1,
/// as for mount(8), instead of clap's 2.
fn print_usage(message: &clap::Error) -> ExitCode {
    // A closed output cannot show an error.
    if !message.use_stderr() {
        let _ = message.print();
        return ExitCode::SUCCESS;
    }
    let text = message.to_string();
    let concealed = source::conceal(&text);
    // clap's message may repeat a source with its password.
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
