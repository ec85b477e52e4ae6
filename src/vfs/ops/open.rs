//! open and create, which return handles of files.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};

use crate::cache::Attributes;
use crate::cancel::{Blocking, Cancel};
use crate::ftp::{Kind, Version};

use crate::vfs::Vfs;
use crate::vfs::attr::{Attr, WithTtl, made_now};
use crate::vfs::errno::Errno;
use crate::vfs::file::{OpenFile, Position};
use crate::vfs::read::ReadEnd;
use crate::vfs::table::handle::{FileHandle, Handle, HandleUse};
use crate::vfs::table::ino::Ino;
use crate::vfs::table::inode::NodeKind;

/// The access for which a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenAccess {
    /// O_RDONLY.
    Read,
    /// O_WRONLY.
    Write,
    /// O_RDWR.
    ReadWrite,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenMode {
    /// The requested access.
    pub access: OpenAccess,
    /// Whether every write goes to the end (O_APPEND).
    pub append: bool,
    /// Whether the file is truncated on open (O_TRUNC). Linux allows this with every access.
    pub truncate: bool,
    /// Whether a program is executed from the file.
    pub execute: bool,
}

impl OpenMode {
    fn reads(self) -> bool {
        self.access != OpenAccess::Write
    }

    fn writes(self) -> bool {
        self.access != OpenAccess::Read
    }

    fn used_for(self, created: bool) -> HandleUse {
        match self.access {
            OpenAccess::Write | OpenAccess::ReadWrite => HandleUse::Write,
            OpenAccess::Read if created || self.truncate => HandleUse::StoreAndRead,
            OpenAccess::Read if self.execute => HandleUse::Execute,
            OpenAccess::Read => HandleUse::Read,
        }
    }

    /// Whether the open itself, or a write after it, may change the file.
    fn changes(self) -> bool {
        self.writes() || self.truncate
    }
}

/// An opened file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Its handle.
    pub handle: Handle,
    /// What the kernel does with its cached pages of the file.
    pub pages: PageCache,
    /// Whether the kernel may read it from a local file, see [`Vfs::passthrough_of`].
    pub is_local: bool,
    /// Whether the file differs from the one shown last, so that the kernel must request its size
    /// again.
    pub changed: bool,
}

/// The state of a file found at open.
struct Revalidated {
    version: Version,
    /// Whether it differs from what this mount knew.
    changed: bool,
}

/// What the kernel may do with its page cache of an opened file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageCache {
    /// The cached pages belong to these contents.
    Keep,
    /// The cached pages belong to other contents.
    Drop,
    /// The page cache is bypassed: for a file opened only for writing, which saves a copy of every
    /// byte; for one of unknown size, of which the kernel would read only the reported size; and
    /// for all files if the user requests it.
    Bypass,
}

impl Vfs {
    /// Opens `ino`.
    pub(crate) fn open(
        &self,
        ino: Ino,
        mode: OpenMode,
        may: Blocking<'_>,
    ) -> Result<Opened, Errno> {
        if mode.changes() {
            self.check_writable()?;
            self.check_overwritable(ino)?;
            self.check_storable()?;
        }
        if mode.truncate && !mode.writes() {
            self.check_not_executed(ino)?;
        }
        self.check_passthrough(ino, |open| !mode.changes() && !open.has_changed())?;
        self.settle_inode(ino, may)?;
        if let Some(open) = self.inodes.open_file(ino) {
            if open.has_changed() {
                self.forget_changed(&open, may.cancel()?);
            }
            if mode.changes()
                && let Some(failure) = open.take_failure()
            {
                return Err(failure);
            }
        }
        let grew = match self.inodes.open_file(ino) {
            Some(file) if !mode.truncate => self.follow(ino, &file, may)?,
            Some(_) | None => false,
        };
        let mut shared = if mode.truncate {
            // An upload of the file may be in progress and must end first.
            let cancel = may.cancel()?;
            let (file, version) = self.share(ino, cancel)?;
            let start = (&*file, Position::At(0));
            self.with_room(start, may, || file.truncate(0, cancel), || false)?;
            let changed = false;
            (file, Revalidated { version, changed })
        } else {
            self.share_revalidated(ino, may)?
        };
        shared.1.changed |= grew;
        let needs_contents = !(mode.append && shared.0.may_be_appended_to());
        if mode.writes() && !mode.truncate && needs_contents && self.is_offline() {
            // Not when the program writes, but now, it learns that the contents are not here.
            shared.0.make_local(may.cancel()?)?;
        }
        self.opened(ino, mode, shared)
    }

