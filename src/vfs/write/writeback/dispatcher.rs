//! The dispatcher of `-o writeback`: stores closed files in the background.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{MayStart, QueueNext, StoreFailure, StoreOutcome, Writeback};
use crate::cancel::{Blocking, Cancel, WouldBlock};
use crate::ftp::RemotePath;
use crate::guarded::{self, OnDrop};
use crate::remote::{self, ErrorKind};
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::file::{LeftContents, OpenFile, Position};
use crate::vfs::ops::LOOK;
use crate::vfs::table::ino::Ino;
use crate::vfs::write::uploader::{Priority, RoomFor};

/// Maximum number of uploads, including those that are complete and wait for their turn.
const MOST_RUNNING: usize = 128;

/// How often a writer that waits for room checks whether it was cancelled and whether there will
/// still be some.
const LOOK_UP: Duration = Duration::from_millis(200);

/// How often a change makes room by dropping copies. Other writers may need theirs again.
const MOST_DROPS: u32 = 8;

impl Writeback {
    /// Starts the dispatcher, which ends with [`Writeback::drain`] or when the vfs is dropped.
    pub(in crate::vfs) fn start(self: &Arc<Self>, vfs: &Arc<Vfs>) {
        let (writeback, house) = (Arc::clone(self), Arc::downgrade(vfs));
        let serve = move || {
            // Without a dispatcher, no file may wait for one.
            let _ended = OnDrop::new(|| writeback.end());
            dispatch(&writeback, &house);
        };
        match guarded::spawn("writeback", serve) {
            Ok(_) => self.is_on.store(true, Ordering::Relaxed),
            Err(error) => {
                log::warn!("cannot start a thread; storing files when they are closed: {error}");
                self.end();
            }
        }
    }
}

fn dispatch(writeback: &Writeback, house: &Weak<Vfs>) {
    loop {
        let may_start = |ino, running| match house.upgrade() {
            Some(vfs) => may_start_another(&vfs, ino, running),
            None => MayStart::Yes,
        };
        let is_held = |ino| house.upgrade().is_some_and(|vfs| vfs.is_held(ino));
        let in_turn = || {
            let vfs = house.upgrade();
            vfs.map_or_else(Vec::new, |vfs| vfs.names.in_turn())
        };
        let next = writeback.next(may_start, is_held, in_turn);
        let Some(vfs) = house.upgrade() else { return };
        let file = match next {
            QueueNext::Upload(file) => file,
            QueueNext::Offline => {
                vfs.park_uploads();
                continue;
            }
            QueueNext::Stopped => return,
        };
        let (for_thread, to_store) = (Arc::clone(&vfs), Arc::clone(&file));
        let spawned = guarded::spawn("upload", move || for_thread.store_in_background(&to_store));
        if let Err(error) = spawned {
            log::debug!("cannot start a thread for an upload: {error}");
            vfs.store_in_background(&file);
        }
    }
}

/// One connection is left for programs that wait for the server. If that is not enough, no further
/// one is used. Uploads that take a moment may use it, too, and where files are stored in order,
/// the upload that all others wait for.
fn may_start_another(vfs: &Vfs, ino: Ino, running: usize) -> MayStart {
    if vfs.remote.is_offline() {
        return MayStart::Offline;
    }
    let limit = vfs.remote.pool_stats().limit;
    let is_soon_over = || {
        let file = vfs.inodes.open_file(ino);
        file.is_some_and(|file| file.is_soon_uploaded())
            && vfs.remote.traffic().limits().up.is_none()
            && !vfs.remote.wait_until_contended(Duration::ZERO)
    };
    let may_start = if vfs.names.is_empty() {
        has_connection(vfs, running, limit) || running < limit && is_soon_over()
    } else {
        // Those that wait for their turn have no connection.
        let sending = running.saturating_sub(vfs.names.waiting_uploads());
        let has_room = running < MOST_RUNNING;
        sending < limit && (vfs.names.is_turn(ino) || has_room && is_soon_over())
            || has_room && has_connection(vfs, sending, limit)
    };
    if may_start {
        MayStart::Yes
    } else {
        MayStart::NotYet
    }
}

