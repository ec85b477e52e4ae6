//! Changes of names in the background (`-o writeback=names`): what is recorded and shown now, and
//! sent later. What is not done in the background waits for the changes that it depends on.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cache::{Answer, Attributes};
use crate::cancel::{Blocking, Cancel};
use crate::ftp::{Completeness, Kind, Precision, RemotePath, Version};
use crate::journal::{NameAction, NameBase, NameChange};
use crate::remote::CaseRule;

use crate::vfs::Vfs;
use crate::vfs::attr::made_now;
use crate::vfs::errno::Errno;
use crate::vfs::file::OpenFile;
use crate::vfs::table::ino::Ino;
use crate::vfs::write::names::{Inherited, NameView, RefusalWatch};

/// Whether a change is made in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeTime {
    /// It is recorded, and shown.
    Later,
    /// It must be made now.
    Now,
}

/// What a change that is made now does to what the server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeEffect {
    /// It removes or replaces something.
    Destroys,
    /// All that was there is still there.
    Keeps,
}

/// New attributes of a file or directory.
#[derive(Debug, Clone, Copy)]
pub(super) enum NewAttribute {
    Mode(u32),
    Modified(i64),
}

impl Vfs {
    /// Prepares a change of the names at `paths`: reports that an earlier one failed, and waits
    /// until there is room for it. What is given up while the result exists is known to
    /// [`Self::settle_order`].
    ///
    /// # Errors
    /// The errno of the earlier change. This one is not made.
    pub(super) fn begin_change(
        &self,
        paths: &[&RemotePath],
        cancel: &Cancel,
    ) -> Result<Option<RefusalWatch<'_>>, Errno> {
        if !self.options.names && self.names.is_empty() {
            return Ok(None);
        }
        let watch = self.names.watch_refusals();
        for path in paths {
            if let Some(errno) = self.names.take_failure(path) {
                return Err(errno);
            }
        }
        self.names.wait_for_room(cancel)?;
        Ok(Some(watch))
    }

    /// Lets `file`, which has this name now where programs saw none, be compared with the server
    /// before it is stored if a change of the name was refused meanwhile.
    pub(super) fn expect_refused(&self, file: &OpenFile) {
        if self.names.is_on()
            && let Ok(path) = self.inodes.path(file.ino())
            && self.names.has_failed_at(&path)
        {
            file.set_offline();
        }
    }

    /// Waits until the server has what programs see at `path` and above it.
    pub(in crate::vfs) fn settle(&self, path: &RemotePath, cancel: &Cancel) -> Result<(), Errno> {
        let (places, stores) = self.names.places(path, false);
        self.settle_places(&places, &stores, true, cancel)
    }

    /// Waits until the server has everything that was changed before in the top-level directories
    /// of `paths`, so that a change of them that is made now comes in its turn.
    ///
    /// # Errors
    /// Also the errno of a change that was refused since `watch` began, or during the wait without
    /// one, as if this one stood in the order behind it: it depends on it, or `effect` destroys
    /// something behind an add that failed.
    pub(super) fn settle_order(
        &self,
        paths: &[&RemotePath],
        effect: ChangeEffect,
        watch: Option<&RefusalWatch<'_>>,
        cancel: &Cancel,
    ) -> Result<(), Errno> {
        if !self.options.names && self.names.is_empty() {
            return Ok(());
        }
        let own = watch.is_none().then(|| self.names.watch_refusals());
        let mut needed = BTreeSet::new();
        let (mut places, mut stores) = (BTreeSet::new(), Vec::new());
        for path in paths {
            needed.extend(self.names.places(path, false).0);
            let (of_path, its_stores) = self.names.places(path, true);
            places.extend(of_path);
            stores.extend(its_stores);
        }
        self.settle_places(&places, &stores, false, cancel)?;
        let mut failures = paths.iter().filter_map(|it| self.names.take_failure(it));
        let reported = failures.by_ref().next();
        failures.for_each(drop);
        let change = (paths, effect == ChangeEffect::Destroys);
        let watch = watch.or(own.as_ref());
        let refused = watch.and_then(|watch| watch.before(change, &needed, &places));
        reported.or(refused).map_or(Ok(()), Err)
    }

    /// Waits until the server has everything that was changed before in the top-level directory of
    /// `path`, or refused it. What is stored now comes in its turn then.
    pub(super) fn settle_before_store(
        &self,
        path: &RemotePath,
        cancel: &Cancel,
    ) -> Result<(), Errno> {
        let (places, stores) = self.names.places(path, true);
        self.settle_places(&places, &stores, false, cancel)
    }

    fn settle_places(
        &self,
        places: &BTreeSet<u64>,
        stores: &[Ino],
        overtake: bool,
        cancel: &Cancel,
    ) -> Result<(), Errno> {
        if places.is_empty() {
            return Ok(());
        }
        if self.is_offline() {
            return Err(Errno::NETUNREACH);
        }
        // A store that is expedited may fail before the wait.
        let troubles = self.names.troubles();
        self.writeback.expedite(stores);
        self.names.settle(places, (overtake, troubles), cancel)
    }

    /// [`Self::settle`] for what may not wait: the inode's name, unless its contents are here.
    pub(super) fn settle_inode(&self, ino: Ino, may: Blocking<'_>) -> Result<(), Errno> {
        if self.names.is_empty() {
            return Ok(());
        }
        let is_local = self
            .inodes
            .open_file(ino)
            .is_some_and(|file| !file.needs_server());
        let Ok(path) = self.inodes.path(ino) else {
            return Ok(());
        };
        if is_local || self.names.places(&path, false).0.is_empty() {
            return Ok(());
        }
        self.settle(&path, may.cancel()?)
    }

    /// Whether the server does not have yet what programs see at the path of `ino` and above it.
    pub(super) fn is_awaited(&self, ino: Ino) -> bool {
        let path = self.inodes.path(ino);
        path.is_ok_and(|path| !self.names.places(&path, false).0.is_empty())
    }

    /// Waits until everything below `directory` that was changed before is on the server, or was
    /// refused. Returns the errno of what was refused.
    ///
    /// # Errors
    /// `INTR`, or the errno of what keeps the changes from being made.
    pub(in crate::vfs) fn settle_below(
        &self,
        directory: &RemotePath,
        cancel: &Cancel,
    ) -> Result<Option<Errno>, Errno> {
        self.unpark(directory);
        self.settle(directory, cancel)?;
        Ok(self.names.take_failure_below(directory))
    }

    /// Waits until it is known whether the server has the contents that a killed mount left of
    /// `file`, which will be replaced, renamed or removed: that mount may have stored them.
    ///
    /// # Errors
    /// `INTR`. What the server has is compared later if it cannot be asked now.
    pub(super) fn confirm_left(
        &self,
        file: Option<&Arc<OpenFile>>,
        path: &RemotePath,
        cancel: &Cancel,
    ) -> Result<(), Errno> {
        if !self.names.is_empty() && file.is_some_and(|file| file.is_left()) {
            match self.settle(path, cancel) {
                Err(Errno::INTR) => return Err(Errno::INTR),
                Err(errno) => log::debug!("{path} may be there already: {errno:?}"),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Removes the file `name` of `parent` later, if that is possible.
    pub(super) fn unlink_later(
        &self,
        (parent, name): (Ino, &[u8]),
        directory: &RemotePath,
        path: &RemotePath,
        cancel: &Cancel,
    ) -> Result<ChangeTime, Errno> {
        if !self.changes_later() {
            return Ok(ChangeTime::Now);
        }
        let open = self.open_file_at(parent, name);
        self.confirm_left(open.as_ref(), path, cancel)?;
        let pass = match &open {
            Some(file) => Some(file.enter_interrupting(cancel)?),
            None => None,
        };
        let base = match &open {
            Some(file) if file.needs_server() || file.is_copied() || file.is_hidden() => {
                return Ok(ChangeTime::Now);
            }
            Some(file) => file.base(),
            None => {
                let known = self.attributes_of(directory, name, Blocking::Yes(cancel))?;
                if known.value.kind == Kind::Directory {
                    return Ok(ChangeTime::Now);
                }
                Some(Version::from(&known.value))
            }
        };
        let mut inherited = Inherited::default();
        let mut is_unknown = false;
        if let Some(file) = &open {
            inherited = self.names.forget_store(file.ino());
            is_unknown = base.is_none() && inherited.needs_look && !self.is_offline();
            inherited.needs_look |= file.is_unconfirmed();
        }
        if let Some(base) = base {
            let change = NameChange {
                action: NameAction::Unlink,
                path: path.clone(),
                base: NameBase::File(base),
            };
            if !self.record_change(change, inherited, vec![(path.clone(), None)])? {
                return Ok(ChangeTime::Now);
            }
        }
        self.on_removed(directory, name, path);
        if is_unknown {
            // A change before it was not made, and the server may have what that was to change.
            self.invalidate(directory, name);
        }
        self.inodes.remove(parent, name);
        if let Some((file, pass)) = open.as_ref().zip(pass) {
            file.unlink(&pass);
            self.forget_sealed(file);
        }
        Ok(ChangeTime::Later)
    }

    /// Removes the directory `name` of `parent` later, if it is known to be empty.
    ///
    /// # Errors
    /// `NOTEMPTY` if programs see something in it.
    pub(super) fn remove_directory_later(
        &self,
        (parent, name): (Ino, &[u8]),
        directory: &RemotePath,
        path: &RemotePath,
        cancel: &Cancel,
    ) -> Result<ChangeTime, Errno> {
        if !self.changes_later() {
            return Ok(ChangeTime::Now);
        }
        let ino = self.inodes.known(parent, name);
        if let Some(ino) = ino {
            let open = self.inodes.open_files_in(ino);
            if open.iter().any(|(_, file)| !file.is_unlinked()) {
                return Err(Errno::NOTEMPTY);
            }
            if !open.is_empty() {
                return Ok(ChangeTime::Now);
            }
        }
        let listing = self.listing(path, cancel)?;
        if !listing.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        match listing.completeness() {
            Completeness::Complete | Completeness::Visible => {}
            Completeness::Blank
            | Completeness::Incomplete
            | Completeness::Unreadable
            | Completeness::Unlistable => return Ok(ChangeTime::Now),
        }
        let change = NameChange {
            action: NameAction::RemoveDirectory,
            path: path.clone(),
            base: NameBase::Directory,
        };
        if !self.record_change(change, Inherited::default(), vec![(path.clone(), None)])? {
            return Ok(ChangeTime::Now);
        }
        self.on_removed(directory, name, path);
        self.inodes.remove(parent, name);
        Ok(ChangeTime::Later)
    }

    /// Creates the directory `name` of `directory` later, if this mount made `directory`, so that
    /// no other client can have made the name. Returns its attributes.
    pub(super) fn make_directory_later(
        &self,
        name: &[u8],
        directory: &RemotePath,
        path: &RemotePath,
        permissions: u32,
    ) -> Result<Option<Attributes>, Errno> {
        let is_absent = || matches!(self.cache.lookup(directory, name), Answer::Absent(_));
        if !self.changes_later()
            || !self.cache.is_private(directory)
            || !is_absent()
            || !self.remote.is_plain_name(path)
        {
            return Ok(None);
        }
        let mode = (permissions != crate::vfs::attr::DIRECTORY_MODE).then_some(permissions);
        let attributes = made_now(Kind::Directory, None, mode);
        let change = NameChange {
            action: NameAction::MakeDirectory { mode },
            path: path.clone(),
            base: NameBase::Absent,
        };
        let views = vec![(path.clone(), Some(attributes.clone()))];
        let is_recorded = self.record_change(change, Inherited::default(), views)?;
        Ok(is_recorded.then_some(attributes))
    }

    /// Renames a file that no program has open, and that the server has, later.
    pub(super) fn rename_later(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        moved: &Attributes,
        replaced: (Option<&Attributes>, Option<&Arc<OpenFile>>),
    ) -> Result<ChangeTime, Errno> {
        let is_directory = |of: &Attributes| of.kind == Kind::Directory;
        if !self.changes_later()
            || moved.kind != Kind::File
            || moved.size.is_none()
            || replaced.0.is_some_and(is_directory)
            || !self.remote.is_plain_name(to)
        {
            return Ok(ChangeTime::Now);
        }
        let (base, inherited) = match replaced {
            (_, Some(file)) if file.needs_server() || file.is_copied() || file.is_hidden() => {
                return Ok(ChangeTime::Now);
            }
            (_, Some(file)) => {
                let mut inherited = self.names.forget_store(file.ino());
                inherited.needs_look |= file.is_unconfirmed();
                (file.base(), inherited)
            }
            (there, None) => (there.map(Version::from), Inherited::default()),
        };
        let change = NameChange {
            action: NameAction::Rename {
                to: to.clone(),
                replaced: base.map_or(NameBase::Absent, NameBase::File),
            },
            path: from.clone(),
            base: NameBase::File(Version::from(moved)),
        };
        let views = vec![(from.clone(), None), (to.clone(), Some(moved.clone()))];
        let is_recorded = self.record_change(change, inherited, views)?;
        Ok(if is_recorded {
            ChangeTime::Later
        } else {
            ChangeTime::Now
        })
    }

    /// Sets an attribute of `ino`, which is not open, later.
    pub(super) fn set_later(&self, ino: Ino, new: NewAttribute) -> Result<ChangeTime, Errno> {
        if !self.changes_later() || ino == Ino::ROOT || self.inodes.open_file(ino).is_some() {
            return Ok(ChangeTime::Now);
        }
        let (directory, name) = self.location(ino)?;
        let Answer::Present(known, _) = self.cache.lookup(&directory, &name) else {
            return Ok(ChangeTime::Now);
        };
        let is_directory = known.kind == Kind::Directory;
        let is_possible = match new {
            NewAttribute::Mode(_) => self.remote.sets_modes(),
            NewAttribute::Modified(_) => self.remote.sets_times(is_directory),
        };
        if !is_possible {
            return Ok(ChangeTime::Now);
        }
        let mut attributes = known.clone();
        let (mode, modified) = match new {
            NewAttribute::Mode(mode) => {
                attributes.mode = Some(mode);
                attributes.perm = None;
                (Some(mode), None)
            }
            NewAttribute::Modified(seconds) => {
                let reported = self.remote.round_trip_of(seconds);
                attributes.modified = Some((reported, Precision::Second));
                (None, Some(seconds))
            }
        };
        let path = directory.join(&name)?;
        let change = NameChange {
            action: NameAction::SetAttributes { mode, modified },
            path: path.clone(),
            base: if is_directory {
                NameBase::Directory
            } else {
                NameBase::File(Version::from(&known))
            },
        };
        let views = vec![(path, Some(attributes))];
        let is_recorded = self.record_change(change, Inherited::default(), views)?;
        Ok(if is_recorded {
            ChangeTime::Later
        } else {
            ChangeTime::Now
        })
    }

    /// Puts the closed contents of `file` into the order of the changes.
    pub(in crate::vfs) fn record_store(&self, file: &Arc<OpenFile>) {
        self.record_store_with(file, None);
    }

    /// With what it `inherited`, only its name is new.
    fn record_store_with(&self, file: &Arc<OpenFile>, inherited: Option<Inherited>) {
        if !self.has_order() {
            return;
        }
        let (Ok(path), Ok(root)) = (self.inodes.path(file.ino()), self.inodes.path(Ino::ROOT))
        else {
            return;
        };
        let base = file.base().map_or(NameBase::Absent, NameBase::File);
        let recorded = self.names.record_store(
            &root,
            (file.ino(), inherited.is_some()),
            &path,
            (base, inherited.unwrap_or_default()),
            |change, domains| file.record_order(change, domains),
        );
        match recorded {
            Ok(before) => {
                if before.was_behind {
                    file.set_offline();
                }
                if before.is_begun {
                    file.note_superseded();
                }
            }
            Err(error) => {
                log::warn!(path; "cannot record the order of {path}: {error}");
                self.names.forget_store(file.ino());
            }
        }
    }

    /// Puts the store of `file`, which has another name now, at the end of the order. It has what
    /// it `inherited`.
    pub(super) fn move_store(&self, file: &Arc<OpenFile>, inherited: Option<Inherited>) {
        if !self.has_order() {
            return;
        }
        if file.has_sealed() {
            self.record_store_with(file, Some(inherited.unwrap_or_default()));
        } else {
            self.names.forget_store(file.ino());
        }
    }

    /// Whether closed files have a turn: behind the changes in the background, and without
    /// `-o writeback=names` behind those that a killed mount left.
    fn has_order(&self) -> bool {
        self.names.is_on() && (self.options.names || !self.names.is_empty())
    }

    /// Whether changes are made in the background, where names are what they seem.
    fn changes_later(&self) -> bool {
        self.options.names && self.names.is_on() && self.remote.case_rule() != CaseRule::Insensitive
    }

    /// Records a change. Returns false if that is not possible.
    fn record_change(
        &self,
        change: NameChange,
        mut inherited: Inherited,
        views: Vec<NameView>,
    ) -> Result<bool, Errno> {
        // What programs see may be old.
        inherited.needs_look |= self.is_offline();
        let root = self.inodes.path(Ino::ROOT)?;
        let paths: Vec<_> = change.paths().cloned().collect();
        let recorded = self.names.record(&root, change, inherited, views);
        if let Err(error) = &recorded {
            log::warn!("cannot record a change, so it is made now: {error}");
        }
        for path in paths {
            self.prefetcher.forget(&path);
        }
        Ok(recorded.is_ok())
    }

    fn open_file_at(&self, parent: Ino, name: &[u8]) -> Option<Arc<OpenFile>> {
        self.inodes.open_file(self.inodes.known(parent, name)?)
    }
}
