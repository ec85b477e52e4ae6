//! The sockets of all sessions, which can be ended while others wait for them.

use std::io;
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::sys;

/// The open control and data connections to one server. Clones share them.
///
/// A thread that waits for such a connection fails immediately instead of at its deadline.
#[derive(Debug, Clone, Default)]
pub struct OpenSockets(Arc<Mutex<Vec<Weak<TcpStream>>>>);

impl OpenSockets {
    /// Ends all connections.
    pub fn end_all(&self) {
        for socket in self.open() {
            end(&socket);
        }
    }

    /// Ends the connections from addresses that this machine no longer has. Returns their number.
    pub fn end_lost(&self) -> usize {
        let sockets = self.open();
        let lost = sockets.iter().filter(|socket| has_lost_address(socket));
        lost.map(|socket| end(socket)).count()
    }

    /// Time since the peer of any connection last sent something, if only an acknowledgement.
    /// Returns `None` without a connection.
    pub fn last_sign(&self) -> Option<Duration> {
        let sockets = self.open();
        sockets.iter().filter_map(|it| sys::last_heard(it)).min()
    }

    /// Includes `socket` until it is dropped.
    pub(super) fn add(&self, socket: &Arc<TcpStream>) {
        let mut sockets = self.lock();
        sockets.retain(|socket| socket.strong_count() > 0);
        sockets.push(Arc::downgrade(socket));
    }

    fn open(&self) -> Vec<Arc<TcpStream>> {
        self.lock().iter().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<TcpStream>>> {
        // Only whole elements are added and removed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end(socket: &TcpStream) {
    // It may have ended by itself.
    let _ = socket.shutdown(Shutdown::Both);
}

/// Whether nothing can be bound to the local address of `socket` any more.
fn has_lost_address(socket: &TcpStream) -> bool {
    let Ok(mut local) = socket.local_addr() else {
        return false;
    };
    local.set_port(0);
    let bound = UdpSocket::bind(local);
    bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn a_connection_that_is_ended_keeps_nobody_waiting() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let (dropped, waiting) = (connect(), connect());
        let sockets = OpenSockets::default();
        sockets.add(&dropped);
        drop(dropped);
        sockets.add(&waiting);
        assert_eq!(sockets.lock().len(), 1, "the dropped one is forgotten");
        let reader = thread::spawn({
            let waiting = Arc::clone(&waiting);
            move || (&*waiting).read(&mut [0])
        });
        assert_eq!(sockets.end_lost(), 0, "this machine has the address");
        sockets.end_all();
        assert_eq!(reader.join().unwrap().unwrap(), 0);
    }
}
