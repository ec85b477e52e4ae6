//! Options for the log.

use super::{Group, Spec, valued};
use crate::cli::value;

pub(super) static SPECS: &[Spec] = &[
    valued(
        Group::Log,
        "log_level",
        "LEVEL",
        "warn",
        "Log level: error, warn, info, debug, trace or off",
        |to, value| {
            to.log_level = value::log_level(value)?;
            Ok(())
        },
    ),
    valued(
        Group::Log,
        "log_file",
        "FILE",
        "the terminal in the foreground, otherwise systemd's journal or syslog",
        "Append the log to FILE",
        |to, value| {
            to.log_file = Some(value::path(value)?);
            Ok(())
        },
    ),
    valued(
        Group::Log,
        "log_format",
        "FORMAT",
        "text",
        "Format of the log: text, or json for one object per line; the journal has fields instead",
        |to, value| {
            to.log_format = value::log_format(value)?;
            Ok(())
        },
    ),
];
