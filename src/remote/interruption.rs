//! Work that ends as soon as it is not wanted any more, even while it waits for a reply: its
//! connection is closed.

use super::Remote;
use super::retry::Exchange;
use crate::cancel::Cancel;

impl Remote {
    /// Creates an exchange without a session.
    pub(super) fn exchange(&self) -> Exchange<'_> {
        match self.interrupt() {
            Some(interrupt) => Exchange::interruptible(self.pool(), interrupt),
            None => Exchange::new(self.pool(), self.cancel.clone()),
        }
    }

    /// Returns the same server for other steps of this work.
    pub(super) fn for_next_step(&self) -> Self {
        match self.interrupt() {
            Some(interrupt) => self.interruptible(interrupt),
            None => self.uncancelled(),
        }
    }

    /// Returns what ends this work, if it is interruptible.
    pub(super) fn interrupt(&self) -> Option<&Cancel> {
        self.is_interruptible.then_some(&self.cancel)
    }

    /// Whether this work has to end.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupt().is_some_and(Cancel::is_cancelled)
    }
}
