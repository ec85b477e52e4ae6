//! The file system operations in POSIX terms: inodes, open files, streams and spools.
//!
//! An operation that memory can often answer takes a [`Blocking`](crate::cancel::Blocking). With
//! `No`, it answers from memory or returns [`Errno::WOULD_BLOCK`]; with `Yes`, it waits until it is
//! cancelled. An operation that always needs the server takes a [`Cancel`](crate::cancel::Cancel).
//! The vfs asks the cache first, then the server, and updates the cache with the reply. It changes
//! cached state only after the server has accepted a change. A change that has begun on the server
//! is completed, and so is every upload: only the waits before it are cancelled.
//!
//! | folder | what it holds |
//! |---|---|
//! | `ops` | the operations: `lookup`, `open`, `read`, `write`, `close`, `rename` and others |
//! | `file` | the open file: its contents, its spool, its upload after close |
//! | `read` | downloads: streams, the pinned version, resumable and parallel downloads |
//! | `write` | uploads: the uploader, the writeback queue, recovery after a crash |
//! | `prefetch` | requests and downloads before a program asks for them |
//! | `table` | inodes and handles |
//! | `local` | spool files and the disk space that they may take |
//!
//! Locks, in the order in which they may be taken: a file's append lock, the inode numbers, the
//! inode table, a file's state. A handle table, an open listing and the writeback queue are locked
//! alone. No lock is held across the network, and only the lock of the inode numbers while the
//! local disk works. A file's gate is not a data lock: its holder may wait for the server, and no
//! FUSE loop ever waits for it.

mod attach;
mod attr;
mod counters;
pub(crate) mod errno;
mod file;
mod housekeeper;
mod local;
mod local_share;
mod ops;
mod passthrough;
mod prefetch;
mod read;
mod refusals;
mod stored_listings;
mod table;
mod transfers;
pub(crate) mod write;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use crate::cache::{Cache, CacheOptions};
use crate::disk_cache::DiskCache;
use crate::ftp::Traffic;
use crate::journal::Journal;
use crate::remote::{self, RemoteHandle};
use crate::sys::BootClock;

pub(crate) use attach::{MountRoot, Unattached};
pub(crate) use attr::{Attr, WithTtl};
pub(crate) use counters::{RequestCounts, Totals};
pub(crate) use errno::Errno;
pub(crate) use ops::{
    Changes, ContentCounts, CopyEnd, ExtendedAttribute, FlushOutcome, FreeSpace, HealthSummary,
    OpenAccess, OpenMode, Opened, PageCache, Report, Stage, Waiting, WarmupCounts,
};
pub(crate) use passthrough::PassthroughFile;
pub(crate) use read::Bytes;
pub(crate) use table::handle::Handle;
pub(crate) use table::ino::Ino;
pub(crate) use table::inode::CachedNode;
pub(crate) use transfers::{Direction, Transfer};

use file::recent::RecentUploads;
use file::remote_file::FileServices;
use housekeeper::Housekeeper;
use local::spool_dir::SpoolDir;
use ops::{RecentDigests, ReplacedNames, StatfsCache};
use passthrough::KernelReads;
use prefetch::Prefetcher;
use read::ReadOptions;
use read::parallel::ParallelReads;
use refusals::Refusals;
use stored_listings::StoredListings;
use table::handle::{DirectoryHandle, FileHandle, Handles};
use table::inode::Inodes;
use transfers::Transfers;
use write::names::Names;
use write::writeback::Writeback;

/// Maximum number of streams per open file. A reader that jumps between a few places keeps one for
/// each.
const STREAMS_PER_FILE: usize = 3;

/// Maximum time for which a refusal to store a file is remembered.
const REFUSAL_TTL: Duration = Duration::from_secs(20);

/// Maximum time for which the end of the mount waits until what was read is in the cache.
const CACHE_PATIENCE: Duration = Duration::from_secs(5);

