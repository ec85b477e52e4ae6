//! What is wrong with a configuration file.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use crate::cli::option_error::{InFile, OptionError};
use crate::source::SourceError;

/// Maximum size of a file in bytes.
pub(super) const LARGEST: u64 = 1 << 20;

/// A configuration file that cannot be used, or an entry of it. No message contains a secret.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ConfigurationError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is not a regular one, for example a directory or a pipe.
    #[error("{} is not a regular file", .0.display())]
    NoFile(PathBuf),
    /// The file is too large for a configuration.
    #[error("{} is larger than {LARGEST} bytes", .0.display())]
    TooLarge(PathBuf),
    /// The file is not text.
    #[error("{} is not UTF-8", .0.display())]
    NotUtf8(PathBuf),
    /// Another user could have written the file: `password_command` would run that user's program.
    #[error("{} {reason}", path.display())]
    Unsafe {
        /// The file, or a directory that leads to it.
        path: PathBuf,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// There is no home directory for `~`, or to look for the user's file in.
    #[error("{0}: there is no home directory for ~; set HOME, or write an absolute path")]
    NoHome(Place),
    /// The file does not follow the syntax of TOML.
    #[error("{0}: {1}")]
    Syntax(Place, String),
    /// An entry is wrong.
    #[error("{0}: {1}")]
    Entry(Place, EntryError),
}

/// The position of an entry in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Place {
    /// The file.
    pub(in crate::cli) file: Rc<PathBuf>,
    /// The line, counted from 1.
    pub(in crate::cli) line: usize,
    /// The section's name and the key, as far as they are known.
    pub(in crate::cli) key: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}", self.file.display(), self.line)?;
        if !self.key.is_empty() {
            write!(f, ", {}", self.key)?;
        }
        Ok(())
    }
}

/// What is wrong with one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum EntryError {
    /// A section that does not exist.
    UnknownSection,
    /// A key outside all sections.
    NoSection,
    /// A section is a table, and this is none.
    NotATable,
    /// A name that SOURCE cannot contain.
    BadName,
    /// A host that no source can have.
    BadHost,
    /// A source without `url`.
    NoUrl,
    /// A value of another type.
    WrongType(&'static str),
    /// A secret, which does not belong into the file.
    Secret,
    /// `config`, which chooses the file.
    Itself,
    /// A path that depends on the directory in which ftpfs starts.
    RelativePath,
    /// The option cannot be repeated.
    NotRepeated,
    /// The value of `url` is invalid.
    Source(SourceError),
    /// The option is unknown or its value is invalid.
    Option(OptionError),
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownSection => {
                f.write_str("unknown section; there are [defaults], [host.\"HOST\"] and [source.NAME]")
            }
            Self::NoSection => f.write_str(
                "this key is in no section; put it below [defaults], [host.\"HOST\"] or [source.NAME]",
            ),
            Self::NotATable => f.write_str("a section is expected, such as [source.nas]"),
            Self::BadName => f.write_str(
                "a name consists of letters, digits, -, _ and dots, and begins with a letter or digit",
            ),
            Self::BadHost => {
                f.write_str("a host's name or address is expected, or *.DOMAIN for all hosts of a domain")
            }
            Self::NoUrl => f.write_str("this source has no url, such as \"ftpes://anna@nas.example.org/\""),
            Self::WrongType(expected) => write!(f, "{expected} is expected"),
            Self::Secret => f.write_str(
                "secrets do not belong into a configuration file: use password_command, password_file or netrc",
            ),
            Self::Itself => f.write_str("this option chooses the file, so it has no effect in one"),
            Self::RelativePath => f.write_str("an absolute path is expected, or one that begins with ~/"),
            Self::NotRepeated => f.write_str("one value is expected, not a list"),
            // The words of the command line, where it is SOURCE.
            Self::Source(error) => f.write_str(&error.to_string().replace("SOURCE", "the url")),
            Self::Option(error) => InFile(error).fmt(f),
        }
    }
}

impl std::error::Error for EntryError {}
