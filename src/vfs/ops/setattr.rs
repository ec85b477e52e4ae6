//! setattr: size, times and mode.

use std::time::SystemTime;

use crate::cache::Attributes;
use crate::cancel::{Blocking, Cancel};
use crate::ftp::Precision;
use crate::remote::{self, ErrorKind};

use super::later::{ChangeEffect, ChangeTime, NewAttribute};
use crate::vfs::Vfs;
use crate::vfs::attr::{Attr, WithTtl, to_seconds};
use crate::vfs::errno::Errno;
use crate::vfs::file::{OpenFile, Position};
use crate::vfs::table::handle::Handle;
use crate::vfs::table::ino::Ino;

/// The attributes that setattr changes; `None` for those that stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// New size.
    pub size: Option<u64>,
    /// New permission bits.
    pub mode: Option<u32>,
    /// New owner.
    pub uid: Option<u32>,
    /// New group.
    pub gid: Option<u32>,
    /// New modification time.
    pub modified: Option<SystemTime>,
    /// Whether a change of the size removes the setuid and setgid bits.
    pub drops_modes: bool,
}

impl Vfs {
    /// Applies the changes to `ino`. `handle` is the open file that ftruncate or futimens named.
    pub(crate) fn setattr(
        &self,
        ino: Ino,
        handle: Option<Handle>,
        changes: &Changes,
        cancel: &Cancel,
    ) -> Result<WithTtl<Attr>, Errno> {
        self.check_writable()?;
        self.check_owner(changes)?;
        if let Some(size) = changes.size {
            self.set_size(ino, handle, size, cancel)?;
            if changes.drops_modes
                && let Some(file) = self.inodes.open_file(ino)
            {
                file.drop_privileged_mode();
            }
        }
        if let Some(group) = changes.gid.filter(|group| *group != self.options.gid) {
            self.set_group(ino, group, cancel)?;
        }
        if let Some(mode) = changes.mode {
            self.set_mode(ino, mode & 0o7777, cancel)?;
        }
        if let Some(modified) = changes.modified {
            self.set_modified(ino, to_seconds(modified), cancel)?;
        }
        self.getattr(ino, Blocking::Yes(cancel))
    }

    /// Checks the requested owner. FTP has no chown, so only the owner that is shown anyway is
    /// allowed, unless the user wants refusals to be ignored.
    fn check_owner(&self, changes: &Changes) -> Result<(), Errno> {
        let is_shown = changes.uid.is_none_or(|owner| owner == self.options.uid);
        if self.options.ignores_refused_attributes || is_shown {
            Ok(())
        } else {
            Err(Errno::PERM)
        }
    }

    /// Sets the group on the server, which the mount does not show: all its files have one group
    /// here. What is not stored yet cannot have another group.
    fn set_group(&self, ino: Ino, group: u32, cancel: &Cancel) -> Result<(), Errno> {
        let open = self.inodes.open_file(ino);
        let is_waiting = open.is_some_and(|file| file.is_dirty() || file.has_sealed());
        let is_file = !self.inodes.kind(ino)?.is_directory();
        let set = if is_waiting {
            None
        } else {
            let path = self.inodes.path(ino)?;
            self.settle_order(&[&path], ChangeEffect::Keeps, None, cancel)?;
            Some(self.remote.with(cancel).set_group(&path, group, is_file))
        };
        match set {
            Some(Ok(())) => Ok(()),
            None if self.options.ignores_refused_attributes => Ok(()),
            Some(Err(error)) if self.ignores(&error) => {
                log::debug!("{error}");
                Ok(())
            }
            None => Err(Errno::PERM),
            // As chown(2) says it.
            Some(Err(error))
                if matches!(
                    error.kind,
                    ErrorKind::PermissionDenied | ErrorKind::Unsupported | ErrorKind::InvalidName
                ) =>
            {
                log::debug!("{error}");
                Err(Errno::PERM)
            }
            Some(Err(error)) => Err(error.into()),
        }
    }

    fn set_size(
        &self,
        ino: Ino,
        handle: Option<Handle>,
        size: u64,
        cancel: &Cancel,
    ) -> Result<(), Errno> {
        if let Some(handle) = handle
            && let Ok(opened) = self.files.find(handle)
        {
            self.inodes.set_cached(ino, None);
            opened.file.confirm_truncatable(size)?;
            return self.truncate(&opened.file, size, cancel);
        }
        self.check_passthrough(ino, |_| false)?;
        self.settle_inode(ino, Blocking::Yes(cancel))?;
        let (file, _) = self.share(ino, cancel)?;
        file.confirm_truncatable(size)?;
        self.inodes.set_cached(ino, None);
        self.truncate(&file, size, cancel)?;
        self.close_file(&file, cancel)
    }

    fn truncate(&self, file: &OpenFile, size: u64, cancel: &Cancel) -> Result<(), Errno> {
        self.with_room(
            (file, Position::At(size)),
            Blocking::Yes(cancel),
            || file.truncate(size, cancel),
            || {
                file.confirm_truncatable(size).is_err()
                    || file.is_too_large(Position::At(size))
                    || file.grows_too_much(size)
            },
        )
    }

