//! A server without sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use crate::ftp::{self, Phase, Readiness, Reply, ReplyCode, Watch};
use crate::pool::PooledConnection;

/// A server of which only the number of its sessions matters.
#[derive(Default)]
pub(super) struct FakeServer {
    pub(super) down: AtomicBool,
    /// 0 for no limit.
    pub(super) limit: AtomicUsize,
    /// It refuses more with words that only its users understand.
    pub(super) speaks_oddly: AtomicBool,
    pub(super) dials: AtomicUsize,
    pub(super) open: AtomicUsize,
    pub(super) most: AtomicUsize,
    pub(super) noops: AtomicUsize,
    pub(super) goodbyes: AtomicUsize,
    /// Its sessions open data connections ahead, once they come back.
    pub(super) arms: AtomicBool,
    /// They never come to an end of that.
    pub(super) arms_slowly: AtomicBool,
    /// These grow old.
    pub(super) ages: AtomicBool,
    pub(super) renewed: AtomicUsize,
    /// Sessions of an earlier epoch are dead.
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
        Ok(())
    }
    fn quit(self) {
        self.server.goodbyes.fetch_add(1, SeqCst);
    }
    fn arm(&mut self) {
        if self.server.arms.load(SeqCst) {
            self.readiness = Readiness::Coming;
        }
    }
    fn advance(&mut self) {
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
