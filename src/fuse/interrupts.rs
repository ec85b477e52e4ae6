//! Ctrl-C and kill for programs that wait for the server.
//!
//! The kernel releases a program that waits for a reply only when the reply arrives, and fuser does
//! not expose the kernel's interrupt requests. So the callers of slow requests are checked, and
//! interrupted ones get EINTR. The work that was started for them is cancelled. If it completes
//! anyway, its result is undone.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use fuser::{
    Errno, ReplyAttr, ReplyCreate, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr,
};

use super::fatal_signal;
use crate::cancel::Cancel;
use crate::guarded::{self, OnDrop};

/// Time after which the caller of a request without a reply is checked.
const PATIENCE: Duration = Duration::from_millis(400);
/// Interval of the checks.
const ROUND: Duration = Duration::from_millis(200);

/// A reply that can be an error.
pub(super) trait ErrorReply: Send + 'static {
    /// Replies with an error.
    fn refuse(self, errno: Errno);
}

macro_rules! refusable {
    ($($reply:ty),*) => {
        $(impl ErrorReply for $reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        })*
    };
}

refusable!(
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyEmpty,
    ReplyXattr,
    ReplyEntry,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite
);

/// A reply that is sent once: by the worker with the result, or by the check that finds an
/// interrupted caller.
#[derive(Debug)]
pub(super) struct ReplySlot<R>(Arc<WatchedReply<R>>);

#[derive(Debug)]
struct WatchedReply<R> {
    reply: Mutex<Option<R>>,
    /// Cancelled after an interrupted caller got its error.
    cancel: Cancel,
}

impl<R: ErrorReply> ReplySlot<R> {
    /// Takes the reply, if nothing else has taken it yet.
    pub(super) fn take(&self) -> Option<R> {
        self.0.take()
    }

    /// Returns the token of the request's work.
    pub(super) fn cancel(&self) -> &Cancel {
        &self.0.cancel
    }
}

impl<R> WatchedReply<R> {
    fn take(&self) -> Option<R> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<R>> {
        // An `Option` is taken as a whole.
        self.reply.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks the callers of slow requests.
#[derive(Debug, Default)]
pub(super) struct Interrupts {
    shared: Arc<InterruptsShared>,
}

#[derive(Debug, Default)]
struct InterruptsShared {
    state: Mutex<State>,
    asked: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<PendingRequest>,
    has_thread: bool,
    /// Whether the thread wakes up by itself.
    is_awake: bool,
    ended: bool,
}

/// A request in progress.
struct PendingRequest {
    tid: u32,
    since: Instant,
    reply: Weak<dyn Interruptible>,
}

/// A reply that may already have been sent.
trait Interruptible: Send + Sync {
    fn interrupt(&self);
    fn is_given(&self) -> bool;
}

impl<R: ErrorReply> Interruptible for WatchedReply<R> {
    fn interrupt(&self) {
        // The error comes first: a cancelled read returns no bytes, which would be the file's end.
        if let Some(reply) = self.take() {
            reply.refuse(Errno::EINTR);
            self.cancel.cancel();
        }
    }

    fn is_given(&self) -> bool {
        self.lock().is_none()
    }
}

impl Interrupts {
    /// Registers `reply` to the thread `tid`, for a request that may be slow.
    pub(super) fn watch<R: ErrorReply>(&self, tid: u32, reply: R) -> ReplySlot<R> {
        let slot = Arc::new(WatchedReply {
            reply: Mutex::new(Some(reply)),
            cancel: Cancel::new(),
        });
        let weak = Arc::downgrade(&slot);
        let mut state = self.shared.lock();
        state.waiting.push(PendingRequest {
            tid,
            since: Instant::now(),
            reply: weak,
        });
        if !state.has_thread {
            state.has_thread = start(&self.shared);
        } else if !state.is_awake {
            self.shared.asked.notify_one();
        }
        ReplySlot(slot)
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.asked.notify_one();
    }
}

fn start(shared: &Arc<InterruptsShared>) -> bool {
    let shared = Arc::clone(shared);
    let rounds = move || {
        // After a panic, the next request starts another thread.
        let _ended = OnDrop::new(|| shared.lock().has_thread = false);
        while shared.round() {}
    };
    match guarded::spawn("interrupts", rounds) {
        Ok(_) => true,
        Err(error) => {
            log::warn!("Ctrl-C will wait for the server's reply: cannot start a thread: {error}");
            false
        }
    }
}

impl InterruptsShared {
    /// Waits until there are requests to check, then checks them. Returns whether there is another
    /// round.
    fn round(&self) -> bool {
        let mut state = self.lock();
        state.is_awake = false;
        let idle = |state: &mut State| state.waiting.is_empty() && !state.ended;
        let mut state = self
            .asked
            .wait_while(state, idle)
            .unwrap_or_else(PoisonError::into_inner);
        if state.ended {
            return false;
        }
        // No request needs to wake this thread before the next round.
        state.is_awake = true;
        drop(state);
        thread::sleep(ROUND);
        for (tid, reply) in self.long_waiting() {
            if fatal_signal::is_interrupted(tid) {
                log::debug!("thread {tid} was interrupted and no longer waits");
                reply.interrupt();
            }
        }
        true
    }

    /// Removes the requests that were answered. Returns those that have been waiting for long.
    fn long_waiting(&self) -> Vec<(u32, Arc<dyn Interruptible>)> {
        let mut long = Vec::new();
        self.lock().waiting.retain(|waiting| {
            let reply = waiting.reply.upgrade().filter(|reply| !reply.is_given());
            let is_long = waiting.since.elapsed() >= PATIENCE;
            match reply {
                Some(reply) if is_long => long.push((waiting.tid, reply)),
                Some(_) => {}
                None => return false,
            }
            true
        });
        long
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The list changes only by whole elements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for PendingRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} since {:?}", self.tid, self.since)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    struct SentError(Sender<Errno>);

    impl ErrorReply for SentError {
        fn refuse(self, errno: Errno) {
            self.0.send(errno).unwrap();
        }
    }

    #[test]
    fn a_caller_that_is_to_stop_is_let_go_and_the_answer_comes_to_nobody() {
        let interrupts = Interrupts::default();
        let (sender, receiver) = channel();
        // A process that has exited but has not been waited for counts as exiting.
        let mut ended = Command::new("true").stdin(Stdio::null()).spawn().unwrap();
        let reply = interrupts.watch(ended.id(), SentError(sender));
        assert_eq!(
            receiver.recv_timeout(DEADLINE).unwrap().code(),
            Errno::EINTR.code()
        );
        assert!(reply.take().is_none());
        while !reply.cancel().is_cancelled() {
            thread::yield_now();
        }
        ended.wait().unwrap();
    }

    #[test]
    fn a_caller_that_goes_on_gets_its_answer() {
        let interrupts = Interrupts::default();
        let (sender, receiver) = channel();
        let reply = interrupts.watch(std::process::id(), SentError(sender));
        assert!(
            receiver.recv_timeout(PATIENCE * 3).is_err(),
            "it is not refused"
        );
        assert!(!reply.cancel().is_cancelled());
        assert!(reply.take().is_some());
    }
}
