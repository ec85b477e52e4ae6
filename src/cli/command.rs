//! The arguments for clap: `ftpfs` with its subcommands, and the helper that mount(8) calls.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};

pub(super) use super::control_args::MOUNTPOINT;
use super::old_source::CURLFTPFS_PREFIX;
use super::{control_args, help, value};

/// The names of the arguments.
pub(super) const SOURCE: &str = "SOURCE";
pub(super) const OPTIONS: &str = "options";
/// `-p PORT` of sshfs, as text for `-o`.
pub(super) const SSHFS_PORT: &str = "sshfs-port";
pub(super) const FOREGROUND: &str = "foreground";
pub(super) const DEBUG: &str = "debug";
pub(super) const SINGLE_THREAD: &str = "single-thread";
pub(super) const SLOPPY: &str = "sloppy";
pub(super) const FAKE: &str = "fake";
pub(super) const OPTIONS_TABLE: &str = "options-table";
pub(super) const DIRECTORY: &str = "DIR";
pub(super) const LISTEN: &str = "listen";
pub(super) const USER: &str = "user";
pub(super) const PASSWORD: &str = "password";
pub(super) const ANONYMOUS: &str = "anonymous";
pub(super) const ANONYMOUS_WRITES: &str = "anonymous-writes";
pub(super) const READ_ONLY: &str = "read-only";
pub(super) const PASSIVE_PORTS: &str = "passive-ports";
pub(super) const PUBLIC_ADDRESS: &str = "public-address";
pub(super) const MAX_SESSIONS: &str = "max-sessions";
pub(super) const TLS: &str = "tls";
pub(super) const TLS_CERTIFICATE: &str = "tls-cert";
pub(super) const TLS_KEY: &str = "tls-key";
pub(super) const TLS_REUSE: &str = "tls-reuse";
pub(super) const TLS_CLIENT_CA: &str = "tls-client-ca";
pub(super) const FILE: &str = "FILE";
pub(super) const COMMAND: &str = "COMMAND";
pub(super) const JSON: &str = "json";
pub(super) const PROMETHEUS: &str = "prometheus";
pub(super) const WATCH: &str = "watch";
pub(super) const PAGE: &str = "PAGE";
pub(super) const SHELL: &str = "SHELL";

/// The manual pages that `man` prints; the first one is the default.
pub(super) const PAGES: [&str; 3] = ["ftpfs", "mount.ftpfs", "ftpfs.conf"];
/// The shells that `completions` knows.
pub(super) const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

const SOURCE_HELP: &str = "NAME: of the configuration, [user@]host:[path], or ftp://[user@]host[:port]/[path]; a path that does \
                           not begin with / (in a URL: with // or /%2F) starts where the login does";

const MOUNTPOINT_HELP: &str = "Directory to mount on; it must exist and be empty";

/// Whether the program was called as `mount.ftpfs`, as mount(8) does for type `ftpfs`.
pub(super) fn is_mount_helper(arguments: &[OsString]) -> bool {
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    name.is_some_and(|name| name.as_bytes().starts_with(b"mount."))
}

/// Whether the program was called as `curlftpfs`, through a link that keeps old lines working.
pub(super) fn is_curlftpfs(program: &[u8]) -> bool {
    Path::new(OsStr::from_bytes(program)).file_name() == Some(OsStr::new("curlftpfs"))
}

/// Returns the user's command line when the program is called as `curlftpfs`: the source may lack
/// its `ftp://`.
pub(super) fn curlftpfs() -> Command {
    let with_prefix = |typed: OsString| match typed.as_bytes() {
        bytes if bytes.starts_with(CURLFTPFS_PREFIX.as_bytes()) => typed,
        _ => {
            let mut source = OsString::from(CURLFTPFS_PREFIX);
            source.push(typed);
            source
        }
    };
    ftpfs_with(source().value_parser(OsStringValueParser::new().map(with_prefix)))
}

/// Whether a flag was given. The two forms have different flags.
pub(super) fn is_set(matches: &ArgMatches, flag: &str) -> bool {
    matches.try_get_one::<bool>(flag).ok().flatten() == Some(&true)
}

/// Returns the user's command line.
pub(super) fn ftpfs() -> Command {
    ftpfs_with(source())
}

