//! Files that lost their name while programs still have them open: they stay on the server under a
//! temporary name, as NFS's "silly rename" does, until the last of these programs closes them.

use super::error::{ErrorContext, Operation};
use super::rename::{Moved, move_aside, move_path};
use super::temporary::Temporary;
use super::{Error, ErrorKind, Remote};
use crate::ftp::RemotePath;

/// A file under a temporary name that programs still read.
///
/// Until it is [condemned](Self::mark_for_deletion), the journal says that it gets its name back;
/// after that, that it is deleted. Dropped, it is cleared away later.
#[derive(Debug)]
pub struct HiddenFile {
    remote: Remote,
    temporary: Temporary,
}

impl Remote {
    /// Renames the file at `path` to a temporary name beside it: RNFR and RNTO, one round trip
    /// where the server pipelines. [`Remote::list`] does not show that name.
    ///
    /// # Errors
    /// Those of rename(2). The file has its name, or gets it back.
    pub fn hide(&self, path: &RemotePath) -> Result<HiddenFile, Error> {
        let mut exchange = self.exchange();
        self.resolve_leftovers(&mut exchange, path);
        let Some(temporary) = self.new_aside(path, None) else {
            let context = ErrorContext::new(Operation::Rename, path);
            return Err(context.error(ErrorKind::IsDirectory, "the root is a directory"));
        };
        let fault = match move_aside(self, &mut exchange, path, temporary.path()) {
            Moved::Done => {
                let remote = self.clone();
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
        Err(self.diagnose(
            &mut exchange,
            &ErrorContext::new(Operation::Rename, path),
            &fault,
        ))
    }
}

impl HiddenFile {
    /// Where it is on the server.
    pub fn path(&self) -> &RemotePath {
        self.temporary.path()
    }

    /// Its name is gone for good: the next mount deletes it, should this one be killed.
    pub fn mark_for_deletion(&mut self) {
        self.temporary.mark_for_deletion();
    }

    /// Gives the file its old name back, unless another has it now. Where that fails it is tried
    /// again later.
    pub fn put_back(self) {
        let Self { remote, temporary } = self;
        temporary.put_back(&mut remote.exchange(), false);
    }

    /// Deletes it: nothing has it open any more. Where that fails it is tried again later.
    pub fn delete(self) {
        let Self { remote, temporary } = self;
        temporary.delete(&mut remote.exchange());
    }

    /// Moves it into `directory`, because its own is removed.
    ///
    /// # Errors
    /// The server refused; it is where it was.
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

    /// A directory above it is about to be renamed: should this mount be killed, it may be at
    /// `path`.
    pub fn expect_at(&self, path: &RemotePath) {
        self.temporary.expect_at(path);
    }

    /// That directory was renamed: it is at `path` now.
    pub fn is_at(&mut self, path: RemotePath) {
        self.temporary.is_at(path);
    }

    /// That directory was not renamed.
    pub fn is_not_at(&self, path: &RemotePath) {
        self.temporary.is_not_at(path);
    }
}
