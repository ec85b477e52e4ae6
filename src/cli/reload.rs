//! What SIGHUP does to a mount that does not end with its terminal: it opens the log file again,
//! and takes the log level and the limits from the configuration.

use std::sync::Arc;

use super::Failure;
use super::logging::LogFile;
use super::request::CommandLine;
use crate::ftp::Traffic;
use crate::mount::HangUp;

/// Returns the reaction to SIGHUP.
pub(super) fn on_hang_up(
    log_file: Option<LogFile>,
    command_line: CommandLine,
    traffic: Traffic,
) -> HangUp {
    HangUp::Call(Arc::new(move || {
        if let Some(file) = &log_file {
            file.reopen();
        }
        if let Err(error) = reload(&command_line, &traffic) {
            log::error!("cannot read the configuration again: {error}");
        }
    }))
}

/// Options of the command line still win over the configuration. What `ftpfs log` and `ftpfs limit`
/// have changed is lost.
fn reload(command_line: &CommandLine, traffic: &Traffic) -> Result<(), Failure> {
    let settings = command_line.resolve()?.settings;
    log::set_max_level(settings.log_level);
    if traffic.limits() != settings.limits {
        traffic.set_limits(settings.limits);
    }
    log::info!("read the configuration again: log_level and limits");
    Ok(())
}
