//! FTP as file operations on paths.
//!
//! Each operation has its fallbacks, by what FEAT says and by what the server really answers,
//! remembered for the mount (`ftp::ServerProfile`); what is safe to repeat on another session is
//! repeated, what is not is first verified (`retry.rs`); and each failure is one [`ErrorKind`],
//! decided here once (`error.rs`, `diagnose.rs`).

mod absence;
mod background;
mod case;
mod change;
mod diagnose;
mod digest;
mod download;
pub mod error;
mod fallbacks;
mod finalize;
mod hidden;
mod incomplete;
pub mod links;
mod listed_size;
mod listing;
mod listing_check;
mod name_kind;
mod naming;
mod orphan;
mod profile_memory;
mod rename;
mod rename_source;
mod reply_text;
mod rest_probe;
mod resumable_upload;
mod retry;
mod server_time;
mod stat;
mod stat_listing;
mod steps;
mod temporary;
mod upload;
mod upload_start;
mod version;

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::ftp::{
    self, Capability, CommandCounts, DigestCommand, DirectoryListing, Entry, ListingBudget,
    RemotePath, ServerProfile, Session,
};
use crate::journal::{Journal, ProfileFile};
use crate::pool::{self, Pool, PoolOptions};

pub use crate::pool::PoolStats;
pub use background::BackgroundSession;
pub use case::CaseRule;
pub use download::RemoteDownload;
pub use error::{Error, ErrorKind};
pub use hidden::HiddenFile;
pub use incomplete::IncompleteListings;
pub use links::Links;
pub use orphan::Leftover;
pub use upload::RemoteUpload;
pub use version::Version;

use change::Owner;
use error::{ErrorContext, Operation};
use fallbacks::Fallback;
use incomplete::IncompleteDirectories;
use listing_check::ListingChecks;
use profile_memory::ProfileMemory;
use retry::Exchange;
use server_time::Zone;
use steps::UploadSteps;
use temporary::TemporaryNames;
use upload_start::Whole;

/// How to reach the server and how to treat it.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// The sessions.
    pub pool: PoolOptions,
    /// How files are overwritten.
    pub atomic: Atomic,
    /// How an upload is looked at before it takes its place.
    pub verify: Verify,
    /// How symbolic links are treated.
    pub links: Links,
    /// Most bytes of all listings that are being received.
    pub listing_bytes: usize,
    /// Where what is found out about the server is kept for the next mount.
    pub profile_file: Option<ProfileFile>,
}

/// How an upload is looked at when the server has acknowledged it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verify {
    /// By its size.
    Size,
    /// By its digest, too, where the server tells one (HASH, XSHA256, XSHA1, XMD5 or XCRC in FEAT).
    #[default]
    Digest,
}

/// How a file is overwritten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Atomic {
    /// Straight at its name: an upload that fails leaves it cut short.
    Never,
    /// At once where the server lets it be, else as safely as can be, which is logged.
    #[default]
    Auto,
    /// At once or not at all.
    Require,
}

/// What is to hold of a file when its upload is committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// The whole size that must have arrived.
    pub size: u64,
    /// Time of modification to set, seconds since the epoch; best effort.
    pub modified: Option<i64>,
    /// Mode that the file is to have; best effort.
    pub mode: Option<u32>,
}

/// What the server says of a file that it has just stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// Time of modification, UTC seconds since the epoch, where the server told.
    pub modified: Option<i64>,
    /// Permission bits: those that were set, else those that the server told, else those that
    /// servers give a new file.
    pub mode: Option<u32>,
    /// The `unique` fact (RFC 3659 §7.5.2) as [`crate::ftp::listing::unique_hash`] shortens it; 0
    /// where there is none.
    pub unique: u64,
}

/// Bytes on the server and for the user, by AVBL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Free bytes.
    pub available: u64,
}

/// A server, as files; shared by handle.
#[derive(Debug, Clone)]
pub struct Remote {
    inner: Arc<RemoteInner>,
}

