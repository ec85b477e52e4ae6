//! Sets options of the command line and of configuration files in [`Settings`]: splits lists, finds
//! each name in the table, and sets its value.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::foreign_use::ForeignProxy;
pub(super) use super::option_error::OptionError;
use super::options::foreign::{Equivalent, ForeignOption, ProxyPart, Treatment, find_foreign};
use super::options::{self, Set, Spec};
use super::settings::Settings;
use crate::ftp::Password;

/// What happens to options that are not in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// An error.
    Refuse,
    /// They are skipped, as mount(8) requests with -s.
    Skip,
}

/// The option that curlftpfs has too, with another form of its value.
const PROXY: &str = "proxy";

/// The options of a command line.
#[derive(Debug, Default)]
pub(super) struct Typed {
    /// Their values, with those that were there before.
    pub(super) settings: Settings,
    /// The names of the own options that were typed, or for which typed ones stand.
    pub(super) names: BTreeSet<&'static str>,
    /// A proxy that is described in parts, as in curlftpfs.
    proxy: ForeignProxy,
}

/// Parses these lists. Later options override earlier ones, and all override `before`.
///
/// # Errors
/// The first option that is unknown or has an invalid value.
pub(super) fn parse<'a>(
    lists: impl IntoIterator<Item = &'a OsString>,
    unknown: Unknown,
    before: Settings,
) -> Result<Typed, OptionError> {
    let mut typed = Typed {
        settings: before,
        ..Typed::default()
    };
    for option in lists.into_iter().flat_map(|list| split(list)) {
        match typed.set(&option) {
            Err(OptionError::Unknown { .. } | OptionError::NoName) if unknown == Unknown::Skip => {}
            outcome => outcome?,
        }
    }
    typed.set_proxy()?;
    Ok(typed)
}

/// Returns the option with this name.
///
/// # Errors
/// There is none.
pub(super) fn named(name: &str) -> Result<&'static Spec, OptionError> {
    find(name).ok_or_else(|| unknown(name))
}

/// Splits at commas. A backslash makes the next byte literal, as in mount.fuse.
fn split(list: &OsStr) -> Vec<OsString> {
    let mut options = vec![Vec::new()];
    let mut bytes = list.as_bytes().iter();
    while let Some(byte) = bytes.next() {
        let literal = match byte {
            b',' => {
                options.push(Vec::new());
                continue;
            }
            b'\\' => bytes.next().unwrap_or(byte),
            _ => byte,
        };
        if let Some(option) = options.last_mut() {
            option.push(*literal);
        }
    }
    options.retain(|option| !option.is_empty());
    options.into_iter().map(OsString::from_vec).collect()
}

impl Typed {
    /// Sets one option, own or of another program.
    fn set(&mut self, option: &OsStr) -> Result<(), OptionError> {
        let (name, value) = parts(option);
        if name == "remount" {
            return Err(OptionError::Remount);
        }
        if name == PROXY
            && let Some(place) = value.and_then(OsStr::to_str).filter(|text| is_place(text))
        {
            self.proxy.place = Some(Password::new(place));
            return Ok(());
        }
        if name == PROXY {
            self.proxy.place = None;
        }
        if let Some(spec) = find(&name) {
            return self.set_own(spec, spec.name, value);
        }
        match find_foreign(&name, value.is_some()) {
            Some(foreign) => self.set_foreign(foreign, value),
            None => Err(unknown(&name)),
        }
    }

    /// Sets an own option that was typed as `typed`.
    fn set_own(
        &mut self,
        spec: &'static Spec,
        typed: &'static str,
        value: Option<&OsStr>,
    ) -> Result<(), OptionError> {
        set_value(&mut self.settings, spec, typed, value)?;
        // Without a value, `user` is that of mount(8).
        if spec.name != "user" || value.is_some() {
            self.names.insert(spec.name);
        }
        Ok(())
    }

    /// Sets what an option of another program stands for.
    fn set_foreign(
        &mut self,
        foreign: &'static ForeignOption,
        value: Option<&OsStr>,
    ) -> Result<(), OptionError> {
        let name = foreign.name;
        let refuse = |advice| OptionError::Foreign { name, advice };
        if foreign.is_flag() && value.is_some() {
            return Err(OptionError::TakesNoValue(name));
        }
        self.settings.foreign.is_of_sshfs |= foreign.is_of_sshfs();
        match foreign.treatment {
            Treatment::Means(own) => {
                self.set_all(name, own)?;
                self.settings.foreign.add_replaced(name, own);
            }
            Treatment::Renamed(own) => {
                let spec = find(own).ok_or_else(|| unknown(own))?;
                self.set_own(spec, name, value)?;
                let typed = format!("{name}=");
                self.settings
                    .foreign
                    .add_replaced(&typed, &format!("{own}="));
            }
            Treatment::ByValue(equivalent) => {
                let text = value.and_then(OsStr::to_str).unwrap_or_default();
                match equivalent(text).map_err(refuse)? {
                    Equivalent::Means(own) => {
                        self.set_all(name, &own)?;
                        let typed = format!("{name}={text}");
                        self.settings.foreign.add_replaced(&typed, &own);
                    }
                    Equivalent::Ignored => self.settings.foreign.add_ignored(name),
                }
            }
            Treatment::Proxy(ProxyPart::Scheme(scheme)) => self.proxy.scheme = Some(scheme),
            Treatment::Proxy(ProxyPart::Login) => {
                let login = value.and_then(OsStr::to_str);
                let login = login.ok_or_else(|| refuse("user:password in UTF-8 is expected"))?;
                self.proxy.login = Some(Password::new(login));
            }
            Treatment::Ignored => self.settings.foreign.add_ignored(name),
            Treatment::Refused(advice) => return Err(refuse(advice)),
        }
        Ok(())
    }