    fn set_mode(&self, ino: Ino, mode: u32, cancel: &Cancel) -> Result<(), Errno> {
        let open = self.inodes.open_file(ino);
        if open.as_ref().is_some_and(|file| file.set_mode_later(mode)) {
            return Ok(());
        }
        let is_shown = self.getattr(ino, Blocking::Yes(cancel))?.value.mode == mode;
        if is_shown && self.is_known_mode(ino, mode) {
            return Ok(());
        }
        let path = self.inodes.path(ino)?;
        let watch = self.begin_change(&[&path], cancel)?;
        if self.set_later(ino, NewAttribute::Mode(mode))? == ChangeTime::Later {
            self.refusals.changed(&path);
            return Ok(());
        }
        self.settle_order(&[&path], ChangeEffect::Keeps, watch.as_ref(), cancel)?;
        let set = if self.inodes.kind(ino)?.is_directory() {
            self.remote.with(cancel).set_directory_mode(&path, mode)
        } else {
            self.remote.with(cancel).set_mode(&path, mode)
        };
        match set {
            Ok(()) => {
                self.refusals.changed(&path);
                self.remember(ino, |attributes| {
                    attributes.mode = Some(mode);
                    attributes.perm = None;
                })
            }
            // Programs that copy modes request the mode that they see.
            Err(error) if (is_shown || self.ignores(&error)) && !error.kind.is_unanswered() => {
                log::debug!("{error}");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the shown mode is the server's or was set here. If the options choose the shown
    /// mode, it is only known if the server has `mode`, too.
    fn is_known_mode(&self, ino: Ino, mode: u32) -> bool {
        let chosen = self.options.file_mode.or(self.options.directory_mode);
        let is_known = |known: Option<u32>| {
            known.is_some_and(|known| chosen.is_none() || known & 0o7777 == mode)
        };
        if let Some(file) = self.inodes.open_file(ino) {
            return file.attributes().is_some_and(|known| is_known(known.mode));
        }
        let Ok((directory, name)) = self.location(ino) else {
            return true;
        };
        match self.cached_attributes(&directory, &name) {
            Some(Ok(fresh)) => is_known(fresh.value.mode),
            // Nothing is cached, and another request would cost a command for each chmod.
            Some(Err(_)) | None => true,
        }
    }

    /// Whether this refusal of an attribute is not reported. That a file does not exist always is.
    fn ignores(&self, error: &remote::Error) -> bool {
        self.options.ignores_refused_attributes
            && !error.kind.is_unanswered()
            && error.kind != ErrorKind::NotFound
    }

    fn set_modified(&self, ino: Ino, seconds: i64, cancel: &Cancel) -> Result<(), Errno> {
        let open = self.inodes.open_file(ino);
        if open
            .as_ref()
            .is_some_and(|file| file.set_modified_later(seconds))
        {
            return Ok(());
        }
        let path = self.inodes.path(ino)?;
        let is_directory = self.inodes.kind(ino)?.is_directory();
        if is_directory && self.options.names && !self.remote.sets_times(true) {
            // Nothing is sent, so nothing is waited for.
            return Ok(());
        }
        let watch = self.begin_change(&[&path], cancel)?;
        if !is_directory {
            // The caches may hold other contents with this time.
            self.inodes.set_cached(ino, None);
            self.forget_cached(&path);
        }
        if self.set_later(ino, NewAttribute::Modified(seconds))? == ChangeTime::Later {
            return Ok(());
        }
        self.settle_order(&[&path], ChangeEffect::Keeps, watch.as_ref(), cancel)?;
        let set = if is_directory {
            self.remote
                .with(cancel)
                .set_directory_modified(&path, seconds)
        } else {
            if let Some(file) = self.inodes.open_file(ino) {
                file.expect_time(self.remote.round_trip_of(seconds), cancel);
            }
            // The question may have waited for a rename.
            let path = self.inodes.path(ino)?;
            self.remote.with(cancel).set_modified(&path, seconds)
        };
        match set {
            Ok(seconds) => self.remember(ino, |attributes| {
                attributes.modified = Some((seconds, Precision::Second));
            }),
            // Several servers set times only on files. The time of a directory changes with each
            // entry created in it, and a failure here would break every `cp -a`, `tar x` and `rsync
            // -a`.
            Err(error)
                if self.ignores(&error) || error.kind != ErrorKind::NotFound && is_directory =>
            {
                log::debug!("{error}; the time stays the same");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Records what the server has accepted.
    fn remember(&self, ino: Ino, change: impl Fn(&mut Attributes)) -> Result<(), Errno> {
        if let Some(file) = self.inodes.open_file(ino) {
            file.update(&change);
        }
        if ino == Ino::ROOT {
            return Ok(());
        }
        let (directory, name) = self.location(ino)?;
        if let Some(Ok(mut fresh)) = self.cached_attributes(&directory, &name) {
            change(&mut fresh.value);
            self.cache.insert(&directory, &name, fresh.value);
        }
        Ok(())
    }
}
