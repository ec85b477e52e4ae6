//! What is wrong with an `-o` option.

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

impl std::fmt::Display for OptionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown { name, nearest } => {
                write!(f, "unknown option -o {name}")?;
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
                write!(f, "option -o {name} needs a value: {name}={placeholder}")
            }
            Self::Foreign { name, advice } => write!(f, "option -o {name}: {advice}"),
            Self::BadSecret { name, expected } => {
                write!(f, "option -o {name}: {expected} is expected")
            }
            Self::TakesNoValue(name) => write!(f, "option -o {name} takes no value"),
            Self::BadValue {
                name,
                value,
                expected,
            } => write!(f, "option -o {name}={value}: {expected} is expected"),
        }
    }
}

impl std::error::Error for OptionError {}