fn has_connection(vfs: &Vfs, running: usize, limit: usize) -> bool {
    running == 0 || (running + 1 < limit && !vfs.remote.wait_until_contended(Duration::ZERO))
}

/// Returns what a change of `changed` at `position` is for the upload of `file`.
fn room_in(file: &OpenFile, changed: &OpenFile, position: Position) -> RoomFor {
    if std::ptr::eq(file, changed) {
        position.into()
    } else {
        RoomFor::AnotherFile
    }
}

impl Vfs {
    /// Whether `ino` cannot be uploaded yet.
    fn is_held(&self, ino: Ino) -> bool {
        if self
            .inodes
            .path(ino)
            .is_ok_and(|path| self.names.is_held(&path))
        {
            return true;
        }
        // One that is behind a refused change fails if a program asks for it now.
        let names = &self.names;
        let has_turn = || names.has_stopped() || names.is_turn(ino) || names.is_behind(ino);
        let waits = !names.is_empty() && !has_turn();
        let file = waits.then(|| self.inodes.open_file(ino)).flatten();
        file.is_some_and(|file| file.waits_for_turn())
    }

    /// Stores nothing in the background until the server can be reached again.
    fn park_uploads(&self) {
        if self.writeback.is_ending() && self.remote.look_once_for_server(LOOK) {
            return;
        }
        let Some(status) = self.remote.offline() else {
            return;
        };
        self.compare_waiting();
        let failure = StoreFailure {
            errno: Errno::NETUNREACH,
            reason: format!("the server cannot be reached: {}", status.reason),
        };
        self.writeback.park(&failure);
        if !self.names.is_empty() {
            self.names.note_outage(&failure);
        }
        if self.writeback.is_ending() {
            // What waits for these files waits for the next mount.
            self.names.give_up_draining();
        }
        if !self.remote.is_offline() {
            // It was found before there was anything to start again.
            self.writeback.retry_now();
        }
    }

    /// Starts what waits for the server, which can be reached again, and shows its files.
    pub(in crate::vfs) fn server_is_back(&self) {
        self.compare_waiting();
        self.writeback.retry_now();
        self.names.retry_now();
        for file in self.files_in_use() {
            file.leave_unchanged_draft();
        }
    }

    /// Records of all waiting files that the server could not be reached meanwhile: its file may
    /// have changed, and is compared before it is replaced.
    fn compare_waiting(&self) {
        for file in self.writeback.files() {
            file.set_offline();
        }
    }

    /// Removes `file` from the queue after it was stored or removed, unless it was closed again in
    /// the meantime.
    pub(in crate::vfs) fn forget_sealed(&self, file: &Arc<OpenFile>) {
        if file.has_sealed() {
            return;
        }
        self.names.store_done(file.ino());
        if self.writeback.remove(file.ino()) {
            self.forget(file.ino(), 1);
        }
        if file.has_sealed() {
            self.store_later(file);
        }
    }

    /// Stores all closed files below `directory`. Returns the errno of a failure.
    pub(in crate::vfs) fn store_below(
        &self,
        directory: &RemotePath,
        cancel: &Cancel,
    ) -> Option<Errno> {
        let files = self.writeback.files();
        let inos = files.iter().map(|file| file.ino());
        let below: Vec<_> = inos
            .filter(|ino| {
                let path = self.inodes.path(*ino);
                path.is_ok_and(|path| path.below(directory).is_some())
            })
            .collect();
        drop(files);
        self.writeback.wait_for(&below, cancel)
    }

