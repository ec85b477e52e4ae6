//! Memory that several listings share while they are received: how many entries a directory has is the server's word.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// So many bytes for all.
#[derive(Debug)]
pub(super) struct Budget {
    most: usize,
    taken: AtomicUsize,
}

/// What one listing has of it; given back when dropped.
#[derive(Debug)]
pub(super) struct Share<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Budget {
    /// `most` bytes.
    pub(super) fn new(most: usize) -> Self {
        let taken = AtomicUsize::new(0);
        Self { most, taken }
    }

    /// Bytes for all.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// An empty share.
    pub(super) fn share(&self) -> Share<'_> {
        Share {
            budget: self,
            bytes: 0,
        }
    }
}

impl Share<'_> {
    /// Takes `bytes` more; false where so many are not left.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let Budget { most, taken } = self.budget;
        let fits = taken.fetch_update(Relaxed, Relaxed, |taken| {
            taken.checked_add(bytes).filter(|sum| sum <= most)
        });
        if fits.is_ok() {
            self.bytes += bytes;
        }
        fits.is_ok()
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_together_never_exceed_the_budget_and_are_given_back() {
        let budget = Budget::new(100);
        let (mut one, mut other) = (budget.share(), budget.share());
        assert!(one.take(60) && other.take(40));
        assert!(!one.take(1) && !other.take(usize::MAX));
        drop(one);
        assert!(other.take(60) && !other.take(1));
    }
}
