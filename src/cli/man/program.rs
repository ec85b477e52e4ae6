//! ftpfs(1).

use clap::Command;
use clap_mangen::roff::{Roff, bold};

use super::{
    arguments, generated_flags, heading, item, next_paragraph, options, paragraphs, subheading,
    synopsis, terms, text_lines, titled,
};
use crate::cli::command;
use crate::cli::help::{PASSWORDS, typed};

const SYNOPSIS: &[&str] = &[
    "ftpfs SOURCE [MOUNTPOINT] [-o OPT,...] [-f] [-d] [-s]",
    "ftpfs demo [MOUNTPOINT] [-- COMMAND...]",
    "ftpfs serve DIR [--listen=ADDRESS:PORT] {--user=NAME [--password=PASSWORD] | --anonymous [--anonymous-writes]} [--read-only] \
     [--passive-ports=A-B] [--public-address=ADDRESS] [--max-sessions=N] [--tls[=HOW] [--tls-cert=FILE --tls-key=FILE] [--tls-reuse] \
     [--tls-client-ca=FILE]]",
    "ftpfs check SOURCE [-o OPT,...]",
    "ftpfs status [MOUNTPOINT] [--json | --prometheus] [--watch[=SECONDS]]",
    "ftpfs config check [FILE]",
    "ftpfs config show [SOURCE] [--file=FILE]",
    "ftpfs refresh PATH",
    "ftpfs flush [PATH]",
    "ftpfs warmup PATH",
    "ftpfs limit MOUNTPOINT [down=RATE] [up=RATE]",
    "ftpfs log MOUNTPOINT LEVEL",
    "ftpfs cache [show|trim|clear] [SERVER] [--dir=DIR] [--size=SIZE]",
    "ftpfs umount [--wait] MOUNTPOINT",
    "ftpfs man [PAGE]",
    "ftpfs completions SHELL",
    "ftpfs help [COMMAND]",
    "fusermount3 -u MOUNTPOINT",
];

const DESCRIPTION: [&str; 3] = [
    "ftpfs mounts a directory of an FTP server as a local directory, with or without TLS. It moves to the background when the \
     mount answers. If it fails before that, it prints one line, exits with status 1, and leaves nothing mounted.",
    "When close(2) or fsync(2) succeeds, the server has stored the file, unless the option writeback is given: then close returns \
     when the local disk has the file. Overwriting is atomic where the server allows it.",
    "SOURCE can also be a name that ftpfs.conf(5) defines, followed by a colon and a path.",
];

const PASSWORDS_HIDDEN: &str =
    "The password never appears in arguments, environments or logs that others can read.";

const SIGNALS: &str = "SIGINT and SIGTERM unmount, store the remaining files, and exit. A second one exits immediately. SIGHUP reopens the log \
         file, and takes log_level, limit_down and limit_up from the configuration again; for a mount in the foreground of a \
         terminal, it is like SIGTERM.";

const EXIT_STATUS: [(&str, &str); 4] = [
    (
        "ftpfs SOURCE",
        "0 when the mount is ready (in the foreground: when it ended without an error), 1 on any failure, with its reason on the \
         standard error and nothing left mounted.",
    ),
    (
        "ftpfs check, config, status, refresh, flush, warmup, limit, log, cache",
        "0 if everything is done; 1 if anything is not: the configuration has an error, a mount does not answer, a file is not \
         stored, a directory cannot be listed.",
    ),
    (
        "ftpfs umount",
        "0 if nothing is mounted any more, 1 otherwise. With --wait also 1 if a file is not stored or the ftpfs of the mount has not \
         ended.",
    ),
    (
        "ftpfs demo -- COMMAND",
        "The status of COMMAND, or 128 and the number of the signal that ended it; 1 if it could not be run.",
    ),
];

const WRONG_USAGE: &str =
    "An unknown option or argument is an error with status 1, for every command.";

const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "CREDENTIALS_DIRECTORY",
        "Where systemd puts the credential ftpfs.password of a unit: the password.",
    ),
    (
        "FTPFS_PASSWORD",
        "The password. ftpfs removes it from its environment.",
    ),
    (
        "FTPFS_CONFIG",
        "The configuration file to read in place of the usual ones.",
    ),
    (
        "NOTIFY_SOCKET, JOURNAL_STREAM",
        "Set by systemd for a service: ftpfs reports when it is ready, and logs to the journal.",
    ),
    (
        "FTP_PROXY, ALL_PROXY, NO_PROXY",
        "The proxy, and the hosts to reach without it. The names in lower case are read, too.",
    ),
    (
        "FUSERMOUNT_PATH",
        "The program that mounts for ordinary users, instead of fusermount3(1).",
    ),
    (
        "TMPDIR",
        "The directory for the spool if the state directory cannot be written.",
    ),
    (
        "HOME, XDG_CONFIG_HOME, XDG_STATE_HOME",
        "Where netrc, configuration and state are.",
    ),
];

