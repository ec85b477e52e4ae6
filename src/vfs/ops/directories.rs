//! Directories: opening, reading, creating and removing them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::cache::{Attributes, Snapshot};
use crate::cancel::{Blocking, Cancel};
use crate::ftp::{Completeness, Kind, RemotePath};
use crate::remote::ErrorKind;

use super::later::{ChangeEffect, ChangeTime};
use super::lookup::node_kind;
use crate::vfs::Vfs;
use crate::vfs::attr::{Attr, WithTtl, made_now};
use crate::vfs::errno::Errno;
use crate::vfs::table::handle::{DirectoryHandle, Handle, OpenListing};
use crate::vfs::table::ino::Ino;
use crate::vfs::table::inode::{ListedInode, NodeKind};

/// An entry of a directory that is being read.
#[derive(Debug)]
pub(crate) struct DirEntry<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The position at which reading continues after it.
    pub next: u64,
    /// Its attributes, valid for `ttl`.
    pub attr: Attr,
    /// How long the kernel may cache `attr`.
    pub ttl: Duration,
}

/// Positions 0 and 1 are `.` and `..`; the listing follows.
const FIRST_ENTRY: u64 = 2;

impl Vfs {
    /// Opens the directory `ino`.
    pub(crate) fn open_directory(&self, ino: Ino, may: Blocking<'_>) -> Result<Handle, Errno> {
        let directory = self.inodes.path(ino)?;
        let snapshot = if let Some(snapshot) = self.cache.snapshot(&directory) {
            self.counts.hit();
            snapshot
        } else {
            let cancel = may.cancel()?;
            self.counts.miss();
            self.listing(&directory, cancel)?
        };
        self.opened_directory(ino, &directory, snapshot)
    }

    /// Creates a handle of `directory` that shows `snapshot`.
    ///
    /// # Errors
    /// The directory cannot be listed, or its listing cannot be parsed: an empty one would be
    /// wrong.
    fn opened_directory(
        &self,
        ino: Ino,
        directory: &RemotePath,
        snapshot: Arc<Snapshot>,
    ) -> Result<Handle, Errno> {
        match snapshot.completeness() {
            Completeness::Complete
            | Completeness::Visible
            | Completeness::Blank
            | Completeness::Incomplete => {}
            Completeness::Unreadable => return Err(Errno::IO),
            Completeness::Unlistable => return Err(Errno::ACCES),
        }
        self.prefetcher.opened_directory(directory, &snapshot);
        Ok(self.add_directory(ino, snapshot))
    }

