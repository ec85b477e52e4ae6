//! The commands that list a directory, and the forms in which they are sent.

use crate::ftp::path::RemotePath;

/// Which command lists a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListWith {
    /// MLSD (RFC 3659 §7).
    Mlsd,
    /// `LIST -a`, with CWD first where the path has blanks or pattern characters.
    List,
    /// NLST: names alone, whose kinds are unknown.
    Names,
    /// `STAT path`, on the control connection.
    Stat,
}

/// One form of the command that lists a directory over a data connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListForm {
    /// The command.
    pub with: ListWith,
    /// `-a` goes before the path: names that begin with a dot are asked for, too.
    pub all: bool,
    /// CWD goes before, and the command has no path.
    pub inside: bool,
}

impl ListWith {
    /// Whether [`Session::list`](crate::ftp::Session::list) enters `path` first even where the
    /// server lists the path of an argument.
    pub fn enters(self, path: &RemotePath) -> bool {
        // MLSD's whole argument is the path (RFC 3659 §7.1).
        self != Self::Mlsd && needs_working_directory(path.as_bytes())
    }
}

impl ListForm {
    pub(in crate::ftp) fn verb(self) -> &'static str {
        match self.with {
            ListWith::Mlsd => "MLSD",
            ListWith::List => "LIST",
            ListWith::Names => "NLST",
            ListWith::Stat => "STAT",
        }
    }
}

/// Whether LIST would take part of the path for options, a pattern or a second argument.
fn needs_working_directory(path: &[u8]) -> bool {
    path.iter().any(|byte| {
        matches!(
            byte,
            b' ' | b'*' | b'?' | b'[' | b']' | b'{' | b'}' | b'~' | b'\\' | b'\t'
        )
    })
}
