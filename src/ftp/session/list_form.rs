//! Commands that list a directory, and their forms.

use crate::ftp::path::RemotePath;

/// The command that lists a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListWith {
    /// MLSD (RFC 3659 §7).
    Mlsd,
    /// `LIST -a`, after a CWD if the path has blanks or wildcards.
    List,
    /// NLST: only names, without their type.
    Names,
    /// `STAT path`, over the control connection.
    Stat,
}

/// Form of a command that lists a directory over a data connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListForm {
    /// The command.
    pub with: ListWith,
    /// Send `-a` before the path, to include names that begin with a dot.
    pub all: bool,
    /// Send CWD first, and the command without a path.
    pub inside: bool,
}

impl ListWith {
    /// Whether [`Session::list`](crate::ftp::Session::list) sends CWD first even if the server
    /// supports a path argument.
    pub fn enters(self, path: &RemotePath) -> bool {
        // The whole argument of MLSD is the path (RFC 3659 §7.1).
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

/// Whether LIST would treat part of the path as options, a wildcard or a second argument.
fn needs_working_directory(path: &[u8]) -> bool {
    path.iter().any(|byte| {
        matches!(
            byte,
            b' ' | b'*' | b'?' | b'[' | b']' | b'{' | b'}' | b'~' | b'\\' | b'\t'
        )
    })
}
