//! FTP as file operations on paths.
//!
//! Each operation has fallbacks, selected by the server's FEAT reply and by its actual behaviour,
//! which the profile remembers for the mount (`ftp::ServerProfile`). Steps that are safe to repeat
//! are retried on another session; other steps are verified first (`retry.rs`). Every failure
//! becomes one [`ErrorKind`], decided only here (`error.rs`, `diagnose.rs`).

mod absence;
mod append;
mod background;
mod case;
mod change;
mod cwd_witness;
mod diagnose;
mod digest;
mod discard;
mod download;
pub(crate) mod error;
mod error_kind;
pub(crate) mod exact_times;
mod fallbacks;
mod finalize;
mod handle;
mod hidden;
mod incomplete;
mod interruption;
pub(crate) mod links;
mod listed_size;
mod listing;
mod listing_check;
mod name_kind;
mod name_lookup;
mod naming;
mod orphan;
mod profile_memory;
mod received;
mod rename;
mod rename_source;
mod reply_text;
mod rest_probe;
mod resumable_upload;
mod resume_probe;
mod retry;
mod server_time;
mod stat;
mod stat_listing;
mod steps;
mod temporary;
mod temporary_name;
mod together;
mod transience;
mod upload;
mod upload_start;
mod url;
mod version;

use std::convert::Infallible;
use std::fs::File;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::cancel::Cancel;
use crate::ftp::{
    self, CommandCounts, ConnectOptions, DigestCommand, DirectoryListing, Entry, ListingBudget,
    RemotePath, ServerProfile, Session, Traffic, Version,
};
use crate::journal::{Journal, ProfileFile};
use crate::pool::{Pool, PoolOptions, Purpose};

pub use crate::journal::CommitOptions;
pub(crate) use crate::pool::RetryMode;
pub(crate) use crate::pool::{
    OfflineStatus, PoolStats, ProblemKind, ServerProblem, is_out_of_reach,
};
pub use append::Append;
pub(crate) use append::{AppendOutcome, AppendRequest};
pub(crate) use background::BackgroundSession;
pub(crate) use case::CaseRule;
pub use download::RemoteDownload;
pub use error::Error;
pub use error_kind::ErrorKind;
pub(crate) use finalize::StoredFacts;
pub(crate) use hidden::HiddenFile;
pub(crate) use incomplete::IncompleteListings;
pub use links::Links;
pub(crate) use orphan::Leftover;
pub(crate) use stat::StatAlone;
pub(crate) use together::BatchAnswer;
pub(crate) use transience::Attempts;
pub(crate) use upload::{CheckedUpload, PlacingResult, PlacingStep, RemoteCopy, RemoteUpload};

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

/// How to reach the server and which policies to apply.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// Options of the connection pool.
    pub pool: PoolOptions,
    /// How existing files are overwritten.
    pub atomic: Atomic,
    /// How files are appended to.
    pub append: Append,
    /// How a finished upload is verified before it is renamed to its final name.
    pub verify: Verify,
    /// How symbolic links are presented.
    pub links: Links,
    /// Maximum total size in bytes of all listings being received.
    pub listing_bytes: usize,
    /// Where the server profile is stored for the next mount.
    pub profile_file: Option<ProfileFile>,
}

/// How an upload is verified after the server has acknowledged it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verify {
    /// By its size.
    Size,
    /// By its size and, if the server supports one, a digest (HASH, XSHA256, XSHA1, XMD5 or XCRC in
    /// FEAT).
    #[default]
    Digest,
}

/// How an existing file is overwritten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Atomic {
    /// In place: a failed upload leaves a truncated file.
    Never,
    /// Atomically if the server allows it. Otherwise by the safest method available, which is
    /// logged.
    #[default]
    Auto,
    /// Atomically or not at all.
    Require,
}

/// Space on the server for this user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Free bytes.
    pub available: u64,
    /// Free and used bytes together, if the server reports a quota.
    pub total: Option<u64>,
}

/// A server and its connections. Clones share them. Its methods do not wait for the server;
/// [`RemoteHandle::with`] returns those that do.
#[derive(Debug, Clone)]
pub struct RemoteHandle {
    inner: Arc<RemoteInner>,
}

#[derive(Debug)]
struct RemoteInner {
    pool: Pool,
    /// How to reach the server.
    server: ConnectOptions,
    profile: ServerProfile,
    memory: ProfileMemory,
    /// The user's time zone of the server.
    timezone: Option<TimeZone>,
    /// Known once there was a session.
    zone: OnceLock<Zone>,
    names: TemporaryNames,
    steps: UploadSteps,
    atomic: Atomic,
    append: Append,
    verify: Verify,
    links: Links,
    listings: ListingBudget,
    listing_checks: ListingChecks,
    incomplete: IncompleteDirectories,
    /// Known once there was a session.
    home: OnceLock<Result<RemotePath, Error>>,
    counts: CommandCounts,
    traffic: Traffic,
    /// Whether the warning about overwriting files in place was logged.
    warned_of_overwriting: LogOnce,
    /// Whether the warning about times or modes that cannot be set was logged.
    warned_of_attributes: LogOnce,
}

