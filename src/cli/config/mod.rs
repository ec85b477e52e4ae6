//! Configuration files: named sources, and options for all or some servers.
//!
//! The user's file is `$XDG_CONFIG_HOME/ftpfs/config`, by default `~/.config/ftpfs/config`, and the
//! machine's `/etc/ftpfs.conf`. Both are TOML, with `[defaults]`, `[host."HOST"]` and
//! `[source.NAME]`; the keys are the `-o` options.

mod command;
mod entry;
mod error;
mod file;
mod host_pattern;
mod layers;
mod places;
mod read;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub(super) use command::{check, show};
pub(super) use entry::ConfiguredOption;
use entry::ConfiguredValue;
pub(super) use error::ConfigurationError;
use file::{ConfigFile, NamedSource};
use layers::{Circumstances, InSource, Layer, Scope};

use crate::source::{Scheme, Source, SourceForm, StartPath};

/// The variable with a file to read in place of both, or `none`.
pub(super) const VARIABLE: &str = "FTPFS_CONFIG";

/// Which files are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum ConfigChoice {
    /// The user's and the machine's.
    #[default]
    Usual,
    /// This one, which must exist.
    File(PathBuf),
    /// None.
    Nothing,
}

impl ConfigChoice {
    /// Parses the value of the option `config` or of the variable.
    pub(super) fn parse(value: OsString) -> Self {
        if value == "none" {
            return Self::Nothing;
        }
        let path = PathBuf::from(value);
        Self::File(std::path::absolute(&path).unwrap_or(path))
    }
}

/// The configuration files in the order in which they are read, the machine's first.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    files: Vec<ConfigFile>,
    /// Their paths, including those of files that do not exist.
    paths: Vec<PathBuf>,
}

/// A source with what the configuration says of it.
#[derive(Debug)]
pub(super) struct Resolved {
    /// The server and directory.
    pub(super) source: Source,
    /// The source as typed, with a name instead of the host if that was typed.
    pub(super) label: String,
    /// The mountpoint of a named source.
    pub(super) mountpoint: Option<PathBuf>,
    /// The sections that apply, the most general one first.
    pub(super) layers: Vec<Layer>,
    /// What the typed source and the `url` contain.
    pub(super) circumstances: Circumstances,
    /// The section of the source, for messages.
    pub(super) title: Option<String>,
}

impl Resolved {
    /// Returns the options that apply, in the order in which to set them.
    pub(super) fn merged(&self) -> Vec<ConfiguredOption> {
        layers::merge(&self.layers, &self.circumstances)
    }
}

impl Configuration {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be read, might be written by others, or has a fault outside the sections
    /// for hosts and sources.
    pub(super) fn load(choice: &ConfigChoice) -> Result<Self, ConfigurationError> {
        let (configuration, mut faults) = Self::load_with_faults(choice);
        if faults.is_empty() {
            Ok(configuration)
        } else {
            Err(faults.swap_remove(0))
        }
    }

    /// Like [`load`](Self::load), but returns all faults with the files.
    fn load_with_faults(choice: &ConfigChoice) -> (Self, Vec<ConfigurationError>) {
        let mut configuration = Self::default();
        let mut faults = Vec::new();
        for (path, if_missing) in places::files(choice) {
            match read::read(&path, if_missing) {
                Ok(Some(text)) => configuration.files.push(file::parse(&path, &text)),
                Ok(None) => {}
                Err(error) => faults.push(error),
            }
            configuration.paths.push(path);
        }
        for file in &mut configuration.files {
            faults.append(&mut file.faults);
        }
        (configuration, faults)
    }

