//! The arguments of the subcommands that control a running mount, and of `cache`.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, Command, ValueHint, value_parser};
use log::LevelFilter;

use super::value;

/// The names of the arguments.
pub(super) const MOUNTPOINT: &str = "MOUNTPOINT";
pub(super) const PATH: &str = "PATH";
pub(super) const LIMIT: &str = "LIMIT";
pub(super) const LEVEL: &str = "LEVEL";
pub(super) const WAIT: &str = "wait";
pub(super) const ACTION: &str = "ACTION";
pub(super) const SERVER: &str = "SERVER";
pub(super) const CACHE_DIRECTORY: &str = "dir";
pub(super) const CACHE_SIZE: &str = "size";

/// What `cache` can do; the first is the default.
const ACTIONS: [&str; 3] = ["show", "trim", "clear"];

/// Returns the subcommands.
pub(super) fn subcommands() -> [Command; 6] {
    [
        Command::new("refresh")
            .about("Forget the cached listings of PATH and everything below it")
            .arg(path("File or directory in a mount").required(true)),
        Command::new("flush")
            .about("Store all closed files that are waiting (-o writeback), and wait for that")
            .arg(path(
                "Only files at PATH and below it [default: all mounts of this user]",
            )),
        Command::new("warmup")
            .about("Fetch the listings of PATH and all directories below it into the cache, and with cache_dir also the files")
            .arg(
                path("Directory in a mount")
                    .required(true)
                    .value_hint(ValueHint::DirPath),
            ),
        Command::new("limit")
            .about("Show or change the limits of the transfer rate of a running mount")
            .arg(mountpoint())
            .arg(
                Arg::new(LIMIT)
                    .num_args(0..=2)
                    .value_parser(value::limit_change)
                    .help(
                        "down=RATE or up=RATE in bytes per second, such as down=5M; off lifts it",
                    ),
            ),
        Command::new("log")
            .about("Change the log level of a running mount")
            .arg(mountpoint())
            .arg(
                Arg::new(LEVEL)
                    .required(true)
                    .value_parser(log_level())
                    .ignore_case(true)
                    .hide_possible_values(true)
                    .help("error, warn, info, debug, trace or off"),
            ),
        Command::new("umount")
            .about("Unmount a mount")
            .arg(mountpoint())
            .arg(
                Arg::new(WAIT)
                    .long(WAIT)
                    .action(ArgAction::SetTrue)
                    .help("Wait until everything is stored and the ftpfs of the mount has ended"),
            ),
    ]
}

/// Returns the subcommand for the persistent caches.
pub(super) fn cache() -> Command {
    Command::new("cache")
        .about("Show, trim or clear what cache_dir keeps; mounts may be running")
        .arg(
            Arg::new(ACTION)
                .default_value(ACTIONS[0])
                .value_parser(ACTIONS)
                .hide_possible_values(true)
                .help("show: count files and bytes; trim: remove what was used least recently; clear: remove all"),
        )
        .arg(
            Arg::new(SERVER)
                .help("Only the caches whose user@host:port contains SERVER [default: all]"),
        )
        .arg(
            Arg::new(CACHE_DIRECTORY)
                .long(CACHE_DIRECTORY)
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::DirPath)
                .help("The cache_dir of the mounts [default: ~/.cache/ftpfs, for root /var/cache/ftpfs]"),
        )
        .arg(
            Arg::new(CACHE_SIZE)
                .long(CACHE_SIZE)
                .value_name("SIZE")
                .value_parser(value::cache_size)
                .help("What trim leaves of each cache at most [default: 10G]"),
        )
}

fn log_level() -> impl TypedValueParser<Value = LevelFilter> {
    PossibleValuesParser::new(["error", "warn", "info", "debug", "trace", "off"])
        .try_map(|name| name.parse::<LevelFilter>())
}

fn path(help: &'static str) -> Arg {
    Arg::new(PATH)
        .value_parser(value_parser!(PathBuf))
        .value_hint(ValueHint::AnyPath)
        .help(help)
}

fn mountpoint() -> Arg {
    Arg::new(MOUNTPOINT)
        .required(true)
        .value_parser(value_parser!(PathBuf))
        // Not any directory: the shells offer the mounts that are running.
        .value_hint(ValueHint::Other)
        .help("Mountpoint of the running mount")
}