/// A message that is logged only once per mount.
#[derive(Debug, Default)]
struct LogOnce(AtomicBool);

impl LogOnce {
    /// Returns true the first time.
    fn first(&self) -> bool {
        !self.0.swap(true, Relaxed)
    }
}

/// A server as a set of files, for one request or one piece of background work. Its methods wait
/// for the server.
///
/// It is not `Clone`: what outlives the request holds one of its own that is never cancelled
/// ([`RemoteHandle::uncancelled`]).
#[derive(Debug)]
pub struct Remote {
    handle: RemoteHandle,
    /// Ends the wait of each operation for its first connection. An operation that has begun is
    /// completed.
    cancel: Cancel,
    /// Whether `cancel` also ends what has begun: an upload, until its data is acknowledged.
    is_interruptible: bool,
}

impl Deref for Remote {
    type Target = RemoteHandle;

    fn deref(&self) -> &RemoteHandle {
        &self.handle
    }
}

impl Remote {
    /// Opens the first session, and learns from it the server's capabilities and the login
    /// directory. Operations in progress are recorded in `journal`.
    ///
    /// # Errors
    /// Those of the first session. It is not an error if the server does not report its working
    /// directory: see [`RemoteHandle::home`].
    pub fn connect(options: RemoteOptions, journal: Journal) -> Result<Self, ftp::Error> {
        let remote = Self::with_pool(options, journal, Pool::connect)?;
        remote.inner.home.get_or_init(|| remote.ask_home());
        remote.save_profile();
        Ok(remote)
    }

    /// Like [`Remote::connect`], but opens the first session when it is needed.
    pub(crate) fn unconnected(options: RemoteOptions, journal: Journal) -> Self {
        let pool = |options| Ok::<_, Infallible>(Pool::unconnected(options));
        let Ok(remote) = Self::with_pool(options, journal, pool);
        remote
    }

    /// Like [`Remote::unconnected`], for a server that cannot be reached because of `error`. Probes
    /// look for it.
    pub(crate) fn offline(options: RemoteOptions, journal: Journal, error: ftp::Error) -> Self {
        let pool = |options| Ok::<_, Infallible>(Pool::offline(options, error));
        let Ok(remote) = Self::with_pool(options, journal, pool);
        remote
    }

    fn with_pool<E>(
        mut options: RemoteOptions,
        journal: Journal,
        pool: impl FnOnce(PoolOptions) -> Result<Pool, E>,
    ) -> Result<Self, E> {
        let listings = ListingBudget::new(options.listing_bytes);
        options.pool.connect.listings = listings.clone();
        let counts = options.pool.connect.counts.clone();
        let traffic = options.pool.connect.traffic.clone();
        let timezone = options.pool.connect.timezone.clone();
        let profile = options.pool.connect.profile.clone();
        let memory = ProfileMemory::load(options.profile_file, &profile);
        let server = options.pool.connect.clone();
        let pool = pool(options.pool)?;
        let inner = RemoteInner {
            pool,
            server,
            timezone,
            zone: OnceLock::new(),
            profile,
            memory,
            names: TemporaryNames::new(journal),
            steps: UploadSteps::default(),
            atomic: options.atomic,
            append: options.append,
            verify: options.verify,
            links: options.links,
            listings,
            listing_checks: ListingChecks::default(),
            incomplete: IncompleteDirectories::default(),
            home: OnceLock::new(),
            counts,
            traffic,
            warned_of_overwriting: LogOnce::default(),
            warned_of_attributes: LogOnce::default(),
        };
        let handle = RemoteHandle {
            inner: Arc::new(inner),
        };
        Ok(handle.uncancelled())
    }

    /// Asks for the login directory, unless it is known.
    ///
    /// # Errors
    /// There is no session, or it failed. If the server does not report the directory, that is the
    /// result of [`RemoteHandle::home`].
    pub(crate) fn identify(&self) -> Result<(), Error> {
        if self.inner.home.get().is_some() {
            return Ok(());
        }
        match self.ask_home() {
            Err(error) if error.kind.is_unanswered() => Err(error),
            home => {
                let _ = self.inner.home.set(home);
                self.save_profile();
                Ok(())
            }
        }
    }

    fn ask_home(&self) -> Result<RemotePath, Error> {
        let root = RemotePath::root();
        let context = ErrorContext::new(Operation::Home, &root);
        let home = self.exchange().run_idempotent(Session::identify);
        home.map_err(|fault| {
            let kind = error::meaning(&fault, &root).unwrap_or(ErrorKind::Unsupported);
            context.error(kind, &fault)
        })
    }

