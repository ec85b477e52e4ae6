//! What can be said about a server without asking it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::incomplete::{IncompleteDirectories, IncompleteListings};
use super::listing_check::ListingChecks;
use super::server_time::Zone;
use super::steps::UploadSteps;
use super::temporary::TemporaryNames;
use super::{Atomic, Error, ErrorKind, Links, Remote, RemoteHandle, RetryMode, Verify};
use crate::cancel::Cancel;
use crate::ftp::{self, Capability, ListingBudget, RemotePath, ServerProfile, Traffic};
use crate::pool::{OfflineStatus, Pool, PoolStats, ServerProblem};

impl RemoteHandle {
    /// Returns what asks the server, for work that `cancel` ends.
    pub(crate) fn with(&self, cancel: &Cancel) -> Remote {
        Remote {
            handle: self.clone(),
            cancel: cancel.clone(),
            is_interruptible: false,
        }
    }

    /// Returns what asks the server, for work that `interrupt` ends even while it waits for a
    /// reply: it closes the connection.
    pub(crate) fn interruptible(&self, interrupt: &Cancel) -> Remote {
        Remote {
            is_interruptible: true,
            ..self.with(interrupt)
        }
    }

    /// Returns what asks the server, for work that must be completed.
    pub(crate) fn uncancelled(&self) -> Remote {
        self.with(&Cancel::never())
    }

    /// Returns the login directory, requested once (PWD of the first session).
    ///
    /// # Errors
    /// The server does not report it, or there was no session yet.
    pub fn home(&self) -> Result<RemotePath, Error> {
        let unknown = || Error {
            kind: ErrorKind::NoConnection,
            operation: "find the home directory",
            path: RemotePath::root(),
            reason: "not connected yet".to_owned(),
            reply: None,
        };
        self.inner
            .home
            .get()
            .cloned()
            .unwrap_or_else(|| Err(unknown()))
    }

    /// Whether [`Remote::stat`] costs a single command. If not, listing the parent is cheaper.
    pub fn can_stat(&self) -> bool {
        self.profile().has(Capability::Mlst)
    }

    /// Whether [`Remote::stat`] costs a single command for this name. If the server may change the
    /// name, only the listing shows whether the file exists.
    pub fn can_stat_name(&self, name: &[u8]) -> bool {
        let profile = self.profile();
        self.can_stat()
            && profile.finding(Capability::CaseSensitive) != ftp::Finding::Fails
            && self.is_name_kept(name)
    }

    /// Whether SIZE is worth a try.
    pub fn supports_size(&self) -> bool {
        self.profile().has(Capability::Size)
    }

    /// Whether the server has listed a directory with Unix modes.
    pub fn has_directory_modes(&self) -> bool {
        self.profile().is_proven(Capability::DirectoryModes)
    }

    /// Whether the `perm` facts of the server can be believed.
    pub fn has_perm_facts(&self) -> bool {
        self.profile().has(Capability::PermFacts)
    }

    /// Records that the server allowed what its `perm` facts denied.
    pub fn contradict_perm_facts(&self, path: &RemotePath) {
        let why = format!("{path} was created in a directory without perm=c");
        self.profile().fails(Capability::PermFacts, &why);
    }

    /// Warns that the time or mode of a stored file was not set. Warns only once per mount, because
    /// the file itself is stored.
    pub fn warn_unset(&self, error: &Error) {
        if self.inner.warned_of_attributes.first() {
            log::warn!(
                path = error.path, reply = error.reply;
                "{error}; further refusals of modes and times are logged as debug messages"
            );
        } else {
            log::debug!("{error}");
        }
    }

    /// Announces that all connections will be needed shortly. The missing ones are opened in the
    /// background.
    pub fn expect_all(&self) {
        self.pool().grow_to(self.pool().stats().limit);
    }

    /// Opens connections in the background until there are as many, or as many as the limit allows.
    pub fn expect(&self, connections: usize) {
        self.pool().grow_to(connections);
    }

