//! ftpfs.conf(5).

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::{
    example, heading, item, next_paragraph, options, paragraphs, subheading, synopsis, text_lines,
    titled,
};
use crate::cli::options::Spec;

/// The example that a package installs.
const EXAMPLE: &str = include_str!("../../../dist/examples/ftpfs.conf");

const FILES: [&str; 3] = [
    "/etc/ftpfs.conf",
    "~/.config/ftpfs/config",
    "$XDG_CONFIG_HOME/ftpfs/config",
];

const DESCRIPTION: [&str; 2] = [
    "The configuration file of ftpfs(1) gives names to sources, and options to sources, hosts and all mounts. There are two: \
     /etc/ftpfs.conf for the machine and ~/.config/ftpfs/config for a user. Neither has to exist.",
    "The format is TOML: tables in brackets, and lines KEY = VALUE in them. A # begins a comment.",
];

const TABLES: [(&str, &str); 3] = [
    (
        "[defaults]",
        "Options for every mount of this user, or of the machine.",
    ),
    (
        "[host.\"NAME\"]",
        "Options for every source on this host. \"*.example.org\" matches all hosts of a domain. The quotes are required if NAME \
         contains a dot. The more particular table wins.",
    ),
    (
        "[source.NAME]",
        "A source that can be mounted by its name: \"ftpfs NAME: MOUNTPOINT\", \"ftpfs NAME:photos MOUNTPOINT\" for a directory \
         below it, \"ftpfs you@NAME: MOUNTPOINT\" for another user, and NAME: as the first field of fstab(5). A configured name \
         wins over a host's; a URL, such as ftp://NAME/, always means the host.",
    ),
];

const SOURCE_KEYS: [(&str, &str); 2] = [
    (
        "url",
        "The URL of the source, without a password. Required.",
    ),
    (
        "mountpoint",
        "The directory to mount on if the command line names none: \"ftpfs NAME:\". A ~ is the home directory.",
    ),
];

const ORDER: [&str; 5] = [
    "the [defaults] of /etc/ftpfs.conf;",
    "the [defaults] of the user's file;",
    "the [host] tables;",
    "the [source] table;",
    "the command line, or the options in fstab(5).",
];

const REFUSED: [&str; 6] = [
    "a file that belongs to another user than root, or that others can write or replace;",
    "a password, in url, user or proxy: use password_command, password_file or netrc;",
    "an unknown table or key, and the key config;",
    "a relative path: paths begin with / or ~/;",
    "a list, unless the option can be repeated;",
    "a value that -o refuses, too.",
];

pub(super) fn page() -> Roff {
    let mut roff = titled(
        "ftpfs.conf",
        "5",
        "File Formats",
        "sources and options of ftpfs",
    );
    heading(&mut roff, "SYNOPSIS");
    synopsis(&mut roff, &FILES);
    heading(&mut roff, "DESCRIPTION");
    paragraphs(&mut roff, DESCRIPTION);
    heading(&mut roff, "TABLES");
    for (table, text) in TABLES {
        item(&mut roff, vec![bold(table)], text);
    }
    heading(&mut roff, "ORDER");
    text_lines(&mut roff, "A later one wins:");
    list(&mut roff, &ORDER);
    next_paragraph(
        &mut roff,
        "A source in the user's file replaces the one of the same name in /etc/ftpfs.conf. A flag that is false is as if an earlier \
         place had not set it.",
    );
    next_paragraph(
        &mut roff,
        "-o config=FILE or the environment variable FTPFS_CONFIG reads FILE in place of both files; config=none reads none.",
    );
    heading(&mut roff, "KEYS OF A SOURCE");
    for (key, text) in SOURCE_KEYS {
        item(
            &mut roff,
            vec![bold(key), roman(" = "), italic("STRING")],
            text,
        );
    }
    heading(&mut roff, "KEYS OF ALL TABLES");
    text_lines(
        &mut roff,
        "Every option of -o is a key. Strings are in quotes; times are in seconds; sizes take the suffixes K, M, G and T, and are \
         then strings.",
    );
    options(&mut roff, key);
    refused(&mut roff);
    heading(&mut roff, "SIGNALS");
    text_lines(
        &mut roff,
        "On SIGHUP, a running mount reads log_level, limit_down and limit_up again. Other changes apply to the next mount.",
    );
    heading(&mut roff, "EXAMPLES");
    text_lines(&mut roff, "A file with two sources:");
    example(&mut roff, EXAMPLE);
    heading(&mut roff, "SEE ALSO");
    text_lines(&mut roff, "ftpfs(1), mount.ftpfs(8), fstab(5), netrc(5)");
    roff
}

fn refused(roff: &mut Roff) {
    heading(roff, "ERRORS");
    text_lines(roff, "ftpfs refuses, with the file, the line and the key:");
    list(roff, &REFUSED);
    subheading(roff, "Checking");
    item(
        roff,
        vec![
            bold("ftpfs config check"),
            roman(" ["),
            italic("FILE"),
            roman("]"),
        ],
        "Report every error.",
    );
    item(
        roff,
        vec![
            bold("ftpfs config show"),
            roman(" ["),
            italic("SOURCE"),
            roman("]"),
        ],
        "Print the sources, or the options that a source gets, and where each comes from.",
    );
}

fn list(roff: &mut Roff, items: &[&str]) {
    for text in items {
        item(roff, vec![roman("-")], text);
    }
}

/// Returns an option as a line of the file: `port = N`, `ro = true`. A file does not choose itself.
fn key(spec: &Spec) -> Option<Vec<Inline>> {
    if spec.name == "config" {
        return None;
    }
    let is_number = matches!(spec.placeholder, "N" | "SECONDS");
    let mut line = vec![bold(spec.name), roman(" = ")];
    if spec.needs_no_value() {
        line.push(roman("true"));
    }
    if spec.takes_value() && spec.needs_no_value() {
        line.push(roman(" or "));
    }
    if spec.takes_value() {
        let quote = if is_number { "" } else { "\"" };
        line.extend([roman(quote), italic(spec.placeholder), roman(quote)]);
    }
    if spec.is_repeatable() {
        line.extend([
            roman(" or [\""),
            italic(spec.placeholder),
            roman("\", ...]"),
        ]);
    }
    Some(line)
}
