//! The one thread that keeps the privilege to mount and unmount.
//!
//! All others do without (`sys::renounce`), so that whatever reads what a server, a proxy or a
//! program on the mount sends can do no more than its user's files allow. This one reads nothing
//! that comes from elsewhere.

use std::io;
use std::sync::mpsc::{self, Sender};

use super::Error;
use crate::guarded;
use crate::sys;

type PrivilegedTask = Box<dyn FnOnce() + Send>;

/// Asks that thread, which ends with the last one who could.
#[derive(Debug, Clone)]
pub struct Privileged(Sender<PrivilegedTask>);

impl Privileged {
    /// Starts it with what the calling thread may do, as far as mounting takes it. To be called
    /// when the signals that end the process are blocked.
    ///
    /// # Errors
    /// No thread can be started, or what is superfluous cannot be given up.
    pub fn start() -> Result<Self, Error> {
        let (sender, tasks) = mpsc::channel::<PrivilegedTask>();
        let (to_tell, told) = mpsc::channel();
        let serve = move || {
            let restricted = sys::keep_only_mounting();
            let may_go_on = restricted.is_ok();
            // The caller waits for it.
            let _ = to_tell.send(restricted);
            if may_go_on {
                for task in tasks {
                    task();
                }
            }
        };
        guarded::spawn("mounting", serve).map_err(Error::Start)?;
        let restricted = told.recv().unwrap_or_else(|_| Err(gone()));
        restricted.map_err(Error::Privilege)?;
        Ok(Self(sender))
    }

    /// Has it do `task`, and waits for what comes of it.
    ///
    /// # Errors
    /// An earlier task panicked, or this one did.
    pub(super) fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (to_tell, told) = mpsc::channel();
        let tell = move || {
            // The caller waits for it.
            let _ = to_tell.send(task());
        };
        self.0.send(Box::new(tell)).map_err(|_| gone())?;
        told.recv().map_err(|_| gone())
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that mounts and unmounts panicked")
}