/// Options of the mounted file system.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags that are independent of each other"
)]
pub(crate) struct VfsOptions {
    /// Owner shown for every file.
    pub uid: u32,
    /// Group shown for every file.
    pub gid: u32,
    /// Mode shown for everything that is not a directory; `None` shows the server's modes.
    pub file_mode: Option<u32>,
    /// Mode shown for every directory; `None` shows the server's modes.
    pub directory_mode: Option<u32>,
    /// Whether changes of owner, mode and time that the server refuses succeed without effect.
    pub ignores_refused_attributes: bool,
    /// Whether all changes are refused.
    pub read_only: bool,
    /// How long directory listings are cached.
    pub dir_ttl: Duration,
    /// Maximum age of cached attributes at open; older ones are revalidated.
    pub open_ttl: Duration,
    /// How long the kernel may cache an entry's attributes; never longer than the listing.
    pub attr_ttl: Duration,
    /// Maximum read-ahead of one stream of an open file, in bytes.
    pub read_ahead: usize,
    /// Maximum wait for bytes of a file: a safety net behind the network's own deadlines.
    pub timeout: Duration,
    /// Maximum size of the listing cache in bytes.
    pub cache_bytes: usize,
    /// Maximum size of all spool files together, in bytes.
    pub spool_size: Option<u64>,
    /// Whether closed files are stored in the background. Requires a journal.
    pub writeback: bool,
    /// Whether names are changed in the background, too. Requires `writeback`.
    pub names: bool,
    /// Whether the kernel's page cache is bypassed for all files.
    pub direct_io: bool,
    /// Size of the file system in bytes to show if the server does not report its space.
    pub space: Option<u64>,
}

/// The mounted tree, shared between the FUSE threads.
#[derive(Debug)]
pub(crate) struct Vfs {
    options: VfsOptions,
    /// How the root is found, if it was not known at first.
    unattached: Option<Unattached>,
    /// The server. What asks it, takes a `Cancel`.
    remote: RemoteHandle,
    cache: Arc<Cache<remote::Error>>,
    /// Listings of earlier mounts, for when the server cannot be asked.
    stored_listings: Option<StoredListings>,
    /// Requests listings and files before programs ask for them.
    prefetcher: Prefetcher,
    inodes: Arc<Inodes>,
    services: Arc<FileServices>,
    files: Handles<FileHandle>,
    directories: Handles<DirectoryHandle>,
    space: StatfsCache,
    /// Shown for times that the server does not report.
    mounted: SystemTime,
    housekeeper: Housekeeper,
    writeback: Arc<Writeback>,
    /// The changes of names that the server does not have yet.
    names: Arc<Names>,
    counts: RequestCounts,
    /// Files that the server refused to store.
    refusals: Refusals,
    replaced: ReplacedNames,
    /// Files that the kernel reads by itself.
    kernel_reads: KernelReads,
    /// Digests of files, computed by the server.
    digests: RecentDigests,
}

