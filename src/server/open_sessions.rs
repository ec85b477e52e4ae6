//! The open control connections: counting, limiting and closing them.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Time to wait for the threads of closed sessions. A thread that is stuck in the kernel is
/// abandoned.
const CLOSING: Duration = Duration::from_secs(5);

/// Sockets of the open sessions, by number.
#[derive(Default)]
pub(super) struct OpenSessions {
    table: Mutex<Table>,
    left: Condvar,
}

#[derive(Default)]
struct Table {
    open: HashMap<u64, TcpStream>,
    next: u64,
}

/// A session's slot in the table. Dropping it frees the slot.
pub(super) struct Slot {
    sessions: Arc<OpenSessions>,
    number: u64,
}

impl OpenSessions {
    /// Reserves a slot for `stream`. Returns `None` when `limit` slots are in use.
    pub(super) fn enter(
        sessions: &Arc<Self>,
        stream: &TcpStream,
        limit: Option<usize>,
    ) -> io::Result<Option<Slot>> {
        let stream = stream.try_clone()?;
        let mut table = sessions.lock();
        if limit.is_some_and(|limit| table.open.len() >= limit) {
            return Ok(None);
        }
        let number = table.next;
        table.next += 1;
        table.open.insert(number, stream);
        Ok(Some(Slot {
            sessions: Arc::clone(sessions),
            number,
        }))
    }

    pub(super) fn count(&self) -> usize {
        self.lock().open.len()
    }

    /// Shuts down all control connections and waits for their sessions to end.
    pub(super) fn close_all(&self) {
        let table = self.lock();
        let closed: Vec<u64> = table.open.keys().copied().collect();
        for stream in table.open.values() {
            // The client may have closed it first.
            let _ = stream.shutdown(Shutdown::Both);
        }
        let remain =
            |table: &mut Table| closed.iter().any(|number| table.open.contains_key(number));
        drop(self.left.wait_timeout_while(table, CLOSING, remain));
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.sessions.lock().open.remove(&self.number);
        self.sessions.left.notify_all();
    }
}
