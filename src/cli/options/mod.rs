//! The `-o` options: the table from which the parser, `--help`, the man page and doc/options.md are
//! generated, one file per heading.

pub(super) mod candidates;
mod connection;
mod elsewhere;
mod files;
pub(super) mod foreign;
mod log;
mod login;
mod memory;
mod mount;
#[cfg(test)]
mod tests;
mod tls;

use std::ffi::OsStr;

use super::settings::Settings;
use super::value::Expected;

/// One option.
#[derive(Debug)]
pub(super) struct Spec {
    /// The name before the `=`. A `*` at the end stands for any ending.
    pub(super) name: &'static str,
    /// The placeholder after the `=`, in capitals; empty for an option without a value.
    pub(super) placeholder: &'static str,
    /// The default, as typed or described; empty for none.
    pub(super) default: &'static str,
    /// One sentence without a full stop.
    pub(super) help: &'static str,
    pub(super) group: Group,
    pub(super) set: Set,
}

/// The heading under which an option is shown.
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
    /// All headings, in display order.
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
            Self::Elsewhere => "Accepted and ignored: options of mount(8), or without effect here",
        }
    }
}

/// The effect of an option.
#[derive(Debug)]
pub(super) enum Set {
    /// Takes no value.
    Flag(fn(&mut Settings)),
    /// Requires a value.
    Value(fn(&mut Settings, &OsStr) -> Result<(), Expected>),
    /// Requires a value that may contain a password, so no message repeats it.
    Secret(fn(&mut Settings, &OsStr) -> Result<(), Expected>),
    /// May have a value.
    Optional(fn(&mut Settings, Option<&OsStr>) -> Result<(), Expected>),
    /// May have a value, which may contain a password, so no message repeats it.
    OptionalSecret(fn(&mut Settings, Option<&OsStr>) -> Result<(), Expected>),
    /// Has no effect, with or without a value.
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

/// Returns all options in display order.
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
