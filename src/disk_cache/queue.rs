//! The thread that writes to the cache, and its queue, which is bounded by the bytes in it. Readers
//! never wait for the local disk: what finds the queue full is not kept.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::guarded;

/// Maximum number of bytes in the queue.
const MOST_BYTES: usize = 8 << 20;

/// Work for the thread.
pub(super) type WriterJob = Box<dyn FnOnce() + Send>;

/// The queue of the thread that writes. Dropping it ends the thread after the work in the queue.
#[derive(Debug)]
pub(super) struct WriterQueue {
    shared: Arc<QueueShared>,
}

struct QueueShared {
    state: Mutex<State>,
    /// Notifies the thread of work, and those who wait of its progress.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<(usize, WriterJob)>,
    /// Bytes in the queue and in the job that runs.
    bytes: usize,
    is_running: bool,
    is_over: bool,
}

impl WriterQueue {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system cannot create a thread.
    pub(super) fn start() -> io::Result<Self> {
        let shared = Arc::new(QueueShared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let for_thread = Arc::clone(&shared);
        guarded::spawn("ftpfs-cache", move || for_thread.work())?;
        Ok(Self { shared })
    }

    /// Adds work that holds `bytes` bytes of memory. Waits up to `patience` for room, and returns
    /// false if there is none. Work without bytes always has room.
    pub(super) fn offer(&self, bytes: usize, patience: Duration, job: WriterJob) -> bool {
        let is_full =
            |state: &mut State| bytes > 0 && state.bytes > 0 && state.bytes + bytes > MOST_BYTES;
        let mut state = self.shared.lock();
        if is_full(&mut state) {
            if patience.is_zero() {
                return false;
            }
            let waited = self
                .shared
                .changed
                .wait_timeout_while(state, patience, |state| is_full(state));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if is_full(&mut state) {
                return false;
            }
        }
        state.bytes += bytes;
        state.jobs.push_back((bytes, job));
        drop(state);
        self.shared.changed.notify_all();
        true
    }

    /// Waits until all work is done, at most `patience`. Returns whether it is. What is left is
    /// dropped, apart from the job that runs.
    pub(super) fn finish(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.lock();
        while state.is_running || !state.jobs.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                let jobs = std::mem::take(&mut state.jobs);
                state.bytes -= jobs.iter().map(|(bytes, _)| bytes).sum::<usize>();
                drop(state);
                // What a job holds may be freed on the local disk.
                drop(jobs);
                return false;
            };
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for WriterQueue {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_all();
    }
}

impl QueueShared {
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some((bytes, job)) = state.jobs.pop_front() {
                state.is_running = true;
                drop(state);
                let done = guarded::OnDrop::new(|| {
                    let mut state = self.lock();
                    state.bytes -= bytes;
                    state.is_running = false;
                    drop(state);
                    self.changed.notify_all();
                });
                job();
                drop(done);
                state = self.lock();
            } else if state.is_over {
                return;
            } else {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for QueueShared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("QueueShared")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_full_queue_takes_nothing_until_there_is_room() {
        let queue = WriterQueue::start().unwrap();
        let (go_on, wait) = mpsc::channel::<()>();
        let now = Duration::ZERO;
        assert!(queue.offer(1, now, Box::new(move || assert!(wait.recv().is_err()))));
        assert!(!queue.offer(MOST_BYTES, now, Box::new(|| ())));
        assert!(queue.offer(MOST_BYTES - 1, now, Box::new(|| ())));
        assert!(!queue.offer(1, Duration::from_millis(1), Box::new(|| ())));
        assert!(queue.offer(0, now, Box::new(|| ())), "it takes no memory");
        assert!(!queue.finish(Duration::from_millis(1)));
        drop(go_on);
        assert!(queue.finish(Duration::from_secs(60)));
        assert!(queue.offer(2 * MOST_BYTES, now, Box::new(|| ())), "alone");
    }
}