fn ftpfs_with(source: Arg) -> Command {
    Command::new("ftpfs")
        .version(clap::crate_version!())
        .about("Mount an FTP server as a local directory")
        .override_usage(
            "ftpfs SOURCE [MOUNTPOINT] [-o OPT,...] [-f] [-d] [-s]\n       \
             ftpfs demo|serve|check|status|config|man|completions|help ...\n       \
             ftpfs refresh|flush|warmup|limit|log|cache|umount ...\n       \
             fusermount3 -u MOUNTPOINT",
        )
        .args_conflicts_with_subcommands(true)
        .after_help("ftpfs --help lists the options of -o.")
        .after_long_help(help::help_text())
        .subcommand_negates_reqs(true)
        .arg(source.required_unless_present(OPTIONS_TABLE))
        .arg(mountpoint())
        .arg(options())
        .arg(flag(FOREGROUND, 'f', "Stay in the foreground"))
        .arg(flag(
            DEBUG,
            'd',
            "Stay in the foreground and log every request and command",
        ))
        .arg(flag(
            SINGLE_THREAD,
            's',
            "Take the kernel's requests with one thread",
        ))
        .args(flags_of_sshfs())
        .arg(
            Arg::new(OPTIONS_TABLE)
                .long(OPTIONS_TABLE)
                .hide(true)
                .action(ArgAction::SetTrue),
        )
        .subcommand(demo())
        .subcommand(serve())
        .subcommand(check())
        .subcommand(status())
        .subcommand(config())
        .subcommands(control_args::subcommands())
        .subcommand(control_args::cache())
        .subcommand(man_pages())
        .subcommand(shell_completions())
}

/// Returns the command line with which mount(8) calls `/sbin/mount.ftpfs`: `SOURCE DIR [-sfnv] [-N
/// ns] [-o options] [-t type]`.
pub(super) fn mount_helper() -> Command {
    Command::new("mount.ftpfs")
        .version(clap::crate_version!())
        .about("Mount an FTP server for mount(8)")
        .arg(source().required(true))
        .arg(mountpoint().required(true).help(MOUNTPOINT_HELP))
        .arg(options())
        .arg(flag(SLOPPY, 's', "Skip unknown options"))
        .arg(flag(FAKE, 'f', "Check the arguments, mount nothing"))
        .arg(flag("no-mtab", 'n', "Accepted and ignored"))
        .arg(flag("verbose", 'v', "Accepted and ignored").overrides_with("verbose"))
        .arg(ignored("namespace", 'N'))
        .arg(ignored("type", 't'))
}

fn man_pages() -> Command {
    Command::new("man")
        .about("Print a manual page, for man -l -")
        .arg(
            Arg::new(PAGE)
                .default_value(PAGES[0])
                .value_parser(PAGES)
                .help("Name of the page"),
        )
}

fn shell_completions() -> Command {
    Command::new("completions")
        .about("Print the completions for a shell, to be sourced by it")
        .arg(
            Arg::new(SHELL)
                .required(true)
                .value_parser(SHELLS)
                .help("Name of the shell"),
        )
}

fn demo() -> Command {
    Command::new("demo")
        .about("Serve a sample tree and mount it: the first thing to try")
        .arg(
            Arg::new(MOUNTPOINT)
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::DirPath)
                .help("Directory to mount it on [default: a new temporary directory]"),
        )
        .arg(
            Arg::new(COMMAND)
                .last(true)
                .num_args(1..)
                .value_parser(value_parser!(OsString))
                .help("Run COMMAND in the mounted directory, then unmount and return its status"),
        )
}

fn serve() -> Command {
    serve_in_the_clear().args(serve_network()).args(serve_tls())
}

/// The options of `serve` for firewalls, NAT and many clients.
fn serve_network() -> [Arg; 3] {
    [
        Arg::new(PASSIVE_PORTS)
            .long(PASSIVE_PORTS)
            .value_name("A-B")
            .allow_hyphen_values(true)
            .value_parser(value::passive_ports)
            .help("Accept data connections on these ports only [default: any free port]"),
        Arg::new(PUBLIC_ADDRESS)
            .long(PUBLIC_ADDRESS)
            .value_name("ADDRESS")
            .value_parser(value::public_address)
            .help("IPv4 address or name that PASV announces, for a server behind NAT"),
        Arg::new(MAX_SESSIONS)
            .long(MAX_SESSIONS)
            .value_name("N")
            .allow_hyphen_values(true)
            .value_parser(value::sessions)
            .help("Maximum number of sessions; further clients get 421 [default: no limit]"),
    ]
}

