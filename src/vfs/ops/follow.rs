//! Following a file that others append to: `tail -f`, `less +F`.
//!
//! A program that has read a file to its end polls its size with fstat(2) or read(2). The kernel
//! then requests the attributes, at most once per `open_ttl`, and [`Vfs::follow`] asks the server
//! for the version:
//!
//! - the same: nothing happens;
//! - one that only grew: the program reads on, see [`OpenFile::grow`];
//! - another file, or none: the open file keeps its inode, and the name gets a new one. Programs
//!   that have it open keep its attributes and what is in memory, as on a local disk; a read of
//!   anything else is `ESTALE`. Programs that open the name get the new file.
//!
//! A file that was stored from here and is still open is treated the same way when it is opened
//! again: its local copy is used only while the server has the same.
//!
//! Without a request of the kernel, the server is not asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cancel::Blocking;
use crate::ftp::{RemotePath, Version};

use crate::vfs::Vfs;
use crate::vfs::attr::{Attr, WithTtl};
use crate::vfs::errno::Errno;
use crate::vfs::file::{Following, OpenFile};
use crate::vfs::prefetch::relist::relist_interval;
use crate::vfs::table::handle::Handle;
use crate::vfs::table::ino::Ino;
use crate::vfs::table::inode::ParentAndName;

/// Names that belong to other files on the server than the kernel knows.
#[derive(Debug, Default)]
pub(in crate::vfs) struct ReplacedNames(Mutex<Vec<ParentAndName>>);

impl ReplacedNames {
    pub(in crate::vfs) fn add(&self, place: Option<ParentAndName>) {
        self.lock().extend(place);
    }

    fn take(&self) -> Vec<ParentAndName> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ParentAndName>> {
        // Every change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vfs {
    /// Makes `file`, the open file of `ino`, as large as it is on the server now, if a program has
    /// read it to its end or stored it from here. Returns whether it grew.
    ///
    /// If it is another file now, `file` keeps its attributes, and the name is free for that one.
    ///
    /// # Errors
    /// `STALE` if it is another file now, and the inode has other contents by now. If the server
    /// cannot be asked, the file stays as it is.
    pub(in crate::vfs) fn follow(
        &self,
        ino: Ino,
        file: &Arc<OpenFile>,
        may: Blocking<'_>,
    ) -> Result<bool, Errno> {
        let due = || -> Result<_, Errno> {
            let Some(following) = file.following() else {
                return Ok(None);
            };
            let (directory, name) = self.location(ino)?;
            let is_due = self.is_due(&following, &directory, &name);
            Ok(is_due.then_some((following, directory, name)))
        };
        if due()?.is_none() {
            return Ok(false);
        }
        let cancel = may.cancel()?;
        let _pass = file.enter(cancel)?;
        let Some((following, directory, name)) = due()? else {
            return Ok(false);
        };
        let before = following.version;
        let answer = self.revalidate(&directory, &name, cancel);
        let path = directory.join(&name).ok();
        if path
            .as_ref()
            .is_some_and(|path| self.inodes.may_have_been_renamed(ino, path))
        {
            // The next poll asks again.
            return Ok(false);
        }
        let grown = match answer {
            Ok((found, _)) => {
                let now = Version::from(&found);
                if now.agrees(&before) || file.recognizes(&now) {
                    file.checked();
                    return Ok(false);
                }
                if now.grew_from(&before) {
                    match file.grow(&found, cancel) {
                        Ok(true) => self.extend_passthrough(file, found.size, cancel),
                        grown => grown,
                    }
                } else {
                    Ok(false)
                }
            }
            Err(errno) => Err(errno),
        };
        match grown {
            Ok(true) => Ok(true),
            Ok(false) | Err(Errno::STALE) => {
                let place = self.inodes.parent_and_name(ino)?;
                // A program that opened the inode since may have another file, and writes to it.
                if !self.inodes.detach_file(ino, file) {
                    file.refuse_reads();
                    return Err(Errno::STALE);
                }
                file.replaced();
                self.replaced.add(place);
                let name = String::from_utf8_lossy(&name);
                log::info!(
                    path;
                    "{directory}: {name:?} was replaced on the server while it is open"
                );
                Ok(false)
            }
            Err(Errno::INTR) => Err(Errno::INTR),
            Err(errno) => {
                log::debug!("cannot follow a file in {directory}: {errno:?}");
                if errno.is_failure() {
                    self.prefetcher.unanswered();
                }
                file.checked();
                Ok(false)
            }
        }
    }

    /// Whether the name of `file` belongs to another one on the server.
    pub(in crate::vfs) fn is_nameless(&self, file: &OpenFile) -> bool {
        file.is_replaced() || self.inodes.path(file.ino()) == Err(Errno::STALE)
    }

    /// Returns the names that belong to other files since the last call, with their directories.
    /// The kernel must look them up again.
    pub(crate) fn take_replaced(&self) -> Vec<ParentAndName> {
        self.replaced.take()
    }

    /// Returns the attributes of `ino` if a program has read it to its end, and how long the kernel
    /// may cache them.
    pub(in crate::vfs) fn followed_attributes(
        &self,
        ino: Ino,
        file: &OpenFile,
    ) -> Option<WithTtl<Attr>> {
        let following = file.polled()?;
        let left = self.options.open_ttl.saturating_sub(following.age);
        Some(WithTtl {
            value: self.show(ino, &following.attributes),
            ttl: left.min(self.options.attr_ttl),
        })
    }

    /// Returns the inode of `handle` if a program has reached the end of its file, and after how
    /// long the kernel must request its attributes again. Returns it once for each open file.
    pub(crate) fn take_reached_end(&self, handle: Handle) -> Option<(Ino, Duration)> {
        let ttl = self.options.open_ttl;
        if ttl >= self.options.attr_ttl {
            return None;
        }
        let opened = self.files.find(handle).ok()?;
        opened.file.take_reached().then(|| (opened.file.ino(), ttl))
    }

    /// Whether a program has `ino` open after it has read it to its end.
    pub(crate) fn is_followed(&self, ino: Ino) -> bool {
        let file = self.inodes.open_file(ino);
        file.is_some_and(|file| file.polled().is_some())
    }

    /// Whether the server must be asked, or has reported another version in the meantime. A server
    /// that did not answer is left alone for a while.
    fn is_due(&self, following: &Following, directory: &RemotePath, name: &[u8]) -> bool {
        if self.prefetcher.is_away() || self.is_offline() {
            return false;
        }
        let open_ttl = self.options.open_ttl;
        let interval = if self.remote.can_stat() {
            open_ttl
        } else {
            relist_interval(open_ttl, self.cache.listing_age(directory))
        };
        following.age >= interval
            || self
                .fresh_attributes(directory, name)
                .is_some_and(|found| !Version::from(&found).agrees(&following.version))
    }
}
