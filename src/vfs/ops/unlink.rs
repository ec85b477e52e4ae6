//! unlink: removing files.

use crate::cancel::Cancel;
use crate::ftp::RemotePath;
use crate::remote::ErrorKind;

use super::later::{ChangeEffect, ChangeTime};
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::table::ino::Ino;

impl Vfs {
    /// Removes the file `name` in `parent`. Programs that have it open can still read and write it.
    ///
    /// # Errors
    /// `INTR` if it was cancelled and nothing was done; otherwise the server's refusal.
    pub(crate) fn unlink(&self, parent: Ino, name: &[u8], cancel: &Cancel) -> Result<(), Errno> {
        self.check_writable()?;
        let directory = self.inodes.path(parent)?;
        let path = directory.join(name)?;
        let watch = self.begin_change(&[&path], cancel)?;
        let later = self.unlink_later((parent, name), &directory, &path, cancel)?;
        if later == ChangeTime::Later {
            return Ok(());
        }
        self.settle_order(&[&path], ChangeEffect::Destroys, watch.as_ref(), cancel)?;
        let open = self
            .inodes
            .known(parent, name)
            .and_then(|ino| self.inodes.open_file(ino));
        let open = match &open {
            Some(file) => Some((file, file.enter_interrupting(cancel)?)),
            None => None,
        };
        let mut hidden = None;
        if let Some((file, pass)) = &open
            && file.needs_server()
        {
            hidden = self.hide(file, pass, (parent, name), &path, cancel)?;
        }
        let is_on_server = open.as_ref().is_none_or(|(file, _)| file.is_on_server());
        if hidden.is_none()
            && is_on_server
            && let Err(error) = self.remote.with(cancel).delete(&path)
        {
            if error.kind == ErrorKind::NotFound {
                self.cache.remove(&directory, name);
            }
            self.invalidate_after(&directory, name, error.kind);
            return Err(error.into());
        }
        self.on_removed(&directory, name, &path);
        if let Some((file, _)) = &open {
            self.names.forget_store(file.ino());
        }
        // The inode of a hidden file already has another name.
        self.inodes.remove(parent, name);
        if let Some((file, pass)) = open {
            match hidden {
                Some(hidden) => file.hide(&pass, hidden),
                None => file.unlink(&pass),
            }
            self.forget_sealed(file);
            drop(pass);
            self.discard_if_closed(file);
        }
        Ok(())
    }

    /// Updates the cache after the server removed `name`, at `path`, from `directory`.
    pub(super) fn on_removed(&self, directory: &RemotePath, name: &[u8], path: &RemotePath) {
        self.forget_cached(path);
        self.cache.remove(directory, name);
        self.forget_variants(directory, name);
        self.prefetcher.forget(path);
        self.touch_directory(directory);
    }
}