    /// Finds the sections about `typed`: a name in place of the host stands for a configured
    /// source.
    ///
    /// # Errors
    /// A section about it has a fault.
    pub(super) fn resolve(&mut self, typed: Source) -> Result<Resolved, ConfigurationError> {
        let label = typed.shown.clone();
        let mut circumstances = Circumstances {
            user: in_source(typed.user.is_some(), InSource::Typed),
            port: in_source(typed.port.is_some(), InSource::Typed),
            ..Circumstances::default()
        };
        let named = match typed.form {
            SourceForm::Short => self.take_source(&typed.host),
            SourceForm::Url => None,
        };
        let (source, mountpoint, own, title) = match named {
            Some(NamedSource {
                name,
                source,
                mountpoint,
                mut section,
                ..
            }) => {
                if !section.faults.is_empty() {
                    return Err(section.faults.remove(0));
                }
                // Without a fault, there is a source.
                let base = source.unwrap_or_else(|| typed.clone());
                if circumstances.user == InSource::Absent {
                    circumstances.user = in_source(base.user.is_some(), InSource::Url);
                }
                circumstances.port = in_source(base.port.is_some(), InSource::Url);
                circumstances.is_other_user = typed.user.is_some() && {
                    let mut users = section.options.iter().rev();
                    let user = users.find(|option| option.spec.name == "user");
                    let user = user
                        .and_then(ConfiguredOption::text)
                        .or(base.user.as_deref());
                    user.is_some() && user != typed.user.as_deref()
                };
                let title = format!("[source.{name}]");
                (
                    combined(base, typed),
                    mountpoint,
                    section.options,
                    Some(title),
                )
            }
            None => (typed, None, Vec::new(), None),
        };
        circumstances.is_secure = source.scheme != Scheme::Plain;
        let mut layers = self.general_layers(&source.host)?;
        layers.push(Layer {
            scope: Scope::One,
            options: own,
        });
        Ok(Resolved {
            source,
            label,
            mountpoint,
            layers,
            circumstances,
            title,
        })
    }

    /// Returns the mountpoint of the source with this name, if it has one.
    ///
    /// # Errors
    /// The source's section has a fault.
    pub(super) fn mountpoint_of(
        &mut self,
        name: &str,
    ) -> Result<Option<PathBuf>, ConfigurationError> {
        match self.take_source(name) {
            Some(mut source) if !source.section.faults.is_empty() => {
                Err(source.section.faults.remove(0))
            }
            source => Ok(source.and_then(|source| source.mountpoint)),
        }
    }

    /// Removes and returns the source with this name; the user's file is searched first.
    fn take_source(&mut self, name: &str) -> Option<NamedSource> {
        self.files.iter_mut().rev().find_map(|file| {
            let index = file.sources.iter().position(|source| source.name == name)?;
            Some(file.sources.swap_remove(index))
        })
    }

    /// Returns the defaults and the sections about a host, the most general one first.
    fn general_layers(&mut self, host: &str) -> Result<Vec<Layer>, ConfigurationError> {
        let mut sections = Vec::new();
        for file in &mut self.files {
            sections.push((Scope::Several, std::mem::take(&mut file.defaults)));
        }
        let files = self.files.iter_mut();
        let hosts = files.flat_map(|file| file.hosts.drain(..));
        let mut hosts: Vec<_> = hosts.filter(|(pattern, _)| pattern.matches(host)).collect();
        hosts.sort_by_key(|(pattern, _)| pattern.precision());
        sections.extend(hosts.into_iter().map(|(pattern, section)| {
            let scope = if pattern.is_exact() {
                Scope::Host
            } else {
                Scope::Several
            };
            (scope, section)
        }));
        let layers = sections.into_iter().map(|(scope, mut section)| {
            if !section.faults.is_empty() {
                return Err(section.faults.remove(0));
            }
            Ok(Layer {
                scope,
                options: section.options,
            })
        });
        layers.collect()
    }
}

fn in_source(is_there: bool, place: InSource) -> InSource {
    if is_there { place } else { InSource::Absent }
}

/// Returns the source that `typed` means if its host is the name of `base`: a relative path is
/// below the directory of `base`.
fn combined(base: Source, typed: Source) -> Source {
    let path = match (base.path, typed.path) {
        (_, StartPath::Absolute(path)) => StartPath::Absolute(path),
        (StartPath::Absolute(directory), StartPath::Relative(below)) => {
            StartPath::Absolute(below_directory(directory, &below))
        }
        (StartPath::Relative(directory), StartPath::Relative(below)) => {
            StartPath::Relative(below_directory(directory, &below))
        }
    };
    Source {
        user: typed.user.or(base.user),
        path,
        ..base
    }
}

