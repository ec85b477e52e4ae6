//! How much of a file is on this machine.

/// How much of the contents of a file is on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LocalShare {
    /// Nothing.
    None,
    /// Some of its bytes.
    Part,
    /// All bytes.
    Whole,
}

impl LocalShare {
    /// Returns the value of the extended attribute `user.ftpfs.cached`.
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Part => "part",
            Self::Whole => "whole",
        }
    }
}
