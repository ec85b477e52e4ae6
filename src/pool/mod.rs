//! The connection pool: logged-in sessions, each leased to one caller at a time.
//!
//! A request for a lease joins the queue of the `Slots`, which hold the sessions and the counts. It
//! gets an idle session, or reserves a `Slot` and makes a session, or waits for one of the two. The
//! [`Lease`] gives the session back when it is dropped. A transfer takes the session out of its
//! lease and keeps the [`Permit`] of the slot instead.
//!
//! The `Limit` on sessions is the option's until the server refuses a session because it has too
//! many (421 or 530, RFC 959 §5.4). Then it is what the server allowed, and after a while the pool
//! tries one more. After a failed connection, the `Backoff` delays the next one.
//!
//! A session that did a transfer asks for its next data connection when its lease ends. The data
//! dialer opens that connection while the session is idle. The maintenance thread keeps idle
//! sessions alive and closes surplus ones.
//!
//! One lock guards the `Slots`. No session sends or waits while the lock is held.

mod acquire;
mod backoff;
mod connection;
mod connectivity;
mod data_dialer;
mod dial;
mod health;
mod idle;
mod lease;
mod limit;
mod maintenance;
mod monitor;
mod network_changes;
mod shared;
mod slots;
mod waker;

use std::convert::Infallible;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::ftp::{self, Cause, ConnectOptions, Reply, ServerProfile, Session};
use crate::guarded;

pub(crate) use connection::PooledConnection;
use connectivity::is_silence;
pub(crate) use connectivity::{OfflineStatus, is_out_of_reach};
pub(crate) use health::{ProblemKind, ServerHealth, ServerProblem};
pub(crate) use lease::{Lease, Permit};

use monitor::Network;
use shared::{PoolShared, Rules};

/// Options of a [`Pool`].
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// How to connect and log in.
    pub connect: ConnectOptions,
    /// Maximum number of sessions; 0 counts as 1.
    pub connections: usize,
    /// How long a session may be idle before it is closed.
    pub idle: Duration,
    /// How long an idle session may be silent before NOOP is sent, so that the server does not
    /// close it.
    pub keep_alive: Duration,
    /// Longest wait for a session while others are in use.
    pub lease_timeout: Duration,
    /// How long to wait for a server that is away.
    pub retry: RetryMode,
    /// Whether requests fail immediately while the server cannot be reached. No effect with
    /// [`RetryMode::Hard`].
    pub works_offline: bool,
}

/// How long to wait for a server that is away or does not answer. The words are those of NFS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RetryMode {
    /// As long as the timeout without progress, and one attempt to connect.
    #[default]
    Soft,
    /// Until it answers. Requests can still be cancelled.
    Hard,
}

/// The sessions of a [`Pool`], counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStats {
    /// Sessions that exist, leased or idle.
    pub open: usize,
    /// Leased sessions.
    pub leased: usize,
    /// Idle sessions with a prepared data connection.
    pub armed: usize,
    /// Maximum number of sessions: the option's, or the server's if that is known and smaller.
    pub limit: usize,
}

/// The purpose of a lease, which decides between several idle sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// RETR, STOR, MLSD or LIST: prefers a session with a prepared data connection.
    Transfer,
    /// Any other command: prefers a session without a prepared data connection.
    Command,
}

/// The reason why there is no session, or why a session failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    /// A session failed at its work.
    #[error(transparent)]
    Session(Arc<ftp::Error>),
    /// No session could be made, and nothing was sent. All requests that wait for a dead server
    /// share one error.
    #[error(transparent)]
    Unavailable(Arc<ftp::Error>),
    /// The server cannot be reached, and nothing was sent. Probes look for it.
    #[error("the server cannot be reached: {0}")]
    Offline(Arc<ftp::Error>),
    /// All sessions were leased or being made for the whole wait.
    #[error("no connection was available for {0:?}")]
    Exhausted(Duration),
    /// [`Pool::close`] was called.
    #[error("the connections were closed")]
    Closed,
    /// The request was cancelled. Nothing was sent.
    #[error("the request was interrupted")]
    Cancelled,
}

impl Cause for Error {
    fn quoted_reply(&self) -> Option<&Reply> {
        match self {
            Self::Session(error) | Self::Unavailable(error) | Self::Offline(error) => {
                error.quoted_reply()
            }
            Self::Exhausted(_) | Self::Closed | Self::Cancelled => None,
        }
    }
}

impl From<ftp::Error> for Error {
    fn from(error: ftp::Error) -> Self {
        Self::Session(Arc::new(error))
    }
}

