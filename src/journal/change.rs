//! A change of names or attributes, which is recorded before the server makes it
//! (`-o writeback=names`).

use std::collections::BTreeSet;

use crate::ftp::{RemotePath, Version};

/// A top-level name of the mount, or nothing for what is directly in its root.
pub(crate) type Domain = Box<[u8]>;

/// The domains in whose order a change stands.
pub(crate) type Domains = BTreeSet<Domain>;

/// A change of a name or of its attributes, with the paths as the program saw them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameChange {
    /// What changes.
    pub(crate) action: NameAction,
    /// The name that changes.
    pub(crate) path: RemotePath,
    /// What was there before.
    pub(crate) base: NameBase,
}

/// What a [`NameChange`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NameAction {
    /// Creates a directory, with this mode if it is not the usual one.
    MakeDirectory {
        /// Permission bits.
        mode: Option<u32>,
    },
    /// Gives a closed file its name.
    Store {
        /// Identifies the contents: the spool file in a journal, the inode in memory.
        id: u64,
    },
    /// Removes a file.
    Unlink,
    /// Removes an empty directory.
    RemoveDirectory,
    /// Renames a file.
    Rename {
        /// The new name.
        to: RemotePath,
        /// What was there before.
        replaced: NameBase,
    },
    /// Sets attributes of a file or directory.
    SetAttributes {
        /// Permission bits to set.
        mode: Option<u32>,
        /// Modification time to set, in seconds since the epoch.
        modified: Option<i64>,
    },
}

/// What was at a path before a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameBase {
    /// Nothing.
    Absent,
    /// A directory.
    Directory,
    /// A file, or a symbolic link.
    File(Version),
    /// A file whose time is being set, before and after that: a server may leave it unset.
    Retimed(Version, Version),
}

impl NameChange {
    /// The paths whose names change.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &RemotePath> {
        let to = match &self.action {
            NameAction::Rename { to, .. } => Some(to),
            _ => None,
        };
        std::iter::once(&self.path).chain(to)
    }

    /// Whether it gives closed contents their name.
    pub(crate) fn is_store(&self) -> bool {
        matches!(self.action, NameAction::Store { .. })
    }

    /// Whether it adds a name.
    pub(crate) fn is_add(&self) -> bool {
        match self.action {
            NameAction::MakeDirectory { .. }
            | NameAction::Store { .. }
            | NameAction::Rename { .. } => true,
            NameAction::Unlink | NameAction::RemoveDirectory | NameAction::SetAttributes { .. } => {
                false
            }
        }
    }

    /// Whether something that the server has is removed or replaced by it.
    pub(crate) fn destroys(&self) -> bool {
        match &self.action {
            NameAction::Unlink | NameAction::RemoveDirectory => true,
            NameAction::Store { .. } => self.base != NameBase::Absent,
            NameAction::Rename { replaced, .. } => *replaced != NameBase::Absent,
            NameAction::MakeDirectory { .. } | NameAction::SetAttributes { .. } => false,
        }
    }
}
