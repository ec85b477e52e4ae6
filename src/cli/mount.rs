//! `ftpfs SOURCE MOUNTPOINT`, and the helper of mount(8).

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use super::advice::{Advice, ExplainedFailure};
use super::logging::{self, LogOptions, OpenLog};
use super::reload::{self, Reloadable};
use super::request::{CommandLine, Request};
use super::secrets::Environment;
use super::settings::Settings;
use super::{Failure, build, command, login, security, trust};
use crate::credentials::CredentialsOrigin;
use crate::mount::{self, HangUp, LocalPaths, Mount, MountOptions, Mountpoint, Privileged};
use crate::source::{Source, conceal};
use crate::sys::{self, FdReadiness, Forked, Signals};
use clap::ArgMatches;
use log::LevelFilter;

/// Mounts. Returns when the mount is ready, or in the foreground when it has ended.
///
/// # Errors
/// Nothing is left mounted.
pub(super) fn run(matches: &ArgMatches, environment: &Environment) -> Result<ExitCode, Failure> {
    let command_line = CommandLine::new(matches)?;
    let Request {
        source,
        label,
        mountpoint: configured,
        settings: options,
        title,
    } = command_line.resolve()?;
    let typed = matches.get_one::<PathBuf>(command::MOUNTPOINT);
    let directory = typed.or(configured.as_ref());
    let directory = directory.ok_or_else(|| no_mountpoint(&source, title.as_deref()))?;
    let kernel = build::kernel(
        &label,
        &options,
        command::is_set(matches, command::SINGLE_THREAD),
    );
    let mountpoint = if command::is_set(matches, command::FAKE) {
        Mountpoint::check(directory, options.nonempty)
    } else {
        Mountpoint::take(directory, options.nonempty, &kernel.name)
    };
    // The mountpoint may be a source with a password, in the wrong order.
    let mountpoint = mountpoint.map_err(|error| conceal(&error.to_string()))?;
    let state = build::state_home();
    let local = LocalPaths {
        spool: options.spool.clone(),
        log_file: options.log_file.clone(),
        state: state.clone(),
        cache: build::cache_base(&options),
    };
    mount::check(&mountpoint, &kernel, &local)?;
    if command::is_set(matches, command::FAKE) {
        return Ok(ExitCode::SUCCESS);
    }
    security::port(&source, &options)?;
    let proxy = build::proxy(&source, &options, &environment.proxies)?;
    trust::ask(&source, &options, state.as_deref(), || {
        build::connection_without_login(&source, &options, proxy.clone(), state.as_deref())
    })?;
    let find = || build::credentials(&source, &options, environment.password.clone());
    let (login, advice) = login::retry(find, |login| {
        let advice = Advice::new(&source, &options, &login);
        if login.origin == CredentialsOrigin::Asked {
            let remote = build::remote(
                &source,
                &options,
                login.clone(),
                proxy.clone(),
                state.as_deref(),
            )?;
            login::try_out(&remote.pool.connect, &advice)?;
        }
        Ok((login, advice))
    })?;
    let sshfs_warning = security::sshfs_warning(&source, &options);
    let to_mount = build::mount(source, &options, login, proxy, kernel, state.as_deref())?;
    // Only after reading the password, which may come through an inherited descriptor, as in
    // password_file=<(pass show ftp).
    sys::close_inherited_descriptors()?;
    let mut prepared = PreparedMount {
        mountpoint,
        to_mount,
        command_line,
        is_named: title.is_some(),
        settings: options,
        advice,
        sshfs_warning,
    };
    if command::is_set(matches, command::FOREGROUND) || command::is_set(matches, command::DEBUG) {
        // The service manager waits for the process that it started. In the background, another
        // one would answer.
        let supervisor = &mut prepared.to_mount.supervisor;
        supervisor.clone_from(&environment.supervisor);
        return prepared.serve(None);
    }
    match sys::fork()? {
        // The child has printed the reason on the terminal that they share.
        Forked::Parent(starting) if starting.wait() => Ok(ExitCode::SUCCESS),
        Forked::Parent(_) => Ok(ExitCode::FAILURE),
        Forked::Child(readiness) => prepared.serve(Some(readiness)),
    }
}