    /// Fails if a program is executed from `ino`. The kernel makes sure of this before a file is
    /// opened for writing, but with O_RDONLY | O_TRUNC only after the open.
    fn check_not_executed(&self, ino: Ino) -> Result<(), Errno> {
        let open = self.files.all();
        let mut executed = open
            .iter()
            .filter(|handle| handle.used_for == HandleUse::Execute);
        if executed.any(|handle| handle.file.ino() == ino) {
            Err(Errno::TXTBSY)
        } else {
            Ok(())
        }
    }

    /// Creates a handle of the shared contents of `ino`.
    fn opened(
        &self,
        ino: Ino,
        mode: OpenMode,
        (file, Revalidated { version, changed }): (Arc<OpenFile>, Revalidated),
    ) -> Result<Opened, Errno> {
        let may_be_local = !mode.changes() && self.may_have_pages(mode);
        let is_local = self.open_kernel_reads(&file, may_be_local)?;
        let clean = (!file.is_dirty()).then_some(version);
        let same = self.inodes.set_cached(ino, clean);
        // The kernel requests neither a cached end nor the end of an empty file.
        let end = match version.size {
            Some(0) => Some(ReadEnd::new(0, &[])),
            _ => self.inodes.read_end(ino).filter(|_| same),
        };
        if let Some(end) = end {
            file.has_cached_end(end);
        }
        let pages = match (self.may_have_pages(mode), version.size) {
            (true, Some(_)) if same => PageCache::Keep,
            (true, Some(_)) => PageCache::Drop,
            (false, _) | (_, None) => PageCache::Bypass,
        };
        Ok(Opened {
            handle: self.add_handle(file, mode, false),
            pages,
            is_local,
            changed,
        })
    }

    /// Creates the file `name` in `parent` and opens it. The server gets it when it is stored. If
    /// the server will probably refuse it, it is stored immediately.
    pub(crate) fn create(
        &self,
        parent: Ino,
        name: &[u8],
        permissions: u32,
        mode: OpenMode,
        may: Blocking<'_>,
    ) -> Result<(WithTtl<Attr>, Opened), Errno> {
        self.check_writable()?;
        self.check_storable()?;
        self.inodes.path_of(parent, name)?;
        let directory = self.inodes.path(parent)?;
        let asked = if self.may_refuse_creates(&directory) {
            Some(may.cancel()?)
        } else {
            None
        };
        self.touch_directory(&directory);
        if let Some(replaced) = self.inodes.known(parent, name) {
            self.leave_passthrough(replaced);
        }
        let attributes = made_now(Kind::File, Some(0), Some(permissions & 0o7777));
        self.inodes.renumber(parent, name);
        let ino = self.inodes.lookup(parent, name, NodeKind::Leaf)?;
        let opened = self.open_created(ino, attributes.clone(), mode);
        let opened = match (opened, asked) {
            (Ok(opened), Some(cancel)) => self.store_created(opened, cancel).inspect(|_| {
                if let Ok(path) = directory.join(name) {
                    self.record_created(&directory, &path);
                }
            }),
            (opened, _) => opened,
        };
        if opened.is_err() {
            self.forget(ino, 1);
        }
        let attr = WithTtl {
            value: self.show(ino, &attributes),
            ttl: std::time::Duration::ZERO,
        };
        Ok((attr, opened?))
    }

    /// Creates the empty file `name` in `parent` on the server immediately (mknod).
    pub(crate) fn make_file(
        &self,
        parent: Ino,
        name: &[u8],
        mode: u32,
        cancel: &Cancel,
    ) -> Result<WithTtl<Attr>, Errno> {
        let write = OpenMode {
            access: OpenAccess::Write,
            append: false,
            truncate: false,
            execute: false,
        };
        let (attr, file) = self.create(parent, name, mode, write, Blocking::Yes(cancel))?;
        let stored = self.flush(file.handle, 0, Blocking::Yes(cancel));
        self.release(file.handle, Blocking::Yes(&Cancel::never()))?;
        stored.map(|()| attr)
    }

    /// Stores the new, empty file of `opened`. Closes it if the server refuses that.
    fn store_created(&self, opened: Opened, cancel: &Cancel) -> Result<Opened, Errno> {
        let handle = self.files.find(opened.handle)?;
        match self.store(&handle.file, cancel) {
            Ok(()) => Ok(opened),
            Err(Errno::NETUNREACH) if self.options.writeback => Ok(opened),
            Err(errno) => {
                self.release(opened.handle, Blocking::Yes(cancel))?;
                Err(errno)
            }
        }
    }

