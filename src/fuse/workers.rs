//! Threads for requests that must wait for the server, so that the FUSE loops never do.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::guarded;

/// Maximum number of threads. Each request that waits for a connection or for an open file occupies
/// one. The number is well above the connections that a server allows, so that a few stuck requests
/// do not block the others.
const MOST: usize = 64;
/// Time after which an idle thread ends.
const IDLE: Duration = Duration::from_secs(10);

type WorkerJob = Box<dyn FnOnce() + Send>;

/// A pool of threads that grows on demand.
#[derive(Debug, Clone, Default)]
pub(super) struct Workers {
    shared: Arc<WorkersShared>,
}

#[derive(Debug, Default)]
struct WorkersShared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<WorkerJob>,
    threads: usize,
    idle: usize,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} jobs, {} of {} threads idle",
            self.jobs.len(),
            self.idle,
            self.threads
        )
    }
}

impl Workers {
    /// Runs `job` in a separate thread as soon as one is free, in the order of the calls.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.state();
        state.jobs.push_back(Box::new(job));
        if state.idle >= state.jobs.len() || state.threads >= MOST {
            drop(state);
            self.shared.work.notify_one();
            return;
        }
        state.threads += 1;
        drop(state);
        let shared = Arc::clone(&self.shared);
        if let Err(error) = guarded::spawn("worker", move || shared.work()) {
            log::error!("cannot start a thread for a waiting request: {error}");
            let only = {
                let mut state = self.shared.state();
                state.threads -= 1;
                // If another thread is alive, the job runs there later; otherwise it runs here.
                if state.threads == 0 {
                    state.jobs.pop_front()
                } else {
                    None
                }
            };
            if let Some(job) = only {
                job();
            }
        }
    }
}

impl WorkersShared {
    fn work(&self) {
        while let Some(job) = self.next() {
            // A reply that is dropped without a result becomes EIO.
            guarded::catch("a request", job);
        }
    }

    /// Returns the next job, or `None` if there was none for a while; this thread is then no longer
    /// counted.
    fn next(&self) -> Option<WorkerJob> {
        let mut state = self.state();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            state.idle += 1;
            let (woken, timeout) = self
                .work
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No job runs under this lock, so nothing can panic while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn jobs_that_wait_for_each_other_all_run() {
        let workers = Workers::default();
        let (first_sender, first) = mpsc::channel();
        let (second_sender, second) = mpsc::channel();
        let (done_sender, done) = mpsc::channel();
        workers.run(move || {
            first.recv().unwrap();
            second_sender.send(()).unwrap();
        });
        workers.run(move || {
            second.recv().unwrap();
            done_sender.send(()).unwrap();
        });
        workers.run(move || first_sender.send(()).unwrap());
        done.recv_timeout(Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn jobs_that_panic_cost_no_thread() {
        let workers = Workers::default();
        for _ in 0..2 * MOST {
            workers.run(|| panic!("injected"));
        }
        let (sender, done) = mpsc::channel();
        workers.run(move || sender.send(()).unwrap());
        done.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(workers.shared.state().threads > 0);
    }

    #[test]
    fn more_jobs_than_threads_are_all_done() {
        let workers = Workers::default();
        let (sender, done) = mpsc::channel();
        for number in 0..10 * MOST {
            let sender = sender.clone();
            workers.run(move || sender.send(number).unwrap());
        }
        let mut all: Vec<_> = (0..10 * MOST)
            .map(|_| done.recv_timeout(Duration::from_secs(10)).unwrap())
            .collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..10 * MOST));
    }
}
