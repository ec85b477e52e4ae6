//! A scripted server for the uploader tests: it records commits and injects failures.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::{UploadStream, UploadTarget};
use crate::cancel::Cancel;
use crate::ftp::RemotePath;
use crate::remote::{CommitOptions, Error, ErrorKind};
use crate::vfs::read::fake::{PATIENCE, error};

/// The fate of one upload.
#[derive(Debug, Clone, Copy)]
pub(super) enum Plan {
    /// It cannot be started.
    Refuse(ErrorKind),
    /// It fails when bytes beyond this count are sent.
    Break(u64, ErrorKind),
    /// The server does not answer, until the upload is interrupted.
    Silence,
    /// It fails at its commit.
    Fail(ErrorKind),
    Succeed,
}

/// The progress of an upload, for hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// The upload with this number has read the bytes up to here from the spool.
    Read(usize, u64),
    /// The server is about to acknowledge all bytes.
    Arrive,
    /// The file is about to be committed.
    Commit,
}

type Hook = Box<dyn Fn(Moment) + Send + Sync>;

#[derive(Default)]
struct Fake {
    plans: VecDeque<Plan>,
    begun: usize,
    live: usize,
    /// Bytes sent by all uploads together.
    sent: u64,
    /// Bytes that may be sent in total before the network stalls.
    allowed: Option<u64>,
    committed: Vec<(Vec<u8>, CommitOptions)>,
    /// Whether nothing may be discarded.
    keeps_all: bool,
    /// How often the server has not received anything yet when it is asked.
    receives_late: u32,
    /// Whether no early upload may begin.
    is_late: bool,
}

/// A server that stores one file.
#[derive(Default)]
pub(super) struct FakeServer {
    state: Mutex<Fake>,
    changed: Condvar,
    hook: Mutex<Option<Arc<Hook>>>,
}

impl FakeServer {
    pub(super) fn new(plans: &[Plan]) -> Arc<Self> {
        let server = Self::default();
        server.state.lock().unwrap().plans = plans.iter().copied().collect();
        Arc::new(server)
    }

    /// Runs `hook` whenever an upload makes progress.
    pub(super) fn hook(&self, hook: impl Fn(Moment) + Send + Sync + 'static) {
        *self.hook.lock().unwrap() = Some(Arc::new(Box::new(hook)));
    }

    pub(super) fn allow(&self, allowed: Option<u64>) {
        self.state.lock().unwrap().allowed = allowed;
        self.changed.notify_all();
    }

    pub(super) fn set_late(&self, is_late: bool) {
        self.state.lock().unwrap().is_late = is_late;
    }

    pub(super) fn keep_all(&self) {
        self.state.lock().unwrap().keeps_all = true;
    }

    pub(super) fn receive_late(&self, times: u32) {
        self.state.lock().unwrap().receives_late = times;
    }

    pub(super) fn live(&self) -> usize {
        self.state.lock().unwrap().live
    }

    pub(super) fn begun(&self) -> usize {
        self.state.lock().unwrap().begun
    }

    pub(super) fn sent(&self) -> u64 {
        self.state.lock().unwrap().sent
    }

    pub(super) fn commits(&self) -> usize {
        self.state.lock().unwrap().committed.len()
    }

    /// Returns the last committed file.
    pub(super) fn file(&self) -> Vec<u8> {
        let state = self.state.lock().unwrap();
        let (bytes, commit) = state.committed.last().unwrap();
        assert_eq!(bytes.len() as u64, commit.size);
        bytes.clone()
    }

    pub(super) fn wait_for_live(&self, live: usize) {
        self.wait_until(|state| state.live == live);
    }

    pub(super) fn wait_for_begun(&self, begun: usize) {
        self.wait_until(|state| state.begun >= begun);
    }

    pub(super) fn wait_for_sent(&self, sent: u64) {
        self.wait_until(|state| state.sent >= sent);
    }

    fn wait_until(&self, condition: impl Fn(&Fake) -> bool) {
        let state = self.state.lock().unwrap();
        let (_state, wait) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !condition(state))
            .unwrap();
        assert!(!wait.timed_out());
    }

    fn tell(&self, moment: Moment) {
        let hook = self.hook.lock().unwrap().clone();
        if let Some(hook) = hook {
            hook(moment);
        }
    }
}

