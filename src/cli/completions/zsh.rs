//! The part of zsh's completions that clap does not know.

use std::fmt::Write;

use super::{commands, described, offered};
use crate::cli::options::Spec;
use crate::cli::options::candidates::Candidates;
use crate::cli::{command, control_args};

/// The action that clap gives to `-o`.
const GENERATED_ACTION: &str = ":OPT,...:_default'";
const ACTION: &str = ":OPT,...:_ftpfs_mount_options'";
/// Arguments of subcommands: the name, clap's action, and the one that replaces it.
const ARGUMENTS: [(&str, &str, &str); 3] = [
    (command::SOURCE, "_default", "_ftpfs_sources"),
    (command::MOUNTPOINT, "", "_ftpfs_mounts"),
    (control_args::LIMIT, "_default", "_ftpfs_limits"),
];
/// The start of clap's function.
const START: &str = "_ftpfs() {\n";
/// The functions that clap's function calls.
const FUNCTIONS: &str = include_str!("ftpfs.zsh");
/// What comes first in clap's function.
const FIRST: &str = "    # Subcommands see other words.
    local _ftpfs_program=$words[1]
    # A source and a mountpoint are no subcommand.
    if _ftpfs_is_mount; then
        _ftpfs_mount
        return
    fi
    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
        _ftpfs_sources
    fi
";

pub(super) fn extend(generated: &str) -> String {
    let mut options = String::new();
    for spec in offered() {
        let _ = writeln!(options, "        {}", quoted(&value_spec(spec)));
    }
    let mut flags = String::new();
    for flag in described().get_opts() {
        if let (Some(short), Some(help)) = (flag.get_short(), flag.get_help()) {
            let help = in_brackets(&help.to_string());
            let argument = if flag.get_action().takes_values() {
                format!("*-{short}+[{help}]:OPT,...:_ftpfs_mount_options")
            } else {
                format!("-{short}[{help}]")
            };
            let _ = writeln!(flags, "        {} \\", quoted(&argument));
        }
    }
    let functions = FUNCTIONS
        .replace("@OPTIONS@\n", &options)
        .replace("@FLAGS@\n", &flags)
        .replace("@COMMANDS@", &commands().join("|"));
    let lines = generated.lines().map(|line| with_action(line) + "\n");
    lines
        .collect::<String>()
        .replacen(START, &format!("{functions}\n{START}{FIRST}"), 1)
}

/// Returns a line of clap's function with the action for an argument that clap does not know.
fn with_action(line: &str) -> String {
    let line = line.replace(GENERATED_ACTION, ACTION);
    let argument = line.trim_start_matches(['\'', '*', ':']);
    let end = |action: &str| format!(":{action}' \\");
    for (name, generated, action) in ARGUMENTS {
        if argument.starts_with(&format!("{name} -- "))
            && let Some(start) = line.strip_suffix(&end(generated))
        {
            return format!("{start}{}", end(action));
        }
    }
    line
}

/// Returns an argument of `_values`.
fn value_spec(spec: &Spec) -> String {
    let star = if spec.is_repeatable() { "*" } else { "" };
    let mut text = format!("{star}{}[{}]", spec.name, in_brackets(spec.help));
    if spec.takes_value() {
        text.push_str(if spec.needs_no_value() { "::" } else { ":" });
        let message = spec.placeholder.replace(':', "\\:");
        let _ = write!(text, "{message}:{}", action(&spec.candidates()));
    }
    text
}

fn action(candidates: &Candidates) -> String {
    match candidates {
        Candidates::Unknown => " ".to_owned(),
        Candidates::Words(words) => format!("({})", words.join(" ").replace(':', "\\:")),
        Candidates::Joined(words) => format!("_sequence -s + compadd - {}", words.join(" ")),
        Candidates::Files => "_files".to_owned(),
        Candidates::Directories => "_files -/".to_owned(),
        Candidates::Users => "_users".to_owned(),
        Candidates::Groups => "_groups".to_owned(),
    }
}

fn in_brackets(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('[', "\\[")
        .replace(']', "\\]")
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_is_in_the_script_and_used() {
        let script = crate::cli::completions::script("zsh").unwrap();
        assert!(script.matches("_ftpfs_mount_options").count() > 3);
        assert!(!script.contains(GENERATED_ACTION));
    }

    #[test]
    fn brackets_and_quotes_of_a_description_are_escaped() {
        assert_eq!(in_brackets("a [b] \\"), "a \\[b\\] \\\\");
        assert_eq!(quoted("the server's"), "'the server'\\''s'");
    }
}
