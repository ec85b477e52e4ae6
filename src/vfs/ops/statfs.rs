//! statfs: free space at the root of the mount.
//!
//! umount(8) calls statfs before it unmounts, so an unresponsive server must not block it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cancel::Blocking;
use crate::ftp::RemotePath;
use crate::guarded::{self, OnDrop};
use crate::remote::Space;
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;

/// How long a reply is cached.
const TTL: Duration = Duration::from_secs(10);
/// How long to wait for the server's reply. After that, the last known value is used.
const PATIENCE: Duration = Duration::from_secs(1);

/// The space for this user, if it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FreeSpace(pub Option<Space>);

/// The last reply.
#[derive(Debug, Default)]
pub(in crate::vfs) struct StatfsCache {
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct State {
    last: Option<(FreeSpace, Instant)>,
    /// Whether a request is in progress.
    asking: bool,
}

impl Vfs {
    /// Returns the free space at the root of the mount: the server's reply, or the last known value
    /// if that takes long, or what the user chose.
    pub(crate) fn space(self: &Arc<Self>, may: Blocking<'_>) -> Result<FreeSpace, Errno> {
        let FreeSpace(reported) = self.reported_space(may)?;
        let chosen = self.options.space.map(|size| Space {
            available: size,
            total: Some(size),
        });
        Ok(FreeSpace(reported.or(chosen)))
    }

    fn reported_space(self: &Arc<Self>, may: Blocking<'_>) -> Result<FreeSpace, Errno> {
        let mut state = self.space.lock();
        if let Some((space, asked)) = state.last
            && asked.elapsed() < TTL
        {
            return Ok(space);
        }
        // A program that only looks at all mounts does not connect.
        let Some(root) = self.inodes.root() else {
            return Ok(FreeSpace(None));
        };
        may.cancel()?;
        if !state.asking {
            state.asking = self.request_space(root);
        }
        let waited = self
            .space
            .answered
            .wait_timeout_while(state, PATIENCE, |state| state.asking);
        let state = waited.unwrap_or_else(PoisonError::into_inner).0;
        Ok(state.last.map_or(FreeSpace(None), |(space, _)| space))
    }

    /// Asks the server in a separate thread. Returns whether there is one.
    fn request_space(self: &Arc<Self>, root: RemotePath) -> bool {
        let vfs = Arc::clone(self);
        let ask = move || {
            vfs.space
                .answer_with(|| vfs.remote.uncancelled().space(&root));
        };
        match guarded::spawn("space", ask) {
            Ok(_) => true,
            Err(error) => {
                log::debug!("cannot get the free space: cannot start a thread: {error}");
                false
            }
        }
    }
}

impl StatfsCache {
    /// Stores the server's reply and wakes the waiting threads, even if `ask` panics.
    fn answer_with(&self, ask: impl FnOnce() -> Option<Space>) {
        let _answered = OnDrop::new(|| {
            self.lock().asking = false;
            self.answered.notify_all();
        });
        let reported = FreeSpace(ask());
        self.lock().last = Some((reported, Instant::now()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Its fields are set one by one, and each is consistent by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_panics_is_over() {
        let space = StatfsCache::default();
        space.lock().asking = true;
        let ask = || space.answer_with(|| panic!("injected"));
        assert!(guarded::catch("space", ask).is_none());
        assert!(!space.lock().asking);
        let reported = Some(Space {
            available: 7,
            total: None,
        });
        space.answer_with(|| reported);
        assert_eq!(space.lock().last.unwrap().0, FreeSpace(reported));
    }
}
