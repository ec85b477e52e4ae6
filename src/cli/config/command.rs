//! `ftpfs config check` and `ftpfs config show`.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;

use super::entry::ConfiguredOption;
use super::file::Section;
use super::{ConfigChoice, Configuration, ConfigurationError, ConfiguredValue, Resolved, shown};
use crate::cli::Failure;
use crate::cli::old_source::parse_source;
use crate::cli::options::Set;
use crate::cli::settings::Settings;
use crate::source::{Source, StartPath, conceal};

/// Shown in place of a value that may be a secret.
const HIDDEN: &str = "\"…\"";

/// Checks the options of a source, with the settings that they make.
type FindContradiction =
    fn(&Source, &Settings, &[ConfiguredOption]) -> Result<(), ConfigurationError>;

/// Checks everything in the files and returns a report for the terminal.
///
/// `find_contradiction` checks the options of each source together.
///
/// # Errors
/// Everything that is wrong, one line each.
pub(in crate::cli) fn check(
    choice: &ConfigChoice,
    find_contradiction: FindContradiction,
) -> Result<String, Failure> {
    let (configuration, mut faults) = Configuration::load_with_faults(choice);
    let names: Vec<String> = names(&configuration);
    for file in &configuration.files {
        let hosts = file.hosts.iter().map(|(_, section)| section);
        let sources = file.sources.iter().map(|source| &source.section);
        for section in std::iter::once(&file.defaults).chain(hosts).chain(sources) {
            faults.extend(faults_of_values(section));
        }
    }
    let paths: Vec<String> = configuration.paths.iter().map(|path| shown(path)).collect();
    let is_empty = configuration.files.is_empty();
    for file in configuration.files {
        let hosts = file.hosts.into_iter().map(|(_, section)| section);
        let sources = file.sources.into_iter().map(|source| source.section);
        let sections = std::iter::once(file.defaults).chain(hosts).chain(sources);
        faults.extend(sections.flat_map(|section| section.faults));
    }
    // Values and sections that are wrong by themselves would be reported once more.
    if faults.is_empty() {
        for name in names {
            faults.extend(contradiction(choice, &name, find_contradiction).err());
        }
    }
    if !faults.is_empty() {
        faults.sort_by(|one, other| one.place().cmp(&other.place()));
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        return Err(lines.join("\nftpfs: ").into());
    }
    Ok(match (is_empty, &paths[..]) {
        (true, []) => "no configuration file is read\n".to_owned(),
        (true, paths) => format!("there is no configuration file ({})\n", paths.join(", ")),
        (false, _) => "the configuration is correct\n".to_owned(),
    })
}

/// Returns the names of the sources, each once.
fn names(configuration: &Configuration) -> Vec<String> {
    let sources = configuration.files.iter().flat_map(|file| &file.sources);
    let mut names: Vec<String> = sources.map(|source| source.name.clone()).collect();
    names.sort();
    names.dedup();
    names
}

/// Returns the faults of the values in a section.
fn faults_of_values(section: &Section) -> Vec<ConfigurationError> {
    let mut settings = Settings::default();
    let options = section.options.iter();
    options
        .filter_map(|option| option.apply(&mut settings).err())
        .collect()
}

/// Finds options of a source that contradict each other.
fn contradiction(
    choice: &ConfigChoice,
    name: &str,
    find: FindContradiction,
) -> Result<(), ConfigurationError> {
    let mut configuration = Configuration::load(choice)?;
    // The form without a colon is no source.
    let Ok(source) = parse_source(OsStr::new(&format!("{name}:"))) else {
        return Ok(());
    };
    let resolved = configuration.resolve(source)?;
    let options = resolved.merged();
    let mut settings = Settings::default();
    for option in &options {
        option.apply(&mut settings)?;
    }
    find(&resolved.source, &settings, &options)
}

/// Returns the named sources, or the options that `typed` gets and where each one comes from.
///
/// # Errors
/// The configuration cannot be used for it.
pub(in crate::cli) fn show(
    choice: &ConfigChoice,
    typed: Option<&OsStr>,
) -> Result<String, Failure> {
    let mut configuration = Configuration::load(choice)?;
    match typed {
        Some(typed) => show_source(configuration.resolve(parse_source(typed)?)?),
        None => Ok(show_all(&configuration)),
    }
}

fn show_all(configuration: &Configuration) -> String {
    let mut report = String::new();
    let mut seen: Vec<&str> = Vec::new();
    let files = configuration.files.iter().rev();
    for source in files.flat_map(|file| &file.sources) {
        if seen.contains(&source.name.as_str()) {
            continue;
        }
        seen.push(&source.name);
        let url = source.source.as_ref().map_or("?", |source| &source.shown);
        let point = source.mountpoint.as_deref().map(shown);
        let point = point.unwrap_or_else(|| "-".to_owned());
        let _ = writeln!(report, "{}:\t{url}\t{point}", source.name);
    }
    if report.is_empty() {
        report.push_str("no sources are configured\n");
    }
    report
}

fn show_source(resolved: Resolved) -> Result<String, Failure> {
    let options = resolved.merged();
    let Resolved {
        source, mountpoint, ..
    } = resolved;
    let mut settings = Settings::default();
    for option in &options {
        option.apply(&mut settings)?;
    }
    let mut report = String::new();
    let _ = writeln!(report, "url = {:?}", source.shown);
    let user = settings.user.as_ref().or(source.user.as_ref());
    let _ = writeln!(report, "# {}", connection(&source, user));
    if let Some(point) = &mountpoint {
        let _ = writeln!(report, "mountpoint = {:?}", shown(point));
    }
    for option in &options {
        let name = option.spec.name;
        let _ = writeln!(report, "{name} = {}  # {}", value(option), option.place);
    }
    Ok(report)
}

/// Describes what the mount connects to.
fn connection(source: &Source, user: Option<&String>) -> String {
    let path = match &source.path {
        StartPath::Relative(path) if path.is_empty() => "the login directory".to_owned(),
        StartPath::Relative(path) => {
            let path = String::from_utf8_lossy(path);
            format!("{} in the login directory", path.escape_debug())
        }
        StartPath::Absolute(path) => String::from_utf8_lossy(path).escape_debug().to_string(),
    };
    let user = user.map_or("netrc's user, else anonymous", String::as_str);
    format!("{path} on {}, as {user}", source.host)
}

/// Returns a value as TOML. What may be a secret is hidden.
fn value(option: &ConfiguredOption) -> String {
    let is_secret = matches!(option.spec.set, Set::Secret(_));
    let quoted = |text: &OsString| {
        if is_secret {
            return HIDDEN.to_owned();
        }
        format!("{:?}", conceal(&text.to_string_lossy()))
    };
    match &option.value {
        ConfiguredValue::Texts(texts) => match &texts[..] {
            [text] => quoted(text),
            texts => {
                let texts: Vec<String> = texts.iter().map(quoted).collect();
                format!("[{}]", texts.join(", "))
            }
        },
        ConfiguredValue::Alone => "true".to_owned(),
        ConfiguredValue::Unset => "false".to_owned(),
    }
}