    /// Stores the closed contents of `file` now.
    pub(in crate::vfs) fn store_sealed_now(
        &self,
        file: &Arc<OpenFile>,
        cancel: &Cancel,
    ) -> Result<(), Errno> {
        if let Ok(path) = self.inodes.path(file.ino()) {
            self.settle(&path, cancel)?;
        }
        let list = |stored| self.on_stored(file, stored);
        let stored = file.store_sealed(Priority::Foreground, cancel, list);
        if stored.is_err() {
            self.names.store_undone(file.ino());
        }
        stored?;
        self.forget_sealed(file);
        Ok(())
    }

    /// Makes a change to `file` at `position` that may need space in the spool. If there is none,
    /// drops copies that the server has. Then waits, if it may, for running uploads, for room that
    /// the uploads of files being written can make, and for copies to the persistent cache; unless
    /// the change `is_hopeless` with any room.
    pub(in crate::vfs) fn with_room(
        &self,
        (file, position): (&OpenFile, Position),
        may: Blocking<'_>,
        change: impl Fn() -> Result<(), Errno>,
        is_hopeless: impl Fn() -> bool,
    ) -> Result<(), Errno> {
        let spools = &self.services.spools;
        let mut dropped = 0;
        let mut announced = None;
        loop {
            let rooms = spools.rooms();
            let are_copied = self.services.kept_uploads.has_any();
            let changed = change();
            if changed != Err(Errno::NOSPC) || is_hopeless() {
                return changed;
            }
            if matches!(may, Blocking::Yes(_)) {
                // The file may have another spool than before.
                drop(std::mem::replace(&mut announced, file.announce(position)));
            }
            let may_drop = dropped < MOST_DROPS && !self.is_offline();
            match may {
                // Dropping copies waits for the local disk.
                Blocking::No
                    if may_drop
                        || are_copied
                        || self.writeback.has_runnable()
                        || self.can_make_room(file, position) =>
                {
                    return Err(WouldBlock.into());
                }
                Blocking::Yes(_) if may_drop && self.drop_stored_copies(file, position) => {
                    dropped += 1;
                }
                Blocking::Yes(cancel) if self.writeback.wait_for_room(cancel) => {}
                Blocking::Yes(cancel) if self.request_room(file, position) || are_copied => {
                    spools.wait_for_room(rooms, LOOK_UP);
                    if cancel.is_cancelled() {
                        return Err(Errno::INTR);
                    }
                }
                // What the uploads could give was given in the meantime.
                Blocking::No | Blocking::Yes(_) if spools.rooms() != rooms => {}
                Blocking::No | Blocking::Yes(_) => return changed,
            }
        }
    }

    /// Drops the local copies that the server has, and that the change of `changed` at `position`
    /// does not need. Returns whether that made room.
    fn drop_stored_copies(&self, changed: &OpenFile, position: Position) -> bool {
        let files = self.files_in_use();
        let drop_copy = |file: &&Arc<OpenFile>| {
            let change = std::ptr::eq(file.as_ref(), changed).then_some(position);
            file.drop_stored_copy(change)
        };
        files.iter().filter(drop_copy).count() > 0
    }

    /// Whether the uploads of files that are being written can make room for a change of `changed`
    /// at `position`.
    fn can_make_room(&self, changed: &OpenFile, position: Position) -> bool {
        let files = self.files_in_use();
        let can = |file: &Arc<OpenFile>| file.can_make_room(room_in(file, changed, position));
        files.iter().any(can)
    }

    /// Asks those uploads to make room. Returns whether one will.
    fn request_room(&self, changed: &OpenFile, position: Position) -> bool {
        let files = self.files_in_use();
        let will = |file: &&Arc<OpenFile>| file.request_room(room_in(file, changed, position));
        files.iter().filter(will).count() > 0
    }

    /// Returns every file that is open or waiting to be stored.
    pub(in crate::vfs) fn files_in_use(&self) -> Vec<Arc<OpenFile>> {
        let handles = self.files.all();
        let mut files: Vec<_> = handles.iter().map(|it| Arc::clone(&it.file)).collect();
        files.extend(self.writeback.files());
        files.sort_by_key(Arc::as_ptr);
        files.dedup_by_key(|file| Arc::as_ptr(file));
        files
    }

