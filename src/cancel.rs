//! Cancellation as an argument: what may wait takes a [`Cancel`], and what must not wait cannot be
//! called without one.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether the result of some work is still wanted. Clones share the answer.
///
/// Work that has a `Cancel` may wait for the server. It looks at the `Cancel` while it waits, and
/// ends the wait when its result is not wanted any more.
#[derive(Clone, Default)]
pub(crate) struct Cancel {
    /// `None` for work that is never cancelled.
    shared: Option<Arc<CancelShared>>,
}

#[derive(Default)]
struct CancelShared {
    is_cancelled: AtomicBool,
    next: AtomicU64,
    listeners: Mutex<Vec<(u64, Wake)>>,
}

type Wake = Box<dyn Fn() + Send>;

/// Keeps a closure registered with [`Cancel::on_cancel`] until it is dropped.
pub(crate) struct CancelListener(Option<(Arc<CancelShared>, u64)>);

/// Whether an operation may wait for the server or for another operation.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Blocking<'a> {
    /// It answers from memory, or returns that it would have to wait.
    No,
    /// It may wait until this is cancelled.
    Yes(&'a Cancel),
}

/// The refusal of an operation that would have to wait, but must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WouldBlock;

impl<'a> Blocking<'a> {
    /// Returns the token that every wait needs.
    ///
    /// # Errors
    /// The operation must not wait.
    pub(crate) fn cancel(self) -> Result<&'a Cancel, WouldBlock> {
        match self {
            Self::No => Err(WouldBlock),
            Self::Yes(cancel) => Ok(cancel),
        }
    }
}

impl Cancel {
    /// Creates a token for work that can be cancelled.
    pub(crate) fn new() -> Self {
        Self {
            shared: Some(Arc::default()),
        }
    }

    /// Returns the token of work that must be completed even if its caller stops waiting.
    pub(crate) const fn never() -> Self {
        Self { shared: None }
    }

    /// Ends the waits of the work.
    pub(crate) fn cancel(&self) {
        let Some(shared) = &self.shared else { return };
        shared.is_cancelled.store(true, Ordering::SeqCst);
        // The listeners take locks of their own.
        let listeners = std::mem::take(&mut *shared.listeners());
        for (_, wake) in listeners {
            wake();
        }
    }

    /// Whether the result of the work is not wanted any more.
    pub(crate) fn is_cancelled(&self) -> bool {
        let is_cancelled = |shared: &Arc<CancelShared>| shared.is_cancelled.load(Ordering::SeqCst);
        self.shared.as_ref().is_some_and(is_cancelled)
    }

    /// Calls `wake` once when the work is cancelled, unless the returned listener is dropped
    /// before. If the work is already cancelled, `wake` may not be called: a thread that is about
    /// to wait registers first and then looks at [`Cancel::is_cancelled`].
    pub(crate) fn on_cancel(&self, wake: impl Fn() + Send + 'static) -> CancelListener {
        CancelListener(self.shared.as_ref().map(|shared| {
            let number = shared.next.fetch_add(1, Ordering::Relaxed);
            shared.listeners().push((number, Box::new(wake)));
            (Arc::clone(shared), number)
        }))
    }
}

impl CancelShared {
    fn listeners(&self) -> MutexGuard<'_, Vec<(u64, Wake)>> {
        // The list changes only by whole elements.
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CancelListener {
    fn drop(&mut self) {
        if let Some((shared, number)) = &self.0 {
            shared.listeners().retain(|(other, _)| other != number);
        }
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (&self.shared, self.is_cancelled()) {
            (None, _) => "never",
            (Some(_), false) => "wanted",
            (Some(_), true) => "cancelled",
        };
        f.debug_tuple("Cancel").field(&state).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_listener_is_woken_once_and_only_while_it_is_kept() {
        let cancel = Cancel::new();
        let (sender, woken) = channel();
        let dropped = sender.clone();
        let _kept = cancel.on_cancel(move || sender.send("kept").unwrap());
        drop(cancel.on_cancel(move || dropped.send("dropped").unwrap()));
        assert!(!cancel.is_cancelled());
        cancel.clone().cancel();
        cancel.cancel();
        assert!(cancel.is_cancelled());
        assert_eq!(woken.try_iter().collect::<Vec<_>>(), ["kept"]);
    }

    #[test]
    fn work_that_must_be_completed_is_never_cancelled() {
        let never = Cancel::never();
        let _listener = never.on_cancel(|| panic!("it is not called"));
        never.cancel();
        assert!(!never.is_cancelled());
    }
}