/// A handle of a pool of logged-in sessions to one server. Clones share the pool.
///
/// When the last handle and the last lease are dropped, the idle sessions are closed and the pool's
/// threads end.
pub(crate) struct Pool<S: PooledConnection = Session> {
    shared: Arc<PoolShared<S>>,
    profile: ServerProfile,
    health: ServerHealth,
}

impl Pool<Session> {
    /// Makes the first session, so that a wrong host or password shows immediately.
    ///
    /// # Errors
    /// The first session cannot be made.
    pub(crate) fn connect(options: PoolOptions) -> Result<Self, ftp::Error> {
        let first = Session::connect(&options.connect)?;
        let pool = Self::unconnected(options);
        pool.shared.insert(first);
        Ok(pool)
    }

    /// Makes no session: the server cannot be reached because of `error`, and probes look for it.
    pub(crate) fn offline(options: PoolOptions, error: ftp::Error) -> Self {
        let pool = Self::unconnected(options);
        pool.shared
            .lock()
            .begin_offline(&Arc::new(error), Instant::now());
        pool.shared.wake_monitor();
        pool
    }

    /// Makes no session before the first lease.
    pub(crate) fn unconnected(options: PoolOptions) -> Self {
        let rules = Rules {
            connections: options.connections,
            idle: options.idle,
            keep_alive: options.keep_alive,
            lease_timeout: options.lease_timeout,
            retry: options.retry,
            timeout: options.connect.timeout,
            connect_timeout: options.connect.connect_timeout,
            works_offline: options.works_offline && options.retry == RetryMode::Soft,
        };
        let connect = options.connect;
        let profile = connect.profile.clone();
        let health = ServerHealth::default();
        let observed = health.clone();
        let (to_probe, sockets) = (connect.clone(), connect.sockets.clone());
        let (for_lost, for_signs) = (sockets.clone(), sockets.clone());
        let network = Network {
            answers: Box::new(move |patience| {
                let greeted = ftp::greet(&to_probe, patience);
                greeted.map_or_else(|error| !is_silence(&error), |()| true)
            }),
            last_sign: Box::new(move || for_signs.last_sign()),
            end_all: Box::new(move || sockets.end_all()),
            end_lost: Box::new(move || for_lost.end_lost()),
        };
        let dial = move || observed.observe(Session::connect(&connect));
        let pool = Self::with(rules, profile, dial);
        if rules.works_offline
            && let Err(error) = monitor::start(&pool.shared, network)
        {
            pool.shared.lock().stay_online();
            log::warn!(
                "the mount does not work without the server: cannot start the thread that looks for it: {error}"
            );
        }
        Self { health, ..pool }
    }
}

/// Starts the threads of a pool. It works without them, only slower.
fn start_threads<S: PooledConnection>(
    shared: &Arc<PoolShared<S>>,
    woken: Option<UnixStream>,
    ended: Receiver<Infallible>,
) {
    let data_dialer = woken.map(|woken| data_dialer::start(shared, woken));
    if !matches!(data_dialer, Some(Ok(()))) {
        log::warn!(
            "cannot start the thread that prepares data connections: {data_dialer:?}; \
             each transfer opens its own"
        );
    }
    if let Err(error) = maintenance::start(shared, ended) {
        log::warn!("cannot start the thread that keeps idle connections alive: {error}");
    }
}

impl<S: PooledConnection> Pool<S> {
    fn with(
        rules: Rules,
        profile: ServerProfile,
        dial: impl Fn() -> Result<S, ftp::Error> + Send + Sync + 'static,
    ) -> Self {
        // A request whose login panicked fails or waits like after any other failed login.
        let dial = move || guarded::catch("a login", &dial).unwrap_or_else(|| Err(panicked()));
        let (life, ended) = mpsc::channel();
        let (waker, woken) = waker::waker().ok().unzip();
        let dial = Box::new(dial);
        let shared = PoolShared::new(rules, profile.clone(), dial, waker, life);
        start_threads(&shared, woken, ended);
        let health = ServerHealth::default();
        Self {
            shared,
            profile,
            health,
        }
    }

    /// What the sessions have found out about the server so far.
    pub(crate) fn profile(&self) -> &ServerProfile {
        &self.profile
    }

    /// The results of the attempts to make a session.
    pub(crate) fn health(&self) -> &ServerHealth {
        &self.health
    }

    /// Returns what is wrong with the server. A full server is no problem while a session exists,
    /// and no failed attempt is one after the server was heard on a session.
    pub(crate) fn problem(&self) -> Option<ServerProblem> {
        let has_session = self.stats().open > 0;
        let is_about_number = |kind| matches!(kind, ProblemKind::Full | ProblemKind::LoginRefused);
        let problem = self.health.problem()?;
        let was_heard_since = self.profile.last_heard().elapsed() < problem.last_attempt;
        let works = has_session && (was_heard_since || is_about_number(problem.kind));
        (!works).then_some(problem)
    }

