//! One entry of a section: an `-o` option, and its value as TOML has it.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use toml::de::DeValue;

use super::error::{ConfigurationError, EntryError, Place};
use crate::cli::option_list;
use crate::cli::options::{Set, Spec};
use crate::cli::settings::Settings;
use crate::source::conceal;

/// The keys with which users of other programs would write a password.
const PASSWORDS: [&str; 3] = ["password", "passwd", "pass"];

/// An option with its value.
#[derive(Debug, Clone)]
pub(in crate::cli) struct ConfiguredOption {
    pub(in crate::cli) spec: &'static Spec,
    pub(in crate::cli) value: ConfiguredValue,
    pub(in crate::cli) place: Place,
}

impl ConfiguredOption {
    /// Returns the value, if it is one text in UTF-8.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            ConfiguredValue::Texts(texts) => texts.last()?.to_str(),
            ConfiguredValue::Alone | ConfiguredValue::Unset => None,
        }
    }

    /// Sets the option.
    ///
    /// # Errors
    /// Its value is invalid.
    pub(in crate::cli) fn apply(&self, settings: &mut Settings) -> Result<(), ConfigurationError> {
        let spec = self.spec;
        let outcome = match &self.value {
            ConfiguredValue::Unset => Ok(()),
            ConfiguredValue::Alone => option_list::set_value(settings, spec, spec.name, None),
            ConfiguredValue::Texts(texts) => texts
                .iter()
                .try_for_each(|text| option_list::set_value(settings, spec, spec.name, Some(text))),
        };
        outcome.map_err(|error| {
            ConfigurationError::Entry(self.place.clone(), EntryError::Option(error))
        })
    }
}

/// The value of an option in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum ConfiguredValue {
    /// `false`: as if no more general section had set it.
    Unset,
    /// `true`: the option without a value.
    Alone,
    /// The texts after the `=` on the command line; one, unless the option can be repeated.
    Texts(Vec<OsString>),
}

/// Converts the entry `key = value`.
///
/// # Errors
/// There is no such option, its value has another type, or it contains a secret.
pub(super) fn option(
    key: &str,
    value: &DeValue<'_>,
    place: Place,
) -> Result<ConfiguredOption, ConfigurationError> {
    let fail = |error| ConfigurationError::Entry(place.clone(), error);
    if PASSWORDS.contains(&key) {
        return Err(fail(EntryError::Secret));
    }
    if key == "proxy_user" {
        return Err(fail(EntryError::ProxySecret));
    }
    let is_key = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !key.chars().all(is_key) {
        return Err(fail(EntryError::NoKey));
    }
    let spec = option_list::named(key).map_err(|error| fail(EntryError::Option(error)))?;
    if spec.name == "config" {
        return Err(fail(EntryError::Itself));
    }
    let value = match value {
        DeValue::Boolean(false) => ConfiguredValue::Unset,
        DeValue::Boolean(true) => match spec.set {
            Set::Value(_) | Set::Secret(_) | Set::OptionalSecret(_) => {
                return Err(fail(EntryError::WrongType("a value")));
            }
            _ => ConfiguredValue::Alone,
        },
        _ if matches!(spec.set, Set::Flag(_)) => {
            return Err(fail(EntryError::WrongType("true or false")));
        }
        DeValue::Array(values) => {
            if !spec.is_repeatable() {
                return Err(fail(EntryError::NotRepeated));
            }
            let texts = values
                .iter()
                .map(|value| scalar(spec, value.get_ref(), &place));
            ConfiguredValue::Texts(texts.collect::<Result<_, _>>()?)
        }
        value => ConfiguredValue::Texts(vec![scalar(spec, value, &place)?]),
    };
    Ok(ConfiguredOption { spec, value, place })
}

/// Converts one value to the text that the command line would have.
fn scalar(spec: &Spec, value: &DeValue<'_>, place: &Place) -> Result<OsString, ConfigurationError> {
    let fail = |error| ConfigurationError::Entry(place.clone(), error);
    match value {
        DeValue::Integer(number) if number.radix() == 10 => {
            Ok(number.as_str().trim_start_matches('+').into())
        }
        DeValue::Integer(number) if number.radix() == 8 && spec.placeholder == "OCTAL" => {
            Ok(number.as_str().into())
        }
        DeValue::Integer(_) => Err(fail(EntryError::WrongType(
            "a decimal number, or text in quotes",
        ))),
        DeValue::Float(number) => Ok(number.as_str().into()),
        DeValue::String(text) => {
            if holds_secret(spec.name, text) {
                return Err(fail(match spec.name {
                    "proxy" => EntryError::ProxySecret,
                    _ => EntryError::Secret,
                }));
            }
            let is_standard_input = spec.name == "password_file" && *text == "-";
            if is_path(spec) && !is_standard_input {
                return path(value, place).map(PathBuf::into_os_string);
            }
            Ok(text.as_ref().into())
        }
        _ => Err(fail(EntryError::WrongType(
            "text in quotes, a number, true or false",
        ))),
    }
}

