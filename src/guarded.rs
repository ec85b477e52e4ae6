//! Work that may panic without ending the mount: the one way to start a thread, and guards for
//! cleanup that must happen anyway.
//!
//! A panic is a bug in ftpfs. It is logged, the waiters of the failed work get an error, and
//! everything else continues.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};

/// Starts a thread. A panic in it is logged.
///
/// # Errors
/// The system cannot start another thread.
pub(crate) fn spawn(
    name: &'static str,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(move || catch(name, run).unwrap_or_default())
}

/// Runs `work`. Returns `None` if it panicked, which is logged.
pub(crate) fn catch<T>(name: &str, work: impl FnOnce() -> T) -> Option<T> {
    // Guards release what the work had locked or counted, and every lock is taken even if it is
    // poisoned.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => Some(done),
        Err(panic) => {
            let reason = reason(&*panic);
            log::error!(
                "{name} panicked, which is a bug in ftpfs; everything else continues: {reason}"
            );
            None
        }
    }
}

fn reason(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason given")
}

/// Runs a closure when it is dropped, unless it was [disarmed](Self::disarm), so that a count is
/// released or a waiter woken however the work ends.
pub(crate) struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    /// Creates a guard that runs `last`.
    pub(crate) fn new(last: F) -> Self {
        Self(Some(last))
    }

    /// Drops the guard without running the closure.
    pub(crate) fn disarm(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(last) = self.0.take() {
            last();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_panic_ends_at_the_guard_and_releases_what_was_owed() {
        let (sender, released) = channel();
        let thread = spawn("a thread", move || {
            let _owed = OnDrop::new(|| sender.send(()).unwrap());
            panic!("injected");
        });
        assert_eq!(released.recv_timeout(Duration::from_secs(10)), Ok(()));
        thread.unwrap().join().unwrap();
        assert_eq!(catch("work", || 7), Some(7));
        assert_eq!(catch("work", || -> u8 { panic!("injected") }), None);
    }

    #[test]
    fn a_disarmed_guard_does_nothing() {
        let mut done = false;
        OnDrop::new(|| done = true).disarm();
        assert!(!done);
        drop(OnDrop::new(|| done = true));
        assert!(done);
    }
}