fn below_directory(mut directory: Vec<u8>, below: &[u8]) -> Vec<u8> {
    if !below.is_empty() {
        if !directory.is_empty() && !directory.ends_with(b"/") {
            directory.push(b'/');
        }
        directory.extend_from_slice(below);
    }
    directory
}

/// Returns a path as a message shows it.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn configuration(system: &str, user: &str) -> Configuration {
        Configuration {
            files: vec![
                file::parse(Path::new("/etc/ftpfs.conf"), system),
                file::parse(Path::new("/home/u/config"), user),
            ],
            paths: Vec::new(),
        }
    }

    fn resolve(system: &str, user: &str, typed: &str) -> Resolved {
        let typed = Source::parse(OsStr::new(typed)).unwrap();
        configuration(system, user).resolve(typed).unwrap()
    }

    const NAS: &str = "[source.nas]\nurl = \"ftpes://anna@nas.example.org:2121//volume1\"\nmountpoint = \"/mnt/nas\"\n";

    #[test]
    fn a_name_stands_for_its_source() {
        let resolved = resolve("", NAS, "nas:");
        let source = &resolved.source;
        assert_eq!(
            (source.host.as_str(), source.port),
            ("nas.example.org", Some(2121))
        );
        assert_eq!(source.user.as_deref(), Some("anna"));
        assert_eq!(source.path, StartPath::Absolute(b"/volume1".to_vec()));
        assert_eq!(resolved.label, "nas:");
        assert_eq!(resolved.mountpoint.as_deref(), Some(Path::new("/mnt/nas")));
        assert_eq!(resolved.title.as_deref(), Some("[source.nas]"));

        let resolved = resolve("", NAS, "bob@nas:photos/2026");
        assert_eq!(resolved.source.user.as_deref(), Some("bob"));
        let below = b"/volume1/photos/2026".to_vec();
        assert_eq!(resolved.source.path, StartPath::Absolute(below));
        assert_eq!(resolved.label, "bob@nas:photos/2026");

        let resolved = resolve("", NAS, "nas:/etc");
        assert_eq!(resolved.source.path, StartPath::Absolute(b"/etc".to_vec()));
    }

    #[test]
    fn a_url_and_an_unknown_name_mean_hosts() {
        for typed in ["ftp://nas/", "nas2:", "NAS:"] {
            let resolved = resolve("", NAS, typed);
            assert!(resolved.mountpoint.is_none(), "{typed}");
            assert!(resolved.title.is_none(), "{typed}");
        }
        assert_eq!(resolve("", NAS, "ftp://nas/").source.host, "nas");
    }

    #[test]
    fn the_user_s_source_replaces_that_of_the_machine() {
        let other = NAS.replace("nas.example.org", "h");
        assert_eq!(resolve(&other, NAS, "nas:").source.host, "nas.example.org");
        assert_eq!(resolve(&other, "", "nas:").source.host, "h");
    }

    #[test]
    fn sections_come_from_the_general_to_the_particular() {
        let system = "[defaults]\ntimeout = 1\n[host.\"nas.example.org\"]\ntimeout = 5\n";
        let user = format!(
            "{NAS}timeout = 6\n[defaults]\ntimeout = 2\n[host.\"*.org\"]\ntimeout = 3\n\
             [host.\"*.example.org\"]\ntimeout = 4\n[host.\"other\"]\ntimeout = 9\n"
        );
        let resolved = resolve(system, &user, "nas:");
        let options = resolved.layers.iter().flat_map(|layer| &layer.options);
        let values: Vec<_> = options.map(|option| option.value.clone()).collect();
        let expected: Vec<_> = (1..=6)
            .map(|number| ConfiguredValue::Texts(vec![OsString::from(number.to_string())]))
            .collect();
        assert_eq!(values, expected);
    }

    #[test]
    fn a_fault_stops_only_the_mounts_that_it_is_about() {
        let user = format!("{NAS}[source.bad]\nurl = \"h:\"\nnonsense = true\n");
        resolve("", &user, "nas:");
        let typed = Source::parse(OsStr::new("bad:")).unwrap();
        let error = configuration("", &user).resolve(typed).unwrap_err();
        let expected = "/home/u/config line 6, [source.bad] nonsense: unknown option nonsense";
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}
