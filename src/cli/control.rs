//! The subcommands that control a running mount: `refresh`, `flush`, `warmup`, `limit`, `log` and
//! `umount`.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;
use log::LevelFilter;

use super::control_args::{LEVEL, LIMIT, PATH, WAIT};
use super::{Failure, build, command, fail, named_mountpoint, print};
use crate::mount;
use crate::mount::control::{
    self, AskError, ControlRequest, LimitChange, RequestStep, RunningRequest, Sockets,
};

/// How long the process of a mount may take to exit after everything is stored.
const EXIT: Duration = Duration::from_secs(60);

/// Forgets the cached listings of a path.
///
/// # Errors
/// No mount of this user contains it, or it does not respond.
pub(super) fn refresh(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let (mount, below) = control::mount_of(&sockets(), &path(matches)?)?;
    done(mount.request(&ControlRequest::Refresh(below))?)
}

/// Stores the closed files at a path, or those of all mounts.
///
/// # Errors
/// A file could not be stored, or a mount does not respond.
pub(super) fn flush(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    if matches.contains_id(PATH) {
        let (mount, below) = control::mount_of(&sockets(), &path(matches)?)?;
        return done(mount.request(&ControlRequest::Flush(below))?);
    }
    let mounts = control::all_mounts(&sockets())?;
    if mounts.is_empty() {
        return print(b"no mounts of yours\n");
    }
    // They work simultaneously.
    let requests: Vec<_> = mounts
        .into_iter()
        .map(|mount| mount.request(&ControlRequest::Flush(Vec::new())))
        .collect();
    let mut status = ExitCode::SUCCESS;
    for request in requests {
        if let Err(failure) = request.map_err(Failure::from).and_then(done) {
            status = fail(&*failure);
        }
    }
    Ok(status)
}

/// Fetches the listings below a path.
///
/// # Errors
/// A directory could not be listed, or the mount does not respond.
pub(super) fn warm_up(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let (mount, below) = control::mount_of(&sockets(), &path(matches)?)?;
    done(mount.request(&ControlRequest::Warmup(below))?)
}

/// Shows or changes the limits of a mount.
///
/// # Errors
/// The mount does not respond.
pub(super) fn limit(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let mut change = LimitChange::default();
    for one in matches.get_many::<LimitChange>(LIMIT).into_iter().flatten() {
        change.down = one.down.or(change.down);
        change.up = one.up.or(change.up);
    }
    let mount = control::mount_at(&sockets(), &mountpoint(matches)?)?;
    done(mount.request(&ControlRequest::Limit(change))?)
}

/// Sets the log level of a mount.
///
/// # Errors
/// The mount does not respond.
pub(super) fn log(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let level = matches.get_one::<LevelFilter>(LEVEL);
    let level = level.copied().ok_or("LEVEL is missing")?;
    let mount = control::mount_at(&sockets(), &mountpoint(matches)?)?;
    done(mount.request(&ControlRequest::Log(level))?)
}

/// Unmounts, and may wait until everything is stored.
///
/// # Errors
/// It is in use or no mount, or files could not be stored.
pub(super) fn unmount(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let typed = &mountpoint(matches)?;
    let mount = match control::mount_at(&sockets(), typed) {
        // A dead mount is in the way, and nothing answers for it.
        Err(gone @ AskError::Gone(_)) => {
            mount::unmount(typed)?;
            if !command::is_set(matches, WAIT) {
                return Ok(ExitCode::SUCCESS);
            }
            return Err(format!(
                "{gone}; it is unmounted now, and files that were not stored are left to the next mount"
            )
            .into());
        }
        // Its socket may be gone, too.
        Err(error) => {
            let directory = std::path::absolute(typed)?;
            if !mount::is_dead(&directory) {
                return Err(error.into());
            }
            mount::unmount(&directory)?;
            return Ok(ExitCode::SUCCESS);
        }
        Ok(mount) => mount,
    };
    let mountpoint = mount.mountpoint().to_owned();
    if !command::is_set(matches, WAIT) {
        mount::unmount(&mountpoint)?;
        return Ok(ExitCode::SUCCESS);
    }
    let process = mount.process()?;
    let mut request = mount.request(&ControlRequest::AwaitEnd)?;
    // From now on, the process does not end before it has replied.
    request.step()?;
    mount::unmount(&mountpoint)?;
    let stored = done(request);
    if !process.wait(EXIT)? {
        return Err(format!("the ftpfs of {} has not ended", mountpoint.display()).into());
    }
    stored
}

/// Shows the progress of a request at a terminal, and prints its result.
fn done(mut request: RunningRequest) -> Result<ExitCode, Failure> {
    let mut progress = ProgressLine::new();
    let text = loop {
        match request.step() {
            Ok(RequestStep::Progress(text)) => progress.show(&text),
            Ok(RequestStep::Note(text)) => progress.note(&text),
            Ok(RequestStep::Done(text)) => break text,
            Err(error) => {
                progress.clear();
                return Err(error.into());
            }
        }
    };
    progress.clear();
    print(format!("{text}\n").as_bytes())
}

/// The last line of the standard error, if that is a terminal.
struct ProgressLine {
    is_terminal: bool,
    is_shown: bool,
}

impl ProgressLine {
    fn new() -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            is_shown: false,
        }
    }

    fn show(&mut self, text: &str) {
        if self.is_terminal {
            self.is_shown = true;
            // A closed output cannot show it.
            let _ = write!(io::stderr(), "\r{text}\x1b[K");
        }
    }

    fn note(&mut self, text: &str) {
        self.clear();
        let _ = writeln!(io::stderr(), "ftpfs: {text}");
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn sockets() -> Sockets {
    build::sockets(build::state_home().as_deref())
}

fn path(matches: &ArgMatches) -> Result<PathBuf, Failure> {
    let path = matches.get_one::<PathBuf>(PATH);
    named_mountpoint::resolve(path.ok_or("PATH is missing")?)
}

fn mountpoint(matches: &ArgMatches) -> Result<PathBuf, Failure> {
    let mountpoint = matches.get_one::<PathBuf>(command::MOUNTPOINT);
    named_mountpoint::resolve(mountpoint.ok_or("MOUNTPOINT is missing")?)
}