    /// Puts `file`, which was closed, into the queue, and into the order of the changes.
    pub(in crate::vfs) fn store_later(&self, file: &Arc<OpenFile>) {
        self.record_store(file);
        self.queue_store(file);
    }

    /// Puts `file` into the queue.
    pub(in crate::vfs) fn queue_store(&self, file: &Arc<OpenFile>) {
        // The name is needed as long as the file is waiting.
        let is_held = self.inodes.hold(file.ino());
        let is_new = self.writeback.add(file, file.has_writers());
        if !self.remote.is_offline() {
            // Each of several waiting files gets a connection, as in `may_start_another`.
            let reserve = usize::from(!file.is_soon_uploaded());
            let most = self.remote.pool_stats().limit.saturating_sub(reserve);
            self.prefetcher.anticipate(self.writeback.len().min(most));
        }
        if is_held && !is_new {
            self.forget(file.ino(), 1);
        }
    }

    /// Returns why the next mount stores the contents of `ino`, behind the changes before them:
    /// nothing is sent any more that makes it their turn.
    fn left_to_next_mount(&self, ino: Ino) -> Option<StoreFailure> {
        let (errno, reason) = if self.names.has_lost_server() {
            (Errno::NETUNREACH, "the server cannot be reached")
        } else if self.names.has_stopped() && !self.names.is_turn(ino) {
            (Errno::IO, "changes before it were not made")
        } else {
            return None;
        };
        let reason = reason.to_owned();
        Some(StoreFailure { errno, reason })
    }

    fn store_in_background(&self, file: &Arc<OpenFile>) {
        let ino = file.ino();
        let panicked = OnDrop::new(|| {
            self.names.store_undone(ino);
            self.writeback.done(ino, StoreOutcome::panicked());
        });
        if let Some(failure) = self.left_to_next_mount(ino) {
            panicked.disarm();
            self.writeback.done(ino, StoreOutcome::Failed(failure));
            return;
        }
        let was_left = file.is_left();
        let list = |stored| self.on_stored(file, stored);
        let stored = file.store_sealed(Priority::Background, &Cancel::never(), list);
        let is_stored = matches!(&stored, Ok(true));
        let kept_aside = stored.as_ref().err().map(|error| StoreFailure {
            errno: Errno::from(error.kind),
            reason: error.to_string(),
        });
        let outcome = match stored {
            Ok(false) | Err(_) if file.has_sealed() && self.names.is_behind(ino) => {
                file.set_failure(Errno::IO);
                StoreOutcome::Failed(StoreFailure {
                    errno: Errno::IO,
                    reason: "not done, because an earlier change failed".to_owned(),
                })
            }
            Ok(false) if file.has_sealed() && self.names.has_stopped() => {
                StoreOutcome::RetryLater(StoreFailure {
                    errno: Errno::IO,
                    reason: "changes before it were not made".to_owned(),
                })
            }
            Ok(is_stored) => {
                if is_stored
                    && was_left
                    && let Ok(path) = self.inodes.path(ino)
                {
                    log::warn!(path; "{path}, closed before ftpfs was killed, is stored now");
                }
                match (file.has_sealed(), is_stored) {
                    (false, _) => StoreOutcome::Stored,
                    (true, true) => StoreOutcome::Requeue,
                    (true, false) => StoreOutcome::Interrupted,
                }
            }
            Err(error) if !file.has_sealed() => self.gave_up(file, &error),
            Err(error) => self
                .give_up_left(file, &error)
                .unwrap_or_else(|| self.failed(file, &error)),
        };
        panicked.disarm();
        match &outcome {
            // Newer contents keep their place in the order.
            StoreOutcome::Requeue if is_stored => self.names.older_store_done(ino),
            _ if is_stored => self.names.store_is_done(ino),
            StoreOutcome::Stored => {
                if let Some(failure) = &kept_aside {
                    self.store_refused(ino, failure);
                }
                self.names.store_is_done(ino);
            }
            StoreOutcome::Requeue | StoreOutcome::Interrupted => self.names.store_undone(ino),
            StoreOutcome::RetryLater(failure) => {
                self.names.store_undone(ino);
                self.names.note_trouble(ino, failure);
            }
            StoreOutcome::Failed(failure) => self.store_refused(ino, failure),
        }
        let may_pass = matches!(&outcome, StoreOutcome::RetryLater(_));
        if self.writeback.done(ino, outcome) {
            self.forget(ino, 1);
        } else if may_pass && self.writeback.is_refused(ino) {
            // At the end of the mount, what waits for this file waits for the next one.
            self.names.give_up_draining();
        }
        // A file that was waited for is not in use any more.
        self.names.wake();
    }

