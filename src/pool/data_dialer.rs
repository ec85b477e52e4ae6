//! The armourer: one thread a pool, which sees the data connections through that idle sessions have
//! asked for. A session can be leased meanwhile; it waits for the rest itself then.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::connection::PooledConnection;
use super::shared::PoolShared;
use crate::ftp::{Readiness, Watch};
use crate::guarded;

/// Longest wait for a sign of a server or for more to do: only a backstop.
const PATIENCE: Duration = Duration::from_secs(10);

/// Rouses the armourer; when it goes, the armourer ends.
#[derive(Debug)]
pub(super) struct Waker(UnixStream);

impl Waker {
    /// A session has asked for its data connection.
    pub(super) fn wake(&self) {
        // One that is full of rings is loud enough.
        let _ = (&self.0).write(&[0]);
    }
}

/// A bell, and what hears it.
pub(super) fn waker() -> io::Result<(Waker, UnixStream)> {
    let (rung, heard) = UnixStream::pair()?;
    rung.set_nonblocking(true)?;
    heard.set_nonblocking(true)?;
    Ok((Waker(rung), heard))
}

/// Starts the armourer. It holds no handle of the pool while it waits.
pub(super) fn start<S: PooledConnection>(
    shared: &Arc<PoolShared<S>>,
    mut heard: UnixStream,
) -> io::Result<()> {
    let pool = Arc::downgrade(shared);
    let arm = move || {
        while let Some(shared) = Weak::upgrade(&pool) {
            let watches = shared.advance();
            drop(shared);
            Watch::wait_for_any(&watches, &heard, PATIENCE);
            drop(watches);
            // All rings so far are answered by the next look.
            let _ = heard.read(&mut [0; 64]);
        }
    };
    guarded::spawn("ftpfs-arm", arm).map(drop)
}

impl<S: PooledConnection> PoolShared<S> {
    /// Does for the data connections that idle sessions asked for what can be done now; what is
    /// waited for then.
    fn advance(&self) -> Vec<Watch> {
        let mut watches = Vec::new();
        let is_coming = |session: &S| session.readiness() == Readiness::Coming;
        self.for_each_idle(is_coming, |idle| {
            idle.session.advance();
            watches.extend(idle.session.watch());
        });
        watches
    }

    /// Has the data dialer look at the idle sessions, if one's data connection is coming. Without
    /// the thread, the next lease of the session waits for the rest.
    pub(super) fn wake_data_dialer(&self, is_coming: bool) {
        if let Some(waker) = self.waker.as_ref().filter(|_| is_coming) {
            waker.wake();
        }
    }
}
