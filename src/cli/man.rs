//! The manual pages, from the tables that the program itself uses: ftpfs(1), mount.ftpfs(8) and
//! ftpfs.conf(5).

mod config;
mod helper;
mod program;

use std::ffi::OsStr;
use std::io;

use clap::builder::PossibleValue;
use clap::{Arg, Command};
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use textwrap::{Options, WordSplitter};

use super::options::{Group, Spec};

/// Width of the lines of a page's source.
const SOURCE_WIDTH: usize = 72;

/// Returns one of [`PAGES`](super::command::PAGES).
pub(super) fn page(name: &str) -> io::Result<Vec<u8>> {
    let roff = match name {
        "ftpfs" => program::page(),
        "mount.ftpfs" => helper::page(),
        "ftpfs.conf" => config::page(),
        _ => return Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let mut page = Vec::new();
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// Starts a page with its title line and NAME.
fn titled(name: &str, section: &str, manual: &str, about: &str) -> Roff {
    let mut roff = Roff::new();
    let version = format!("ftpfs {}", clap::crate_version!());
    let date = date(std::env::var_os("SOURCE_DATE_EPOCH").as_deref());
    let date = date.unwrap_or_else(|| "\"\"".to_owned());
    roff.control(
        "TH",
        [&name.to_uppercase(), section, &date, &version, manual],
    );
    heading(&mut roff, "NAME");
    roff.text([roman(format!("{name} - {about}"))]);
    roff
}

/// Returns the date that `SOURCE_DATE_EPOCH` gives, such as 2026-02-28. Without one there is none:
/// a build is the same on every day.
fn date(epoch: Option<&OsStr>) -> Option<String> {
    let seconds = epoch?.to_str()?.parse().ok()?;
    let time = jiff::Timestamp::from_second(seconds).ok()?;
    Some(time.strftime("%Y-%m-%d").to_string())
}

fn heading(roff: &mut Roff, title: &str) {
    roff.control("SH", [title]);
}

fn subheading(roff: &mut Roff, title: &str) {
    roff.control("SS", [title]);
}

/// Adds paragraphs after a heading or an item.
fn paragraphs<'a>(roff: &mut Roff, texts: impl IntoIterator<Item = &'a str>) {
    for (index, text) in texts.into_iter().enumerate() {
        // A heading starts a paragraph itself.
        if index > 0 {
            roff.control("PP", []);
        }
        text_lines(roff, text);
    }
}

/// Adds a paragraph that follows another one, a list or an example.
fn next_paragraph(roff: &mut Roff, text: &str) {
    roff.control("PP", []);
    text_lines(roff, text);
}

fn text_lines(roff: &mut Roff, text: &str) {
    // What is in backticks is typed as it is. A break in it would be one in the page's source only.
    let wrapped = wrapped(text);
    let parts = wrapped.split('`').enumerate();
    let inlines = parts.map(|(index, part)| match index % 2 {
        0 => roman(part),
        _ => bold(part),
    });
    roff.text(inlines.collect::<Vec<_>>());
}

/// Adds lines of a synopsis.
fn synopsis(roff: &mut Roff, lines: &[&str]) {
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            roff.control("br", []);
        }
        roff.text([bold(wrapped(line))]);
    }
}

/// Returns text in lines that an editor or a terminal shows whole.
fn wrapped(text: &str) -> String {
    let options = Options::new(SOURCE_WIDTH).word_splitter(WordSplitter::NoHyphenation);
    textwrap::fill(text, options)
}

/// Adds lines that are shown as they are, indented.
fn example(roff: &mut Roff, lines: &str) {
    roff.control("PP", []);
    roff.control("RS", ["4"]);
    roff.control("EX", []);
    for line in lines.lines() {
        roff.text([roman(line)]);
    }
    roff.control("EE", []);
    roff.control("RE", []);
}

/// Adds an item of a list: a term, and below it its description.
fn item(roff: &mut Roff, term: Vec<Inline>, description: &str) {
    roff.control("TP", []);
    roff.text(term);
    text_lines(roff, description);
}

/// Adds a list of terms with their descriptions.
fn terms(roff: &mut Roff, items: &[(&str, &str)]) {
    for (term, description) in items {
        item(roff, vec![bold(*term)], description);
    }
}

/// Adds the arguments of a command, flags last.
fn arguments(roff: &mut Roff, command: &Command) {
    let shown = |argument: &&Arg| !argument.is_hide_set();
    for positional in command.get_positionals().filter(shown) {
        item(
            roff,
            vec![italic(value_name(positional))],
            &help(positional),
        );
    }
    for flag in command.get_opts().filter(shown) {
        let mut term = Vec::new();
        if let Some(short) = flag.get_short() {
            term.push(bold(format!("-{short}")));
        }
        if let Some(long) = flag.get_long() {
            if !term.is_empty() {
                term.push(roman(", "));
            }
            term.push(bold(format!("--{long}")));
        }
        if flag.get_action().takes_values() {
            let name = value_name(flag);
            let is_optional = flag
                .get_num_args()
                .is_some_and(|range| range.min_values() == 0);
            match (is_optional, flag.get_long()) {
                (true, _) => term.extend([roman("[="), italic(name), roman("]")]),
                (false, Some(_)) => term.extend([roman("="), italic(name)]),
                (false, None) => term.extend([roman(" "), italic(name)]),
            }
        }
        item(roff, term, &help(flag));
    }
}

