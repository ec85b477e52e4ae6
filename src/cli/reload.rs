//! What SIGHUP does to a mount that does not end with its terminal: it opens the log file again,
//! and takes the log level and the limits from the configuration.

use std::sync::{Arc, Mutex, PoisonError};

use super::Failure;
use super::logging::LogFile;
use super::request::CommandLine;
use crate::ftp::Traffic;
use crate::guarded;
use crate::mount::HangUp;

/// How often SIGHUP has arrived, and whether a thread is at work on it. A file may be where reading
/// takes long, such as on this mount, and other signals must not wait for that.
#[derive(Debug, Default)]
struct HangUps {
    are_pending: bool,
    are_handled: bool,
}

/// Returns the reaction to SIGHUP. `is_named` says whether the source is a configured one.
pub(super) fn on_hang_up(
    log_file: Option<LogFile>,
    command_line: CommandLine,
    is_named: bool,
    traffic: Traffic,
) -> HangUp {
    let hang_ups = Arc::new(Mutex::new(HangUps::default()));
    let react = Arc::new(move || {
        if let Some(file) = &log_file {
            file.reopen();
        }
        if let Err(error) = reload(&command_line, is_named, &traffic) {
            log::error!("cannot read the configuration again: {error}");
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

fn lock(hang_ups: &Mutex<HangUps>) -> std::sync::MutexGuard<'_, HangUps> {
    hang_ups.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a signal. Returns whether a thread has to be started.
fn begin(hang_ups: &Mutex<HangUps>) -> bool {
    let mut hang_ups = lock(hang_ups);
    hang_ups.are_pending = true;
    !std::mem::replace(&mut hang_ups.are_handled, true)
}

/// Takes what has arrived. If nothing has, the thread has to end.
fn take(hang_ups: &Mutex<HangUps>) -> bool {
    let mut hang_ups = lock(hang_ups);
    hang_ups.are_handled = hang_ups.are_pending;
    std::mem::take(&mut hang_ups.are_pending)
}

/// Options of the command line still win over the configuration. What `ftpfs log` and `ftpfs limit`
/// have changed is lost.
fn reload(command_line: &CommandLine, is_named: bool, traffic: &Traffic) -> Result<(), Failure> {
    let request = command_line.resolve()?;
    if is_named && request.title.is_none() {
        let name = request.label;
        return Err(format!("{name} is no longer a source of the configuration").into());
    }
    log::set_max_level(request.settings.log_level);
    if traffic.limits() != request.settings.limits {
        traffic.set_limits(request.settings.limits);
    }
    log::info!("read the configuration again: log_level and limits");
    Ok(())
}
