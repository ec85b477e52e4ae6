//! A server without sockets, and its connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use crate::ftp::{self, Phase, Readiness, Reply, ReplyCode, Watch};
use crate::pool::PooledConnection;

/// A server that counts its sessions.
#[derive(Default)]
pub(super) struct FakeServer {
    /// Accepts connections and says nothing.
    pub(super) silent: AtomicBool,
    /// Refuses all connections.
    pub(super) down: AtomicBool,
    /// Maximum number of sessions; 0 for no limit.
    pub(super) limit: AtomicUsize,
    /// Refuses more sessions with a reply that does not say so in known words.
    pub(super) speaks_oddly: AtomicBool,
    /// Connections that were attempted.
    pub(super) dials: AtomicUsize,
    /// Sessions that exist.
    pub(super) open: AtomicUsize,
    /// Largest number of sessions that existed at the same time.
    pub(super) most: AtomicUsize,
    pub(super) noops: AtomicUsize,
    pub(super) quits: AtomicUsize,
    /// Sessions prepare data connections.
    pub(super) arms: AtomicBool,
    /// Preparing a data connection never ends.
    pub(super) arms_slowly: AtomicBool,
    /// Prepared data connections are old.
    pub(super) ages: AtomicBool,
    /// Sessions panic in maintenance.
    pub(super) panics: AtomicBool,
    /// A session panicked while its data connection opened.
    pub(super) panicked: AtomicBool,
    /// Data connections that were renewed.
    pub(super) renewed: AtomicUsize,
    /// Counts restarts. Sessions of an earlier epoch are dead.
    pub(super) epoch: AtomicUsize,
}

pub(super) struct FakeConnection {
    pub(super) server: Arc<FakeServer>,
    pub(super) epoch: usize,
    pub(super) broken: bool,
    pub(super) readiness: Readiness,
}

impl FakeServer {
    pub(super) fn dial(self: &Arc<Self>) -> Result<FakeConnection, ftp::Error> {
        self.dials.fetch_add(1, SeqCst);
        while self.silent.load(SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        if self.down.load(SeqCst) {
            return Err(ftp::Error::Closed(Phase::Greeting));
        }
        let before = self.open.fetch_add(1, SeqCst);
        let limit = self.limit.load(SeqCst);
        if limit > 0 && before >= limit {
            self.open.fetch_sub(1, SeqCst);
            if self.speaks_oddly.load(SeqCst) {
                let words = b"exceeded the number of connections".to_vec();
                return Err(ftp::Error::Login(Reply::new(ReplyCode(530), vec![words])));
            }
            let reply = Reply::new(ReplyCode(421), vec![b"Too many connections".to_vec()]);
            return Err(ftp::Error::TooManySessions(reply));
        }
        self.most.fetch_max(before + 1, SeqCst);
        Ok(FakeConnection {
            server: Arc::clone(self),
            epoch: self.epoch.load(SeqCst),
            broken: false,
            readiness: Readiness::Cold,
        })
    }

    pub(super) fn restart(&self) {
        self.epoch.fetch_add(1, SeqCst);
    }
}

impl PooledConnection for FakeConnection {
    fn is_usable(&self) -> bool {
        !self.broken
    }
    fn is_idle_healthy(&mut self) -> bool {
        self.epoch == self.server.epoch.load(SeqCst)
    }
    fn noop(&mut self) -> Result<(), ftp::Error> {
        self.server.noops.fetch_add(1, SeqCst);
        assert!(!self.server.panics.load(SeqCst), "injected");
        Ok(())
    }
    fn quit(self) {
        self.server.quits.fetch_add(1, SeqCst);
    }
    fn arm(&mut self) {
        if self.server.arms.load(SeqCst) {
            self.readiness = Readiness::Coming;
        }
    }
    fn advance(&mut self) {
        if self.server.panics.load(SeqCst) {
            self.server.panicked.store(true, SeqCst);
            panic!("injected");
        }
        if !self.server.arms_slowly.load(SeqCst) {
            self.readiness = Readiness::Armed;
        }
    }
    fn watch(&self) -> Option<Watch> {
        None
    }
    fn readiness(&self) -> Readiness {
        self.readiness
    }
    fn has_old_arm(&self) -> bool {
        self.readiness == Readiness::Armed && self.server.ages.load(SeqCst)
    }
    fn renew_arm(&mut self) {
        self.server.renewed.fetch_add(1, SeqCst);
        self.readiness = Readiness::Coming;
    }
    fn disarm(&mut self) {
        self.readiness = Readiness::Cold;
    }
}

impl Drop for FakeConnection {
    fn drop(&mut self) {
        self.server.open.fetch_sub(1, SeqCst);
    }
}
