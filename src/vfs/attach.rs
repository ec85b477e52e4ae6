//! `-o delay_connect`: the directory on the server is found when a program first needs the server.

use std::fmt;
use std::sync::Arc;

use super::Vfs;
use super::errno::Errno;
use crate::cancel::Cancel;
use crate::disk_cache::InodeNumbers;
use crate::ftp::RemotePath;
use crate::remote::Remote;

/// The directory on the server that is the root of the mount.
pub(crate) enum MountRoot {
    /// This one, which exists.
    Known(RemotePath),
    /// This one, which exists, with inode numbers that survive the mount.
    Exported(RemotePath, InodeNumbers),
    /// Found at the first access.
    Later(Unattached),
}

/// Connects and finds the directory.
type FindRoot = Box<dyn Fn(&Remote) -> Result<RemotePath, Errno> + Send + Sync>;

/// Runs after the directory was found.
type AfterAttach = Box<dyn Fn(&Arc<Vfs>) + Send + Sync>;

/// What to do at the first access.
pub(crate) struct Unattached {
    pub(crate) find: FindRoot,
    pub(crate) found: AfterAttach,
}

impl Vfs {
    /// Finds the root on the server, unless it is known. Waits for the server.
    ///
    /// # Errors
    /// The server cannot be reached, refuses the login, or has no such directory. A later call
    /// tries again.
    pub(crate) fn attach(self: &Arc<Self>, cancel: &Cancel) -> Result<(), Errno> {
        let Some(unattached) = &self.unattached else {
            return Ok(());
        };
        if self.inodes.root().is_some() {
            return Ok(());
        }
        let root = (unattached.find)(&self.remote.with(cancel))?;
        if self.inodes.set_root(root) {
            (unattached.found)(self);
        }
        Ok(())
    }
}

impl fmt::Debug for Unattached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unattached")
    }
}
