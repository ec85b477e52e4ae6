//! The option table as text: for `--help`, the manual page and the README.

use std::fmt::Write;
use std::io;

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::command;
use super::options::{self, Group, Spec};

/// Column of the descriptions in `--help`.
const HELP_COLUMN: usize = 26;

/// Returns the list of `-o` options for `--help`.
pub(super) fn help_text() -> String {
    let mut text = String::from("Options of -o:\n");
    for group in Group::ALL {
        let _ = writeln!(text, "\n  {}:", group.title());
        if group == Group::Elsewhere {
            let _ = writeln!(text, "    {}", names_of(group).join(" "));
            continue;
        }
        for spec in of(group) {
            let _ = writeln!(
                text,
                "    {:<width$}{}{}",
                typed(spec),
                spec.help,
                default_in_brackets(spec),
                width = HELP_COLUMN - 4,
            );
        }
    }
    text.push_str(PASSWORDS);
    text
}

/// Returns the tables for the README.
pub(super) fn markdown_table() -> String {
    let mut text = String::new();
    for group in Group::ALL {
        if group == Group::Elsewhere {
            let names: Vec<String> = names_of(group)
                .iter()
                .map(|name| format!("`{name}`"))
                .collect();
            let _ = writeln!(text, "{}: {}.", group.title(), names.join(", "));
            continue;
        }
        let _ = writeln!(text, "| {} | | default |\n|---|---|---|", group.title());
        for spec in of(group) {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} |",
                typed(spec),
                spec.help.replace('|', "\\|"),
                spec.default,
            );
        }
        text.push('\n');
    }
    text
}

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

const PASSWORDS: &str = "
The password is taken from the first of: the URL, password_file, FTPFS_PASSWORD, netrc, a prompt.
";

fn of(group: Group) -> impl Iterator<Item = &'static Spec> {
    options::all().filter(move |spec| spec.group == group)
}

fn names_of(group: Group) -> Vec<&'static str> {
    of(group).map(|spec| spec.name).collect()
}

/// Returns an option as typed: `netrc[=FILE]`, `port=N`, `ro`.
fn typed(spec: &Spec) -> String {
    let Spec {
        name, placeholder, ..
    } = spec;
    if placeholder.is_empty() {
        return (*name).to_owned();
    }
    match spec.set {
        super::options::Set::Optional(_) => format!("{name}[={placeholder}]"),
        _ => format!("{name}={placeholder}"),
    }
}

fn default_in_brackets(spec: &Spec) -> String {
    match spec.default {
        "" => String::new(),
        default => format!(" [{default}]"),
    }
}

fn synopsis() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    for line in [
        "ftpfs SOURCE MOUNTPOINT [-o OPT,...] [-f] [-d] [-s]",
        "ftpfs demo [MOUNTPOINT] [-- COMMAND...]",
        "ftpfs serve DIR [--listen ADDRESS:PORT] [--user NAME | --anonymous] [--read-only]",
        "ftpfs check SOURCE [-o OPT,...]",
        "ftpfs status [MOUNTPOINT] [--json]",
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
            "SIGINT, SIGTERM and SIGHUP unmount, store the remaining files, and exit. A second \
             one exits immediately.",
        ),
        (
            "EXIT STATUS",
            "0 when the mount is ready (in the foreground: when it ended without an error), 1 on any \
             failure, with its reason on the standard error and nothing left mounted.",
        ),
        (
            "ENVIRONMENT",
            "FTPFS_PASSWORD, FUSERMOUNT_PATH, HOME, TMPDIR, XDG_STATE_HOME",
        ),
        (
            "FILES",
            "/dev/fuse, /etc/fuse.conf, ~/.netrc; $XDG_STATE_HOME/ftpfs, else /var/lib/ftpfs for root \
             and ~/.local/state/ftpfs for others: files that are being stored, for the next \
             mount if ftpfs is killed",
        ),
        ("SEE ALSO", "fusermount3(1), mount(8), fstab(5), netrc(5)"),
    ];
    for (title, text) in sections {
        roff.control("SH", [title]);
        roff.text([roman(text)]);
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_in_every_rendering() {
        let page = String::from_utf8(man_page().unwrap())
            .unwrap()
            .replace('\\', "");
        let (help, table) = (help_text(), markdown_table());
        for spec in options::all() {
            for text in [&page, &help, &table] {
                assert!(text.contains(spec.name), "{}", spec.name);
            }
        }
    }

    /// Returns the text between the markers of the README.
    fn marked(readme: &str) -> Option<&str> {
        let (_, rest) = readme.split_once("<!-- options -->\n")?;
        Some(rest.split_once("<!-- /options -->")?.0)
    }

    #[test]
    fn the_readme_shows_the_options_that_there_are() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let readme = std::fs::read_to_string(path).unwrap();
        assert_eq!(
            marked(&readme).map(str::trim),
            Some(markdown_table().trim()),
            "put the output of `ftpfs --options-table` between the markers in README.md"
        );
    }
}
