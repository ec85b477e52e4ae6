//! Files: open, create, read, write, flush, release.

use std::sync::Arc;

use crate::cache::{Answer, Attributes};
use crate::ftp::Kind;
use crate::remote::Version;

use crate::vfs::Vfs;
use crate::vfs::attr::{Attr, Fresh, made_now};
use crate::vfs::errno::Errno;
use crate::vfs::file::{ALWAYS, OpenFile, Position};
use crate::vfs::read::Bytes;
use crate::vfs::table::handle::{FileHandle, Handle};
use crate::vfs::table::inode::{Ino, Shape};

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// O_RDONLY.
    Read,
    /// O_WRONLY.
    Write,
    /// O_RDWR.
    ReadWrite,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenMode {
    /// What for.
    pub access: Access,
    /// Every write goes to the end (O_APPEND).
    pub append: bool,
    /// Emptied at once (O_TRUNC).
    pub truncate: bool,
}

impl OpenMode {
    fn reads(self) -> bool {
        self.access != Access::Write
    }

    fn writes(self) -> bool {
        self.access != Access::Read
    }
}

/// An opened file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Its handle.
    pub handle: Handle,
    /// What becomes of the kernel's pages of it.
    pub pages: Pages,
    /// The file is another one than was shown last: the kernel is to ask for its size anew.
    pub changed: bool,
}

/// What a file was found to be when it was opened.
struct Confirmed {
    version: Version,
    /// It is not what this mount knew.
    changed: bool,
}

/// What the kernel may do with its page cache of an opened file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Those it has are of these contents.
    Keep,
    /// Those it has are of other contents.
    Drop,
    /// None are used: by a file opened only to be written, which spares a copy of every byte, by
    /// one whose size is not known, of which the kernel would read no more than the size it was
    /// told, and by all where the user wants it so.
    Bypass,
}

impl Vfs {
    /// Opens `ino` by what memory has of it. `None` where the server has to be asked, or waited
    /// for.
    pub fn try_open(&self, ino: Ino, mode: OpenMode) -> Option<Result<Opened, Errno>> {
        if mode.truncate {
            // An upload of the file may be under way, which ends first.
            return None;
        }
        if self
            .inodes
            .open_file(ino)
            .is_some_and(|file| file.has_changed())
        {
            return None;
        }
        if let Err(errno) = self.prepare_open(ino, mode) {
            return Some(Err(errno));
        }
        match self.share_known(ino).transpose()? {
            Ok(shared) => Some(Ok(self.opened(ino, mode, shared))),
            Err(errno) => Some(Err(errno)),
        }
    }

