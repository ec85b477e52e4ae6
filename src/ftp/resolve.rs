//! Host name lookup with a deadline. getaddrinfo(3) has none, and can take minutes if the name
//! servers do not respond.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Maximum number of lookups that may be stuck at the same time.
const MAX_STUCK: usize = 16;

/// Number of lookups in progress.
static IN_PROGRESS: AtomicUsize = AtomicUsize::new(0);

/// Looks up the addresses of `host` within `patience`. An address needs no lookup.
///
/// # Errors
/// The resolver's error, or `TimedOut`.
pub(super) fn resolve(host: &str, port: u16, patience: Duration) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let host = host.to_owned();
    within(patience, move || {
        (host.as_str(), port)
            .to_socket_addrs()
            .map(Iterator::collect)
    })
}

/// Runs `lookup` in its own thread, which is abandoned if it takes longer than `patience`.
fn within<T: Send + 'static>(
    patience: Duration,
    lookup: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let ticket = LookupPermit::take()?;
    let (found, finding) = mpsc::channel();
    thread::Builder::new()
        .name("ftpfs-resolve".into())
        .spawn(move || {
            let outcome = lookup();
            drop(ticket);
            // The caller may have given up.
            let _ = found.send(outcome);
        })?;
    match finding.recv_timeout(patience) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the lookup ended early")),
    }
}

/// Permission for one lookup. Dropping it ends the count.
struct LookupPermit;

impl LookupPermit {
    fn take() -> io::Result<Self> {
        let before = IN_PROGRESS.fetch_add(1, Relaxed);
        let ticket = Self;
        if before >= MAX_STUCK {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "too many lookups are stuck",
            ));
        }
        Ok(ticket)
    }
}

impl Drop for LookupPermit {
    fn drop(&mut self) {
        IN_PROGRESS.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_that_is_stuck_is_left_behind() {
        let (go, gone) = mpsc::channel::<()>();
        let stuck = within(Duration::from_millis(20), move || {
            let _ = gone.recv();
            Ok(())
        });
        assert_eq!(stuck.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(go);
    }

    #[test]
    fn an_answer_and_a_failure_are_passed_on() {
        let patience = Duration::from_secs(10);
        assert_eq!(within(patience, || Ok(7)).unwrap(), 7);
        let failed = within(patience, || Err::<(), _>(io::ErrorKind::NotFound.into()));
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::NotFound);
        let died = within(patience, || -> io::Result<()> { panic!("a bug") });
        assert!(died.is_err());
    }

    #[test]
    fn an_address_is_its_own_answer() {
        for (host, address) in [("127.0.0.1", "127.0.0.1:21"), ("::1", "[::1]:21")] {
            let found = resolve(host, 21, Duration::ZERO).unwrap();
            assert_eq!(found, [address.parse().unwrap()]);
        }
    }
}
