//! The manual page.

use std::io;

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::command;
use super::help::{PASSWORDS, default_in_brackets, names_of, of, typed};
use super::options::Group;

/// Returns the manual page ftpfs(1).
pub(super) fn man_page() -> io::Result<Vec<u8>> {
    let man = Man::new(command::ftpfs())
        .title("FTPFS")
        .manual("User Commands");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    synopsis().to_writer(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    mount_options().to_writer(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    closing_sections().to_writer(&mut page)?;
    man.render_version_section(&mut page)?;
    Ok(page)
}

fn synopsis() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    for line in [
        "ftpfs SOURCE [MOUNTPOINT] [-o OPT,...] [-f] [-d] [-s]",
        "ftpfs demo [MOUNTPOINT] [-- COMMAND...]",
        "ftpfs serve DIR [--listen ADDRESS:PORT] [--user NAME | --anonymous [--anonymous-writes]] [--read-only] \
         [--passive-ports A-B] [--public-address ADDRESS] [--max-sessions N]",
        "ftpfs check SOURCE [-o OPT,...]",
        "ftpfs status [MOUNTPOINT] [--json | --prometheus] [--watch[=SECONDS]]",
        "ftpfs config check [FILE]",
        "ftpfs config show [SOURCE] [--file FILE]",
        "ftpfs refresh PATH",
        "ftpfs flush [PATH]",
        "ftpfs warmup PATH",
        "ftpfs limit MOUNTPOINT [down=RATE] [up=RATE]",
        "ftpfs log MOUNTPOINT LEVEL",
        "ftpfs umount [--wait] MOUNTPOINT",
        "ftpfs help [COMMAND]",
        "ftpfs man",
        "fusermount3 -u MOUNTPOINT",
    ] {
        roff.text([bold(line)]);
        roff.control("br", []);
    }
    roff
}

fn mount_options() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["MOUNT OPTIONS"]);
    for group in Group::ALL {
        roff.control("SS", [group.title()]);
        if group == Group::Elsewhere {
            roff.text([roman(names_of(group).join(", "))]);
            continue;
        }
        for spec in of(group) {
            roff.control("TP", []);
            roff.text([bold(typed(spec))]);
            roff.text([roman(format!("{}{}", spec.help, default_in_brackets(spec)))]);
        }
    }
    roff
}

fn closing_sections() -> Roff {
    let mut roff = Roff::new();
    let sections = [
        ("PASSWORDS", PASSWORDS.trim()),
        (
            "SIGNALS",
            "SIGINT and SIGTERM unmount, store the remaining files, and exit. A second one exits \
             immediately. SIGHUP reopens the log file; for a mount in the foreground of a terminal, \
             it is like SIGTERM. Otherwise it also takes log_level, limit_down and limit_up from the \
             configuration again.",
        ),
        (
            "EXIT STATUS",
            "0 when the mount is ready (in the foreground: when it ended without an error), 1 on any \
             failure, with its reason on the standard error and nothing left mounted.",
        ),
        (
            "ENVIRONMENT",
            "CREDENTIALS_DIRECTORY, FTPFS_CONFIG, FTPFS_PASSWORD, FUSERMOUNT_PATH, HOME, TMPDIR, XDG_CONFIG_HOME, XDG_STATE_HOME",
        ),
        (
            "FILES",
            "~/.config/ftpfs/config, /etc/ftpfs.conf, /dev/fuse, /etc/fuse.conf, ~/.netrc; $XDG_STATE_HOME/ftpfs, else /var/lib/ftpfs for root \
             and ~/.local/state/ftpfs for others: files that are being stored, for the next \
             mount if ftpfs is killed, and certificates/HOST_PORT, the certificates that trust=first has pinned",
        ),
        ("SEE ALSO", "fusermount3(1), mount(8), fstab(5), netrc(5)"),
    ];
    for (title, text) in sections {
        roff.control("SH", [title]);
        roff.text([roman(text)]);
    }
    roff
}
