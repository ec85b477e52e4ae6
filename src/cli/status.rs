//! `ftpfs status [MOUNTPOINT]`: what running mounts are doing.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ArgMatches;

use super::{Failure, build, command, print};
use crate::mount::status::{self, Form};

/// Prints the status of one mount, or of all mounts of this user.
///
/// # Errors
/// The directory is not one of them, or its ftpfs does not respond.
pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let state = build::state_home();
    let sockets = build::sockets(state.as_deref())
        .ok_or("no place for control sockets: set XDG_RUNTIME_DIR or HOME")?;
    let is_json = command::is_set(matches, command::JSON);
    let form = if is_json { Form::Json } else { Form::Text };
    if let Some(mountpoint) = matches.get_one::<PathBuf>(command::MOUNTPOINT) {
        return print(status::at(&sockets, mountpoint, form)?.as_bytes());
    }
    let answers = status::all(&sockets, form)?;
    let text = match form {
        Form::Json => {
            let objects: Vec<_> = answers.iter().map(|it| it.trim_end()).collect();
            format!("[{}]\n", objects.join(","))
        }
        Form::Text if answers.is_empty() => "no mounts of yours\n".to_owned(),
        Form::Text => answers.join("\n"),
    };
    print(text.as_bytes())
}
