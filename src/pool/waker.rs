//! Wakes the data dialer while it waits for servers.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;

/// Wakes the data dialer. When it is dropped, the data dialer ends.
#[derive(Debug)]
pub(super) struct Waker(UnixStream);

impl Waker {
    pub(super) fn wake(&self) {
        // A full socket wakes the data dialer, too.
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
