//! Number of commands sent, by verb. Arguments are not recorded.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Command counters, shared by all sessions with a clone.
#[derive(Debug, Clone, Default)]
pub struct CommandCounts(Arc<CommandTable>);

#[derive(Debug, Default)]
struct CommandTable {
    verbs: Mutex<BTreeMap<Vec<u8>, u64>>,
    round_trips: AtomicU64,
}

impl CommandCounts {
    /// Returns the number of commands so far, by verb.
    pub fn so_far(&self) -> BTreeMap<String, u64> {
        let counts = self.0.verbs.lock().unwrap_or_else(PoisonError::into_inner);
        let found = counts
            .iter()
            .map(|(verb, count)| (String::from_utf8_lossy(verb).into_owned(), *count));
        found.collect()
    }

    /// Returns how often commands were sent. Commands that are sent together count once: they share
    /// a round trip.
    pub fn round_trips(&self) -> u64 {
        self.0.round_trips.load(Ordering::Relaxed)
    }

    /// Counts one write of one or more commands.
    pub(super) fn count_round_trip(&self) {
        self.0.round_trips.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the command `line`. Verbs come from this client, so their number is limited.
    pub(super) fn count(&self, line: &[u8]) {
        let verb = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        let mut counts = self.0.verbs.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(verb) {
            Some(count) => *count += 1,
            None => {
                counts.insert(verb.to_owned(), 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_counted_and_arguments_forgotten() {
        let counts = CommandCounts::default();
        let shared = counts.clone();
        for line in [b"PASS secret".as_slice(), b"RETR /a b", b"PWD", b"RETR /c"] {
            shared.count(line);
        }
        let found: Vec<_> = counts.so_far().into_iter().collect();
        let expected = [("PASS", 1), ("PWD", 1), ("RETR", 2)];
        assert_eq!(
            found,
            expected.map(|(verb, count)| (verb.to_owned(), count))
        );
    }
}
