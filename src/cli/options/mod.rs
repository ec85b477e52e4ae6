//! The `-o` options: the one table that parsing, `--help`, the man page and the README come from, a
//! file for each heading.

mod connection;
mod elsewhere;
mod files;
mod log;
mod login;
mod memory;
mod mount;
#[cfg(test)]
mod tests;
mod tls;

use std::ffi::OsStr;

use super::config::Settings;
use super::value::Expected;

/// One option.
pub(super) struct Spec {
    /// As typed before the `=`. A `*` at the end stands for any ending.
    pub(super) name: &'static str,
    /// What stands behind the `=`, in capitals; empty for an option without a value.
    pub(super) placeholder: &'static str,
    /// The default, as it would be typed or in words; empty for none.
    pub(super) default: &'static str,
    /// One sentence without its full stop.
    pub(super) help: &'static str,
    pub(super) group: Group,
    pub(super) set: Set,
}

/// Under which heading an option is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Login,
    Connection,
    Tls,
    Files,
    Memory,
    Log,
    Mount,
    Elsewhere,
}

impl Group {
    /// All, in the order they are shown.
    pub(super) const ALL: [Self; 8] = [
        Self::Login,
        Self::Connection,
        Self::Tls,
        Self::Files,
        Self::Memory,
        Self::Log,
        Self::Mount,
        Self::Elsewhere,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Login => "Login",
            Self::Connection => "Connection",
            Self::Tls => "TLS",
            Self::Files => "Files",
            Self::Memory => "Memory and disk",
            Self::Log => "Log",
            Self::Mount => "Mount",
            Self::Elsewhere => "Taken and ignored, for they are mount(8)'s or change nothing here",
        }
    }
}

/// What an option does.
pub(super) enum Set {
    /// Stands alone.
    Flag(fn(&mut Settings)),
    /// Needs a value.
    Value(fn(&mut Settings, &OsStr) -> Result<(), Expected>),
    /// Needs a value, which may hold a password: no message repeats it.
    Secret(fn(&mut Settings, &OsStr) -> Result<(), Expected>),
    /// May have a value.
    Optional(fn(&mut Settings, Option<&OsStr>) -> Result<(), Expected>),
    /// Changes nothing, whatever its value.
    Nothing,
}

const fn flag(
    group: Group,
    name: &'static str,
    help: &'static str,
    set: fn(&mut Settings),
) -> Spec {
    Spec {
        name,
        placeholder: "",
        default: "",
        help,
        group,
        set: Set::Flag(set),
    }
}

const fn valued(
    group: Group,
    name: &'static str,
    placeholder: &'static str,
    default: &'static str,
    help: &'static str,
    set: fn(&mut Settings, &OsStr) -> Result<(), Expected>,
) -> Spec {
    Spec {
        name,
        placeholder,
        default,
        help,
        group,
        set: Set::Value(set),
    }
}

const fn ignored(name: &'static str) -> Spec {
    Spec {
        name,
        placeholder: "",
        default: "",
        help: "",
        group: Group::Elsewhere,
        set: Set::Nothing,
    }
}

/// Every option there is, in the order they are shown.
pub(super) fn all() -> impl Iterator<Item = &'static Spec> {
    [
        login::SPECS,
        connection::SPECS,
        tls::SPECS,
        files::SPECS,
        memory::SPECS,
        log::SPECS,
        mount::SPECS,
        elsewhere::SPECS,
    ]
    .into_iter()
    .flatten()
}
