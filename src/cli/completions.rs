//! Completions for shells: subcommands and flags from clap's description of the command line, the
//! lists of `-o` from the option table.

mod bash;
mod fish;
mod zsh;

use std::io;

use clap::{Arg, Command, ValueHint};
use clap_complete::{Generator, Shell, generate};

use super::command;
use super::options::{self, Group, Spec};

/// Returns the completions for one of [`SHELLS`](super::command::SHELLS).
pub(super) fn script(shell: &str) -> io::Result<String> {
    match shell {
        "bash" => Ok(bash::extend(&generated(Shell::Bash)?)),
        "zsh" => Ok(zsh::extend(&generated(Shell::Zsh)?)),
        "fish" => Ok(fish::extend(&generated(Shell::Fish)?)),
        _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
    }
}

fn generated(shell: impl Generator) -> io::Result<String> {
    let mut script = Vec::new();
    generate(shell, &mut described(), "ftpfs", &mut script);
    String::from_utf8(script).map_err(io::Error::other)
}

/// Returns what clap can complete: flags and subcommands. It does not expect that a program has
/// both subcommands and arguments, so each shell's own part completes a source and a mountpoint.
fn described() -> Command {
    let program = command::ftpfs();
    let flags = program.get_opts().filter(|flag| !flag.is_hide_set());
    Command::new("ftpfs")
        .version(clap::crate_version!())
        .subcommands(program.get_subcommands().cloned())
        .args(flags.cloned())
}

/// Returns the options that are worth offering: those with an effect.
fn offered() -> impl Iterator<Item = &'static Spec> {
    options::all().filter(|spec| spec.group != Group::Elsewhere)
}

/// Returns the subcommands whose first argument is a directory.
fn commands_with_directory() -> Vec<String> {
    commands_whose_first(|argument| argument.get_value_hint() == ValueHint::DirPath)
}

/// Returns the subcommands whose first argument is the mountpoint of a running mount.
fn commands_on_mounts() -> Vec<String> {
    commands_whose_first(|argument| {
        argument.get_id() == command::MOUNTPOINT && argument.get_value_hint() == ValueHint::Other
    })
}

fn commands_whose_first(is_right: impl Fn(&Arg) -> bool) -> Vec<String> {
    let program = command::ftpfs();
    let has_it = |command: &&Command| command.get_positionals().next().is_some_and(&is_right);
    let found = program.get_subcommands().filter(has_it);
    found.map(|command| command.get_name().to_owned()).collect()
}

fn commands() -> Vec<String> {
    let program = command::ftpfs();
    let names = program.get_subcommands().map(Command::get_name);
    names.chain(["help"]).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command::SHELLS;

    #[test]
    fn every_option_and_subcommand_is_offered_in_each_shell() {
        for shell in SHELLS {
            let script = script(shell).unwrap();
            for spec in offered() {
                assert!(script.contains(spec.name), "{shell}: {}", spec.name);
            }
            for command in commands() {
                assert!(script.contains(&command), "{shell}: {command}");
            }
            for placeholder in ["@NAMES@", "@VALUES@", "COMMANDS@", "@OPTIONS@"] {
                assert!(!script.contains(placeholder), "{shell}: {placeholder}");
            }
        }
    }

    #[test]
    fn subcommands_take_directories_or_running_mounts() {
        assert_eq!(commands_with_directory(), ["demo", "serve", "warmup"]);
        assert_eq!(commands_on_mounts(), ["status", "limit", "log", "umount"]);
    }
}