    /// Returns the handle of the server, which others can keep.
    pub(crate) fn handle(&self) -> &RemoteHandle {
        &self.handle
    }

    /// Returns the entry at one path: from MLST, otherwise from the listing of its parent, or, for
    /// the root, by listing it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if nothing exists there.
    pub fn stat(&self, path: &RemotePath) -> Result<Entry, Error> {
        self.ask_wherever(path, |at| {
            stat::stat(self, at).map(|found| named_as(path, at, found))
        })
    }

    /// Like [`Remote::stat`], after the leftovers that concern `path` were resolved: a file that
    /// was moved aside from there is back if the server allows it.
    ///
    /// # Errors
    /// Those of [`Remote::stat`].
    pub fn stat_resolved(&self, path: &RemotePath) -> Result<Entry, Error> {
        self.resolve_leftovers(&mut self.exchange(), path);
        self.stat(path)
    }

    /// Returns the current version of the file at `path`, as far as the server reports it: from
    /// MLST, otherwise from SIZE and MDTM together, otherwise from the listing of its parent. Costs
    /// one round trip if the server has any of the three commands.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if nothing exists there.
    pub fn version(&self, path: &RemotePath) -> Result<Version, Error> {
        self.ask_wherever(path, |path| version::version(self, path))
    }

    /// Returns the entry at `path`, which the listing of its directory neither shows nor rules out:
    /// from MLST, otherwise from CWD, SIZE and MDTM, otherwise from a listing in another form.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] only if the server's replies rule it out.
    pub fn stat_unlisted(&self, path: &RemotePath) -> Result<Entry, Error> {
        self.ask_wherever(path, |at| {
            stat::stat_unlisted(self, at).map(|found| named_as(path, at, found))
        })
    }

