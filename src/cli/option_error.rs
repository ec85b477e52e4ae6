//! What is wrong with an `-o` option.

use std::fmt;

/// An invalid `-o` option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OptionError {
    /// It is not in the table.
    Unknown {
        name: String,
        nearest: Option<&'static str>,
    },
    /// Mounting with the option `remount` changes a mount, which ftpfs cannot.
    Remount,
    /// It is not in the table, and cannot be an option's name.
    NoName,
    /// The value is missing.
    NeedsValue {
        name: &'static str,
        placeholder: &'static str,
    },
    /// The option takes no value.
    TakesNoValue(&'static str),
    /// An option of another program that cannot be ignored.
    Foreign {
        name: &'static str,
        advice: &'static str,
    },
    /// An invalid value, which may contain a password.
    BadSecret {
        name: &'static str,
        expected: &'static str,
    },
    /// An invalid value.
    BadValue {
        name: &'static str,
        value: String,
        expected: &'static str,
    },
}

impl OptionError {
    /// Writes the message; `option` and `dash` come before an option's name.
    fn write(&self, f: &mut fmt::Formatter<'_>, option: &str, dash: &str) -> fmt::Result {
        match self {
            Self::Unknown { name, nearest } => {
                write!(f, "unknown option {dash}{name}")?;
                match nearest {
                    Some(nearest) => write!(f, " (did you mean {nearest}?)"),
                    None => write!(f, " (ftpfs --help lists them)"),
                }
            }
            Self::Remount => f.write_str(
                "the options of a running mount cannot be changed: unmount it and mount it again, without -o remount",
            ),
            Self::NoName => f.write_str(
                "the text after a comma in -o is not an option; write a comma in a value as \\,",
            ),
            Self::NeedsValue { name, placeholder } => {
                write!(f, "{option}{name} needs a value: {name}={placeholder}")
            }
            Self::Foreign { name, advice } => write!(f, "{option}{name}: {advice}"),
            Self::BadSecret { name, expected } => {
                write!(f, "{option}{name}: {expected} is expected")
            }
            Self::TakesNoValue(name) => write!(f, "{option}{name} takes no value"),
            Self::BadValue {
                name,
                value,
                expected,
            } => write!(f, "{option}{name}={value}: {expected} is expected"),
        }
    }
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "option -o ", "-o ")
    }
}

/// Displays an error about an option in a configuration file, where it has no `-o`.
pub(super) struct InFile<'a>(pub(super) &'a OptionError);

impl fmt::Display for InFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, "", "")
    }
}

impl std::error::Error for OptionError {}