/// The server as an upload target.
pub(super) struct FakeDestination(pub(super) Arc<FakeServer>);

impl UploadTarget for FakeDestination {
    fn may_begin_early(&self) -> bool {
        !self.0.state.lock().unwrap().is_late
    }

    fn begin(&self, interrupt: &Cancel) -> Result<Box<dyn UploadStream>, Error> {
        let mut state = self.0.state.lock().unwrap();
        state.begun += 1;
        self.0.changed.notify_all();
        let plan = state.plans.pop_front().unwrap_or(Plan::Succeed);
        if let Plan::Refuse(kind) = plan {
            return Err(error(kind));
        }
        if let Plan::Silence = plan {
            drop(state);
            let began = Instant::now();
            while !interrupt.is_cancelled() {
                assert!(began.elapsed() < PATIENCE);
                thread::sleep(Duration::from_millis(10));
            }
            return Err(error(ErrorKind::Interrupted));
        }
        state.live += 1;
        Ok(Box::new(FakeOutgoing {
            server: Arc::clone(&self.0),
            number: state.begun,
            bytes: Vec::new(),
            kept_from: 0,
            plan,
        }))
    }

    fn begin_whole(
        &self,
        _: &File,
        _: u64,
        interrupt: &Cancel,
    ) -> Result<Box<dyn UploadStream>, Error> {
        self.begin(interrupt)
    }
}

struct FakeOutgoing {
    server: Arc<FakeServer>,
    number: usize,
    bytes: Vec<u8>,
    kept_from: u64,
    plan: Plan,
}

impl UploadStream for FakeOutgoing {
    fn send(&mut self, file: &File, length: u64) -> Result<(), Error> {
        let end = self.bytes.len() as u64 + length;
        let mut piece = vec![0; length as usize];
        file.read_exact_at(&mut piece, self.bytes.len() as u64)
            .map_err(|_| error(ErrorKind::Local))?;
        self.bytes.extend(piece);
        self.server.tell(Moment::Read(self.number, end));
        let state = self.server.state.lock().unwrap();
        let stalled = |state: &mut Fake| state.allowed.is_some_and(|it| state.sent + length > it);
        let (mut state, wait) = self
            .server
            .changed
            .wait_timeout_while(state, PATIENCE, stalled)
            .unwrap();
        assert!(!wait.timed_out());
        if let Plan::Break(at, kind) = self.plan
            && end > at
        {
            return Err(error(kind));
        }
        state.sent += length;
        drop(state);
        self.server.changed.notify_all();
        Ok(())
    }

    fn sent(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn temporary_path(&self) -> RemotePath {
        RemotePath::new(b"/part").unwrap()
    }

    fn keep_from(&mut self, _: &File, offset: u64) -> Result<Option<u64>, Error> {
        assert!(offset <= self.bytes.len() as u64, "it was sent");
        let mut state = self.server.state.lock().unwrap();
        if state.keeps_all {
            return Err(error(ErrorKind::Unsupported));
        }
        if state.receives_late > 0 {
            state.receives_late -= 1;
            return Ok(None);
        }
        self.kept_from = offset;
        Ok(Some(offset))
    }

    /// The server reports a digest of its file.
    fn arrive(&mut self, file: Option<&File>) -> Result<(), Error> {
        self.server.tell(Moment::Arrive);
        let Some(file) = file.filter(|_| self.kept_from == 0) else {
            return Ok(());
        };
        let mut ours = vec![0; self.bytes.len()];
        file.read_exact_at(&mut ours, 0)
            .map_err(|_| error(ErrorKind::Local))?;
        if ours != self.bytes {
            return Err(error(ErrorKind::Truncated));
        }
        Ok(())
    }

    fn commit(
        self: Box<Self>,
        _: &RemotePath,
        commit: &CommitOptions,
    ) -> Result<crate::remote::StoredFacts, Error> {
        self.server.tell(Moment::Commit);
        if let Plan::Fail(kind) = self.plan {
            return Err(error(kind));
        }
        let stored = (self.bytes.clone(), commit.clone());
        self.server.state.lock().unwrap().committed.push(stored);
        Ok(crate::remote::StoredFacts::default())
    }
}

impl Drop for FakeOutgoing {
    fn drop(&mut self) {
        self.server.state.lock().unwrap().live -= 1;
        self.server.changed.notify_all();
    }
}
