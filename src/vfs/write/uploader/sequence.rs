//! How far a file has been written from its start without a gap.

/// Maximum number of remembered writes beyond the gap. The kernel's writes are only slightly out of
/// order.
const MAX_RUNS: usize = 32;

/// The contiguous beginning of what was written.
#[derive(Debug, Default, Clone)]
pub(super) struct Sequence {
    end: u64,
    /// Ranges written beyond the gap: sorted, neither adjacent nor overlapping.
    runs: Vec<(u64, u64)>,
}

impl Sequence {
    /// Returns the offset before which everything was written.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Records that `start..end` was written.
    pub(super) fn wrote(&mut self, start: u64, end: u64) {
        if start > self.end {
            self.remember(start, end);
            return;
        }
        self.end = self.end.max(end);
        let reached = self.end;
        let joined = self.runs.partition_point(|(start, _)| *start <= reached);
        for (_, end) in self.runs.drain(..joined) {
            self.end = self.end.max(end);
        }
    }

    /// Records that the file was truncated or extended to `length`.
    pub(super) fn truncated(&mut self, length: u64) {
        self.end = self.end.min(length);
        self.runs.retain(|(start, _)| *start < length);
        if let Some((_, end)) = self.runs.last_mut() {
            *end = length.min(*end);
        }
    }

    fn remember(&mut self, start: u64, end: u64) {
        let first = self.runs.partition_point(|(_, before)| *before < start);
        let after = self.runs.partition_point(|(next, _)| *next <= end);
        let mut run = (start, end);
        for (start, end) in self.runs.drain(first..after.max(first)) {
            run = (run.0.min(start), run.1.max(end));
        }
        self.runs.insert(first, run);
        self.runs.truncate(MAX_RUNS);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writes_slightly_out_of_order_are_sequential() {
        let mut sequence = Sequence::default();
        for (start, end) in [(2, 3), (4, 5), (0, 1), (3, 4), (1, 2)] {
            sequence.wrote(start, end);
        }
        assert_eq!(sequence.end(), 5);
        assert!(sequence.runs.is_empty());
    }

    #[test]
    fn a_program_that_writes_all_over_the_place_costs_no_memory() {
        let mut sequence = Sequence::default();
        for at in (1..10_000).rev() {
            sequence.wrote(at * 10, at * 10 + 1);
        }
        assert_eq!((sequence.end(), sequence.runs.len()), (0, MAX_RUNS));
    }

    proptest! {
        #[test]
        fn the_end_is_never_beyond_a_gap(
            steps in proptest::collection::vec((0_usize..60, 1_usize..20, any::<bool>()), 1..40)
        ) {
            let mut sequence = Sequence::default();
            let mut written = [false; 100];
            for (at, length, cut) in steps {
                if cut {
                    sequence.truncated(at as u64);
                    written[at..].fill(false);
                } else {
                    sequence.wrote(at as u64, (at + length) as u64);
                    written[at..at + length].fill(true);
                }
                let gap = written.iter().position(|it| !it).unwrap();
                prop_assert_eq!(sequence.end(), gap as u64);
            }
        }
    }
}