    /// Passes the entries from position `from` on to `visit`, until it returns that it has no more
    /// room.
    ///
    /// Each entry that is passed counts as one lookup, except `.` and `..`. An entry stays at its
    /// position until the directory is closed or read from the start again.
    pub(crate) fn read_directory(
        &self,
        handle: Handle,
        from: u64,
        mut visit: impl FnMut(DirEntry<'_>) -> bool,
    ) -> Result<(), Errno> {
        let open = self.directories.find(handle)?;
        let listing = self.listing_from(&open, from);
        for (position, name) in [(0, b".".as_slice()), (1, b"..")] {
            if from <= position {
                let attr = self.show(open.ino, &made_now(Kind::Directory, None, None));
                let listed = DirEntry {
                    name,
                    next: position + 1,
                    attr,
                    ttl: Duration::ZERO,
                };
                if !visit(listed) {
                    return Ok(());
                }
            }
        }
        let fresh = self.cache.fresh_for(&listing.snapshot);
        let ttl = self.options.attr_ttl.min(fresh);
        let mut position = from.max(FIRST_ENTRY);
        let path = self.inodes.path(open.ino).ok();
        let path = path.filter(|_| !self.names.is_empty());
        while let Some((name, attributes)) = listing.entry(position - FIRST_ENTRY) {
            position += 1;
            let looked = self
                .inodes
                .lookup_listed(open.ino, name, node_kind(attributes.kind))?;
            let (counted, local) = match looked {
                ListedInode::Counted(ino) => (Some(ino), None),
                ListedInode::Open(file) => {
                    // A newer listing must not resize a file that a program reads.
                    let followed = || file.polled().map(|following| following.attributes);
                    (None, file.attributes().or_else(followed))
                }
            };
            let is_momentary = local.is_some()
                || self.lacks_size(&attributes)
                || path
                    .as_ref()
                    .is_some_and(|it| self.cache.is_pinned(it, name));
            let ttl = if is_momentary { Duration::ZERO } else { ttl };
            let attributes = local.unwrap_or(attributes);
            let ino = match counted {
                Some(ino) => ino,
                None => self
                    .inodes
                    .lookup(open.ino, name, node_kind(attributes.kind))?,
            };
            let attr = self.show(ino, &attributes);
            if !visit(DirEntry {
                name,
                next: position,
                attr,
                ttl,
            }) {
                self.forget(ino, 1);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Closes a directory.
    pub(crate) fn release_directory(&self, handle: Handle) {
        self.directories.remove(handle);
    }

    /// Stores the closed files in the directory `ino` and below it, and waits for that and for the
    /// changes of names there (fsync(2) of a directory). All other changes are on the server when
    /// their calls return.
    pub(crate) fn sync_directory(&self, ino: Ino, cancel: &Cancel) -> Result<(), Errno> {
        let path = self.inodes.path(ino)?;
        self.look_before_sync();
        let changed = self.settle_below(&path, cancel)?;
        let stored = self.store_below(&path, cancel);
        changed.or(stored).map_or(Ok(()), Err)
    }

    /// Creates the directory `name` in `parent`.
    pub(crate) fn make_directory(
        &self,
        parent: Ino,
        name: &[u8],
        permissions: u32,
        cancel: &Cancel,
    ) -> Result<WithTtl<Attr>, Errno> {
        self.check_writable()?;
        let directory = self.inodes.path(parent)?;
        let path = directory.join(name)?;
        let permissions = permissions & 0o7777;
        self.begin_change(&[&path], cancel)?;
        if let Some(made) = self.make_directory_later(name, &directory, &path, permissions)? {
            return self.made_directory((parent, name), &directory, &path, &made);
        }
        // It may overtake other changes, because it is the lock of many programs.
        self.settle(&path, cancel)?;
        if let Err(error) = self.remote.with(cancel).make_directory(&path) {
            self.invalidate_after(&directory, name, error.kind);
            return Err(error.into());
        }
        let mut attributes = made_now(Kind::Directory, None, None);
        if permissions != crate::vfs::attr::DIRECTORY_MODE {
            match self
                .remote
                .uncancelled()
                .set_directory_mode(&path, permissions)
            {
                Ok(()) => attributes.mode = Some(permissions),
                Err(error) => {
                    log::info!(
                        path = error.path, reply = error.reply;
                        "{error}; the directory has the server's default mode"
                    );
                }
            }
        }
        self.cache.insert(&directory, name, attributes.clone());
        self.made_directory((parent, name), &directory, &path, &attributes)
    }

    /// Shows the new directory `name` of `parent`.
    fn made_directory(
        &self,
        (parent, name): (Ino, &[u8]),
        directory: &RemotePath,
        path: &RemotePath,
        attributes: &Attributes,
    ) -> Result<WithTtl<Attr>, Errno> {
        self.cache.insert_empty_directory(path);
        if self.options.names {
            self.cache.set_private(path);
        }
        // The program will probably create files in it.
        self.prefetcher.changed_in(path);
        self.touch_directory(directory);
        self.inodes.renumber(parent, name);
        let ino = self.inodes.lookup(parent, name, NodeKind::Directory)?;
        Ok(WithTtl {
            value: self.show(ino, attributes),
            ttl: self.ttl_of(directory, name, self.options.attr_ttl),
        })
    }

    /// Removes the empty directory `name` in `parent`.
    pub(crate) fn remove_directory(
        &self,
        parent: Ino,
        name: &[u8],
        cancel: &Cancel,
    ) -> Result<(), Errno> {
        self.check_writable()?;
        let directory = self.inodes.path(parent)?;
        let path = directory.join(name)?;
        let watch = self.begin_change(&[&path], cancel)?;
        let later = self.remove_directory_later((parent, name), &directory, &path, cancel)?;
        if later == ChangeTime::Later {
            return Ok(());
        }
        self.settle_order(&[&path], ChangeEffect::Destroys, watch.as_ref(), cancel)?;
        if let Some(ino) = self.inodes.known(parent, name) {
            self.clear_directory(ino, parent)?;
        }
        // Some servers remove a directory with all its contents.
        if self
            .cache
            .snapshot(&path)
            .is_some_and(|listing| !listing.is_empty())
            && self
                .remote
                .with(cancel)
                .list(&path)
                .is_ok_and(|listing| !listing.entries.is_empty())
        {
            return Err(Errno::NOTEMPTY);
        }
        match self.remote.with(cancel).remove_directory(&path) {
            Ok(()) => {}
            Err(error) => {
                if error.kind == ErrorKind::NotFound {
                    self.cache.remove(&directory, name);
                }
                self.invalidate_after(&directory, name, error.kind);
                return Err(error.into());
            }
        }
        self.on_removed(&directory, name, &path);
        self.inodes.remove(parent, name);
        Ok(())
    }

    /// Moves hidden files out of the directory `ino` in `parent` before it is removed.
    ///
    /// # Errors
    /// `NOTEMPTY` if it contains a new file that the server does not have yet.
    pub(in crate::vfs) fn clear_directory(&self, ino: Ino, parent: Ino) -> Result<(), Errno> {
        let open = self.inodes.open_files_in(ino);
        if open.iter().any(|(_, file)| file.is_unstored()) {
            return Err(Errno::NOTEMPTY);
        }
        self.move_hidden_out(ino, parent)
    }

    fn add_directory(&self, ino: Ino, snapshot: Arc<Snapshot>) -> Handle {
        let listing = Mutex::new(Arc::new(self.open_listing(ino, snapshot)));
        self.directories.insert(DirectoryHandle { ino, listing })
    }

    fn open_listing(&self, ino: Ino, snapshot: Arc<Snapshot>) -> OpenListing {
        let unstored = self
            .inodes
            .open_files_in(ino)
            .into_iter()
            .filter(|(name, file)| !file.is_unlinked() && snapshot.find(name).is_none())
            .filter_map(|(name, file)| Some((name, file.attributes()?)))
            .collect();
        OpenListing { snapshot, unstored }
    }

    /// Returns the listing that `open` shows. Reading from the start (rewinddir) shows the newest
    /// one in memory.
    fn listing_from(&self, open: &DirectoryHandle, from: u64) -> Arc<OpenListing> {
        let newest = match from {
            0 => self
                .inodes
                .path(open.ino)
                .ok()
                .and_then(|path| self.cache.snapshot(&path)),
            _ => None,
        };
        let newest = newest.map(|snapshot| Arc::new(self.open_listing(open.ino, snapshot)));
        let mut listing = open.listing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(newest) = newest {
            *listing = newest;
        }
        Arc::clone(&listing)
    }
}

impl OpenListing {
    fn entry(&self, index: u64) -> Option<(&[u8], Attributes)> {
        let index = usize::try_from(index).ok()?;
        if let Some(listed) = self.snapshot.get(index) {
            return Some(listed);
        }
        let (name, attributes) = self.unstored.get(index.checked_sub(self.snapshot.len())?)?;
        Some((name, attributes.clone()))
    }
}
