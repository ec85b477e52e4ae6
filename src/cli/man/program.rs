//! ftpfs(1).

use clap::Command;
use clap_mangen::roff::{Roff, bold};

use super::{
    arguments, heading, item, options, paragraphs, subheading, synopsis, text_lines, titled,
};
use crate::cli::command;
use crate::cli::help::{PASSWORDS, typed};

const SYNOPSIS: &[&str] = &[
    "ftpfs SOURCE [MOUNTPOINT] [-o OPT,...] [-f] [-d] [-s]",
    "ftpfs demo [MOUNTPOINT] [-- COMMAND...]",
    "ftpfs serve DIR [--listen=ADDRESS:PORT] [--user=NAME | --anonymous [--anonymous-writes]] [--read-only] \
     [--passive-ports=A-B] [--public-address=ADDRESS] [--max-sessions=N] [--tls[=HOW]]",
    "ftpfs check SOURCE [-o OPT,...]",
    "ftpfs status [MOUNTPOINT] [--json | --prometheus] [--watch[=SECONDS]]",
    "ftpfs config check [FILE]",
    "ftpfs config show [SOURCE] [--file=FILE]",
    "ftpfs refresh PATH",
    "ftpfs flush [PATH]",
    "ftpfs warmup PATH",
    "ftpfs limit MOUNTPOINT [down=RATE] [up=RATE]",
    "ftpfs log MOUNTPOINT LEVEL",
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

const SECTIONS: [(&str, &str); 2] = [
    (
        "SIGNALS",
        "SIGINT and SIGTERM unmount, store the remaining files, and exit. A second one exits immediately. SIGHUP reopens the log \
         file, and takes log_level, limit_down and limit_up from the configuration again; for a mount in the foreground of a \
         terminal, it is like SIGTERM.",
    ),
    (
        "EXIT STATUS",
        "0 when the mount is ready (in the foreground: when it ended without an error), 1 on any failure, with its reason on the \
         standard error and nothing left mounted.",
    ),
];

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
    heading(&mut roff, "MOUNT OPTIONS");
    text_lines(
        &mut roff,
        "The options of -o. Times are in seconds. Sizes take the suffixes K, M, G and T.",
    );
    options(&mut roff, |spec| Some(vec![bold(typed(spec))]));
    heading(&mut roff, "COMMANDS");
    for command in program.get_subcommands() {
        explain(&mut roff, command, command.get_name());
    }
    heading(&mut roff, "PASSWORDS");
    paragraphs(&mut roff, [PASSWORDS.trim(), PASSWORDS_HIDDEN]);
    for (title, text) in SECTIONS {
        heading(&mut roff, title);
        text_lines(&mut roff, text);
    }
    for (title, items) in [("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)] {
        heading(&mut roff, title);
        for (term, text) in items {
            item(&mut roff, vec![bold(*term)], text);
        }
    }
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
