//! The part of bash's completions that clap does not know.

use std::fmt::Write;

use super::{commands, commands_on_mounts, commands_with_directory, offered};
use crate::cli::options::candidates::Candidates;

/// A function around clap's, which is registered in its place.
const WRAPPER: &str = include_str!("ftpfs.bash");

pub(super) fn extend(generated: &str) -> String {
    let mut names = Vec::new();
    let mut values = String::new();
    for spec in offered() {
        if spec.needs_no_value() {
            names.push(spec.name.to_owned());
        }
        if spec.takes_value() {
            names.push(format!("{}=", spec.name));
        }
        if let Some(command) = offer(&spec.candidates()) {
            let _ = writeln!(values, "        {}) {command} ;;", spec.name);
        }
    }
    let wrapper = WRAPPER
        .replace("@NAMES@", &names.join(" "))
        .replace("@VALUES@\n", &values)
        .replace("@COMMANDS@", &commands().join("|"))
        .replace("@MOUNT_COMMANDS@", &commands_on_mounts().join("|"))
        .replace("@DIRECTORY_COMMANDS@", &commands_with_directory().join("|"));
    format!("{generated}\n{wrapper}")
}

/// Returns the command that prints the values that start with `$2`.
fn offer(candidates: &Candidates) -> Option<String> {
    match candidates {
        Candidates::Unknown => None,
        Candidates::Words(words) => Some(format!("compgen -W '{}' -- \"$2\"", words.join(" "))),
        Candidates::Joined(words) => Some(format!("_ftpfs_joined '{}' \"$2\"", words.join(" "))),
        Candidates::Files => Some("_ftpfs_paths -f \"$2\"".to_owned()),
        Candidates::Directories => Some("_ftpfs_paths -d \"$2\"".to_owned()),
        Candidates::Users => Some("compgen -u -- \"$2\"".to_owned()),
        Candidates::Groups => Some("compgen -g -- \"$2\"".to_owned()),
    }
}