    /// Opens `ino`.
    pub fn open(
        &self,
        ino: Ino,
        mode: OpenMode,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Opened, Errno> {
        self.prepare_open(ino, mode)?;
        let shared = if mode.writes() && mode.truncate {
            let (file, version) = self.share(ino)?;
            self.with_room(|| file.truncate(0, wanted))?;
            let changed = false;
            (file, Confirmed { version, changed })
        } else {
            self.share_confirmed(ino)?
        };
        Ok(self.opened(ino, mode, shared))
    }

    /// What an open begins with, whether it waits or not.
    fn prepare_open(&self, ino: Ino, mode: OpenMode) -> Result<(), Errno> {
        if mode.writes() {
            self.check_writable()?;
        }
        if let Some(open) = self.inodes.open_file(ino) {
            self.forget_changed(&open);
            if mode.writes()
                && let Some(failure) = open.take_failure()
            {
                return Err(failure);
            }
        }
        Ok(())
    }

    /// A new handle of the shared contents of `ino`.
    fn opened(
        &self,
        ino: Ino,
        mode: OpenMode,
        (file, Confirmed { version, changed }): (Arc<OpenFile>, Confirmed),
    ) -> Opened {
        let clean = (!file.is_dirty()).then_some(version);
        let same = self.inodes.set_cached(ino, clean);
        let pages = match (self.may_have_pages(mode), version.size) {
            (true, Some(_)) if same => Pages::Keep,
            (true, Some(_)) => Pages::Drop,
            (false, _) | (_, None) => Pages::Bypass,
        };
        Opened {
            handle: self.add_handle(file, mode, false),
            pages,
            changed,
        }
    }

    /// Makes the file `name` in `parent` and opens it. The server has it when it is stored.
    pub fn create(
        &self,
        parent: Ino,
        name: &[u8],
        permissions: u32,
        mode: OpenMode,
    ) -> Result<(Fresh<Attr>, Opened), Errno> {
        self.check_writable()?;
        self.inodes.path_of(parent, name)?;
        self.note_modified(&self.inodes.path(parent)?);
        let attributes = made_now(Kind::File, Some(0), Some(permissions & 0o7777));
        let ino = self.inodes.look_up(parent, name, Shape::Leaf)?;
        let opened = self.open_created(ino, attributes.clone(), mode);
        if opened.is_err() {
            self.inodes.forget(ino, 1);
        }
        let attr = Fresh {
            value: self.show(ino, &attributes),
            ttl: std::time::Duration::ZERO,
        };
        Ok((attr, opened?))
    }

    /// Makes the empty file `name` in `parent` on the server at once (mknod).
    pub fn make_file(&self, parent: Ino, name: &[u8], mode: u32) -> Result<Fresh<Attr>, Errno> {
        let write = OpenMode {
            access: Access::Write,
            append: false,
            truncate: false,
        };
        let (attr, file) = self.create(parent, name, mode, write)?;
        let stored = self.flush(file.handle, ALWAYS);
        self.release(file.handle);
        stored.map(|()| attr)
    }

    /// Up to `length` bytes from `offset`, where they are at hand.
    pub fn try_read(
        &self,
        handle: Handle,
        offset: u64,
        length: usize,
    ) -> Option<Result<Bytes, Errno>> {
        match self.files.find(handle) {
            Ok(opened) => opened.file.try_read(offset, length),
            Err(errno) => Some(Err(errno)),
        }
    }

    /// Up to `length` bytes from `offset`; less only at the end of the file, or once `wanted` says
    /// that nobody waits for them any more.
    pub fn read(
        &self,
        handle: Handle,
        offset: u64,
        length: usize,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Bytes, Errno> {
        let file = &self.files.find(handle)?.file;
        let read = file.read(offset, length, wanted);
        match &read {
            Err(Errno::STALE) => self.forget_changed(file),
            Ok(bytes) if bytes.len() < length => self.correct_size(file),
            Ok(_) | Err(_) => {}
        }
        read
    }

    /// Shows the size that reading has found, where the server listed a wrong one.
    fn correct_size(&self, file: &OpenFile) {
        let Some(size) = file.take_corrected_size() else {
            return;
        };
        if let Ok((directory, name)) = self.location(file.ino())
            && let Answer::Present(known, _) = self.cache.lookup(&directory, &name)
        {
            let size = Some(size);
            let attributes = Attributes { size, ..known };
            self.cache.insert(&directory, &name, attributes);
        }
    }

    /// The next open is to see the file that the server has now, and none of the pages that the
    /// kernel was given while it changed.
    fn forget_changed(&self, file: &OpenFile) {
        if !file.has_changed() {
            return;
        }
        self.inodes.set_cached(file.ino(), None);
        if let Ok((directory, _)) = self.location(file.ino()) {
            self.cache.forget(&directory);
        }
    }

    /// Writes as [`Vfs::write`] does, where nothing has to be waited for.
    pub fn try_write(&self, handle: Handle, offset: u64, data: &[u8]) -> Option<Result<(), Errno>> {
        let (opened, position) = match self.writable(handle, offset) {
            Ok(found) => found,
            Err(errno) => return Some(Err(errno)),
        };
        match opened.file.try_write(position, data)? {
            Err(Errno::NOSPC) if self.writeback.is_hopeful() => None,
            written => Some(written),
        }
    }

    /// Writes `data` at `offset`, or at the end of a file opened with O_APPEND.
    pub fn write(
        &self,
        handle: Handle,
        offset: u64,
        data: &[u8],
        wanted: &dyn Fn() -> bool,
    ) -> Result<(), Errno> {
        let (opened, position) = self.writable(handle, offset)?;
        self.with_room(|| opened.file.write(position, data, wanted))
    }

    fn writable(&self, handle: Handle, offset: u64) -> Result<(Arc<FileHandle>, Position), Errno> {
        let opened = self.files.find(handle)?;
        if !opened.writable {
            return Err(Errno::BADF);
        }
        let position = if opened.append {
            Position::End
        } else {
            Position::At(offset)
        };
        self.inodes.set_cached(opened.file.ino(), None);
        Ok((opened, position))
    }

    /// Whether closing `handle` has something to do.
    pub fn owes_flush(&self, handle: Handle) -> bool {
        self.files
            .find(handle)
            .is_ok_and(|opened| opened.stores && self.owes_closing(&opened.file))
    }

    /// What was written is stored (`close`): when it returns, the server has every byte, or the
    /// errno says why not. In `-o writeback` it is the local disk that has it.
    pub fn flush(&self, handle: Handle, wanted: &dyn Fn() -> bool) -> Result<(), Errno> {
        let opened = self.files.find(handle)?;
        // A reader's close does not wait for somebody else's upload.
        if !opened.stores {
            return Ok(());
        }
        self.close_file(&opened.file, wanted)
    }

    /// Whether syncing `handle` has something to do.
    pub fn owes_sync(&self, handle: Handle) -> bool {
        self.files.find(handle).is_ok_and(|opened| {
            (opened.stores && opened.file.is_dirty()) || opened.file.has_closed()
        })
    }

    /// Stores what was written, and what waits to be stored (`fsync`): when it returns, the server
    /// has every byte, or the errno says why not.
    pub fn sync(&self, handle: Handle, wanted: &dyn Fn() -> bool) -> Result<(), Errno> {
        let opened = self.files.find(handle)?;
        // What happened before is of no interest to who asks how it is now.
        let _told = opened.file.take_failure();
        if opened.stores {
            self.store(&opened.file, wanted)
        } else {
            self.store_closed_now(&opened.file)
        }
    }

    /// Whether giving up `handle` has something to do on the server: to store pages of a shared
    /// mapping that were written after the last close, or to delete a file that lost its name.
    fn owes_release(&self, handle: Handle) -> bool {
        self.files.find(handle).is_ok_and(|opened| {
            let stores =
                opened.stores && opened.file.owes_storing() && self.owes_closing(&opened.file);
            stores || opened.file.is_hidden()
        })
    }

    fn owes_closing(&self, file: &OpenFile) -> bool {
        file.is_dirty() && (!file.is_kept_as_it_is() || self.writeback.is_refused(file.ino()))
    }

    /// Gives up `handle`; failures are only logged.
    pub fn release(&self, handle: Handle) {
        if let Some(file) = self.close_handle(handle) {
            self.discard_hidden(&file);
        }
    }

    /// Gives up `handle` where that does not wait for the server; false where it does.
    pub fn try_release(&self, handle: Handle) -> bool {
        if self.owes_release(handle) {
            return false;
        }
        // A file that was hidden this very moment is cleared away by the housekeeper.
        self.close_handle(handle);
        true
    }

    /// Gives up `handle`; the file, where no handle of it is left.
    fn close_handle(&self, handle: Handle) -> Option<Arc<OpenFile>> {
        let opened = self.files.remove(handle)?;
        self.forget_changed(&opened.file);
        let last_writer = opened.stores && opened.file.remove_writer();
        if last_writer
            && opened.file.owes_storing()
            && !opened.file.is_kept_as_it_is()
            && let Err(errno) = self.close_file(&opened.file, ALWAYS)
        {
            log::error!("what was written after the last close is lost: {errno:?}");
        }
        if last_writer {
            self.writeback.written(opened.file.ino());
        }
        let is_last = opened.file.remove_handle();
        is_last.then(|| Arc::clone(&opened.file))
    }

    /// Stores `file` and remembers what it became.
    pub(in crate::vfs) fn store(
        &self,
        file: &Arc<OpenFile>,
        wanted: &dyn Fn() -> bool,
    ) -> Result<(), Errno> {
        let committed = file.commit(wanted);
        if committed.is_err()
            && !file.has_closed()
            && let Ok((directory, name)) = self.location(file.ino())
        {
            // The server may have the new file all the same. What waits is shown as it is here,
            // whatever the server has.
            self.doubt_name(&directory, &name);
        }
        if let Some(stored) = committed? {
            self.note_stored(file, stored);
        }
        self.forget_waiting(file);
        Ok(())
    }

    /// Remembers what `file` became when it was stored.
    pub(in crate::vfs) fn note_stored(&self, file: &OpenFile, stored: Attributes) {
        let ino = file.ino();
        // What was written past the kernel's pages is not in them.
        self.inodes.set_cached(ino, None);
        // A file removed meanwhile has no place in a listing.
        if let Ok((directory, name)) = self.location(ino) {
            if let Ok(path) = directory.join(&name) {
                self.ahead.forget(&path);
            }
            self.cache.insert(&directory, &name, stored);
            self.forget_variants(&directory, &name);
            self.note_modified(&directory);
        }
    }

    /// The contents of the file `ino`, shared with whoever has it open, and what they are of.
    pub(in crate::vfs) fn share(&self, ino: Ino) -> Result<(Arc<OpenFile>, Version), Errno> {
        if let Some(shared) = self.share_spooled(ino)? {
            return Ok(shared);
        }
        let (directory, name) = self.location(ino)?;
        let attributes = self.attributes_of(&directory, &name)?.value;
        self.share_as(ino, &attributes)
    }

    /// The same, of the version that the server has now.
    fn share_confirmed(&self, ino: Ino) -> Result<(Arc<OpenFile>, Confirmed), Errno> {
        if let Some(known) = self.share_known(ino)? {
            return Ok(known);
        }
        let (directory, name) = self.location(ino)?;
        let (attributes, changed) = self.confirmed_attributes(&directory, &name)?;
        let (file, version) = self.share_as(ino, &attributes)?;
        Ok((file, Confirmed { version, changed }))
    }

    /// The same, where memory has it: the file is in the spool, or the server told its version
    /// lately.
    fn share_known(&self, ino: Ino) -> Result<Option<(Arc<OpenFile>, Confirmed)>, Errno> {
        let (file, version) = if let Some(shared) = self.share_spooled(ino)? {
            shared
        } else {
            let (directory, name) = self.location(ino)?;
            let Some(recent) = self.recent_attributes(&directory, &name) else {
                return Ok(None);
            };
            self.share_as(ino, &recent)?
        };
        let changed = false;
        Ok(Some((file, Confirmed { version, changed })))
    }

    /// The same, where this mount knows better than the server what they are.
    fn share_spooled(&self, ino: Ino) -> Result<Option<(Arc<OpenFile>, Version)>, Errno> {
        let open = self.inodes.open_file(ino);
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
        let version = Version::from(attributes);
        let file = self.inodes.share_open_file(
            ino,
            |file| file.serves(attributes),
            || OpenFile::existing(&self.backing, ino, attributes.clone()),
        )?;
        Ok((file, version))
    }

    fn open_created(
        &self,
        ino: Ino,
        attributes: Attributes,
        mode: OpenMode,
    ) -> Result<Opened, Errno> {
        let new = OpenFile::created(&self.backing, ino, attributes)?;
        let file = self.inodes.share_open_file(ino, |_| false, || new)?;
        self.inodes.set_cached(ino, None);
        Ok(Opened {
            handle: self.add_handle(file, mode, true),
            pages: if self.may_have_pages(mode) {
                Pages::Drop
            } else {
                Pages::Bypass
            },
            changed: false,
        })
    }

    fn may_have_pages(&self, mode: OpenMode) -> bool {
        mode.reads() && !self.options.direct_io
    }

    fn add_handle(&self, file: Arc<OpenFile>, mode: OpenMode, created: bool) -> Handle {
        let stores = mode.writes() || created;
        file.add_handle();
        if stores {
            file.add_writer();
        }
        self.files.insert(FileHandle {
            file,
            writable: mode.writes(),
            stores,
            append: mode.append,
        })
    }
}
