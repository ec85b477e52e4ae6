//! `ftpfs SOURCE MOUNTPOINT`, and the helper of mount(8).

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::ArgMatches;
use log::LevelFilter;

use super::advice::{Advice, ExplainedFailure};
use super::logging::{self, LogFile, LogOptions, OpenLog};
use super::option_list::{self, Unknown};
use super::secrets::Environment;
use super::settings::Settings;
use super::{Failure, build, command, login, security};
use crate::credentials::CredentialsOrigin;
use crate::mount::{self, HangUp, LocalPaths, Mount, MountOptions, Mountpoint, Privileged};
use crate::source::conceal;
use crate::sys::{self, FdReadiness, Forked, Signals};

/// Mounts. Returns when the mount is ready, or in the foreground when it has ended.
///
/// # Errors
/// Nothing is left mounted.
pub(super) fn run(matches: &ArgMatches, environment: &Environment) -> Result<ExitCode, Failure> {
    let source = build::source(matches)?;
    let mut options = option_list::parse(build::lists(matches), unknown(matches))?;
    if command::is_set(matches, command::DEBUG) {
        options.log_level = options.log_level.max(LevelFilter::Debug);
    }
    let directory = matches.get_one::<PathBuf>(command::MOUNTPOINT);
    let mountpoint = Mountpoint::check(directory.ok_or("MOUNTPOINT is missing")?, options.nonempty)
        // The mountpoint may be a source with a password, in the wrong order.
        .map_err(|error| conceal(&error.to_string()))?;
    let kernel = build::kernel(
        &source,
        &options,
        command::is_set(matches, command::SINGLE_THREAD),
    );
    let state = build::state_home();
    let local = LocalPaths {
        spool: options.spool.clone(),
        log_file: options.log_file.clone(),
        state: state.clone(),
    };
    mount::check(&mountpoint, &kernel, &local)?;
    if command::is_set(matches, command::FAKE) {
        return Ok(ExitCode::SUCCESS);
    }
    security::port(&source, &options)?;
    let proxy = build::proxy(&source, &options, &environment.proxies)?;
    let find = || build::credentials(&source, &options, environment.password.clone());
    let (login, advice) = login::retry(find, |login| {
        let advice = Advice::new(&source, &options, &login);
        if login.origin == CredentialsOrigin::Asked {
            let remote = build::remote(&source, &options, login.clone(), proxy.clone(), None)?;
            login::try_out(&remote.pool.connect, &advice)?;
        }
        Ok((login, advice))
    })?;
    let mut to_mount = build::mount(source, &options, login, proxy, kernel, state.as_deref())?;
    // Only after reading the password, which may come through an inherited descriptor, as in
    // password_file=<(pass show ftp).
    sys::close_inherited_descriptors()?;
    if command::is_set(matches, command::FOREGROUND) || command::is_set(matches, command::DEBUG) {
        // The service manager waits for the process that it started. In the background, another
        // one would answer.
        to_mount.supervisor.clone_from(&environment.supervisor);
        return serve(&mountpoint, to_mount, &options, &advice, None);
    }
    match sys::fork()? {
        // The child has printed the reason on the terminal that they share.
        Forked::Parent(starting) if starting.wait() => Ok(ExitCode::SUCCESS),
        Forked::Parent(_) => Ok(ExitCode::FAILURE),
        Forked::Child(readiness) => {
            serve(&mountpoint, to_mount, &options, &advice, Some(readiness))
        }
    }
}

fn serve(
    mountpoint: &Mountpoint,
    to_mount: MountOptions,
    options: &Settings,
    advice: &Advice,
    background: Option<FdReadiness>,
) -> Result<ExitCode, Failure> {
    sys::make_files_private();
    sys::set_up_allocator();
    let log = logging::start(LogOptions {
        level: options.log_level,
        file: options.log_file.as_deref(),
        format: options.log_format,
        mountpoint: Some(mountpoint.path()),
        background: background.is_some(),
    })?;
    let takes_errors = log.takes_errors;
    match serve_and_log(mountpoint, to_mount, options, advice, background, log) {
        Err(failure) if takes_errors => {
            let explained = failure.downcast_ref::<ExplainedFailure>();
            let reply = explained.and_then(|explained| explained.reply.as_ref());
            log::error!(reply; "{failure}");
            Ok(ExitCode::FAILURE)
        }
        outcome => outcome,
    }
}

fn serve_and_log(
    mountpoint: &Mountpoint,
    mut to_mount: MountOptions,
    options: &Settings,
    advice: &Advice,
    background: Option<FdReadiness>,
    log: OpenLog,
) -> Result<ExitCode, Failure> {
    if let Some(hint) = options.foreign.hint() {
        log::info!("{hint}");
    }
    to_mount.hang_up = hang_up(background.is_some(), log.file);
    let signals = Signals::block()?;
    let privileged = Privileged::start()?;
    sys::renounce().map_err(mount::Error::Privilege)?;
    let place = to_mount.state.place.clone();
    let mount = Mount::start(mountpoint, to_mount, signals, privileged).map_err(|error| {
        if let Some(place) = place {
            place.remove_if_unused();
        }
        advice.of_mount(error)
    })?;
    log.warnings.print();
    let in_background = background.is_some();
    let reported = background.map_or(Ok(()), FdReadiness::report);
    if reported.is_err() {
        mount.stopper().stop();
    }
    let ended = mount.wait();
    if in_background && let Err(error) = &ended {
        // The standard error is no longer visible.
        log::error!("{error}");
    }
    reported?;
    ended?;
    Ok(ExitCode::SUCCESS)
}

/// A mount in the foreground of a terminal ends with it. Others reopen their log file, if they have
/// one.
fn hang_up(in_background: bool, log_file: Option<LogFile>) -> HangUp {
    let at_terminal = [
        io::stdin().is_terminal(),
        io::stdout().is_terminal(),
        io::stderr().is_terminal(),
    ];
    if !in_background && at_terminal.contains(&true) {
        return HangUp::End;
    }
    HangUp::Call(Arc::new(move || {
        if let Some(file) = &log_file {
            file.reopen();
        }
    }))
}

/// Only the helper of mount(8) has -s for "sloppy".
fn unknown(matches: &ArgMatches) -> Unknown {
    if command::is_set(matches, command::SLOPPY) {
        Unknown::Skip
    } else {
        Unknown::Refuse
    }
}
