//! Wakes a thread of the pool while it waits for sockets.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;

/// Wakes one thread. When it is dropped, the thread ends.
#[derive(Debug)]
pub(super) struct Waker(UnixStream);

impl Waker {
    pub(super) fn wake(&self) {
        // A full socket wakes the thread, too.
        let _ = (&self.0).write(&[0]);
    }
}

/// Returns a waker and the socket that it makes readable.
pub(super) fn waker() -> io::Result<(Waker, UnixStream)> {
    let (waker, woken) = UnixStream::pair()?;
    waker.set_nonblocking(true)?;
    woken.set_nonblocking(true)?;
    Ok((Waker(waker), woken))
}
