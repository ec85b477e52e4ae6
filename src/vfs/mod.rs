//! The file system's operations in POSIX words: inodes, open files, streams and spools.
//!
//! An operation comes in two forms where it may need the server: one that answers from memory or
//! says that it cannot (`cached_…`, `try_…`), and one that waits. The vfs asks the cache, on a
//! miss the server, and then tells the cache; it changes what it remembers only after the server
//! agreed.
//!
//! | folder | what it holds |
//! |---|---|
//! | `ops` | the operations: `lookup`, `open`, `read`, `write`, `close`, `rename` and others |
//! | `file` | the open file: its contents, its spool, its upload after close |
//! | `read` | the way in: streams, the pinned version, resumable and parallel downloads |
//! | `write` | the way out: the uploader, the writeback queue, recovery after a crash |
//! | `prefetch` | what is asked or fetched before anybody asks for it |
//! | `table` | inodes and handles |
//! | `local` | spool files and how much disk they may take |
//!
//! Locks, in the order in which they may be taken: a file's append lock, the inode table, a file's
//! state; a handle table, an open listing and the queue of what waits to be stored stand alone.
//! None is held across the network. A file's gate is no lock of data: who holds it may wait for the
//! server, and no FUSE loop ever waits for it.

mod attr;
pub mod errno;
mod file;
mod housekeeper;
mod local;
mod ops;
mod prefetch;
mod read;
mod table;
mod transfers;
pub mod write;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::cache::{Cache, CacheOptions};
use crate::ftp::RemotePath;
use crate::journal::Journal;
use crate::remote::{self, Remote};

pub use attr::{Attr, WithTtl};
pub use errno::Errno;
pub use ops::{
    Changes, DirEntry, FreeSpace, OpenAccess, OpenMode, Opened, PageCache, Report, Stage, Waiting,
};
pub use read::Bytes;
pub use table::handle::Handle;
pub use table::inode::Ino;
pub use transfers::{Direction, Transfer};

use file::remote_file::FileServices;
use housekeeper::Housekeeper;
use local::spool::SpoolDir;
use ops::StatfsCache;
use prefetch::Prefetcher;
use read::ReadOptions;
use read::parallel::ParallelReads;
use table::handle::{DirectoryHandle, FileHandle, Handles};
use table::inode::Inodes;
use transfers::Transfers;
use write::writeback::Writeback;

/// Streams from one open file at once: a reader that jumps between a few places keeps them all.
const STREAMS_PER_FILE: usize = 3;

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
    /// How long what the server said of a file is good enough to open it by.
    pub open_ttl: Duration,
    /// How long the kernel may keep an entry's attributes; never longer than the listing lives.
    pub attr_ttl: Duration,
    /// Most bytes that one stream of an open file is read ahead.
    pub read_ahead: usize,
    /// Longest wait for bytes of a file: a backstop behind the network's own deadlines.
    pub timeout: Duration,
    /// Most bytes of listings held.
    pub cache_bytes: usize,
    /// Most bytes of all spool files together.
    pub spool_size: Option<u64>,
    /// Closed files are stored in the background; the journal must be kept for that.
    pub writeback: bool,
    /// The kernel keeps no pages of files.
    pub direct_io: bool,
}

/// The mounted tree; shared between the FUSE threads.
#[derive(Debug)]
pub struct Vfs {
    options: VfsOptions,
    root: RemotePath,
    remote: Remote,
    cache: Arc<Cache<remote::Error>>,
    /// What is asked before anybody asks for it.
    prefetcher: Prefetcher,
    inodes: Arc<Inodes>,
    services: Arc<FileServices>,
    files: Handles<FileHandle>,
    directories: Handles<DirectoryHandle>,
    space: StatfsCache,
    /// Stands for the times that no server tells.
    mounted: SystemTime,
    housekeeper: Housekeeper,
    writeback: Arc<Writeback>,
}

impl Vfs {
    /// The tree below `root` on `remote`, its spool files noted in `journal`. Sends nothing; that
    /// `root` is a directory was checked before.
    pub fn new(
        remote: Remote,
        root: RemotePath,
        options: VfsOptions,
        journal: Journal,
    ) -> Arc<Self> {
        let inodes = Arc::new(Inodes::new(root.clone()));
        let read = ReadOptions {
            read_ahead: options.read_ahead,
            streams: STREAMS_PER_FILE,
            timeout: options.timeout,
        };
        let cache = Arc::new(Cache::new(CacheOptions {
            ttl: options.dir_ttl,
            max_bytes: options.cache_bytes,
        }));
        let prefetcher = Prefetcher::new(remote.clone(), Arc::clone(&cache), &options);
        let spools = SpoolDir::new(journal, options.spool_size);
        let services = Arc::new(FileServices {
            remote: remote.clone(),
            inodes: Arc::clone(&inodes),
            prefetcher: prefetcher.clone(),
            parallel: ParallelReads::new(spools.clone()),
            spools,
            read,
            transfers: Transfers::default(),
        });
        let vfs = Arc::new(Self {
            options,
            root,
            remote,
            cache,
            prefetcher,
            inodes,
            services,
            files: Handles::default(),
            directories: Handles::default(),
            space: StatfsCache::default(),
            mounted: SystemTime::now(),
            housekeeper: Housekeeper::default(),
            writeback: Arc::default(),
        });
        vfs.housekeeper.start(&vfs);
        if vfs.options.writeback {
            vfs.writeback.start(&vfs);
        }
        vfs
    }

    /// Waits until what is being stored is stored; for after the unmount.
    ///
    /// What a program still has open, neither closed nor synced, is half a file: it is given up,
    /// and the server keeps what it had.
    pub fn drain(&self) {
        self.housekeeper.stop();
        self.prefetcher.stop();
        self.services.spools.ending();
        self.writeback.drain();
        for handle in self.files.all() {
            if handle.stores && handle.file.discard_unclosed() {
                let path = self.inodes.path(handle.file.ino());
                let path = path.map_or("a file".to_owned(), |path| path.to_string());
                log::warn!("{path} was still open for writing: the server keeps what it had");
            }
        }
    }

    /// Logs what the next mount is to store, where this one ends before it could.
    pub fn log_pending(&self) {
        self.services.spools.log_pending();
    }

    /// Takes leave of the server, when all is [stored](Self::drain): clears away what was
    /// left there and ends the sessions.
    pub fn disconnect(&self) {
        self.discard_all_hidden();
        self.remote.clear_orphans();
        self.remote.save_profile();
        self.remote.close();
        self.services.spools.end();
    }

    fn check_writable(&self) -> Result<(), Errno> {
        if self.options.read_only {
            Err(Errno::ROFS)
        } else {
            Ok(())
        }
    }
}