    /// Gives up contents that a killed mount left, or that were closed without the server, if
    /// `error` is final. Then the server's file is shown. Returns `None` for other contents and
    /// errors.
    fn give_up_left(&self, file: &Arc<OpenFile>, error: &remote::Error) -> Option<StoreOutcome> {
        if error.kind.transience().may_pass() {
            return None;
        }
        let pass = file.enter(&Cancel::never()).ok()?;
        let (words, outcome) = match file.give_up_left(&pass, error) {
            LeftContents::NotLeft => return None,
            LeftContents::Kept(words) => (words, StoreOutcome::Stored),
            LeftContents::Later(reason) => {
                let errno = Errno::from(error.kind);
                return Some(StoreOutcome::RetryLater(StoreFailure { errno, reason }));
            }
            LeftContents::Stay(words) => {
                let errno = Errno::from(error.kind);
                let reason = words.clone();
                let failure = StoreFailure { errno, reason };
                (words, StoreOutcome::Failed(failure))
            }
        };
        // Another name may be new in the directory.
        if let Some(directory) = error.path.parent() {
            self.cache.forget(&directory);
        }
        if file.is_unlinked() {
            self.inodes.close_file(file.ino());
            if let Ok((directory, name)) = self.location(file.ino()) {
                self.invalidate(&directory, &name);
            }
        }
        log::warn!(
            path = error.path, reply = error.reply;
            "{}, {words}", error.path
        );
        Some(outcome)
    }

    /// Reports that what was appended to `file` is given up: another writer has changed it. Its
    /// next open or close fails.
    fn gave_up(&self, file: &OpenFile, error: &remote::Error) -> StoreOutcome {
        file.set_failure(Errno::IO);
        self.inodes.set_cached(file.ino(), None);
        if let Ok((directory, name)) = self.location(file.ino()) {
            self.invalidate(&directory, &name);
        }
        log::warn!(path = error.path, reply = error.reply; "{error}");
        // The status shows it until then.
        StoreOutcome::Failed(StoreFailure {
            errno: Errno::IO,
            reason: error.to_string(),
        })
    }

    fn failed(&self, file: &OpenFile, error: &remote::Error) -> StoreOutcome {
        let errno = Errno::from(error.kind);
        let failure = StoreFailure {
            errno,
            reason: error.to_string(),
        };
        if error.kind.is_unanswered() {
            self.writeback.note_unanswered();
        }
        let was_told = self.writeback.has_failed(file.ino());
        // Failures that only a person can resolve are not retried without a request, unless other
        // changes are in order behind this: they would be taken back, though the server said
        // nothing about the file.
        let says_nothing = !self.names.is_empty() && error.kind.is_unanswered();
        if says_nothing || error.kind.transience().passes_by_itself() {
            if was_told || error.kind == ErrorKind::Offline {
                log::debug!("{error}");
            } else {
                log::warn!(
                    path = error.path, reply = error.reply;
                    "{error}; it is kept and will be retried"
                );
            }
            return StoreOutcome::RetryLater(failure);
        }
        log::warn!(
            path = error.path, reply = error.reply;
            "{error}; it is kept and will be retried when a program closes or syncs it, and when the mount ends"
        );
        file.set_failure(errno);
        StoreOutcome::Failed(failure)
    }
}