fn value_name(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    match names.first() {
        Some(name) => name.to_string(),
        None => argument.get_id().as_str().to_uppercase(),
    }
}

/// Returns an argument's help as a sentence, with what the value can be and its default.
fn help(argument: &Arg) -> String {
    let mut text = argument
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut values = Vec::new();
    if argument.get_action().takes_values() && !argument.is_hide_possible_values_set() {
        values = argument.get_possible_values();
    }
    let names: Vec<&str> = values.iter().map(PossibleValue::get_name).collect();
    if !names.iter().all(|name| text.contains(name)) {
        text = format!("{text}: {}", names.join(", "));
    }
    let defaults = argument.get_default_values().iter();
    let defaults: Vec<_> = defaults.map(|value| value.to_string_lossy()).collect();
    if argument.get_action().takes_values() && !defaults.is_empty() {
        text = format!("{text} [default: {}]", defaults.join(" "));
    }
    text
}

/// Adds the flags that clap adds to the program by itself.
fn generated_flags(roff: &mut Roff, help: &str) {
    for (short, long, text) in [
        ("-h", "--help", help),
        ("-V", "--version", "Print the version"),
    ] {
        item(roff, vec![bold(short), roman(", "), bold(long)], text);
    }
}

/// Adds the options of each group as a list, with the term and the description that `entry` gives
/// to an option; None leaves it out.
fn options(roff: &mut Roff, entry: impl Fn(&Spec) -> Option<(Vec<Inline>, &'static str)>) {
    for group in Group::ALL {
        subheading(roff, group.title());
        if group == Group::Elsewhere {
            text_lines(roff, &super::help::names_of(group).join(", "));
            continue;
        }
        for spec in super::help::of(group) {
            if let Some((term, help)) = entry(spec) {
                let description = format!("{help}{}", super::help::default_in_brackets(spec));
                item(roff, term, &description);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::options;

    /// Returns a page as plain text, without what only roff needs.
    fn plain(name: &str) -> String {
        let text = String::from_utf8(page(name).unwrap()).unwrap();
        text.replace("\\fB", "")
            .replace("\\fI", "")
            .replace("\\fR", "")
            .replace('\\', "")
    }

    #[test]
    fn every_option_is_a_term_of_the_pages_of_program_and_configuration() {
        for name in ["ftpfs", "ftpfs.conf"] {
            let page = plain(name);
            // A file does not choose itself.
            for spec in options::all().filter(|spec| (name, spec.name) != ("ftpfs.conf", "config"))
            {
                let is_term = |line: &str| {
                    let rest = line.strip_prefix(spec.name);
                    rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric()))
                };
                let is_listed = match spec.group {
                    Group::Elsewhere => page.contains(spec.name),
                    _ => page.lines().any(is_term),
                };
                assert!(is_listed, "{name}: {}", spec.name);
            }
        }
    }

    #[test]
    fn every_subcommand_is_explained() {
        let page = plain("ftpfs");
        let program = crate::cli::command::ftpfs();
        for command in program.get_subcommands() {
            let title = format!(".SS {}", command.get_name());
            let title = title.as_str();
            let is_explained = page
                .replace('"', "")
                .lines()
                .any(|line| line.starts_with(title));
            assert!(is_explained, "{title}");
            for flag in command.get_arguments().filter_map(Arg::get_long) {
                assert!(page.contains(&format!("--{flag}")), "{flag}");
            }
        }
    }

    #[test]
    fn the_pages_refer_to_one_another() {
        for (name, others) in [
            ("ftpfs", ["mount.ftpfs(8)", "ftpfs.conf(5)"]),
            ("mount.ftpfs", ["ftpfs(1)", "ftpfs.conf(5)"]),
            ("ftpfs.conf", ["ftpfs(1)", "mount.ftpfs(8)"]),
        ] {
            let page = plain(name);
            let (_, see_also) = page.split_once("SEE ALSO").unwrap();
            for other in others {
                assert!(see_also.contains(other), "{name}: {other}");
            }
        }
    }

    #[test]
    fn no_page_shows_markdown() {
        for name in super::super::command::PAGES {
            assert!(!plain(name).contains('`'), "{name}");
        }
        let mut roff = Roff::new();
        text_lines(&mut roff, "It is `user` of mount(8)");
        assert_eq!(roff.to_roff(), "It is \\fBuser\\fR of mount(8)\n");
    }

    #[test]
    fn a_page_has_the_date_of_the_source_or_none() {
        let date = |text: &str| date(Some(OsStr::new(text)));
        assert_eq!(date("1772236800").as_deref(), Some("2026-02-28"));
        for wrong in ["", "today", "99999999999999999"] {
            assert_eq!(date(wrong), None, "{wrong}");
        }
        assert_eq!(super::date(None), None);
    }

    #[test]
    fn an_unknown_page_is_an_error() {
        assert!(page("curlftpfs").is_err());
    }
}