    /// Returns the contents of the file `ino`, which all its handles share, and their version.
    pub(in crate::vfs) fn share(
        &self,
        ino: Ino,
        cancel: &Cancel,
    ) -> Result<(Arc<OpenFile>, Version), Errno> {
        if let Some(shared) = self.share_spooled(ino)? {
            return Ok(shared);
        }
        let (directory, name) = self.location(ino)?;
        let attributes = self
            .attributes_of(&directory, &name, Blocking::Yes(cancel))?
            .value;
        self.share_as(ino, &attributes)
    }

    /// Like [`Self::share`], with the version that the server has now.
    fn share_revalidated(
        &self,
        ino: Ino,
        may: Blocking<'_>,
    ) -> Result<(Arc<OpenFile>, Revalidated), Errno> {
        if let Some(known) = self.share_cached(ino)? {
            return Ok(known);
        }
        let (directory, name) = self.location(ino)?;
        let (attributes, changed) = self.revalidate(&directory, &name, may.cancel()?)?;
        if self.location(ino)? != (directory, name) {
            // The name may belong to another file by now. The kernel looks it up again.
            return Err(Errno::STALE);
        }
        let (file, version) = self.share_as(ino, &attributes)?;
        Ok((file, Revalidated { version, changed }))
    }

    /// Like [`Self::share`], from memory: the file is in the spool, or its version was confirmed
    /// recently.
    fn share_cached(&self, ino: Ino) -> Result<Option<(Arc<OpenFile>, Revalidated)>, Errno> {
        let (file, version) = if let Some(shared) = self.share_spooled(ino)? {
            shared
        } else {
            let (directory, name) = self.location(ino)?;
            let Some(recent) = self.fresh_attributes(&directory, &name) else {
                return Ok(None);
            };
            self.share_as(ino, &recent)?
        };
        let changed = false;
        Ok(Some((file, Revalidated { version, changed })))
    }

    /// Like [`Self::share`], if this mount knows the contents better than the server.
    fn share_spooled(&self, ino: Ino) -> Result<Option<(Arc<OpenFile>, Version)>, Errno> {
        let open = self.inodes.open_file(ino);
        if open.as_ref().is_some_and(|file| file.is_replaced()) {
            // The kernel looks the name up again.
            return Err(Errno::STALE);
        }
        let Some(known) = open.and_then(|file| file.attributes()) else {
            return Ok(None);
        };
        self.share_as(ino, &known).map(Some)
    }

    fn share_as(
        &self,
        ino: Ino,
        attributes: &Attributes,
    ) -> Result<(Arc<OpenFile>, Version), Errno> {
        if attributes.kind == Kind::Directory {
            return Err(Errno::ISDIR);
        }
        self.check_passthrough(ino, |open| open.serves(attributes))?;
        let version = Version::from(attributes);
        let file = self.inodes.share_open_file(
            ino,
            |file| file.serves(attributes),
            || OpenFile::existing(&self.services, ino, attributes.clone()),
        )?;
        Ok((file, version))
    }

    fn open_created(
        &self,
        ino: Ino,
        attributes: Attributes,
        mode: OpenMode,
    ) -> Result<Opened, Errno> {
        let new = OpenFile::created(&self.services, ino, attributes)?;
        let file = self.inodes.share_open_file(ino, |_| false, || new)?;
        self.open_kernel_reads(&file, false)?;
        self.inodes.set_cached(ino, None);
        let handle = self.add_handle(Arc::clone(&file), mode, true);
        self.expect_refused(&file);
        Ok(Opened {
            handle,
            pages: if self.may_have_pages(mode) {
                PageCache::Drop
            } else {
                PageCache::Bypass
            },
            is_local: false,
            changed: false,
        })
    }

    fn may_have_pages(&self, mode: OpenMode) -> bool {
        mode.reads() && !self.options.direct_io
    }

    fn add_handle(&self, file: Arc<OpenFile>, mode: OpenMode, created: bool) -> Handle {
        let opened = FileHandle {
            file,
            used_for: mode.used_for(created),
            append: mode.append,
            writers: Mutex::default(),
            opener: AtomicU32::new(0),
        };
        opened.file.add_handle();
        if opened.stores() {
            opened.file.add_writer();
        }
        self.files.insert(opened)
    }
}