    /// Sets a list of own options, for which `typed` stands.
    fn set_all(&mut self, typed: &'static str, own: &str) -> Result<(), OptionError> {
        for option in split(OsStr::new(own)) {
            let (name, value) = parts(&option);
            let spec = find(&name).ok_or_else(|| unknown(&name))?;
            self.set_own(spec, typed, value)?;
        }
        Ok(())
    }

    /// Sets the proxy that was described in parts.
    fn set_proxy(&mut self) -> Result<(), OptionError> {
        let Some(url) = self.proxy.url() else {
            if let Some(scheme) = self.proxy.scheme {
                let name = if scheme == "http" {
                    "httpproxy"
                } else {
                    "socks5"
                };
                self.settings.foreign.add_ignored(name);
            }
            // Without a place, the proxy's kind has no effect, but a login may belong to a URL.
            return match self.proxy.login {
                Some(_) => Err(OptionError::Foreign {
                    name: "proxy_user",
                    advice: "write the login in the proxy's URL: proxy=http://user:password@host:port",
                }),
                None => Ok(()),
            };
        };
        let spec = find(PROXY).ok_or_else(|| unknown(PROXY))?;
        self.set_own(spec, PROXY, Some(OsStr::new(url.reveal())))?;
        let instead = "proxy=SCHEME://[user:password@]host:port";
        self.settings
            .foreign
            .add_replaced("proxy=host:port", instead);
        Ok(())
    }
}

/// Splits an option at its first `=`.
fn parts(option: &OsStr) -> (String, Option<&OsStr>) {
    let mut parts = option.as_bytes().splitn(2, |byte| *byte == b'=');
    let name = String::from_utf8_lossy(parts.next().unwrap_or_default());
    (name.into_owned(), parts.next().map(OsStr::from_bytes))
}

/// Sets an own option that was typed as `typed`.
///
/// # Errors
/// Its value is missing or invalid.
pub(super) fn set_value(
    options: &mut Settings,
    spec: &Spec,
    typed: &'static str,
    value: Option<&OsStr>,
) -> Result<(), OptionError> {
    let secret = |expected| OptionError::BadSecret {
        name: typed,
        expected,
    };
    let outcome = match (&spec.set, value) {
        (Set::Flag(_), Some(_)) => return Err(OptionError::TakesNoValue(typed)),
        (Set::Flag(set), None) => {
            set(options);
            Ok(())
        }
        (Set::Value(_) | Set::Secret(_), None) => {
            return Err(OptionError::NeedsValue {
                name: typed,
                placeholder: spec.placeholder,
            });
        }
        (Set::Secret(set), Some(value)) => return set(options, value).map_err(secret),
        (Set::OptionalSecret(set), value) => return set(options, value).map_err(secret),
        (Set::Value(set), Some(value)) => set(options, value),
        (Set::Optional(set), value) => set(options, value),
        (Set::Nothing, _) => Ok(()),
    };
    outcome.map_err(|expected| OptionError::BadValue {
        name: typed,
        value: value
            .unwrap_or_default()
            .to_string_lossy()
            .escape_debug()
            .to_string(),
        expected,
    })
}

/// Whether the value of `proxy` is that of curlftpfs: a host and port without a scheme.
fn is_place(text: &str) -> bool {
    text != "none" && !text.contains("://")
}

/// A text that cannot be an option's name is not repeated, because it may be the part of a password
/// after a comma.
fn unknown(name: &str) -> OptionError {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if !name.chars().all(is_name) {
        return OptionError::NoName;
    }
    OptionError::Unknown {
        nearest: nearest(name),
        name: name.to_owned(),
    }
}

fn find(name: &str) -> Option<&'static Spec> {
    options::all().find(|spec| match spec.name.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => spec.name == name,
    })
}

/// Returns the known option that `name` most likely stands for.
fn nearest(name: &str) -> Option<&'static str> {
    options::all()
        .map(|spec| spec.name)
        .filter(|known| is_likely(name, known))
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}

/// Whether `typed` can be a slip for `known`: it is an abbreviation, or at most one letter in three
/// differs.
fn is_likely(typed: &str, known: &str) -> bool {
    /// Minimum length of an abbreviation; fewer letters stand for many options.
    const LEAST: usize = 4;
    let letters = typed.chars().count().max(known.len());
    (typed.len() >= LEAST && known.starts_with(typed))
        || strsim::osa_distance(typed, known) <= letters / 3
}

#[cfg(test)]
mod tests;
