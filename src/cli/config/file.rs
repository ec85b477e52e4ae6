//! The contents of one configuration file, with the place of each entry.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::entry::{self, ConfiguredOption};
use super::error::{ConfigurationError, EntryError, Place};
use crate::cli::old_source::parse_source;
use crate::source::Source;

/// A parsed file. Wrong entries are kept beside the right ones, so that an error in one source does
/// not stop the mounts of the others.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    /// `[defaults]`.
    pub(super) defaults: Section,
    /// `[host."PATTERN"]`, in the order of their names.
    pub(super) hosts: Vec<(HostPattern, Section)>,
    /// `[source.NAME]`, in the order of their names.
    pub(super) sources: Vec<NamedSource>,
    /// What is wrong outside these sections.
    pub(super) faults: Vec<ConfigurationError>,
}

/// The options of one section.
#[derive(Debug, Default)]
pub(super) struct Section {
    pub(super) options: Vec<ConfiguredOption>,
    /// What is wrong in it.
    pub(super) faults: Vec<ConfigurationError>,
}

/// `[source.NAME]`.
#[derive(Debug)]
pub(super) struct NamedSource {
    pub(super) name: String,
    /// What `url` says; None if it is missing or wrong.
    pub(super) source: Option<Source>,
    pub(super) mountpoint: Option<PathBuf>,
    pub(super) section: Section,
}

/// The hosts of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostPattern {
    /// All hosts below this domain, which begins with a dot.
    Domain(String),
    /// This host.
    Exact(String),
}

impl HostPattern {
    fn parse(text: &str) -> Result<Self, EntryError> {
        let (domain, name) = match text.strip_prefix('*') {
            Some(domain) if domain.starts_with('.') => (true, domain),
            _ => (false, text),
        };
        let is_host = |c: char| c.is_alphanumeric() || ".-_:".contains(c);
        if name.trim_start_matches('.').is_empty() || !name.chars().all(is_host) {
            return Err(EntryError::BadHost);
        }
        let name = name.to_lowercase();
        Ok(if domain {
            Self::Domain(name)
        } else {
            Self::Exact(name)
        })
    }

    /// Whether the section is about `host`. Names of hosts have no case (RFC 4343).
    pub(super) fn matches(&self, host: &str) -> bool {
        let host = host.to_lowercase();
        match self {
            Self::Domain(domain) => host.len() > domain.len() && host.ends_with(domain.as_str()),
            Self::Exact(name) => host == *name,
        }
    }

    /// Orders patterns from the general to the particular.
    pub(super) fn precision(&self) -> (bool, usize) {
        match self {
            Self::Domain(domain) => (false, domain.len()),
            Self::Exact(name) => (true, name.len()),
        }
    }
}

/// Parses the text of the file at `path`.
pub(super) fn parse(path: &Path, text: &str) -> ConfigFile {
    let ends = text.match_indices('\n').map(|(at, _)| at).collect();
    let position = LineIndex {
        file: Rc::new(path.to_owned()),
        ends,
    };
    let mut file = ConfigFile::default();
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = position.of(error.span().unwrap_or_default(), String::new());
        file.faults.push(ConfigurationError::Syntax(
            place,
            error.message().to_owned(),
        ));
    }
    // After an error, the rest may be in other sections than the user meant.
    if !file.faults.is_empty() {
        return file;
    }
    for (key, value) in in_order(root.get_ref()) {
        let name: &str = key.get_ref();
        match (name, value.get_ref()) {
            ("defaults", DeValue::Table(table)) => {
                file.defaults = position.section("[defaults]", in_order(table));
            }
            ("host" | "source", DeValue::Table(table)) => {
                for (key, value) in in_order(table) {
                    file.add(&position, name, key, value);
                }
            }
            ("defaults" | "host" | "source", _) => {
                let place = position.of(key.span(), name.to_owned());
                file.faults
                    .push(ConfigurationError::Entry(place, EntryError::NotATable));
            }
            (_, DeValue::Table(_)) => {
                let place = position.of(key.span(), format!("[{name}]"));
                file.faults
                    .push(ConfigurationError::Entry(place, EntryError::UnknownSection));
            }
            _ => {
                let place = position.of(key.span(), name.to_owned());
                file.faults
                    .push(ConfigurationError::Entry(place, EntryError::NoSection));
            }
        }
    }
    file
}