/// Whether a value of this option contains a password, as far as its form shows.
fn holds_secret(name: &str, text: &str) -> bool {
    match name {
        "user" => text.contains(':'),
        "fsname" => conceal(text) != text,
        "proxy" => {
            let url = if text.contains("://") {
                text.to_owned()
            } else {
                format!("http://{text}")
            };
            conceal(&url) != url
        }
        _ => false,
    }
}

fn is_path(spec: &Spec) -> bool {
    ["FILE", "DIR"].contains(&spec.placeholder)
}

/// Returns a text.
pub(super) fn text<'a>(value: &'a DeValue<'_>) -> Result<&'a str, EntryError> {
    value
        .as_str()
        .ok_or(EntryError::WrongType("text in quotes"))
}

/// Returns a path, with the user's home directory for `~`.
pub(super) fn path(value: &DeValue<'_>, place: &Place) -> Result<PathBuf, ConfigurationError> {
    let text = text(value).map_err(|error| ConfigurationError::Entry(place.clone(), error))?;
    let in_home = match text.strip_prefix('~') {
        Some("") => Some(""),
        Some(rest) => rest.strip_prefix('/'),
        None => None,
    };
    if let Some(rest) = in_home {
        let home =
            super::places::home().ok_or_else(|| ConfigurationError::NoHome(place.clone()))?;
        return Ok(home.join(rest.trim_start_matches('/')));
    }
    if OsStr::new(text).is_empty() || !text.starts_with('/') {
        let error = EntryError::RelativePath;
        return Err(ConfigurationError::Entry(place.clone(), error));
    }
    Ok(PathBuf::from(text))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::file;
    use super::*;

    /// Returns the value of the one option in this line, or what is wrong with it.
    fn value(line: &str) -> Result<ConfiguredValue, String> {
        let text = format!("[defaults]\n{line}\n");
        let mut section = file::parse(Path::new("/f"), &text).defaults;
        match section.faults.pop() {
            Some(fault) => Err(fault.to_string()),
            None => Ok(section.options.remove(0).value),
        }
    }

    fn texts(texts: &[&str]) -> ConfiguredValue {
        ConfiguredValue::Texts(texts.iter().map(OsString::from).collect())
    }

    #[test]
    fn each_type_of_toml_becomes_the_text_of_the_command_line() {
        assert_eq!(value("ro = true"), Ok(ConfiguredValue::Alone));
        assert_eq!(value("ro = false"), Ok(ConfiguredValue::Unset));
        assert_eq!(value("timeout = false"), Ok(ConfiguredValue::Unset));
        assert_eq!(value("netrc = true"), Ok(ConfiguredValue::Alone));
        assert_eq!(value("timeout = 2.5"), Ok(texts(&["2.5"])));
        assert_eq!(value("connections = 4"), Ok(texts(&["4"])));
        assert_eq!(value("cache_size = \"64M\""), Ok(texts(&["64M"])));
        assert_eq!(value("umask = \"022\""), Ok(texts(&["022"])));
        assert_eq!(value("umask = 0o022"), Ok(texts(&["022"])));
        assert_eq!(value("timeout = +20"), Ok(texts(&["20"])));
        assert_eq!(value("netrc = \"/n\""), Ok(texts(&["/n"])));
        assert_eq!(value("password_file = \"-\""), Ok(texts(&["-"])));
        let list = "login_command = [\"SITE IDLE 9\", \"SITE UMASK 022\"]";
        assert_eq!(value(list), Ok(texts(&["SITE IDLE 9", "SITE UMASK 022"])));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_line() {
        for (line, words) in [
            ("timeout = true", "a value is expected"),
            ("timeout = 1979-05-27", "text in quotes, a number"),
            ("timeout = [1]", "one value is expected"),
            ("timeout = 0x22", "a decimal number"),
            ("ro = \"yes\"", "true or false is expected"),
            ("ro = 1", "true or false is expected"),
            ("user = true", "a value is expected"),
            ("\"a b\" = 1", "a key is the name of an option"),
            ("\"\\u001b\" = 1", "a key is the name of an option"),
            ("log_file = \"none\"", "an absolute path"),
            ("spool = \"-\"", "an absolute path"),
            ("fsname = \"ftp://a:b@h/\"", "secrets do not belong"),
            ("proxy_user = \"a:b\"", "FTP_PROXY"),
            (
                "conections = 4",
                "unknown option conections (did you mean connections?)",
            ),
            ("config = \"/x\"", "chooses the file"),
            ("password = \"x\"", "secrets do not belong"),
            ("user = \"a:b\"", "secrets do not belong"),
            ("proxy = \"http://a:b@h:1\"", "FTP_PROXY"),
            ("proxy = \"a:b@h:1\"", "secrets do not belong"),
            ("netrc = \"n\"", "an absolute path"),
            ("spool = \"~other/n\"", "an absolute path"),
            ("spool = \"\"", "an absolute path"),
        ] {
            let message = value(line).unwrap_err();
            assert!(message.starts_with("/f line 2, [defaults] "), "{message}");
            assert!(message.contains(words), "{line}: {message}");
        }
        assert!(
            !value("user = \"a:hunter2\"")
                .unwrap_err()
                .contains("hunter2")
        );
    }
}
