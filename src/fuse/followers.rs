//! Files that programs have read to their end. The kernel may have cached their size for longer
//! than `open_ttl`, so it must request the attributes again while such a file is open.
//!
//! Most programs close a file soon after they have read it. The kernel is therefore not notified
//! immediately, but after a while, by a thread that ends when no file is left.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use crate::guarded;
use crate::vfs::{Errno, Handle, Ino, Opened, Vfs};

use super::Kernel;

/// Maximum number of files that wait. The attributes of further ones are cached for as long as
/// those of other files.
const MAX_WAITING: usize = 65_536;

/// Notifies the kernel about files that were read to their end.
#[derive(Clone)]
pub(super) struct Followers {
    shared: Arc<FollowersShared>,
}

struct FollowersShared {
    vfs: Weak<Vfs>,
    kernel: Kernel,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Files in the order in which the kernel is notified.
    waiting: VecDeque<(Instant, Ino)>,
    is_running: bool,
}

impl Followers {
    /// Creates the notifier of `kernel` for the files of `vfs`.
    pub(super) fn new(vfs: &Arc<Vfs>, kernel: Kernel) -> Self {
        let shared = FollowersShared {
            vfs: Arc::downgrade(vfs),
            kernel,
            state: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Returns `send`, which sends attributes, with [`Self::forget_replaced`] after it.
    pub(super) fn forgetting<R, T, S: FnOnce(R, Result<T, Errno>)>(
        &self,
        send: S,
    ) -> impl FnOnce(R, Result<T, Errno>) + use<R, T, S> {
        let followers = self.clone();
        move |reply, answer| {
            send(reply, answer);
            followers.forget_replaced();
        }
    }

    /// Records what an open file shows.
    pub(super) fn opened(&self, answer: &Result<Opened, Errno>) {
        if let Ok(opened) = answer {
            self.note(opened.handle);
        }
        self.forget_replaced();
    }

    /// Makes the kernel forget the names that were found to belong to other files.
    fn forget_replaced(&self) {
        let vfs = self.shared.vfs.upgrade();
        let names = vfs.map(|vfs| vfs.take_replaced()).unwrap_or_default();
        if names.is_empty() {
            return;
        }
        let kernel = self.shared.kernel.clone();
        // The kernel locks the directory, so it waits for requests that need this thread.
        let spawned = guarded::spawn("followers", move || {
            for (parent, name) in names {
                kernel.forget_name(parent, &name);
            }
        });
        if let Err(error) = spawned {
            log::debug!("cannot notify the kernel: no thread: {error}");
        }
    }

    /// Returns `send`, which sends an answer, with [`Self::note`] before it.
    pub(super) fn noting<R, T, S: FnOnce(R, Result<T, Errno>)>(
        &self,
        handle: Handle,
        send: S,
    ) -> impl FnOnce(R, Result<T, Errno>) + use<R, T, S> {
        let followers = self.clone();
        move |reply, answer| {
            if answer.is_ok() {
                followers.note(handle);
            }
            send(reply, answer);
            followers.forget_replaced();
        }
    }

    /// Records that a request for `handle` has succeeded, which may have reached the end.
    pub(super) fn note(&self, handle: Handle) {
        let vfs = self.shared.vfs.upgrade();
        let Some((ino, after)) = vfs.and_then(|vfs| vfs.take_reached_end(handle)) else {
            return;
        };
        let mut state = self.shared.lock();
        if state.waiting.len() >= MAX_WAITING {
            return;
        }
        state.waiting.push_back((Instant::now() + after, ino));
        if state.is_running {
            return;
        }
        let shared = Arc::clone(&self.shared);
        match guarded::spawn("followers", move || shared.notify_all()) {
            Ok(_) => state.is_running = true,
            Err(error) => log::debug!("cannot notify the kernel: no thread: {error}"),
        }
    }
}

impl FollowersShared {
    /// Notifies the kernel about each file when it is due.
    fn notify_all(&self) {
        while let Some((due, ino)) = self.next() {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let Some(vfs) = self.vfs.upgrade() else {
                return;
            };
            if vfs.is_followed(ino) {
                self.kernel.forget_attributes(ino);
            }
        }
    }

    fn next(&self) -> Option<(Instant, Ino)> {
        let mut state = self.lock();
        let next = state.waiting.pop_front();
        state.is_running = next.is_some();
        next
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is a plain assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Followers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Followers")
    }
}
