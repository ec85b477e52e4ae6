//! What a command line asks for, together with what the configuration says of its source.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ArgMatches;
use log::LevelFilter;

use super::config::{ConfigChoice, Configuration, Resolved, VARIABLE, merge};
use super::old_source::parse_source;
use super::option_list::{self, Unknown};
use super::settings::Settings;
use super::{Failure, command};
use crate::source::Source;

/// The typed source and options. They can be resolved again after the configuration has changed.
#[derive(Debug, Clone)]
pub(super) struct CommandLine {
    source: OsString,
    lists: Vec<OsString>,
    unknown: Unknown,
    /// Whether `-d` asks for the debug log.
    is_debugging: bool,
    /// What the environment says, with an absolute path: a mount in the background works in `/`.
    environment: ConfigChoice,
}

/// A server to connect to, with all options.
#[derive(Debug)]
pub(super) struct Request {
    /// The server and directory.
    pub(super) source: Source,
    /// The source as typed, without a password.
    pub(super) label: String,
    /// The mountpoint that is configured for the source.
    pub(super) mountpoint: Option<PathBuf>,
    /// The options.
    pub(super) settings: Settings,
    /// The title of the source's section, if it has one.
    pub(super) title: Option<String>,
}

impl CommandLine {
    /// Takes over the arguments.
    ///
    /// # Errors
    /// There is no source.
    pub(super) fn new(matches: &ArgMatches) -> Result<Self, Failure> {
        let source = matches.get_one::<OsString>(command::SOURCE);
        Ok(Self {
            source: source.ok_or("SOURCE is missing")?.clone(),
            lists: lists(matches),
            unknown: unknown(matches),
            is_debugging: command::is_set(matches, command::DEBUG),
            environment: environment(),
        })
    }

    /// Reads the configuration and combines it with the arguments, which win.
    ///
    /// # Errors
    /// The source, an option or the configuration is invalid.
    pub(super) fn resolve(&self) -> Result<Request, Failure> {
        let typed = option_list::parse(&self.lists, self.unknown, Settings::default())?;
        let choice = match typed.settings.config {
            ConfigChoice::Usual => &self.environment,
            ref chosen => chosen,
        };
        let mut configuration = Configuration::load(choice)?;
        let resolved = configuration.resolve(parse_source(&self.source)?)?;
        let Resolved {
            mut source,
            label,
            mountpoint,
            layers,
            mut circumstances,
            title,
        } = resolved;
        if title.is_some() && typed.names.contains("port") {
            source.port = None;
        }
        circumstances.typed = typed.names;
        let mut settings = Settings::default();
        for option in merge(&layers, &circumstances) {
            option.apply(&mut settings)?;
        }
        // mount(8) adds rw to the options of each line in fstab that does not contain ro.
        let is_read_only = settings.read_only;
        let mut settings = option_list::parse(&self.lists, self.unknown, settings)?.settings;
        settings.read_only |= is_read_only;
        if self.is_debugging {
            settings.log_level = settings.log_level.max(LevelFilter::Debug);
        }
        Ok(Request {
            source,
            label,
            mountpoint,
            settings,
            title,
        })
    }
}

/// Returns the choice of files that the environment makes.
pub(super) fn environment() -> ConfigChoice {
    match std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        Some(value) => ConfigChoice::parse(value),
        None => ConfigChoice::Usual,
    }
}

/// Returns the typed `-o` lists, and what other flags stand for.
fn lists(matches: &ArgMatches) -> Vec<OsString> {
    let lists = matches.get_many::<OsString>(command::OPTIONS);
    // Not every form of the command line has the flag.
    let port = matches.try_get_many::<OsString>(command::SSHFS_PORT);
    let port = port.ok().flatten().into_iter().flatten();
    lists.into_iter().flatten().chain(port).cloned().collect()
}

/// Only the helper of mount(8) has -s for "sloppy".
fn unknown(matches: &ArgMatches) -> Unknown {
    if command::is_set(matches, command::SLOPPY) {
        Unknown::Skip
    } else {
        Unknown::Refuse
    }
}
