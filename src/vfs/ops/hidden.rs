//! Open files whose name is removed or given to another file. They are renamed to a temporary name
//! on the server, and deleted when the last program closes them. No contents are transferred.
//!
//! 1. [`Vfs::hide`] renames the file to a temporary name. Its inode follows, so readers continue.
//! 2. If the operation that took the name succeeds, [`OpenFile::hide`]; if it fails,
//!    [`Vfs::unhide`].
//! 3. [`Vfs::discard_hidden`] deletes the file at the last close, [`Vfs::discard_all_hidden`] at
//!    the end of the mount. The next mount deletes what a killed one left. A close does not see a
//!    file that is being hidden or moved: [`Vfs::discard_if_closed`] follows both.

use crate::cancel::Cancel;
use crate::ftp::RemotePath;
use crate::remote::{ErrorKind, HiddenFile};

use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::file::OpenFile;
use crate::vfs::file::gate::Pass;
use crate::vfs::table::ino::Ino;

impl Vfs {
    /// Renames the open file `name` in `parent` to a temporary name on the server. If the server
    /// refuses, fetches the contents instead and returns `None`.
    pub(in crate::vfs) fn hide(
        &self,
        file: &OpenFile,
        pass: &Pass<'_>,
        (parent, name): (Ino, &[u8]),
        path: &RemotePath,
        cancel: &Cancel,
    ) -> Result<Option<HiddenFile>, Errno> {
        let renaming = self.inodes.begin_rename(&[path]);
        let hidden = self.remote.with(cancel).hide(path);
        if let Ok(hidden) = &hidden {
            let aside = hidden.path().name();
            self.inodes.rename((parent, name), (parent, aside));
        }
        drop(renaming);
        match hidden {
            Ok(hidden) => Ok(Some(hidden)),
            Err(error) if may_be_deleted(error.kind) => {
                log::debug!("{error}; fetching its contents instead");
                file.keep_contents(pass, cancel)?;
                Ok(None)
            }
            Err(error) => {
                if let Some(directory) = path.parent() {
                    if error.kind == ErrorKind::NotFound {
                        self.cache.remove(&directory, name);
                    }
                    self.invalidate_after(&directory, name, error.kind);
                }
                Err(error.into())
            }
        }
    }

    /// Gives the file its name back after the operation that was to take it failed.
    pub(in crate::vfs) fn unhide(&self, (parent, name): (Ino, &[u8]), hidden: HiddenFile) {
        let aside = hidden.path().clone();
        let _renaming = self.inodes.begin_rename(&[&aside]);
        hidden.put_back();
        self.inodes.rename((parent, aside.name()), (parent, name));
    }

    /// Deletes the hidden file of `file` on the server after its last close.
    pub(in crate::vfs) fn discard_hidden(&self, file: &OpenFile, cancel: &Cancel) {
        if !file.is_hidden() {
            return;
        }
        // If the gate cannot be entered, the housekeeper deletes the file.
        let Ok(pass) = file.enter(cancel) else {
            return;
        };
        if file.has_handles() {
            // It was opened again before it was hidden.
            return;
        }
        if let Some(hidden) = file.take_hidden(&pass) {
            // Its readers may have added to it.
            self.forget_cached(hidden.path());
            hidden.delete();
            self.inodes.detach(file.ino());
        }
    }

    /// Deletes the hidden file of `file` on the server if the last handle was closed while the file
    /// was being hidden or moved.
    pub(in crate::vfs) fn discard_if_closed(&self, file: &OpenFile) {
        if !file.has_handles() {
            self.discard_hidden(file, &Cancel::never());
        }
    }

    /// Leaves all hidden files, even open ones, to [`crate::remote::Remote::clear_orphans`].
    pub(in crate::vfs) fn discard_all_hidden(&self) {
        for file in self.files_in_use() {
            if file.is_hidden()
                && let Ok(pass) = file.enter(&Cancel::never())
            {
                drop(file.take_hidden(&pass));
            }
        }
    }

    /// Moves hidden files out of the directory `ino`, which is about to be removed, into `parent`,
    /// because programs still read them. A file that cannot be moved is removed with the directory.
    pub(in crate::vfs) fn move_hidden_out(&self, ino: Ino, parent: Ino) -> Result<(), Errno> {
        let directory = self.inodes.path(parent)?;
        for (name, file) in self.inodes.open_files_in(ino) {
            let pass = file.enter(&Cancel::never())?;
            let Some(mut hidden) = file.take_hidden(&pass) else {
                continue;
            };
            let renaming = self.inodes.begin_rename(&[hidden.path()]);
            match hidden.move_to(&directory) {
                Ok(()) => self.inodes.rename((ino, &name), (parent, &name)),
                Err(error) => log::debug!("{error}"),
            }
            drop(renaming);
            file.put_hidden(&pass, hidden);
            drop(pass);
            self.discard_if_closed(&file);
        }
        Ok(())
    }
}

/// Whether a file that cannot be hidden may still be deleted or replaced.
fn may_be_deleted(refused: ErrorKind) -> bool {
    match refused {
        ErrorKind::AlreadyExists
        | ErrorKind::PermissionDenied
        | ErrorKind::InvalidName
        | ErrorKind::NameTooLong
        | ErrorKind::Busy
        | ErrorKind::Unsupported
        | ErrorKind::Protocol
        | ErrorKind::NoSpace
        | ErrorKind::QuotaExceeded
        | ErrorKind::FileTooLarge
        | ErrorKind::TryLater
        | ErrorKind::Other => true,
        ErrorKind::NotFound
        | ErrorKind::NotEmpty
        | ErrorKind::IsDirectory
        | ErrorKind::NotDirectory
        | ErrorKind::LoginRefused
        | ErrorKind::NotSecure
        | ErrorKind::TimedOut
        | ErrorKind::Unreachable
        | ErrorKind::ConnectionRefused
        | ErrorKind::NoConnection
        | ErrorKind::Offline
        | ErrorKind::ConnectionLost
        | ErrorKind::Changed
        | ErrorKind::Truncated
        | ErrorKind::OtherWay
        | ErrorKind::Interrupted
        | ErrorKind::Local => false,
    }
}
