//! The option table as text, for `--help` and doc/options.md.

use std::fmt::Write;
use std::io;

use textwrap::Options;

use super::options::{self, Group, Spec};

/// Column of the descriptions in `--help`.
const HELP_COLUMN: usize = 28;
/// Column of the names in `--help`.
const NAME_COLUMN: usize = 4;
/// Maximum width of `--help`; clap has the same one.
const MAX_WIDTH: usize = 100;
/// Minimum width: narrower terminals get long lines.
const MIN_WIDTH: usize = 60;

/// Returns the list of `-o` options for `--help`, in lines that fit the terminal.
pub(super) fn help_text() -> String {
    help_in(help_width())
}

/// The width of the terminal, as clap determines it, within bounds.
fn help_width() -> usize {
    let terminal = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let terminal = terminal
        .map(|size| usize::from(size.ws_col))
        .filter(|width| *width > 0);
    let asked = || std::env::var("COLUMNS").ok()?.parse().ok();
    let width = terminal.or_else(asked).unwrap_or(MAX_WIDTH);
    width.clamp(MIN_WIDTH, MAX_WIDTH)
}

fn help_in(width: usize) -> String {
    let names = " ".repeat(NAME_COLUMN);
    let descriptions = " ".repeat(HELP_COLUMN);
    let mut text = String::from("Options of -o:\n");
    for group in Group::ALL {
        let _ = writeln!(text, "\n  {}:", group.title());
        if group == Group::Elsewhere {
            let indented = Options::new(width)
                .initial_indent(&names)
                .subsequent_indent(&names);
            let _ = writeln!(
                text,
                "{}",
                textwrap::fill(&names_of(group).join(" "), indented)
            );
            continue;
        }
        for spec in of(group) {
            let mut name = format!("{names}{}", typed(spec));
            // A long name has a line of its own.
            let start = if name.len() + 2 > HELP_COLUMN {
                let _ = writeln!(text, "{name}");
                descriptions.as_str()
            } else {
                name.push_str(&" ".repeat(HELP_COLUMN - name.len()));
                name.as_str()
            };
            let description = format!("{}{}", spec.help, default_in_brackets(spec));
            let indented = Options::new(width)
                .initial_indent(start)
                .subsequent_indent(&descriptions);
            let _ = writeln!(text, "{}", textwrap::fill(&description, indented));
        }
    }
    text.push_str(PASSWORDS);
    text
}

/// Returns the tables for doc/options.md.
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

pub(super) const PASSWORDS: &str = "
The password is taken from the first of: the URL, password_file, password_command, FTPFS_PASSWORD,
systemd's credential ftpfs.password, netrc, a prompt.
";

pub(super) fn of(group: Group) -> impl Iterator<Item = &'static Spec> {
    options::all().filter(move |spec| spec.group == group)
}

pub(super) fn names_of(group: Group) -> Vec<&'static str> {
    of(group).map(|spec| spec.name).collect()
}

/// Returns an option as typed: `netrc[=FILE]`, `port=N`, `ro`.
pub(super) fn typed(spec: &Spec) -> String {
    let Spec {
        name, placeholder, ..
    } = spec;
    if placeholder.is_empty() {
        return (*name).to_owned();
    }
    match spec.set {
        super::options::Set::Optional(_) | super::options::Set::OptionalSecret(_) => {
            format!("{name}[={placeholder}]")
        }
        _ => format!("{name}={placeholder}"),
    }
}

pub(super) fn default_in_brackets(spec: &Spec) -> String {
    match spec.default {
        "" => String::new(),
        default => format!(" [{default}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_in_every_rendering() {
        let (help, table) = (help_text(), markdown_table());
        for spec in options::all() {
            for text in [&help, &table] {
                assert!(text.contains(spec.name), "{}", spec.name);
            }
        }
    }

    #[test]
    fn the_help_is_in_columns_at_any_width() {
        for width in [60, 80, 100] {
            let text = help_in(width);
            for line in text.lines().filter(|line| line.starts_with("    ")) {
                assert!(line.len() <= width, "{width}: {line}");
                let indent = line.len() - line.trim_start().len();
                assert!([NAME_COLUMN, HELP_COLUMN].contains(&indent), "{line}");
            }
        }
    }

    /// Returns the text between the markers of the page.
    fn marked(page: &str) -> Option<&str> {
        let (_, rest) = page.split_once("<!-- options -->\n")?;
        Some(rest.split_once("<!-- /options -->")?.0)
    }

    #[test]
    fn the_page_of_options_shows_those_that_there_are() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/doc/options.md");
        let page = std::fs::read_to_string(path).unwrap();
        assert_eq!(
            marked(&page).map(str::trim),
            Some(markdown_table().trim()),
            "put the output of `ftpfs --options-table` between the markers in doc/options.md"
        );
    }
}
