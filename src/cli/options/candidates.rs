//! What a shell offers as the value of an option.

use super::{Set, Spec};
use crate::ftp::Capability;

/// The values that a shell offers after `NAME=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Candidates {
    /// Nothing can be offered, such as for a number.
    Unknown,
    /// One of these words.
    Words(Vec<&'static str>),
    /// Any of these words, joined by `+`.
    Joined(Vec<&'static str>),
    Files,
    Directories,
    Users,
    Groups,
}

impl Spec {
    /// Whether the option can be typed with a value.
    pub(in crate::cli) fn takes_value(&self) -> bool {
        !matches!(self.set, Set::Flag(_) | Set::Nothing)
    }

    /// Whether the option can be typed without a value.
    pub(in crate::cli) fn needs_no_value(&self) -> bool {
        !matches!(self.set, Set::Value(_) | Set::Secret(_))
    }

    /// Whether a later value is added to the earlier ones, instead of replacing them.
    pub(in crate::cli) fn is_repeatable(&self) -> bool {
        ["login_command", "without"].contains(&self.name)
    }

    /// Returns the values to offer.
    pub(in crate::cli) fn candidates(&self) -> Candidates {
        match (self.name, self.placeholder) {
            ("atomic", _) => Candidates::Words(vec!["auto", "require", "never"]),
            ("append", _) => Candidates::Words(vec!["auto", "never"]),
            ("offline", _) => Candidates::Words(vec!["no", "yes"]),
            ("writeback", _) => Candidates::Words(vec!["data", "names"]),
            ("verify", _) => Candidates::Words(vec!["digest", "size"]),
            ("symlinks", _) => Candidates::Words(vec!["show", "follow", "hide"]),
            ("tls", _) => Candidates::Words(vec!["require"]),
            ("log_format", _) => Candidates::Words(vec!["text", "json"]),
            ("trust", _) => Candidates::Words(vec!["first"]),
            ("limit_down" | "limit_up", _) => Candidates::Words(vec!["off"]),
            ("proxy", _) => Candidates::Words(vec!["none", "socks5://", "socks5h://", "http://"]),
            ("without", _) => Candidates::Joined(Capability::all().map(Capability::name).collect()),
            (_, "LEVEL") => {
                Candidates::Words(vec!["error", "warn", "info", "debug", "trace", "off"])
            }
            (_, "FILE") => Candidates::Files,
            (_, "DIR") => Candidates::Directories,
            (_, "USER") => Candidates::Users,
            (_, "GROUP") => Candidates::Groups,
            _ => Candidates::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::super::all;
    use super::*;
    use crate::cli::settings::Settings;

    #[test]
    fn every_word_that_is_offered_is_accepted() {
        for spec in all() {
            let (Candidates::Words(words) | Candidates::Joined(words)) = spec.candidates() else {
                continue;
            };
            // A scheme is the start of a value.
            for word in words.iter().filter(|word| !word.ends_with("://")) {
                let mut settings = Settings::default();
                let accepted = match spec.set {
                    Set::Value(set) | Set::Secret(set) => set(&mut settings, OsStr::new(word)),
                    Set::Optional(set) | Set::OptionalSecret(set) => {
                        set(&mut settings, Some(OsStr::new(word)))
                    }
                    Set::Flag(_) | Set::Nothing => Err("no value"),
                };
                assert_eq!(accepted, Ok(()), "{}={word}", spec.name);
            }
        }
    }

    #[test]
    fn an_option_with_a_choice_offers_it() {
        for spec in all().filter(|spec| ["HOW", "LEVEL", "FORMAT"].contains(&spec.placeholder)) {
            assert_ne!(spec.candidates(), Candidates::Unknown, "{}", spec.name);
        }
    }

    #[test]
    fn the_repeatable_options_exist() {
        assert_eq!(all().filter(|spec| spec.is_repeatable()).count(), 2);
    }
}