    /// Finds out whether the server lists a wrong size for the file at `path`, after a transfer
    /// delivered more or fewer bytes than listed. If it does, listed sizes are treated as unknown
    /// from then on.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub fn check_listed_size(&self, path: &RemotePath) -> Result<(), Error> {
        version::check_listed_size(self, path)
    }

    /// Returns the size of the file at `path`, which the listing does not contain, or `None` if
    /// SIZE does not report it either.
    ///
    /// # Errors
    /// The session failed.
    pub fn size(&self, path: &RemotePath) -> Result<Option<u64>, Error> {
        version::size(self, path)
    }

    /// Returns the listing of a directory and how far it can be trusted. It contains no `.`, no
    /// `..` and no unfinished uploads of ftpfs, and times are in UTC. Of a name that the server
    /// lists twice, the first entry counts. A directory that cannot be listed but can be entered
    /// has an empty listing that rules out no name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] and [`ErrorKind::NotDirectory`], even on servers that send an empty
    /// listing for such a path.
    pub fn list(&self, path: &RemotePath) -> Result<DirectoryListing, Error> {
        listing::list(self, path)
    }

    /// Returns the target of a symlink whose listing did not contain it.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the server does not report it.
    pub fn read_link(&self, path: &RemotePath) -> Result<Vec<u8>, Error> {
        stat::read_link(self, path)
    }

    /// Starts a download of `path` at `offset`.
    ///
    /// # Errors
    /// The reason why the server does not send the file.
    pub fn open_at(&self, path: &RemotePath, offset: u64) -> Result<RemoteDownload, Error> {
        self.ask_wherever(path, |path| {
            let mut exchange = self.exchange();
            if offset > 0 && rest_probe::needs_probe(self.profile()) {
                rest_probe::probe(self, &mut exchange, path);
            }
            download::open_in(self, &mut exchange, path, offset)
        })
    }

    /// Starts an upload of a whole file to `path`: under a temporary name in the same directory, or
    /// directly to `path` if the server accepts no such name.
    ///
    /// # Errors
    /// The reason why the server does not accept the upload.
    pub fn upload(&self, path: &RemotePath) -> Result<RemoteUpload, Error> {
        upload_start::upload(self, path, None)
    }

    /// Like [`Remote::upload`], for a small file that will consist of exactly the first `length`
    /// bytes of `file`. If the server allows it, the data is sent together with the command;
    /// [`RemoteUpload::sent`] reports that.
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

    /// Creates a directory (MKD).
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`], [`ErrorKind::NotFound`] for its parent, and others.
    pub fn make_directory(&self, path: &RemotePath) -> Result<(), Error> {
        change::make_directory(self, path)
    }

    /// Removes a directory (RMD).
    ///
    /// # Errors
    /// [`ErrorKind::NotEmpty`], [`ErrorKind::NotDirectory`] and others.
    pub fn remove_directory(&self, path: &RemotePath) -> Result<(), Error> {
        change::remove_directory(self, path)
    }

    /// Deletes a file (DELE).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::IsDirectory`] and others.
    pub fn delete(&self, path: &RemotePath) -> Result<(), Error> {
        change::delete(self, path)
    }

    /// Renames a file or directory (RNFR, RNTO). Replaces an existing file at `to`.
    ///
    /// # Errors
    /// Those of rename(2).
    pub fn rename(&self, from: &RemotePath, to: &RemotePath) -> Result<(), Error> {
        let mut exchange = self.begin(&ErrorContext::new(Operation::Rename, from))?;
        rename::rename(self, &mut exchange, from, to)
    }

    /// Sets the modification time, in seconds since the epoch, with MFMT, MFF, SITE UTIME or MDTM,
    /// whichever the server accepts. Returns the time that the server reports afterwards.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the server accepts none of them.
    pub fn set_modified(&self, path: &RemotePath, seconds: i64) -> Result<i64, Error> {
        change::set_modified(self, &mut self.exchange(), path, seconds, Owner::File)
    }

    /// Gives the file at `path`, which has its contents already and was `found` there, the time and
    /// mode in `commit`, as an upload does, if it is still the version `base`. Another one has what
    /// was set by the client that stored it. Returns the resulting facts. Best effort.
    pub(crate) fn complete_stored(
        &self,
        path: &RemotePath,
        commit: &CommitOptions,
        base: Option<&Version>,
        found: &Entry,
    ) -> StoredFacts {
        finalize::complete(self, path, commit, base, found)
    }

    /// Sets the modification time of a directory, which many servers do not support.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the server sets only times of files.
    pub fn set_directory_modified(&self, path: &RemotePath, seconds: i64) -> Result<i64, Error> {
        change::set_modified(self, &mut self.exchange(), path, seconds, Owner::Directory)
    }

    /// Sets the mode of a file (SITE CHMOD or MFF).
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the server accepts neither.
    pub fn set_mode(&self, path: &RemotePath, mode: u32) -> Result<(), Error> {
        change::set_mode(self, &mut self.exchange(), path, mode, Owner::File)
    }

    /// Sets the mode of a directory. A server that refuses it may still set modes of files.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the server accepts neither command.
    pub fn set_directory_mode(&self, path: &RemotePath, mode: u32) -> Result<(), Error> {
        change::set_mode(self, &mut self.exchange(), path, mode, Owner::Directory)
    }

    /// Whether the file at `path`, which is listed with `listed` bytes, has that size, as far as
    /// the server tells. It is asked once.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub(crate) fn has_listed_size(&self, path: &RemotePath, listed: u64) -> Result<bool, Error> {
        listed_size::are_true(self, path, listed)
    }

    /// Returns the space for this user, if the server reports it (AVBL, XQUOTA, SITE QUOTA).
    pub fn space(&self, path: &RemotePath) -> Option<Space> {
        change::space(self, path)
    }

    /// Returns a connection for background work, if one becomes free within `patience`. Never takes
    /// the last connection, and none while another operation waits for one.
    pub fn spare(&self, patience: Duration) -> Option<BackgroundSession> {
        background::spare(self, false, patience)
    }

    /// Like [`Self::spare`], for work of a few round trips. It may take the last connection while
    /// all others are in use.
    pub fn spare_briefly(&self, patience: Duration) -> Option<BackgroundSession> {
        background::spare(self, true, patience)
    }

    /// Returns the time after which a transfer that does not move has failed.
    fn timeout(&self) -> Duration {
        self.inner.server.timeout
    }

    /// Whether the server responds: it was heard within the timeout, or sends a greeting on another
    /// connection within the connect timeout. One that allows a single session cannot be asked.
    fn is_server_alive(&self) -> bool {
        let server = &self.inner.server;
        self.pool_stats().limit == 1
            || self.profile().last_heard().elapsed() < server.timeout
            || ftp::probe(server, server.connect_timeout)
    }

    /// Closes all sessions. Operations fail from now on.
    pub fn close(&self) {
        self.pool().close();
    }

    /// Starts an exchange with its session, for a change that takes other steps before its first
    /// command. Once it has begun, nothing cancels it.
    fn begin(&self, context: &ErrorContext<'_>) -> Result<Exchange<'_>, Error> {
        let mut exchange = self.exchange();
        match exchange.ensure_session(Purpose::Command) {
            Ok(()) => Ok(exchange),
            Err(fault) => Err(self.diagnose(&mut exchange, context, &fault)),
        }
    }
}

/// Returns the entry of the file at `at` as that of `path`, which may be another path.
fn named_as(path: &RemotePath, at: &RemotePath, mut found: Entry) -> Entry {
    if at != path {
        found.name = path.name().to_vec();
    }
    found
}
