//! The part of fish's completions that clap does not know.

use std::fmt::Write;

use clap::builder::PossibleValue;

use super::{commands_with_directory, offered};
use crate::cli::options::candidates::Candidates;

/// The function that prints what may follow `-o`, and its registration.
const ADDITION: &str = include_str!("ftpfs.fish");

pub(super) fn extend(generated: &str) -> String {
    let (mut names, mut values) = (String::new(), String::new());
    for spec in offered() {
        let description = quoted(spec.help);
        if spec.needs_no_value() {
            let _ = writeln!(
                names,
                "            printf '%s\\t%s\\n' \"$kept\"{} {description}",
                spec.name
            );
        }
        if spec.takes_value() {
            let _ = writeln!(
                names,
                "            printf '%s\\t%s\\n' \"$kept\"{}= {description}",
                spec.name
            );
        }
        if let Some(command) = offer(&spec.candidates()) {
            let _ = writeln!(values, "        case {}\n            {command}", spec.name);
        }
    }
    let addition = ADDITION
        .replace("@NAMES@\n", &names)
        .replace("@VALUES@\n", &values);
    format!("{generated}\n{addition}{}", arguments())
}

/// Returns what completes the arguments of subcommands, which clap leaves to file names.
fn arguments() -> String {
    let mut text = String::new();
    let directories = commands_with_directory();
    for command in crate::cli::command::ftpfs().get_subcommands() {
        let name = command.get_name();
        let mut offer = |candidates: &str| {
            let _ = writeln!(
                text,
                "complete -c ftpfs -n '__fish_seen_subcommand_from {name}' -f -a '{candidates}'"
            );
        };
        if directories.iter().any(|directory| directory == name) {
            offer("(__fish_complete_directories (commandline -ct) \"\")");
        }
        for argument in command.get_positionals() {
            let values = argument.get_possible_values();
            let names: Vec<&str> = values.iter().map(PossibleValue::get_name).collect();
            if !names.is_empty() {
                offer(&names.join(" "));
            }
        }
    }
    text
}

/// Returns the command that prints values, of which fish chooses those that match.
fn offer(candidates: &Candidates) -> Option<String> {
    match candidates {
        Candidates::Unknown => None,
        Candidates::Words(words) => Some(format!("printf '%s\\n' $start{{{}}}", words.join(","))),
        Candidates::Joined(words) => Some(format!(
            "printf '%s\\n' $start(string replace -r '[^+]*$' '' -- $value){{{}}}",
            words.join(",")
        )),
        Candidates::Files => {
            Some("string replace -r '^' -- $start (__fish_complete_path $value)".to_owned())
        }
        Candidates::Directories => Some(
            "string replace -r '^' -- $start (__fish_complete_directories $value '')".to_owned(),
        ),
        Candidates::Users => {
            Some("string replace -r '^' -- $start (__fish_complete_users)".to_owned())
        }
        Candidates::Groups => {
            Some("string replace -r '^' -- $start (__fish_complete_groups)".to_owned())
        }
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
