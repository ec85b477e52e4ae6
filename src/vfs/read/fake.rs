//! A scripted server for the tests of reading: a file's bytes, and what goes wrong on the way.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::{RangeDownload, RangeSource};
use crate::cancel::Cancel;
use crate::ftp::{RemotePath, Version};
use crate::remote::{Error, ErrorKind};

/// Longest that a test waits for what must happen.
pub(in crate::vfs) const PATIENCE: Duration = Duration::from_secs(20);

/// What becomes of one transfer.
#[derive(Debug, Clone, Copy)]
pub(in crate::vfs) enum Plan {
    /// The open is refused.
    Refuse(ErrorKind),
    /// It fails after this many bytes.
    Break(usize, ErrorKind),
    /// The data ends after this many bytes, with the server's 226.
    End(usize),
}

/// A file on a server that follows a script.
pub(in crate::vfs) struct FakeFile {
    bytes: Vec<u8>,
    state: Mutex<Fake>,
    changed: Condvar,
}

#[derive(Default)]
struct Fake {
    /// For the next opens, one each; then all goes well.
    plans: VecDeque<Plan>,
    /// Offsets of the opens so far.
    opened: Vec<u64>,
    /// Transfers under way.
    live: usize,
    /// Bytes sent so far.
    sent: u64,
    /// Bytes that may be sent in all, where the network is to stall.
    allowed: Option<u64>,
    /// Most bytes a read gives.
    packet: usize,
    /// What the server says of the file; nothing by itself.
    version: Option<Version>,
    /// How often it was asked.
    asked: usize,
    /// The server knows no REST.
    restarts_at_zero: bool,
    /// The bytes were fetched ahead of the reader.
    is_prefetched: bool,
}

/// Bytes that tell where in a file they are.
pub(in crate::vfs) fn sample(length: usize) -> Vec<u8> {
    let mut seed = 0x9e37_79b9_u32;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed as u8
    };
    (0..length).map(|_| next()).collect()
}

impl FakeFile {
    pub(in crate::vfs) fn new(bytes: Vec<u8>, plans: &[Plan]) -> Arc<Self> {
        Arc::new(Self {
            bytes,
            state: Mutex::new(Fake {
                plans: plans.iter().copied().collect(),
                packet: 48 * 1024,
                ..Fake::default()
            }),
            changed: Condvar::new(),
        })
    }

    pub(in crate::vfs) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Stalls the network when `allowed` bytes were sent in all; `None` lets it flow.
    pub(in crate::vfs) fn allow(&self, allowed: Option<u64>) {
        self.state.lock().unwrap().allowed = allowed;
        self.changed.notify_all();
    }

    pub(in crate::vfs) fn packet(&self, packet: usize) {
        self.state.lock().unwrap().packet = packet;
    }

    /// The server says that the file is `version` from now on.
    pub(in crate::vfs) fn says(&self, version: Version) {
        self.state.lock().unwrap().version = Some(version);
    }

    /// How often the server was asked for the version.
    pub(in crate::vfs) fn asked(&self) -> usize {
        self.state.lock().unwrap().asked
    }

    /// Every transfer begins at the start of the file.
    pub(in crate::vfs) fn restart_at_zero(&self) {
        self.state.lock().unwrap().restarts_at_zero = true;
    }

    /// All bytes are there for one reader before it begins.
    pub(in crate::vfs) fn prefetch(&self) {
        self.state.lock().unwrap().is_prefetched = true;
    }

    pub(in crate::vfs) fn opened(&self) -> Vec<u64> {
        self.state.lock().unwrap().opened.clone()
    }

    pub(in crate::vfs) fn sent(&self) -> u64 {
        self.state.lock().unwrap().sent
    }

    pub(in crate::vfs) fn wait_for_live(&self, live: usize) {
        self.wait_until(|state| state.live == live);
    }

    pub(in crate::vfs) fn wait_for_sent(&self, sent: u64) {
        self.wait_until(|state| state.sent >= sent);
    }

    fn wait_until(&self, condition: impl Fn(&Fake) -> bool) {
        let state = self.state.lock().unwrap();
        let (state, wait) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !condition(state))
            .unwrap();
        assert!(
            !wait.timed_out(),
            "live {}, sent {}",
            state.live,
            state.sent
        );
    }
}

pub(in crate::vfs) fn error(kind: ErrorKind) -> Error {
    Error {
        kind,
        operation: "read",
        path: RemotePath::root(),
        reason: "scripted".to_owned(),
        reply: None,
    }
}

/// The file, as a source: a handle, so that its transfers can hold it too.
pub(in crate::vfs) struct FakeSource(pub(in crate::vfs) Arc<FakeFile>);

impl RangeSource for FakeSource {
    fn open_at(
        &self,
        offset: u64,
        _cancel: &Cancel,
    ) -> Result<(Box<dyn RangeDownload>, u64), Error> {
        let mut state = self.0.state.lock().unwrap();
        state.opened.push(offset);
        let plan = state.plans.pop_front();
        if let Some(Plan::Refuse(kind)) = plan {
            return Err(error(kind));
        }
        state.live += 1;
        self.0.changed.notify_all();
        let start = if state.restarts_at_zero { 0 } else { offset };
        let incoming = FakeIncoming {
            file: Arc::clone(&self.0),
            position: usize::try_from(start).unwrap(),
            brought: 0,
            plan,
        };
        Ok((Box::new(incoming), start))
    }

    fn version(&self, _cancel: &Cancel) -> Result<Version, Error> {
        let mut state = self.0.state.lock().unwrap();
        state.asked += 1;
        Ok(state.version.unwrap_or_default())
    }

    fn path(&self) -> RemotePath {
        RemotePath::root()
    }

    fn prefetched(&self, _version: &Version) -> Option<Vec<u8>> {
        let is_prefetched = std::mem::take(&mut self.0.state.lock().unwrap().is_prefetched);
        is_prefetched.then(|| self.0.bytes.clone())
    }
}

struct FakeIncoming {
    file: Arc<FakeFile>,
    position: usize,
    brought: usize,
    plan: Option<Plan>,
}

impl RangeDownload for FakeIncoming {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        assert!(!buffer.is_empty());
        let rest = self.file.bytes.get(self.position..).unwrap_or_default();
        let mut count = rest.len().min(buffer.len());
        match self.plan {
            Some(Plan::Break(after, kind)) if after == self.brought => return Err(error(kind)),
            Some(Plan::Break(after, _) | Plan::End(after)) => {
                count = count.min(after - self.brought);
            }
            Some(Plan::Refuse(_)) | None => {}
        }
        let state = self.file.state.lock().unwrap();
        count = count.min(state.packet);
        let stalled = |state: &mut Fake| state.allowed.is_some_and(|it| it <= state.sent);
        let (mut state, wait) = self
            .file
            .changed
            .wait_timeout_while(state, PATIENCE, |state| count > 0 && stalled(state))
            .unwrap();
        if wait.timed_out() {
            return Err(error(ErrorKind::TimedOut));
        }
        if let Some(allowed) = state.allowed {
            count = count.min((allowed.saturating_sub(state.sent)) as usize);
        }
        state.sent += count as u64;
        drop(state);
        self.file.changed.notify_all();
        buffer[..count].copy_from_slice(&rest[..count]);
        self.position += count;
        self.brought += count;
        Ok(count)
    }
}

impl Drop for FakeIncoming {
    fn drop(&mut self) {
        self.file.state.lock().unwrap().live -= 1;
        self.file.changed.notify_all();
    }
}