#[derive(Debug)]
struct RemoteInner {
    pool: Pool,
    profile: ServerProfile,
    memory: ProfileMemory,
    zone: Zone,
    names: TemporaryNames,
    steps: UploadSteps,
    atomic: Atomic,
    verify: Verify,
    links: Links,
    listings: ListingBudget,
    listing_checks: ListingChecks,
    incomplete: IncompleteDirectories,
    home: Result<RemotePath, Error>,
    counts: CommandCounts,
    /// That a file is overwritten in place was logged.
    warned_of_overwriting: LogOnce,
    /// That times or modes cannot be set was logged.
    warned_of_attributes: LogOnce,
}

/// Something that is said only once a mount.
#[derive(Debug, Default)]
struct LogOnce(AtomicBool);

impl LogOnce {
    /// True the first time.
    fn first(&self) -> bool {
        !self.0.swap(true, Relaxed)
    }
}

impl Remote {
    /// Makes the first session, and learns from it what the server can do and where a login starts.
    /// What is under way later is noted in `journal`.
    ///
    /// # Errors
    /// The first session's. That the server does not tell its working directory is none: see
    /// [`Remote::home`].
    pub fn connect(mut options: RemoteOptions, journal: Journal) -> Result<Self, ftp::Error> {
        let listings = ListingBudget::new(options.listing_bytes);
        options.pool.connect.listings = listings.clone();
        let counts = options.pool.connect.counts.clone();
        let timezone = options.pool.connect.timezone.clone();
        let profile = options.pool.connect.profile.clone();
        let memory = ProfileMemory::load(options.profile_file, &profile);
        let pool = Pool::connect(options.pool)?;
        let root = RemotePath::root();
        let context = ErrorContext::new(Operation::Home, &root);
        let unknown = |fault: &pool::Error| {
            let kind = error::meaning(fault, &root).unwrap_or(ErrorKind::Unsupported);
            context.error(kind, &fault)
        };
        let mut exchange = Exchange::new(&pool);
        let home = exchange.run_idempotent(Session::identify);
        let home = home.map_err(|fault| unknown(&fault));
        memory.save(&profile);
        drop(exchange);
        let inner = RemoteInner {
            pool,
            zone: Zone::new(timezone, !profile.has(Capability::MdtmUtc)),
            profile,
            memory,
            names: TemporaryNames::new(journal),
            steps: UploadSteps::default(),
            atomic: options.atomic,
            verify: options.verify,
            links: options.links,
            listings,
            listing_checks: ListingChecks::default(),
            incomplete: IncompleteDirectories::default(),
            home,
            counts,
            warned_of_overwriting: LogOnce::default(),
            warned_of_attributes: LogOnce::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The directory a login starts in, asked once (PWD of the first session).
    ///
    /// # Errors
    /// The server did not tell.
    pub fn home(&self) -> Result<RemotePath, Error> {
        self.inner.home.clone()
    }

    /// Whether [`Remote::stat`] costs one command; where not, a listing of the parent is the
    /// cheaper way.
    pub fn can_stat(&self) -> bool {
        self.profile().has(Capability::Mlst)
    }

    /// The same for this name: of one that the server may change, only the listing tells whether it
    /// is there.
    pub fn can_stat_name(&self, name: &[u8]) -> bool {
        let profile = self.profile();
        self.can_stat()
            && profile.finding(Capability::CaseSensitive) != ftp::Finding::Fails
            && self.is_name_kept(name)
    }

    /// One path's entry (MLST; where the server has none: from its parent's listing; the root: by
    /// listing it).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where nothing is there.
    pub fn stat(&self, path: &RemotePath) -> Result<Entry, Error> {
        stat::stat(self, path)
    }

    /// What identifies `path`'s contents now, as far as the server tells (MLST, else SIZE and MDTM
    /// together, else from its parent's listing): one round trip where the server has any of the
    /// three.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where nothing is there.
    pub fn version(&self, path: &RemotePath) -> Result<Version, Error> {
        version::version(self, path)
    }

    /// What is at `path`, which the listing of its directory neither shows nor rules out: by MLST,
    /// else by CWD, SIZE and MDTM, else by a listing in another form.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] only where the server's answers rule it out.
    pub fn stat_unlisted(&self, path: &RemotePath) -> Result<Entry, Error> {
        stat::stat_unlisted(self, path)
    }

    /// Finds out whether the server lists a wrong size of the file at `path`, after a transfer
    /// brought more or fewer bytes than were listed. If it does, listed sizes count as unknown from
    /// then on.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub fn check_listed_size(&self, path: &RemotePath) -> Result<(), Error> {
        version::check_listed_size(self, path)
    }

    /// Whether SIZE is worth asking.
    pub fn supports_size(&self) -> bool {
        self.profile().has(Capability::Size)
    }

    /// The size of the file at `path`, of which the listing tells none; none where SIZE does not
    /// tell it either.
    ///
    /// # Errors
    /// The session broke.
    pub fn size(&self, path: &RemotePath) -> Result<Option<u64>, Error> {
        version::size(self, path)
    }

    /// A directory's listing and how far it can be trusted: no `.`, no `..`, no name twice, no
    /// unfinished upload of ours, times in UTC. A directory that cannot be listed, and may be
    /// entered, has an empty one that answers for no name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] and [`ErrorKind::NotDirectory`] also on servers that answer such a
    /// path with an empty listing.
    pub fn list(&self, path: &RemotePath) -> Result<DirectoryListing, Error> {
        listing::list(self, path)
    }

    /// A symlink's target, where the listing did not give it.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the server does not tell.
    pub fn read_link(&self, path: &RemotePath) -> Result<Vec<u8>, Error> {
        stat::read_link(self, path)
    }

    /// Starts reading `path` at `offset`.
    ///
    /// # Errors
    /// Why the server does not send it.
    pub fn open_at(&self, path: &RemotePath, offset: u64) -> Result<RemoteDownload, Error> {
        download::open_at(self, path, offset)
    }

    /// Starts storing a whole file that will be at `path`: under a temporary name beside it, or
    /// straight at `path` where the server takes no such name.
    ///
    /// # Errors
    /// Why the server does not take it.
    pub fn upload(&self, path: &RemotePath) -> Result<RemoteUpload, Error> {
        upload_start::upload(self, path, None)
    }

    /// The same of a small file that is to have the first `length` bytes of `file`, and no more:
    /// where the server bears it they go with the command, and [`RemoteUpload::sent`] tells.
    ///
    /// # Errors
    /// Those of [`Remote::upload`].
    pub fn upload_whole(
        &self,
        path: &RemotePath,
        file: &File,
        length: u64,
    ) -> Result<RemoteUpload, Error> {
        let is_hashed = self.verify() == Verify::Digest
            && DigestCommand::candidates(self.profile()).next().is_some();
        let look = !is_hashed;
        upload_start::upload(self, path, Some(Whole { file, length, look }))
    }

    /// MKD.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`], [`ErrorKind::NotFound`] for its parent, and others.
    pub fn make_directory(&self, path: &RemotePath) -> Result<(), Error> {
        change::make_directory(self, path)
    }

    /// RMD.
    ///
    /// # Errors
    /// [`ErrorKind::NotEmpty`], [`ErrorKind::NotDirectory`] and others.
    pub fn remove_directory(&self, path: &RemotePath) -> Result<(), Error> {
        change::remove_directory(self, path)
    }

    /// DELE.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::IsDirectory`] and others.
    pub fn delete(&self, path: &RemotePath) -> Result<(), Error> {
        change::delete(self, path)
    }

    /// RNFR, RNTO; a file already at `to` is replaced.
    ///
    /// # Errors
    /// Those of rename(2).
    pub fn rename(&self, from: &RemotePath, to: &RemotePath) -> Result<(), Error> {
        rename::rename(self, &mut self.exchange(), from, to)
    }

    /// Sets the time of modification, seconds since the epoch: MFMT, MFF, SITE UTIME or MDTM,
    /// whichever the server takes. Gives the time that it tells then.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where it takes none.
    pub fn set_modified(&self, path: &RemotePath, seconds: i64) -> Result<i64, Error> {
        change::set_modified(self, &mut self.exchange(), path, seconds, Owner::File)
    }

    /// The same of a directory, whose time many servers do not set.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the server sets times of files alone.
    pub fn set_directory_modified(&self, path: &RemotePath, seconds: i64) -> Result<i64, Error> {
        change::set_modified(self, &mut self.exchange(), path, seconds, Owner::Directory)
    }

    /// SITE CHMOD or MFF.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the server takes none.
    pub fn set_mode(&self, path: &RemotePath, mode: u32) -> Result<(), Error> {
        change::set_mode(self, &mut self.exchange(), path, mode, Owner::File)
    }

    /// The same of a directory: a server that refuses it may set modes of files.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the server takes none.
    pub fn set_directory_mode(&self, path: &RemotePath, mode: u32) -> Result<(), Error> {
        change::set_mode(self, &mut self.exchange(), path, mode, Owner::Directory)
    }

    /// Whether the server was seen to list directories with Unix modes.
    pub fn has_directory_modes(&self) -> bool {
        self.profile().is_proven(Capability::DirectoryModes)
    }

    /// Warns that a time or a mode of a stored file was not set: once per mount, because the file
    /// is stored all the same.
    pub fn warn_unset(&self, error: &Error) {
        if self.inner.warned_of_attributes.first() {
            log::warn!("{error}; further refusals of modes and times are logged as debug messages");
        } else {
            log::debug!("{error}");
        }
    }

    /// Free space, where the server tells (AVBL).
    pub fn space(&self, path: &RemotePath) -> Option<Space> {
        change::space(self, path)
    }

    /// A connection for background work, if there is one to spare within `patience`:
    /// never the last one, and none while somebody waits.
    pub fn spare(&self, patience: Duration) -> Option<BackgroundSession> {
        background::spare(self, patience)
    }

    /// All the connections there may be will be wanted in a moment: the missing ones are made in
    /// the background.
    pub fn expect_all(&self) {
        self.pool().grow_to(self.pool().stats().limit);
    }

    /// Waits until an operation waits for a connection while all are taken, for `patience` at the
    /// longest; whether it is so. Transfers that nobody waits for can then be ended.
    pub fn wait_until_contended(&self, patience: Duration) -> bool {
        self.pool().wait_until_contended(patience)
    }

    /// The connections, for `ftpfs status`.
    pub fn pool_stats(&self) -> PoolStats {
        self.pool().stats()
    }

    /// Directories whose listing was not wholly understood, for `ftpfs status`.
    pub fn incomplete_listings(&self) -> IncompleteListings {
        self.incomplete().snapshot()
    }

    /// How often each command was sent, for `ftpfs status`.
    pub fn command_counts(&self) -> BTreeMap<String, u64> {
        self.inner.counts.so_far()
    }

    /// Keeps what was found out about the server for the next mount, where that is news. Local work
    /// only.
    pub fn save_profile(&self) {
        self.inner.memory.save(&self.inner.profile);
    }

    /// Ends all sessions; operations fail from now on.
    pub fn close(&self) {
        self.pool().close();
    }

    fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    /// What the server can and does, as far as is known.
    pub fn profile(&self) -> &ServerProfile {
        &self.inner.profile
    }

    fn zone(&self) -> &Zone {
        &self.inner.zone
    }

    fn atomic(&self) -> Atomic {
        self.inner.atomic
    }

    fn verify(&self) -> Verify {
        self.inner.verify
    }

    fn links(&self) -> Links {
        self.inner.links
    }

    fn listings(&self) -> &ListingBudget {
        &self.inner.listings
    }

    fn listing_checks(&self) -> &ListingChecks {
        &self.inner.listing_checks
    }

    fn incomplete(&self) -> &IncompleteDirectories {
        &self.inner.incomplete
    }

    fn names(&self) -> &TemporaryNames {
        &self.inner.names
    }

    fn steps(&self) -> &UploadSteps {
        &self.inner.steps
    }

    fn exchange(&self) -> Exchange<'_> {
        Exchange::new(self.pool())
    }
}