impl Vfs {
    /// Creates the tree below `root` on `remote`, whose spool files are recorded in `journal`. What
    /// is read is kept in `disk`. Sends nothing.
    pub(crate) fn new(
        remote: RemoteHandle,
        root: MountRoot,
        options: VfsOptions,
        journal: Journal,
        disk: Option<Arc<DiskCache>>,
    ) -> Arc<Self> {
        let (inodes, unattached) = match root {
            MountRoot::Known(root) => (Inodes::new(Some(root)), None),
            MountRoot::Exported(root, numbers) => (Inodes::exported(root, numbers), None),
            MountRoot::Later(unattached) => (Inodes::new(None), Some(unattached)),
        };
        let inodes = Arc::new(inodes);
        let read = ReadOptions {
            read_ahead: options.read_ahead,
            streams: STREAMS_PER_FILE,
            timeout: options.timeout,
        };
        let cache = Arc::new(Cache::new(CacheOptions {
            ttl: options.dir_ttl,
            max_bytes: options.cache_bytes,
        }));
        let prefetcher =
            Prefetcher::new(remote.clone(), Arc::clone(&cache), disk.clone(), &options);
        if options.names {
            journal.keep_order();
        }
        let writeback = Arc::<Writeback>::default();
        let (shown, queue) = (Arc::clone(&cache), Arc::clone(&writeback));
        let names = Arc::new(Names::new(journal.clone(), shown, queue));
        let spools = SpoolDir::new(journal, options.spool_size);
        let clock = BootClock::start();
        let recent = RecentUploads::new(clock, options.open_ttl);
        let services = Arc::new(FileServices {
            remote: remote.clone(),
            inodes: Arc::clone(&inodes),
            prefetcher: prefetcher.clone(),
            parallel: ParallelReads::new(spools.clone()),
            spools,
            read,
            transfers: Transfers::default(),
            names: Arc::clone(&names),
            clock,
            locks_uploads: AtomicBool::new(false),
            disk,
            kept_uploads: Arc::default(),
            recent: options.writeback.then(|| Arc::new(recent)),
        });
        if let Some(disk) = &services.disk {
            disk.set_server(remote.profile());
        }
        let stored_listings = services
            .disk
            .as_ref()
            .map(|disk| StoredListings::start(Arc::clone(disk), &cache));
        let refusals = Refusals::new(options.dir_ttl.min(REFUSAL_TTL));
        let vfs = Arc::new(Self {
            options,
            unattached,
            remote,
            cache,
            stored_listings,
            prefetcher,
            inodes,
            services,
            files: Handles::default(),
            directories: Handles::default(),
            space: StatfsCache::default(),
            mounted: SystemTime::now(),
            housekeeper: Housekeeper::default(),
            writeback,
            names,
            counts: RequestCounts::default(),
            refusals,
            replaced: ReplacedNames::default(),
            kernel_reads: KernelReads::default(),
            digests: RecentDigests::default(),
        });
        vfs.housekeeper.start(&vfs);
        let house = Arc::downgrade(&vfs);
        vfs.remote.when_back(move || {
            if let Some(vfs) = house.upgrade() {
                vfs.server_is_back();
            }
        });
        if vfs.options.writeback {
            vfs.writeback.start(&vfs);
        }
        if vfs.options.names {
            vfs.names.start(&vfs);
        }
        vfs
    }

    /// Waits after the unmount until everything is stored.
    ///
    /// A file that a program still has open, neither closed nor synced, is incomplete. It is
    /// discarded, and the server keeps its old contents.
    pub(crate) fn drain(&self) {
        self.inodes.release_numbers();
        self.housekeeper.stop();
        self.prefetcher.stop();
        if let Some(stored) = &self.stored_listings {
            stored.end();
        }
        self.services.spools.ending();
        if !self.writeback.files().is_empty() || !self.names.is_empty() {
            self.look_patiently_for_server();
        }
        if let Some(root) = self.inodes.root() {
            self.unpark(&root);
        }
        self.names.end();
        self.writeback.drain();
        self.names.drain();
        if let Some(disk) = &self.services.disk {
            disk.finish(CACHE_PATIENCE);
        }
        for handle in self.files.all() {
            if handle.stores() && handle.file.discard_unclosed() {
                let path = self.inodes.path(handle.file.ino()).ok();
                let name = path.as_ref().map(ToString::to_string);
                let name = name.as_deref().unwrap_or("a file");
                log::warn!(
                    path;
                    "{name} was still open for writing; the server keeps its old contents"
                );
            }
        }
    }

    /// Looks for a server that could not be reached for some seconds. It may be starting.
    fn look_patiently_for_server(&self) {
        /// Pause after a look, as a server refuses connections until it has started.
        const PAUSE: Duration = Duration::from_secs(1);
        let deadline = Instant::now() + ops::LOOK;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if self.remote.look_for_server(left) || left < PAUSE {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Logs the files that the next mount will store because this one ended before it could.
    pub(crate) fn log_pending(&self) {
        self.services.spools.log_pending();
    }

    /// Disconnects from the server after [`Self::drain`]: cleans up leftovers and closes the
    /// sessions.
    pub(crate) fn disconnect(&self) {
        self.discard_all_hidden();
        self.remote.uncancelled().clear_orphans();
        self.remote.save_profile();
        self.remote.uncancelled().close();
        self.services.spools.end();
    }

    /// Returns the counts and limits of the bytes on data connections.
    pub(crate) fn traffic(&self) -> &Traffic {
        self.remote.traffic()
    }

    /// Returns the counters of requests.
    pub(crate) fn counts(&self) -> &RequestCounts {
        &self.counts
    }

    fn check_writable(&self) -> Result<(), Errno> {
        if self.options.read_only {
            Err(Errno::ROFS)
        } else {
            Ok(())
        }
    }
}
