//! `ftpfs status [MOUNTPOINT]`: what running mounts are doing.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::ArgMatches;

use super::screen::Screen;
use super::{Failure, build, command, fail, named_mountpoint, print};
use crate::mount::control::{self, Answers, AskError, ControlRequest, Sockets};
use crate::mount::status::{self, StatusForm};

/// Which mounts to report, and where to find them.
struct Asked {
    sockets: Sockets,
    /// `None` for all mounts of this user.
    mountpoint: Option<PathBuf>,
}

/// Prints the status of one mount, or of all mounts of this user.
///
/// # Errors
/// The directory is not one of them, or its ftpfs does not respond.
pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let asked = Asked {
        sockets: build::sockets(build::state_home().as_deref()),
        mountpoint: matches
            .get_one::<PathBuf>(command::MOUNTPOINT)
            .map(|typed| named_mountpoint::resolve(typed))
            .transpose()?,
    };
    let form = if command::is_set(matches, command::JSON) {
        StatusForm::Json
    } else if command::is_set(matches, command::PROMETHEUS) {
        StatusForm::Prometheus
    } else {
        StatusForm::Text
    };
    if let Some(interval) = matches.get_one::<Duration>(command::WATCH) {
        return watch(&asked, form, *interval);
    }
    let (text, failures) = asked.report(form)?;
    print(text.as_bytes())?;
    Ok(warn_of(&failures))
}

/// Shows the status every `interval` until the program is interrupted, the output is closed, or the
/// mount has ended.
fn watch(asked: &Asked, form: StatusForm, interval: Duration) -> Result<ExitCode, Failure> {
    let mut screen = Screen::new();
    let mut has_shown = false;
    loop {
        let form = match (form, screen.columns()) {
            (StatusForm::Text, Some(columns)) => StatusForm::Bars(columns),
            (form, _) => form,
        };
        let (text, failures) = match asked.report(form) {
            Err(AskError::NotMounted(_) | AskError::NotOurs { .. }) if has_shown => {
                return Ok(ExitCode::SUCCESS);
            }
            report => report?,
        };
        if !has_shown {
            warn_of(&failures);
        }
        match screen.show(&text) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(ExitCode::SUCCESS);
            }
            shown => shown?,
        }
        has_shown = true;
        thread::sleep(interval);
    }
}

/// Prints why some mounts did not reply. The status of the others is complete anyway.
fn warn_of(failures: &[AskError]) -> ExitCode {
    for failure in failures {
        fail(failure);
    }
    if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Asked {
    /// Returns the report, and why some mounts did not reply.
    fn report(&self, form: StatusForm) -> Result<(String, Vec<AskError>), AskError> {
        let request = ControlRequest::Status(form);
        if let Some(mountpoint) = &self.mountpoint {
            let answer = control::at(&self.sockets, mountpoint, &request)?;
            return Ok((answer, Vec::new()));
        }
        let Answers {
            replies: answers,
            failures,
        } = control::all(&self.sockets, &request)?;
        let text = match form {
            StatusForm::Json => {
                let objects: Vec<_> = answers.iter().map(|it| it.trim_end()).collect();
                format!("[{}]\n", objects.join(","))
            }
            StatusForm::Prometheus => status::merge(&answers),
            StatusForm::Text | StatusForm::Bars(_) if answers.is_empty() && failures.is_empty() => {
                "no mounts of yours\n".to_owned()
            }
            StatusForm::Text | StatusForm::Bars(_) => answers.join("\n"),
        };
        Ok((text, failures))
    }
}