/// The TLS options of `serve`.
fn serve_tls() -> [Arg; 5] {
    let file = |id: &'static str| {
        Arg::new(id)
            .long(id)
            .value_name("FILE")
            .requires(TLS)
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::FilePath)
    };
    [
        Arg::new(TLS)
            .long(TLS)
            .value_name("HOW")
            .num_args(0..=1)
            .require_equals(true)
            .value_parser(["required", "offered", "implicit"])
            .default_missing_value("required")
            .help("Use TLS: required, offered (clients may use it), or implicit (from the first byte)"),
        file(TLS_CERTIFICATE)
            .requires(TLS_KEY)
            .help("Certificate chain in PEM [default: a new self-signed certificate]"),
        file(TLS_KEY)
            .requires(TLS_CERTIFICATE)
            .help("Private key of the certificate, in PEM"),
        Arg::new(TLS_REUSE)
            .long(TLS_REUSE)
            .requires(TLS)
            .action(ArgAction::SetTrue)
            .help("Refuse data connections that do not resume their control connection's TLS session"),
        file(TLS_CLIENT_CA)
            .help("Accept only clients with a certificate signed by an authority in FILE (PEM)"),
    ]
}

fn serve_in_the_clear() -> Command {
    Command::new("serve")
        .about("Serve a directory over FTP until interrupted")
        .arg(
            Arg::new(DIRECTORY)
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::DirPath)
                .help("The directory that clients see as /"),
        )
        .arg(
            Arg::new(LISTEN)
                .long(LISTEN)
                .value_name("ADDRESS:PORT")
                .default_value("127.0.0.1:2121")
                .value_parser(value::listen_address)
                .help("Address to listen on; port 0 selects a free port"),
        )
        .arg(
            Arg::new(USER)
                .long(USER)
                .value_name("NAME")
                .required_unless_present(ANONYMOUS)
                .help("Let NAME log in"),
        )
        .arg(
            Arg::new(PASSWORD)
                .long(PASSWORD)
                .value_name("PASSWORD")
                .requires(USER)
                .help("Password of NAME [default: FTPFS_PASSWORD]"),
        )
        .arg(
            Arg::new(ANONYMOUS)
                .long(ANONYMOUS)
                .conflicts_with_all([USER, PASSWORD])
                .action(ArgAction::SetTrue)
                .help("Allow anonymous logins; with other addresses than loopback, they can read only"),
        )
        .arg(
            Arg::new(ANONYMOUS_WRITES)
                .long(ANONYMOUS_WRITES)
                .requires(ANONYMOUS)
                .conflicts_with(READ_ONLY)
                .action(ArgAction::SetTrue)
                .help("Let anonymous clients change files on any address"),
        )
        .arg(
            Arg::new(READ_ONLY)
                .long(READ_ONLY)
                .action(ArgAction::SetTrue)
                .help("Refuse every change"),
        )
}

fn check() -> Command {
    Command::new("check")
        .about("Connect, log in, list the directory, and report what the server supports")
        .arg(source().required(true))
        .arg(options())
}

fn config() -> Command {
    let file = || {
        Arg::new(FILE)
            .value_parser(value_parser!(OsString))
            .value_hint(ValueHint::FilePath)
    };
    Command::new("config")
        .about("Check or show the configuration files")
        .subcommand_required(true)
        .subcommand(
            Command::new("check")
                .about("Report every error in the configuration, with its file, line and key")
                .arg(file().help("File to check [default: ~/.config/ftpfs/config and /etc/ftpfs.conf]")),
        )
        .subcommand(
            Command::new("show")
                .about("List the configured sources, or the options that SOURCE gets and where they come from")
                .arg(source())
                .arg(file().long("file").value_name("FILE").help("Read FILE in place of the usual ones")),
        )
}