const FILES: &[(&str, &str)] = &[
    (
        "/etc/ftpfs.conf, ~/.config/ftpfs/config",
        "Sources and their options: ftpfs.conf(5).",
    ),
    (
        "~/.netrc",
        "Users and passwords: netrc(5). Only its owner may be able to read it.",
    ),
    (
        "/etc/fuse.conf",
        "user_allow_other in it lets ordinary users give the option allow_other.",
    ),
    ("/dev/fuse", "The kernel's FUSE device."),
    (
        "/var/lib/ftpfs, ~/.local/state/ftpfs, $XDG_STATE_HOME/ftpfs",
        "The state directory of root and of other users: files that are being stored, for the next mount if ftpfs is killed.",
    ),
    (
        "certificates/HOST_PORT in the state directory",
        "The certificates that trust=first has pinned.",
    ),
    (
        "/run/ftpfs, /tmp/ftpfs-UID",
        "Sockets of running mounts, for ftpfs status and the other commands.",
    ),
];

const EXAMPLES: [(&str, &str); 4] = [
    (
        "ftpfs you@your.server:pub ~/ftp",
        "Mount the directory pub, relative to the login directory.",
    ),
    (
        "ftpfs ftpes://you@your.server/ ~/ftp -o writeback",
        "Mount with TLS, and store files in the background.",
    ),
    (
        "ftpfs check you@your.server:",
        "Report what a server supports, without mounting it.",
    ),
    (
        "ftpfs umount --wait ~/ftp",
        "Unmount, and wait until everything is stored.",
    ),
];

pub(super) fn page() -> Roff {
    let program = command::ftpfs();
    let mut roff = titled(
        "ftpfs",
        "1",
        "User Commands",
        "mount an FTP server as a local directory",
    );
    heading(&mut roff, "SYNOPSIS");
    synopsis(&mut roff, SYNOPSIS);
    heading(&mut roff, "DESCRIPTION");
    paragraphs(&mut roff, DESCRIPTION);
    heading(&mut roff, "OPTIONS");
    arguments(&mut roff, &program);
    generated_flags(
        &mut roff,
        "Print help; --help also lists the options of -o. Every command has its own",
    );
    heading(&mut roff, "MOUNT OPTIONS");
    text_lines(
        &mut roff,
        "The options of -o. Times are in seconds. Sizes take the suffixes K, M, G and T.",
    );
    options(&mut roff, |spec| Some((vec![bold(typed(spec))], spec.help)));
    heading(&mut roff, "COMMANDS");
    for command in program.get_subcommands() {
        explain(&mut roff, command, command.get_name());
    }
    heading(&mut roff, "PASSWORDS");
    paragraphs(&mut roff, [PASSWORDS.trim(), PASSWORDS_HIDDEN]);
    heading(&mut roff, "SIGNALS");
    text_lines(&mut roff, SIGNALS);
    heading(&mut roff, "EXIT STATUS");
    terms(&mut roff, &EXIT_STATUS);
    next_paragraph(&mut roff, WRONG_USAGE);
    heading(&mut roff, "ENVIRONMENT");
    terms(&mut roff, ENVIRONMENT);
    heading(&mut roff, "FILES");
    terms(&mut roff, FILES);
    heading(&mut roff, "EXAMPLES");
    for (line, text) in EXAMPLES {
        item(&mut roff, vec![bold(line)], text);
    }
    heading(&mut roff, "SEE ALSO");
    text_lines(
        &mut roff,
        "ftpfs.conf(5), mount.ftpfs(8), fusermount3(1), mount(8), fstab(5), netrc(5), autofs(5)",
    );
    roff
}

/// Adds a subcommand, or those that it consists of.
fn explain(roff: &mut Roff, command: &Command, name: &str) {
    if command.has_subcommands() {
        for part in command.get_subcommands() {
            explain(roff, part, &format!("{name} {}", part.get_name()));
        }
        return;
    }
    subheading(roff, name);
    let about = command.get_about().map(ToString::to_string);
    text_lines(roff, &format!("{}.", about.unwrap_or_default()));
    arguments(roff, command);
}
