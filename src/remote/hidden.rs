//! Files that were deleted while programs still have them open. They stay on the server under a
//! temporary name, like "silly rename" of NFS, until the last program closes them.

use super::error::{ErrorContext, Operation};
use super::rename::{Moved, move_aside, move_path};
use super::temporary::Temporary;
use super::{Error, ErrorKind, Remote};
use crate::ftp::RemotePath;

/// A file under a temporary name that programs still read.
///
/// Until it is [marked for deletion](Self::mark_for_deletion), the journal says that it gets its
/// name back; afterwards, that it is deleted. If dropped, it is cleaned up later.
#[derive(Debug)]
pub struct HiddenFile {
    remote: Remote,
    temporary: Temporary,
}

impl Remote {
    /// Renames the file at `path` to a temporary name in the same directory (RNFR and RNTO), in one
    /// round trip if the server supports pipelining. [`Remote::list`] does not show that name.
    ///
    /// # Errors
    /// Those of rename(2). The file keeps its name or gets it back.
    pub fn hide(&self, path: &RemotePath) -> Result<HiddenFile, Error> {
        let context = ErrorContext::new(Operation::Rename, path);
        let mut exchange = self.begin(&context)?;
        self.resolve_leftovers(&mut exchange, path);
        let Some(temporary) = self.new_aside(path, None) else {
            return Err(context.error(ErrorKind::IsDirectory, "the root is a directory"));
        };
        let fault = match move_aside(self, &mut exchange, path, temporary.path()) {
            Moved::Done => {
                let remote = self.uncancelled();
                return Ok(HiddenFile { remote, temporary });
            }
            Moved::Refused(fault) => {
                temporary.mark_gone();
                fault
            }
            Moved::Unknown(fault) => {
                temporary.put_back(&mut exchange, true);
                fault
            }
        };
        Err(self.diagnose(&mut exchange, &context, &fault))
    }
}

impl HiddenFile {
    /// Returns its path on the server.
    pub fn path(&self) -> &RemotePath {
        self.temporary.path()
    }

    /// Records that its old name is gone for good. If this mount is killed, the next one deletes
    /// the file.
    pub fn mark_for_deletion(&mut self) {
        self.temporary.mark_for_deletion();
    }

    /// Gives the file its old name back, unless another file has it now. A failure is retried
    /// later.
    pub fn put_back(self) {
        let Self { remote, temporary } = self;
        temporary.put_back(&mut remote.exchange(), false);
    }

    /// Deletes the file, which is no longer open. A failure is retried later.
    pub fn delete(self) {
        let Self { remote, temporary } = self;
        temporary.delete(&mut remote.exchange());
    }

    /// Moves the file into `directory`, because its own directory is being removed.
    ///
    /// # Errors
    /// The server refused. The file stays where it is.
    pub fn move_to(&mut self, directory: &RemotePath) -> Result<(), Error> {
        let old = self.path().clone();
        let context = ErrorContext::new(Operation::Rename, &old);
        let Ok(new) = directory.join(old.name()) else {
            return Err(context.error(ErrorKind::NameTooLong, "its new path would be too long"));
        };
        self.expect_at(&new);
        let mut exchange = self.remote.exchange();
        match move_path(&self.remote, &mut exchange, &[], &old, &new, &[]) {
            Ok(_) => {
                self.is_at(new);
                Ok(())
            }
            Err(fault) => {
                self.is_not_at(&new);
                Err(self.remote.diagnose(&mut exchange, &context, &fault))
            }
        }
    }

    /// Records that the file may be at `path` if this mount is killed, because a directory above it
    /// is about to be renamed.
    pub fn expect_at(&self, path: &RemotePath) {
        self.temporary.expect_at(path);
    }

    /// Records that the file is at `path`, because a directory above it was renamed.
    pub fn is_at(&mut self, path: RemotePath) {
        self.temporary.is_at(path);
    }

    /// Records that the directory above it was not renamed.
    pub fn is_not_at(&self, path: &RemotePath) {
        self.temporary.is_not_at(path);
    }
}