    /// Why there is no server and since when, while the pool works offline.
    pub(crate) fn outage(&self) -> Option<OfflineStatus> {
        self.shared.lock().offline(Instant::now())
    }

    /// Calls `on_return` whenever a server that was given up can be reached again. It must not wait
    /// for the server.
    pub(crate) fn when_back(&self, on_return: impl Fn() + Send + Sync + 'static) {
        self.shared.when_back(Arc::new(on_return));
    }

    /// Whether the pool works offline now.
    pub(crate) fn is_offline(&self) -> bool {
        self.shared.lock().given_up().is_some()
    }

    /// Looks for a server that was given up, and waits for `patience` at most until it is found or
    /// not. Returns whether it is there.
    pub(crate) fn look_for_server(&self, patience: Duration) -> bool {
        self.shared.look_for_server(patience)
    }

    /// Like [`Self::look_for_server`], for one of many that may ask in a row: does nothing if the
    /// server was looked for just now.
    pub(crate) fn look_once_for_server(&self, patience: Duration) -> bool {
        self.shared.look_once_for_server(patience)
    }

    /// Looks for a lost server now.
    pub(crate) fn probe_now(&self) {
        self.shared.lock().expedite_probe(Instant::now());
        self.shared.wake_monitor();
    }

    /// How long requests wait for a server that is away.
    pub(crate) fn retry_mode(&self) -> RetryMode {
        self.shared.rules.retry
    }

    /// Leases an idle session, or waits for the next one, which is made if the limit allows.
    /// Requests are served in order. A cancelled one leaves the queue. While the server is away,
    /// attempts to connect go on for as long as [`PoolOptions::retry`] says.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if no session exists and none can be made; [`Error::Exhausted`] after
    /// [`PoolOptions::lease_timeout`]; [`Error::Closed`] after [`Pool::close`];
    /// [`Error::Cancelled`].
    pub(crate) fn lease(&self, purpose: Purpose, cancel: &Cancel) -> Result<Lease<S>, Error> {
        self.shared.lease(purpose, cancel)
    }

    /// Like [`Pool::lease`], but does not wait for longer than `patience`: for a thread that holds
    /// another session, for which others may wait.
    pub(crate) fn brief_lease(&self, purpose: Purpose, patience: Duration) -> Option<Lease<S>> {
        let never = Cancel::never();
        self.shared
            .lease_within(purpose, Some(patience), &never)
            .ok()
    }

    /// Leases a session for background work, within `patience`. It is an idle session if there is
    /// another one, or a new session. One slot is left to [`Pool::lease`], and while that waits,
    /// there is no background lease.
    pub(crate) fn background_lease(&self, patience: Duration) -> Option<Lease<S>> {
        self.shared.background_lease(false, patience)
    }

    /// Like [`Pool::background_lease`], for work of a few round trips. Where all sessions that the
    /// limit allows are in use but one, it is that one: [`Pool::lease`] gets the next that is free.
    pub(crate) fn brief_background_lease(&self, patience: Duration) -> Option<Lease<S>> {
        self.shared.background_lease(true, patience)
    }

    /// Makes sessions in the background until there are `sessions`, or as many as the limit allows.
    pub(crate) fn grow_to(&self, sessions: usize) {
        self.shared.grow_to(sessions);
    }

    /// Closes the idle sessions. Useful after a session met a timeout: the route to the server may
    /// have changed for all of them.
    pub(crate) fn evict_idle(&self) {
        self.shared.evict_idle();
    }

    /// Waits until a [`Pool::lease`] waits while all sessions are leased, for `patience` at most.
    /// Returns whether that is the case. A caller with a background lease can end it then.
    pub(crate) fn wait_until_contended(&self, patience: Duration) -> bool {
        self.shared.wait_until_contended(patience)
    }

    /// Counts the sessions.
    pub(crate) fn stats(&self) -> PoolStats {
        self.shared.stats()
    }

    /// Refuses new leases, and sends QUIT on the idle sessions. A leased session ends with its
    /// lease.
    pub(crate) fn close(&self) {
        self.shared.close();
    }
}

impl<S: PooledConnection> Clone for Pool<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            profile: self.profile.clone(),
            health: self.health.clone(),
        }
    }
}

impl<S: PooledConnection> std::fmt::Debug for Pool<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

fn panicked() -> ftp::Error {
    ftp::Error::Io {
        phase: ftp::Phase::Connect,
        source: std::io::Error::other("the login panicked, which is a mistake in ftpfs"),
    }
}
