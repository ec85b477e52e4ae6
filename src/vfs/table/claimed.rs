//! The inode numbers that open files use. An open file may outlive its inode: its upload goes on
//! after the file was removed and the kernel has forgotten it, and ends with that number.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ino::{Ino, InoMap};

/// How many open files use each number.
#[derive(Debug, Clone, Default)]
pub(in crate::vfs) struct ClaimedNumbers(Arc<Mutex<InoMap<u32>>>);

/// Keeps a number from being given to another inode.
#[derive(Debug)]
pub(in crate::vfs) struct NumberClaim {
    ino: Ino,
    numbers: ClaimedNumbers,
}

impl ClaimedNumbers {
    /// Claims `ino` until the result is dropped.
    pub(in crate::vfs) fn claim(&self, ino: Ino) -> NumberClaim {
        *self.lock().entry(ino).or_default() += 1;
        NumberClaim {
            ino,
            numbers: self.clone(),
        }
    }

    /// Whether something uses `ino`.
    pub(in crate::vfs) fn has(&self, ino: Ino) -> bool {
        self.lock().contains_key(&ino)
    }

    fn lock(&self) -> MutexGuard<'_, InoMap<u32>> {
        // No change panics halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for NumberClaim {
    fn drop(&mut self) {
        let mut numbers = self.numbers.lock();
        if let Some(claims) = numbers.get_mut(&self.ino) {
            *claims -= 1;
            if *claims == 0 {
                numbers.remove(&self.ino);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_claimed_until_the_last_claim_is_dropped() {
        let numbers = ClaimedNumbers::default();
        let claims = [numbers.claim(Ino(7)), numbers.claim(Ino(7))];
        assert!(numbers.has(Ino(7)) && !numbers.has(Ino(8)));
        let [first, second] = claims;
        drop(first);
        assert!(numbers.has(Ino(7)));
        drop(second);
        assert!(!numbers.has(Ino(7)));
    }
}
