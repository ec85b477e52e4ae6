//! The one thread that keeps the privileges to mount and unmount.
//!
//! All other threads drop theirs (`sys::renounce`), so code that reads data from a server, a proxy
//! or a program on the mount can do no more than its user's file permissions allow. This thread
//! reads no external data. It also registers the local files that the kernel reads by itself.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};

use super::Error;
use crate::fuse::PrivilegedRunner;
use crate::guarded;
use crate::sys;

type PrivilegedTask = Box<dyn FnOnce() + Send>;

/// A handle to the thread, which ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Privileged(Sender<PrivilegedTask>);

impl Privileged {
    /// Starts the thread with those privileges of the calling thread that mounting needs. Must be
    /// called while the signals that end the process are blocked.
    ///
    /// # Errors
    /// The thread cannot be started, or superfluous privileges cannot be dropped.
    pub(crate) fn start() -> Result<Self, Error> {
        let (sender, tasks) = mpsc::channel::<PrivilegedTask>();
        let (reply_sender, reply) = mpsc::channel();
        let serve = move || {
            let restricted = sys::keep_only_mounting();
            let may_go_on = restricted.is_ok();
            // The caller waits for it.
            let _ = reply_sender.send(restricted);
            if may_go_on {
                for task in tasks {
                    task();
                }
            }
        };
        guarded::spawn("mounting", serve).map_err(Error::Start)?;
        let restricted = reply.recv().unwrap_or_else(|_| Err(gone()));
        restricted.map_err(Error::Privilege)?;
        Ok(Self(sender))
    }

    /// Returns what runs a task in the thread, without waiting for it. `None` if this is not root,
    /// and the thread has no privileges.
    pub(super) fn runner(&self) -> Option<PrivilegedRunner> {
        if sys::effective_uid() != 0 {
            return None;
        }
        let sender = self.0.clone();
        Some(Arc::new(move |task| {
            if sender.send(task).is_err() {
                log::debug!("{}", gone());
            }
        }))
    }

    /// Runs `task` in the thread and waits for its result.
    ///
    /// # Errors
    /// This task or an earlier one panicked.
    pub(super) fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (reply_sender, reply) = mpsc::channel();
        let tell = move || {
            // The caller waits for it.
            let _ = reply_sender.send(task());
        };
        self.0.send(Box::new(tell)).map_err(|_| gone())?;
        reply.recv().map_err(|_| gone())
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that mounts and unmounts panicked")
}