fn status() -> Command {
    Command::new("status")
        .about("Show what a running mount is doing, or all of your mounts")
        .arg(
            Arg::new(MOUNTPOINT)
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::Other)
                .help("Mountpoint [default: all mounts of this user]"),
        )
        .arg(
            Arg::new(JSON)
                .long(JSON)
                .action(ArgAction::SetTrue)
                .help("Print JSON: an object, or an array with the objects of all mounts"),
        )
        .arg(
            Arg::new(PROMETHEUS)
                .long(PROMETHEUS)
                .conflicts_with_all([JSON, WATCH])
                .action(ArgAction::SetTrue)
                .help("Print metrics for Prometheus, in the text format of OpenMetrics"),
        )
        .arg(
            Arg::new(WATCH)
                .long(WATCH)
                .value_name("SECONDS")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("1")
                .value_parser(value::interval)
                .help(
                    "Repeat every SECONDS [1] until interrupted, with progress bars at a terminal",
                ),
        )
}

fn source() -> Arg {
    Arg::new(SOURCE)
        .value_parser(value_parser!(OsString))
        .help(SOURCE_HELP)
}

fn mountpoint() -> Arg {
    Arg::new(MOUNTPOINT)
        .value_parser(value_parser!(PathBuf))
        .value_hint(ValueHint::DirPath)
        .help(format!("{MOUNTPOINT_HELP} [default: the configured one]"))
}

fn options() -> Arg {
    Arg::new(OPTIONS)
        .short('o')
        .value_name("OPT,...")
        .action(ArgAction::Append)
        .allow_hyphen_values(true)
        .value_parser(value_parser!(OsString))
        .help("Options, separated by commas; \\, is a comma in a value")
}

/// Flags of sshfs for old scripts; `--help` does not list them.
fn flags_of_sshfs() -> [Arg; 2] {
    let as_option = |port: OsString| {
        let mut option = OsString::from("port=");
        option.push(port);
        option
    };
    let port = Arg::new(SSHFS_PORT)
        .short('p')
        .hide(true)
        .action(ArgAction::Append)
        .value_parser(OsStringValueParser::new().map(as_option));
    let compression = Arg::new("sshfs-compression")
        .short('C')
        .hide(true)
        .action(ArgAction::Count);
    [port, compression]
}

fn flag(id: &'static str, short: char, help: &'static str) -> Arg {
    Arg::new(id)
        .short(short)
        .action(ArgAction::SetTrue)
        .help(help)
}

fn ignored(id: &'static str, short: char) -> Arg {
    Arg::new(id)
        .short(short)
        .action(ArgAction::Append)
        .value_parser(value_parser!(OsString))
        .help("Accepted and ignored")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_finds_no_mistake_in_the_definitions() {
        ftpfs().debug_assert();
        curlftpfs().debug_assert();
        mount_helper().debug_assert();
    }

    #[test]
    fn options_may_stand_before_between_and_behind() {
        for line in [
            "ftpfs h: /mnt -o ro -oport=21 -f",
            "ftpfs -o ro,port=21 -f h: /mnt",
            "ftpfs h: -f -o ro /mnt -o port=21",
        ] {
            let matches = ftpfs().try_get_matches_from(line.split(' ')).unwrap();
            assert_eq!(matches.get_one::<OsString>(SOURCE).unwrap(), "h:");
            assert_eq!(
                matches.get_one::<PathBuf>(MOUNTPOINT).unwrap(),
                Path::new("/mnt")
            );
            assert!(matches.get_flag(FOREGROUND));
        }
    }

    #[test]
    fn a_mountpoint_may_be_called_demo() {
        let matches = ftpfs()
            .try_get_matches_from(["ftpfs", "h:", "demo"])
            .unwrap();
        assert!(matches.subcommand().is_none());
        assert_eq!(
            matches.get_one::<PathBuf>(MOUNTPOINT).unwrap(),
            Path::new("demo")
        );
    }

    #[test]
    fn the_arguments_of_mount_are_taken_under_its_helper_s_name() {
        let line = "/sbin/mount.ftpfs ftp://h/ /mnt -n -s -v -v -N 7 -t ftpfs -o rw,nofail";
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        assert!(is_mount_helper(&arguments));
        assert!(!is_mount_helper(&[OsString::from("/usr/bin/ftpfs")]));
        let matches = mount_helper().try_get_matches_from(arguments).unwrap();
        assert!(matches.get_flag(SLOPPY));
        assert!(!matches.get_flag(FAKE));
    }
}
