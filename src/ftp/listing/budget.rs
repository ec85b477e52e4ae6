//! Shared memory limit of all listings being received, because the server determines the number of
//! entries.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Memory limit of all listings being received. Clones share it.
#[derive(Debug, Clone)]
pub struct ListingBudget(Arc<BudgetBytes>);

#[derive(Debug)]
struct BudgetBytes {
    limit: usize,
    taken: AtomicUsize,
}

/// The memory of one listing. Dropping it returns the memory to the budget.
#[derive(Debug)]
pub struct ListingShare {
    budget: ListingBudget,
    bytes: usize,
}

impl ListingBudget {
    /// Creates a budget of `limit` bytes for all listings together.
    pub fn new(limit: usize) -> Self {
        let taken = AtomicUsize::new(0);
        Self(Arc::new(BudgetBytes { limit, taken }))
    }

    /// The limit in bytes.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Number of bytes in use.
    pub fn taken(&self) -> usize {
        self.0.taken.load(Relaxed)
    }

    /// Returns an empty share.
    pub(in crate::ftp) fn share(&self) -> ListingShare {
        ListingShare {
            budget: self.clone(),
            bytes: 0,
        }
    }
}

impl Default for ListingBudget {
    /// A budget without a limit.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl ListingShare {
    /// Reserves `bytes` more. Returns false, without reserving anything, if less is available.
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

    /// Number of bytes reserved by this listing.
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
