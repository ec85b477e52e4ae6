//! ftpfs.conf(5).

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::{
    example, heading, item, next_paragraph, options, paragraphs, subheading, synopsis, terms,
    text_lines, titled,
};
use crate::cli::options::{Set, Spec};

/// The example that a package installs.
const EXAMPLE: &str = include_str!("../../../dist/examples/ftpfs.conf");

const PLACES: [&str; 2] = ["/etc/ftpfs.conf", "~/.config/ftpfs/config"];

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
        "Options for every source on this host. \"*.example.org\" matches all hosts of a domain. The more particular table wins.",
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
        "The source, as on the command line but without a password: a URL or user@host:path. Required.",
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
    "a file, or a directory on the way to it, that belongs neither to root nor to the user who mounts, or that others can write or \
     replace;",
    "a password, in url, user or proxy: use password_command, password_file or netrc;",
    "an unknown table or key, and the key config;",
    "a relative path: paths begin with / or ~/, but password_file = \"-\" is the standard input;",
    "a list, unless the option can be repeated;",
    "a value that -o refuses, too.",
];

const ENVIRONMENT: [(&str, &str); 3] = [
    (
        "FTPFS_CONFIG",
        "The file to read in place of both files, or none. The option config wins.",
    ),
    (
        "XDG_CONFIG_HOME",
        "The directory of ftpfs/config, instead of ~/.config. A relative path, and a directory of another user, are ignored.",
    ),
    (
        "HOME",
        "The home directory. If it belongs to another user, as after sudo(8), the home directory of the user database is used.",
    ),
];

const FILES: [(&str, &str); 4] = [
    ("/etc/ftpfs.conf", "The file of the machine."),
    (
        "~/.config/ftpfs/config, $XDG_CONFIG_HOME/ftpfs/config",
        "The file of the user who mounts.",
    ),
    (
        "/usr/share/doc/ftpfs/examples/ftpfs.conf",
        "The example below, where a package has installed it.",
    ),
    (
        "~/.netrc",
        "Users and passwords, which are not part of the configuration: netrc(5).",
    ),
];

pub(super) fn page() -> Roff {
    let mut roff = titled(
        "ftpfs.conf",
        "5",
        "File Formats",
        "sources and options of ftpfs",
    );
    heading(&mut roff, "SYNOPSIS");
    synopsis(&mut roff, &PLACES);
    heading(&mut roff, "DESCRIPTION");
    paragraphs(&mut roff, DESCRIPTION);
    heading(&mut roff, "TABLES");
    for (table, text) in TABLES {
        item(&mut roff, vec![bold(table)], text);
    }
    next_paragraph(
        &mut roff,
        "A NAME with dots needs quotes: [source.\"nas.example.org\"]. A name without them consists of letters, digits, - and _.",
    );
    heading(&mut roff, "ORDER");
    text_lines(&mut roff, "A later one wins:");
    list(&mut roff, &ORDER);
    next_paragraph(
        &mut roff,
        "A source in the user's file replaces the one of the same name in /etc/ftpfs.conf. KEY = false is as if no earlier place \
         had set KEY; every option can be false.",
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
         then strings; permission bits are octal, as in umask = 0o022 or umask = \"022\".",
    );
    options(&mut roff, key);
    refused(&mut roff);
    heading(&mut roff, "SIGNALS");
    text_lines(
        &mut roff,
        "On SIGHUP, a running mount reads log_level, limit_down and limit_up again. Other changes apply to the next mount.",
    );
    heading(&mut roff, "ENVIRONMENT");
    terms(&mut roff, &ENVIRONMENT);
    heading(&mut roff, "FILES");
    terms(&mut roff, &FILES);
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

/// Returns an option as a line of the file, such as `port = N` or `ro = true`, and what it does. A
/// file does not choose itself.
fn key(spec: &Spec) -> Option<(Vec<Inline>, &'static str)> {
    if spec.name == "config" {
        return None;
    }
    // What may contain a password on the command line is the name alone here.
    let is_name_only = matches!(spec.set, Set::OptionalSecret(_));
    let help = match spec.help.split_once(';') {
        Some((help, _)) if is_name_only => help,
        _ => spec.help,
    };
    let is_number = matches!(spec.placeholder, "N" | "SECONDS");
    let mut line = vec![bold(spec.name), roman(" = ")];
    if spec.needs_no_value() && !is_name_only {
        line.push(roman("true"));
        if spec.takes_value() {
            line.push(roman(" or "));
        }
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
    Some((line, help))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::options::all;

    #[test]
    fn a_user_s_name_is_a_text_without_a_password() {
        let user = all().find(|spec| spec.name == "user").unwrap();
        let (line, help) = key(user).unwrap();
        let mut roff = Roff::new();
        roff.text(line);
        assert_eq!(roff.to_roff(), "\\fBuser\\fR = \"\\fINAME\\fR\"\n");
        assert_eq!(help, "Log in as NAME");
    }
}
