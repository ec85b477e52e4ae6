//! `ftpfs config check` and `ftpfs config show`.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;

use super::file::Section;
use super::{ConfigChoice, Configuration, ConfigurationError, ConfiguredValue, merge, shown};
use crate::cli::Failure;
use crate::cli::old_source::parse_source;
use crate::cli::settings::Settings;

/// Checks everything in the files and returns a report for the terminal.
///
/// # Errors
/// Everything that is wrong, one line each.
pub(in crate::cli) fn check(choice: &ConfigChoice) -> Result<String, Failure> {
    let configuration = Configuration::load_with_faults(choice)?;
    let mut faults = Vec::new();
    let mut report = String::new();
    let count = configuration.files.len();
    for file in configuration.files {
        faults.extend(file.faults);
        let hosts = file.hosts.into_iter().map(|(_, section)| section);
        let sources = file.sources.into_iter().map(|source| source.section);
        for section in std::iter::once(file.defaults).chain(hosts).chain(sources) {
            faults.extend(faults_of(section));
        }
    }
    if !faults.is_empty() {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        return Err(lines.join("\nftpfs: ").into());
    }
    if count == 0 {
        let paths: Vec<String> = configuration.paths.iter().map(|path| shown(path)).collect();
        let _ = writeln!(
            report,
            "there is no configuration file ({})",
            paths.join(", ")
        );
    } else {
        let _ = writeln!(report, "the configuration is correct");
    }
    Ok(report)
}

/// Returns the faults of a section, including those of values, each in its order.
fn faults_of(section: Section) -> Vec<ConfigurationError> {
    let mut settings = Settings::default();
    let values = section
        .options
        .iter()
        .filter_map(|option| option.apply(&mut settings).err());
    let mut faults = section.faults;
    faults.extend(values);
    faults
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
        Some(typed) => show_source(&mut configuration, typed),
        None => Ok(show_all(&configuration)),
    }
}

fn show_all(configuration: &Configuration) -> String {
    let mut report = String::new();
    let mut seen: Vec<&str> = Vec::new();
    for source in configuration
        .files
        .iter()
        .rev()
        .flat_map(|file| &file.sources)
    {
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

fn show_source(configuration: &mut Configuration, typed: &OsStr) -> Result<String, Failure> {
    let resolved = configuration.resolve(parse_source(typed)?)?;
    let mut report = String::new();
    let _ = writeln!(report, "url = {:?}", resolved.source.shown);
    if let Some(point) = &resolved.mountpoint {
        let _ = writeln!(report, "mountpoint = {:?}", shown(point));
    }
    let mut settings = Settings::default();
    for option in merge(&resolved.layers, &resolved.circumstances) {
        option.apply(&mut settings)?;
        let name = option.spec.name;
        let value = match &option.value {
            ConfiguredValue::Texts(texts) => match &texts[..] {
                [text] => quoted(text),
                texts => {
                    let texts: Vec<String> = texts.iter().map(quoted).collect();
                    format!("[{}]", texts.join(", "))
                }
            },
            ConfiguredValue::Alone => "true".to_owned(),
            ConfiguredValue::Unset => "false".to_owned(),
        };
        let _ = writeln!(report, "{name} = {value}  # {}", option.place);
    }
    Ok(report)
}

fn quoted(text: &OsString) -> String {
    format!("{:?}", text.to_string_lossy())
}
