//! Refusals in time: whether the server will refuse to store a file, found out when it is opened.
//!
//! A create that is likely to be refused stores an empty file first, so that the server decides.
//! The grounds are the `perm` fact of the directory (RFC 3659 §7.5.5) and earlier refusals of new
//! files in it. A server may allow new files and refuse to change existing ones: an empty file
//! there could never be filled, so a refused change is no ground.

use std::time::Instant;

use crate::ftp::{Perm, RemotePath};
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::file::OpenFile;
use crate::vfs::refusals::RefusedStore;
use crate::vfs::table::ino::Ino;

impl Vfs {
    /// Whether the server will probably refuse to create a file in `directory`.
    pub(in crate::vfs) fn may_refuse_creates(&self, directory: &RemotePath) -> bool {
        self.denies_creates(directory) || self.refusals.is_refused_in(directory, Instant::now())
    }

    /// Checks whether the existing file `ino` can be overwritten.
    ///
    /// # Errors
    /// [`Errno::ACCES`] if the server refused it a short time ago, or if it denies both overwriting
    /// the file and replacing it by a new one in its directory.
    pub(in crate::vfs) fn check_overwritable(&self, ino: Ino) -> Result<(), Errno> {
        let Ok((directory, name)) = self.location(ino) else {
            return Ok(());
        };
        let path = directory.join(&name)?;
        let is_denied = || {
            let known = self.cached_attributes(&directory, &name);
            let perm = known
                .and_then(Result::ok)
                .and_then(|known| known.value.perm);
            perm.is_some_and(|perm| !perm.writes) && self.denies_creates(&directory)
        };
        if self.refusals.is_refused(&path, Instant::now()) || is_denied() {
            return Err(Errno::ACCES);
        }
        Ok(())
    }

    /// Records that the server accepted a file that was stored at `path`.
    pub(in crate::vfs) fn record_stored(&self, path: &RemotePath) {
        if let Some(directory) = path.parent() {
            self.refusals.stored_in(&directory);
        }
    }

    /// Records that storing `file`, which is at `path`, failed with `errno`.
    pub(in crate::vfs) fn record_not_stored(
        &self,
        path: &RemotePath,
        file: &OpenFile,
        errno: Errno,
    ) {
        if errno == Errno::ACCES {
            let what = if file.is_on_server() {
                RefusedStore::Existing
            } else {
                RefusedStore::New
            };
            self.refusals.refused(path, what, Instant::now());
        }
    }

    /// Records that the server has created the file at `path`, whatever its `perm` facts say.
    pub(in crate::vfs) fn record_created(&self, directory: &RemotePath, path: &RemotePath) {
        if self.denies_creates(directory) {
            self.remote.contradict_perm_facts(path);
        }
    }

    /// Whether the `perm` fact of `directory` denies creating files in it.
    fn denies_creates(&self, directory: &RemotePath) -> bool {
        self.remote.has_perm_facts()
            && self
                .directory_perm(directory)
                .is_some_and(|perm| !perm.creates)
    }

    /// The `perm` fact of `directory` in its own listing, otherwise in its parent's.
    fn directory_perm(&self, directory: &RemotePath) -> Option<Perm> {
        let own = self.cache.snapshot(directory).and_then(|it| it.perm());
        own.or_else(|| {
            let parent = directory.parent()?;
            let known = self.cached_attributes(&parent, directory.name())?.ok()?;
            known.value.perm
        })
    }
}
