//! Where programs keep their files (XDG Base Directory Specification).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A kind of files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BaseDirectory {
    /// The variable with the user's choice.
    pub(crate) variable: &'static str,
    /// The directory for programs run by root.
    pub(crate) of_root: &'static str,
    /// The directory for programs run by other users, relative to their home.
    pub(crate) of_user: &'static str,
}

impl BaseDirectory {
    /// Returns ftpfs's directory. `None` if neither the variable nor HOME is usable.
    ///
    /// `variable` reads the environment.
    pub(crate) fn find(
        self,
        is_root: bool,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Option<PathBuf> {
        // The specification requires that relative paths be ignored.
        let absolute = |name| {
            let path = variable(name).map(PathBuf::from);
            path.filter(|path| path.is_absolute())
        };
        let home = match absolute(self.variable) {
            Some(chosen) => chosen,
            None if is_root => Path::new(self.of_root).to_owned(),
            None => absolute("HOME")?.join(self.of_user),
        };
        Some(home.join("ftpfs"))
    }
}
