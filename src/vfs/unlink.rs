//! Removing files.

use crate::remote::ErrorKind;

use super::Vfs;
use super::errno::Errno;
use super::inode::Ino;

impl Vfs {
    /// Removes the file `name` in `parent`; whoever has it open goes on reading and writing it.
    pub fn unlink(&self, parent: Ino, name: &[u8]) -> Result<(), Errno> {
        self.check_writable()?;
        let directory = self.inodes.path(parent)?;
        let path = directory.join(name)?;
        let open = self
            .inodes
            .known(parent, name)
            .and_then(|ino| self.inodes.open_file(ino));
        if let Some(file) = &open {
            file.interrupt_storing();
        }
        let pass = open.as_ref().map(|file| file.enter());
        if let (Some(file), Some(pass)) = (&open, &pass) {
            file.keep_contents(pass)?;
        }
        if open.as_ref().is_none_or(|file| file.is_on_server()) {
            match self.remote.delete(&path) {
                Ok(()) => {}
                Err(error) => {
                    if error.kind == ErrorKind::NotFound {
                        self.cache.remove(&directory, name);
                    }
                    self.doubt(&directory, error.kind);
                    return Err(error.into());
                }
            }
        }
        if let (Some(file), Some(pass)) = (&open, &pass) {
            file.unlink(pass);
            self.forget_waiting(file);
        }
        self.cache.remove(&directory, name);
        self.note_modified(&directory);
        self.inodes.remove(parent, name);
        Ok(())
    }
}
