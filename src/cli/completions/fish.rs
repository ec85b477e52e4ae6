//! The part of fish's completions that clap does not know.

use std::fmt::Write;

use clap::builder::PossibleValue;

use super::{commands_on_mounts, commands_with_directory, offered};
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
    let mounts = commands_on_mounts();
    for command in crate::cli::command::ftpfs().get_subcommands() {
        let name = command.get_name();
        let mut offer = |place: &str, candidates: &str| {
            let condition = format!("__fish_ftpfs_using_subcommand {name}{place}");
            let _ = writeln!(
                text,
                "complete -c ftpfs -n '{condition}' -f -a '{candidates}'"
            );
        };
        if directories.iter().any(|directory| directory == name) {
            let found = "(__fish_complete_directories (commandline -ct) \"\")";
            offer("", found);
        }
        if mounts.iter().any(|mount| mount == name) {
            // No other argument is a file, either.
            offer("", "");
            offer("; and __ftpfs_argument 1", "(__ftpfs_mounts)");
        }
        for (index, argument) in command.get_positionals().enumerate() {
            let values = argument.get_possible_values();
            let names: Vec<&str> = values.iter().map(PossibleValue::get_name).collect();
            if !names.is_empty() {
                let place = format!("; and __ftpfs_argument {}", index + 1);
                offer(&place, &names.join(" "));
            }
        }
    }
    text
}

/// Returns the command that prints values, of which fish chooses those that match.
fn offer(candidates: &Candidates) -> Option<String> {
    match candidates {
        Candidates::Unknown => None,
        Candidates::Words(words) => Some(format!("printf '%s\\n' $start{}", each(words))),
        Candidates::Joined(words) => Some(format!(
            "printf '%s\\n' $start(string replace -r '[^+]*$' '' -- $value){}",
            each(words)
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

/// Returns a list that fish joins, item by item, to what precedes it. Braces around one word would
/// stay as they are.
fn each(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("(printf '%s\\n' {})", words.join(" "))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