/// Everything that the serving process needs to start the mount.
struct PreparedMount {
    mountpoint: Mountpoint,
    to_mount: MountOptions,
    command_line: CommandLine,
    /// Whether the source is a configured one.
    is_named: bool,
    settings: Settings,
    advice: Advice,
    sshfs_warning: Option<&'static str>,
}

impl PreparedMount {
    /// Serves the mount until it ends. In the background, `background` reports that it is ready.
    fn serve(self, background: Option<FdReadiness>) -> Result<ExitCode, Failure> {
        sys::make_files_private();
        sys::set_up_allocator();
        sys::raise_descriptor_limit();
        let log = logging::start(LogOptions {
            level: self.settings.log_level,
            file: self.settings.log_file.as_deref(),
            format: self.settings.log_format,
            mountpoint: Some(self.mountpoint.path()),
            background: background.is_some(),
        })?;
        let takes_errors = log.takes_errors;
        let supervisor = self.to_mount.supervisor.clone();
        let outcome = self.serve_and_log(background, log);
        if let (Some(supervisor), Err(failure)) = (supervisor, &outcome) {
            supervisor.status(&failure.to_string());
        }
        match outcome {
            Err(failure) if takes_errors && log::max_level() >= LevelFilter::Error => {
                let explained = failure.downcast_ref::<ExplainedFailure>();
                let reply = explained.and_then(|explained| explained.reply.as_ref());
                log::error!(reply; "{failure}");
                Ok(ExitCode::FAILURE)
            }
            outcome => outcome,
        }
    }

    fn serve_and_log(
        self,
        background: Option<FdReadiness>,
        log: OpenLog,
    ) -> Result<ExitCode, Failure> {
        let Self {
            mountpoint,
            mut to_mount,
            command_line,
            is_named,
            settings,
            advice,
            sshfs_warning,
        } = self;
        if let Some(hint) = settings.foreign.hint() {
            log::info!("{hint}");
        }
        if let Some(warning) = sshfs_warning {
            log::warn!("{warning}");
        }
        if settings.cache_dir.is_some() && to_mount.cache.is_none() {
            log::warn!(
                "cache_dir=default needs a home: set HOME or XDG_CACHE_HOME, or name a directory; nothing is kept for \
                 the next mount"
            );
        }
        let in_background = background.is_some();
        to_mount.hang_up = if ends_with_terminal(in_background) {
            HangUp::End
        } else {
            let traffic = to_mount.remote.pool.connect.traffic.clone();
            let configured = Reloadable::of(&settings);
            reload::on_hang_up(log.file, command_line, is_named, configured, traffic)
        };
        let signals = Signals::block()?;
        let privileged = Privileged::start()?;
        sys::renounce().map_err(mount::Error::Privilege)?;
        let place = to_mount.state.place.clone();
        let mount = Mount::start(&mountpoint, to_mount, signals, privileged).map_err(|error| {
            if let Some(place) = place {
                place.remove_if_unused();
            }
            advice.of_mount(error)
        })?;
        log.warnings.print();
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
}

/// Whether SIGHUP ends the mount: it is in the foreground of a terminal, which was closed.
fn ends_with_terminal(in_background: bool) -> bool {
    let at_terminal = [
        io::stdin().is_terminal(),
        io::stdout().is_terminal(),
        io::stderr().is_terminal(),
    ];
    !in_background && at_terminal.contains(&true)
}

/// Says where a mountpoint can come from. `title` is the section of a configured source.
fn no_mountpoint(source: &Source, title: Option<&str>) -> String {
    match title {
        Some(title) => format!(
            "MOUNTPOINT is missing: add one after the source, or mountpoint = \"/DIR\" to {title} of the configuration"
        ),
        None => format!(
            "MOUNTPOINT is missing: add one after the source ({} is no source of the configuration)",
            source.host
        ),
    }
}