    /// Waits up to `patience` until an operation waits for a connection while all are in use.
    /// Returns whether that happened. Background transfers can then be stopped.
    pub fn wait_until_contended(&self, patience: Duration) -> bool {
        self.pool().wait_until_contended(patience)
    }

    /// Returns how long operations wait for a server that is away.
    pub fn retry_mode(&self) -> RetryMode {
        self.pool().retry_mode()
    }

    /// Returns statistics of the connections, for `ftpfs status`.
    pub fn pool_stats(&self) -> PoolStats {
        self.pool().stats()
    }

    /// Returns the directories whose listings could not be fully parsed, for `ftpfs status`.
    pub fn incomplete_listings(&self) -> IncompleteListings {
        self.incomplete().snapshot()
    }

    /// Returns how often each command was sent, for `ftpfs status`.
    pub fn command_counts(&self) -> BTreeMap<String, u64> {
        self.inner.counts.so_far()
    }

    /// Returns how often commands were sent; those sent together count once.
    pub fn round_trips(&self) -> u64 {
        self.inner.counts.round_trips()
    }

    /// Returns the counts and limits of the bytes on data connections.
    pub fn traffic(&self) -> &Traffic {
        &self.inner.traffic
    }

    /// Returns how many steps and transfers were repeated.
    pub fn retries(&self) -> u64 {
        self.pool().health().retries()
    }

    /// Returns why there is no server and since when, while the mount works without it.
    pub(crate) fn offline(&self) -> Option<OfflineStatus> {
        self.pool().outage()
    }

    /// Calls `on_return` whenever a server that was given up can be reached again. It must not wait
    /// for the server.
    pub(crate) fn when_back(&self, on_return: impl Fn() + Send + Sync + 'static) {
        self.pool().when_back(on_return);
    }

    /// Whether the server cannot be reached and the mount works without it.
    pub(crate) fn is_offline(&self) -> bool {
        self.pool().is_offline()
    }

    /// Looks for a server that was given up, and waits for `patience` at most until it is found or
    /// not. Returns whether it is there.
    pub(crate) fn look_for_server(&self, patience: Duration) -> bool {
        self.pool().look_for_server(patience)
    }

    /// Like [`Self::look_for_server`], for one of many that may ask in a row: does nothing if the
    /// server was looked for just now.
    pub(crate) fn look_once_for_server(&self, patience: Duration) -> bool {
        self.pool().look_once_for_server(patience)
    }

    /// Looks for a lost server now.
    pub(crate) fn probe_now(&self) {
        self.pool().probe_now();
    }

    /// Returns what is wrong with the server, if the last attempt to open a session failed.
    pub(crate) fn problem(&self) -> Option<ServerProblem> {
        self.pool().problem()
    }

    /// Stores the server profile for the next mount if it has changed. Accesses only local files.
    pub fn save_profile(&self) {
        self.inner.memory.save(&self.inner.profile);
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    /// Returns what is known about the server's capabilities and behaviour.
    pub fn profile(&self) -> &ServerProfile {
        &self.inner.profile
    }

    pub(super) fn zone(&self) -> &Zone {
        self.inner.zone.get_or_init(|| {
            let is_mdtm_local = !self.profile().has(Capability::MdtmUtc);
            Zone::new(self.inner.timezone.clone(), is_mdtm_local)
        })
    }

    pub(super) fn atomic(&self) -> Atomic {
        self.inner.atomic
    }

    pub(super) fn verify(&self) -> Verify {
        self.inner.verify
    }

    pub(super) fn links(&self) -> Links {
        self.inner.links
    }

    pub(super) fn listings(&self) -> &ListingBudget {
        &self.inner.listings
    }

    pub(super) fn listing_checks(&self) -> &ListingChecks {
        &self.inner.listing_checks
    }

    pub(super) fn incomplete(&self) -> &IncompleteDirectories {
        &self.inner.incomplete
    }

    pub(super) fn names(&self) -> &TemporaryNames {
        &self.inner.names
    }

    pub(super) fn steps(&self) -> &UploadSteps {
        &self.inner.steps
    }
}