type Key<'i> = Spanned<std::borrow::Cow<'i, str>>;
type Value<'i> = Spanned<DeValue<'i>>;

/// Returns the entries in the order of the file.
fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<(&'a Key<'i>, &'a Value<'i>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

impl ConfigFile {
    /// Adds `[host."KEY"]` or `[source.KEY]`.
    fn add(&mut self, position: &LineIndex, kind: &str, key: &Key<'_>, value: &Value<'_>) {
        let name: &str = key.get_ref();
        let title = format!("[{kind}.{}]", quoted(name));
        let place = position.of(key.span(), title.clone());
        let DeValue::Table(table) = value.get_ref() else {
            let error = ConfigurationError::Entry(place, EntryError::NotATable);
            self.faults.push(error);
            return;
        };
        if kind == "source" {
            if is_name(name) {
                let source = position.named_source(name, place, &title, table);
                self.sources.push(source);
            } else {
                let error = ConfigurationError::Entry(place, EntryError::BadName);
                self.faults.push(error);
            }
            return;
        }
        match HostPattern::parse(name) {
            Ok(pattern) => {
                let section = position.section(&title, in_order(table));
                self.hosts.push((pattern, section));
            }
            Err(error) => self.faults.push(ConfigurationError::Entry(place, error)),
        }
    }
}

/// Converts spans to places.
struct LineIndex {
    file: Rc<PathBuf>,
    /// The offsets of the ends of the lines.
    ends: Vec<usize>,
}

impl LineIndex {
    fn of(&self, span: Range<usize>, key: String) -> Place {
        Place {
            file: Rc::clone(&self.file),
            line: self.ends.partition_point(|end| *end < span.start) + 1,
            key,
        }
    }

    fn section(&self, title: &str, entries: Vec<(&Key<'_>, &Value<'_>)>) -> Section {
        let mut section = Section::default();
        for (key, value) in entries {
            let name: &str = key.get_ref();
            let place = self.of(key.span(), format!("{title} {name}"));
            match entry::option(name, value.get_ref(), place.clone()) {
                Ok(option) => section.options.push(option),
                Err(error) => section.faults.push(error),
            }
        }
        section
    }

    fn named_source(
        &self,
        name: &str,
        place: Place,
        title: &str,
        table: &DeTable<'_>,
    ) -> NamedSource {
        let (mut url, mut mountpoint) = (None, None);
        let mut faults = Vec::new();
        let mut rest = Vec::new();
        for (key, value) in in_order(table) {
            let place = self.of(key.span(), format!("{title} {}", key.get_ref()));
            let outcome = match &**key.get_ref() {
                "url" => location(value.get_ref())
                    .map(|found| url = Some(found))
                    .map_err(|error| ConfigurationError::Entry(place, error)),
                "mountpoint" => {
                    entry::path(value.get_ref(), &place).map(|path| mountpoint = Some(path))
                }
                _ => {
                    rest.push((key, value));
                    Ok(())
                }
            };
            faults.extend(outcome.err());
        }
        if url.is_none() && faults.is_empty() {
            faults.push(ConfigurationError::Entry(place, EntryError::NoUrl));
        }
        let mut section = self.section(title, rest);
        faults.append(&mut section.faults);
        section.faults = faults;
        NamedSource {
            name: name.to_owned(),
            source: url,
            mountpoint,
            section,
        }
    }
}

/// Parses the value of `url`, in each form that SOURCE may have.
fn location(value: &DeValue<'_>) -> Result<Source, EntryError> {
    let text = entry::text(value)?;
    let source = parse_source(text.as_ref()).map_err(EntryError::Source)?;
    if source.password.is_some() {
        return Err(EntryError::Secret);
    }
    Ok(source)
}

/// Whether `[user@]NAME:` can contain the name.
fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// Returns a key as TOML writes it.
fn quoted(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if !name.is_empty() && name.chars().all(is_bare) {
        return name.to_owned();
    }
    format!("{name:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> ConfigFile {
        parse(Path::new("/etc/ftpfs.conf"), text)
    }

    /// Returns all messages, without the file.
    fn faults(text: &str) -> Vec<String> {
        let file = parsed(text);
        let sections = [&file.defaults].into_iter();
        let sections = sections.chain(file.hosts.iter().map(|(_, section)| section));
        let sections = sections.chain(file.sources.iter().map(|source| &source.section));
        let faults = sections.flat_map(|section| &section.faults);
        let faults = file.faults.iter().chain(faults).map(ToString::to_string);
        faults
            .map(|fault| fault.replace("/etc/ftpfs.conf ", ""))
            .collect()
    }

    #[test]
    fn a_file_has_defaults_hosts_and_sources() {
        let file = parsed(
            "[defaults]\ntimeout = 20\n[host.\"*.Example.org\"]\ntls = true\n\n[source.nas]\n\
             url = \"ftpes://anna@nas.example.org/a\"\nmountpoint = \"/mnt/nas\"\nwriteback = true\n",
        );
        assert!(file.faults.is_empty(), "{:?}", file.faults);
        assert_eq!(file.defaults.options.len(), 1);
        let (pattern, section) = &file.hosts[0];
        assert_eq!(*pattern, HostPattern::Domain(".example.org".to_owned()));
        assert_eq!(section.options[0].place.line, 4);
        let nas = &file.sources[0];
        assert_eq!(nas.name, "nas");
        assert_eq!(nas.source.as_ref().unwrap().host, "nas.example.org");
        assert_eq!(nas.mountpoint.as_deref(), Some(Path::new("/mnt/nas")));
        assert_eq!(nas.section.options[0].spec.name, "writeback");
        assert!(nas.section.faults.is_empty());
    }

    #[test]
    fn each_fault_has_its_line_and_key() {
        for (text, expected) in [
            ("[defaults\n", "line 1: "),
            (
                "\n\ntimeout = 3\n",
                "line 3, timeout: this key is in no section",
            ),
            (
                "[sources.nas]\nurl = \"h:\"\n",
                "line 1, [sources]: unknown section",
            ),
            ("source = 3\n", "line 1, source: a section is expected"),
            (
                "[source]\nnas = \"h:\"\n",
                "line 2, [source.nas]: a section is expected",
            ),
            (
                "[source.\"a b\"]\nurl = \"h:\"\n",
                "line 1, [source.\"a b\"]: a name consists",
            ),
            ("[host.\"a b\"]\n", "line 1, [host.\"a b\"]: a host's name"),
            ("[host.\"*\"]\n", "line 1, [host.\"*\"]: a host's name"),
            (
                "\n[source.nas]\nro = true\n",
                "line 2, [source.nas]: this source has no url",
            ),
            (
                "[source.nas]\nurl = \"nas\"\n",
                "line 2, [source.nas] url: the url must be host:path",
            ),
            (
                "[source.nas]\nurl = 3\n",
                "line 2, [source.nas] url: text in quotes is expected",
            ),
            (
                "[source.nas]\nurl = \"ftp://a:b@h/\"\n",
                "line 2, [source.nas] url: secrets do not",
            ),
            (
                "[source.nas]\nurl = \"h:\"\nmountpoint = \"x\"\n",
                "line 3, [source.nas] mountpoint: an absolute",
            ),
            (
                "[defaults]\nro = true\nro = true\n",
                "line 3: duplicate key",
            ),
        ] {
            let faults = faults(text);
            let [fault] = &faults[..] else {
                panic!("{text}: {faults:?}");
            };
            assert!(fault.starts_with(expected), "{text}: {fault}");
        }
    }

    #[test]
    fn a_host_is_matched_whole_or_by_its_domain() {
        let matches = |pattern: &str, host| HostPattern::parse(pattern).unwrap().matches(host);
        assert!(matches("h.example.org", "H.example.org"));
        assert!(matches("*.example.org", "a.b.example.org"));
        assert!(!matches("*.example.org", "example.org"));
        assert!(!matches("*.example.org", "badexample.org"));
        assert!(matches("::1", "::1"));
        let precision = |pattern: &str| HostPattern::parse(pattern).unwrap().precision();
        assert!(precision("*.org") < precision("*.example.org"));
        assert!(precision("*.example.org") < precision("h"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[\\[\\]a-z.\"= \n0-9#*-]*") {
            let _ = parsed(&text);
        }
    }
}
