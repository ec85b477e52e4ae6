//! What SIGHUP does to a mount that does not end with its terminal: it opens the log file again,
//! and takes the log level and the limits from the configuration.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use log::LevelFilter;

use super::Failure;
use super::logging::LogFile;
use super::request::CommandLine;
use super::settings::Settings;
use crate::ftp::{RateLimits, Traffic};
use crate::guarded;
use crate::mount::HangUp;

/// How often SIGHUP has arrived, and whether a thread is at work on it. A file may be where reading
/// takes long, such as on this mount, and other signals must not wait for that.
#[derive(Debug, Default)]
struct HangUps {
    are_pending: bool,
    are_handled: bool,
}

/// What the configuration and the command line said when they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reloadable {
    level: LevelFilter,
    limits: RateLimits,
}

impl Reloadable {
    /// Returns the part of `settings` that a running mount can take.
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            level: settings.log_level,
            limits: settings.limits,
        }
    }
}

/// Returns the reaction to SIGHUP. `is_named` says whether the source is a configured one, `before`
/// what was configured at the start.
pub(super) fn on_hang_up(
    log_file: Option<LogFile>,
    command_line: CommandLine,
    is_named: bool,
    before: Reloadable,
    traffic: Traffic,
) -> HangUp {
    let last = Mutex::new(before);
    let hang_ups = Arc::new(Mutex::new(HangUps::default()));
    let react = Arc::new(move || {
        if let Some(file) = &log_file {
            file.reopen();
        }
        match read(&command_line, is_named) {
            Ok(now) => {
                let before = std::mem::replace(&mut *lock(&last), now);
                apply(before, now, &traffic);
            }
            Err(error) => log::error!("cannot read the configuration again: {error}"),
        }
    });
    HangUp::Call(Arc::new(move || {
        if !begin(&hang_ups) {
            return;
        }
        let (for_thread, react) = (Arc::clone(&hang_ups), Arc::clone(&react));
        let started = guarded::spawn("hang-up", move || {
            while take(&for_thread) {
                react();
            }
        });
        if let Err(error) = started {
            lock(&hang_ups).are_handled = false;
            log::error!("cannot read the configuration again: {error}");
        }
    }))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records a signal. Returns whether the caller must start a thread for it.
fn begin(hang_ups: &Mutex<HangUps>) -> bool {
    let mut hang_ups = lock(hang_ups);
    hang_ups.are_pending = true;
    !std::mem::replace(&mut hang_ups.are_handled, true)
}

/// Takes the recorded signals. Returns whether there were any; if not, the thread must end.
fn take(hang_ups: &Mutex<HangUps>) -> bool {
    let mut hang_ups = lock(hang_ups);
    hang_ups.are_handled = hang_ups.are_pending;
    std::mem::take(&mut hang_ups.are_pending)
}

/// Reads what is configured now. Options of the command line still win.
fn read(command_line: &CommandLine, is_named: bool) -> Result<Reloadable, Failure> {
    let request = command_line.resolve()?;
    if is_named && request.title.is_none() {
        let name = request.label;
        return Err(format!("{name} is no longer a source of the configuration").into());
    }
    Ok(Reloadable::of(&request.settings))
}

/// Applies what has changed in the configuration. What `ftpfs log` and `ftpfs limit` have changed
/// stays otherwise: log rotation sends SIGHUP, too.
fn apply(before: Reloadable, now: Reloadable, traffic: &Traffic) {
    if now.level != before.level {
        log::set_max_level(now.level);
    }
    if now.limits != before.limits {
        traffic.set_limits(now.limits);
    }
    if now != before {
        log::info!("read the configuration again: log_level and limits have changed");
    }
}
