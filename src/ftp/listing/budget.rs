//! Memory that all listings being received share: how many entries a directory has is the server's
//! word.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A bound on the memory of all listings being received; shared by handle.
#[derive(Debug, Clone)]
pub struct ListingBudget(Arc<BudgetBytes>);

#[derive(Debug)]
struct BudgetBytes {
    limit: usize,
    taken: AtomicUsize,
}

/// What one listing has of a budget; given back when dropped.
#[derive(Debug)]
pub struct ListingShare {
    budget: ListingBudget,
    bytes: usize,
}

impl ListingBudget {
    /// `limit` bytes for all listings together.
    pub fn new(limit: usize) -> Self {
        let taken = AtomicUsize::new(0);
        Self(Arc::new(BudgetBytes { limit, taken }))
    }

    /// The bound, in bytes.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Bytes taken now.
    pub fn taken(&self) -> usize {
        self.0.taken.load(Relaxed)
    }

    /// An empty share.
    pub(in crate::ftp) fn share(&self) -> ListingShare {
        ListingShare {
            budget: self.clone(),
            bytes: 0,
        }
    }
}

impl Default for ListingBudget {
    /// Without a bound.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl ListingShare {
    /// Takes `bytes` more; false, and nothing taken, where the budget has fewer left.
    pub(in crate::ftp) fn take(&mut self, bytes: usize) -> bool {
        let BudgetBytes { limit, taken } = &*self.budget.0;
        let fits = taken.fetch_update(Relaxed, Relaxed, |taken| {
            taken.checked_add(bytes).filter(|sum| sum <= limit)
        });
        if fits.is_ok() {
            self.bytes += bytes;
        }
        fits.is_ok()
    }

    /// Bytes taken by this listing.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for ListingShare {
    fn drop(&mut self) {
        self.budget.0.taken.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_together_never_exceed_the_budget_and_are_given_back() {
        let budget = ListingBudget::new(100);
        let (mut one, mut other) = (budget.share(), budget.share());
        assert!(one.take(60) && other.take(40));
        assert!(!one.take(1) && !other.take(usize::MAX));
        assert_eq!((budget.taken(), one.bytes()), (100, 60));
        drop(one);
        assert!(other.take(60) && !other.take(1));
        drop(other);
        assert_eq!(budget.taken(), 0);
    }
}
