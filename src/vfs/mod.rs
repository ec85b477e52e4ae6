//! The file system's operations in POSIX words: inodes, open files, streams and spools.

mod reader;
mod store;
mod write_spool;

use std::path::PathBuf;
use std::time::Duration;

use crate::ftp::RemotePath;
use crate::remote::Remote;

/// How the mount shows and keeps files.
#[derive(Debug, Clone)]
pub struct VfsOptions {
    /// Owner shown of every file.
    pub uid: u32,
    /// Group shown of every file.
    pub gid: u32,
    /// Bits taken away from every file's mode; `None` shows the server's mode as it is.
    pub fmask: Option<u32>,
    /// Bits taken away from every directory's mode.
    pub dmask: Option<u32>,
    /// No change is sent to the server.
    pub read_only: bool,
    /// How long a directory's listing is believed.
    pub dir_ttl: Duration,
    /// How long the kernel may keep an entry's attributes; never longer than the listing lives.
    pub attr_ttl: Duration,
    /// Most bytes that one open file is read ahead.
    pub read_ahead: usize,
    /// Most bytes of listings held.
    pub cache_bytes: usize,
    /// Where spool files are made; `None` is the system's temporary directory.
    pub spool: Option<PathBuf>,
    /// Most bytes of all spool files together.
    pub spool_size: Option<u64>,
}

/// The mounted tree; shared between the FUSE threads.
#[derive(Debug)]
pub struct Vfs {}

#[allow(unused_variables)]
impl Vfs {
    /// The tree below `root` on `remote`. Sends nothing; that `root` is a directory was checked before.
    pub fn new(remote: Remote, root: RemotePath, options: VfsOptions) -> Self {
        todo!()
    }

    /// Waits until what is being stored is stored, ends all transfers and sessions; for after the unmount.
    pub fn shut_down(&self) {
        todo!()
    }
}
