//! What only this mount knows: names whose changes the server has not made yet, and directories in
//! which no other client has made a name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::ftp::RemotePath;

use super::changes::KnownName;

/// Maximum number of private directories. Beyond it, all are forgotten.
const MOST_PRIVATE: usize = 1 << 16;

/// The pinned names, and the private directories.
#[derive(Debug, Default)]
pub(super) struct Pins {
    names: HashMap<RemotePath, BTreeMap<Box<[u8]>, KnownName>>,
    private: BTreeSet<RemotePath>,
}

impl Pins {
    /// Makes `name` in `directory` known, and hides what the server says.
    pub(super) fn pin(&mut self, directory: &RemotePath, name: &[u8], known: KnownName) {
        let names = self.names.entry(directory.clone()).or_default();
        names.insert(Box::from(name), known);
    }

    /// Lets the server say what `name` in `directory` is.
    pub(super) fn unpin(&mut self, directory: &RemotePath, name: &[u8]) {
        if let Some(names) = self.names.get_mut(directory) {
            names.remove(name);
            if names.is_empty() {
                self.names.remove(directory);
            }
        }
    }

    /// Returns what is pinned of `name` in `directory`.
    pub(super) fn get(&self, directory: &RemotePath, name: &[u8]) -> Option<&KnownName> {
        self.names.get(directory)?.get(name)
    }

    /// Returns the pinned names of `directory`.
    pub(super) fn in_directory(
        &self,
        directory: &RemotePath,
    ) -> impl Iterator<Item = (&[u8], &KnownName)> {
        let names = self.names.get(directory).into_iter().flatten();
        names.map(|(name, known)| (&**name, known))
    }

    /// Records that this mount has made `directory`.
    pub(super) fn set_private(&mut self, directory: &RemotePath) {
        if self.private.len() >= MOST_PRIVATE {
            self.private.clear();
        }
        self.private.insert(directory.clone());
    }

    /// Whether no other client is known to have made a name in `directory`.
    pub(super) fn is_private(&self, directory: &RemotePath) -> bool {
        self.private.contains(directory)
    }

    /// Records that others may be in `directory`.
    pub(super) fn set_shared(&mut self, directory: &RemotePath) {
        self.private.remove(directory);
    }

    /// Records that others may be in the directories at `path` and below it.
    pub(super) fn set_tree_shared(&mut self, path: &RemotePath) {
        let is_near = |it: &&RemotePath| it.as_bytes().starts_with(path.as_bytes());
        let below = self
            .private
            .range::<RemotePath, _>(path..)
            .take_while(is_near);
        let below: Vec<_> = below
            .filter(|it| it.below(path).is_some())
            .cloned()
            .collect();
        for directory in below {
            self.private.remove(&directory);
        }
    }
}
