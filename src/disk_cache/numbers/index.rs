//! Finds numbers by the tag of directory and name. Pure: no I/O.
//!
//! An open hash table of 8 bytes a place. Different names may have the same tag, so the caller
//! compares the names of all numbers that it gets.

/// Number of places of an empty table. A power of two.
const LEAST: usize = 64;

/// The numbers that stand for something, by their tags.
#[derive(Debug)]
pub(super) struct NumberIndex {
    places: Vec<IndexPlace>,
    used: usize,
}

/// A tag and its number; number 0 marks an empty place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct IndexPlace {
    tag: u32,
    number: u32,
}

const EMPTY: IndexPlace = IndexPlace { tag: 0, number: 0 };

impl NumberIndex {
    /// Creates a table with room for `count` numbers.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self {
            places: vec![EMPTY; places_for(count)],
            used: 0,
        }
    }

    /// Returns all numbers with this tag.
    pub(super) fn find(&self, tag: u32) -> impl Iterator<Item = u32> {
        self.run(tag)
            .filter(move |(_, place)| place.tag == tag)
            .map(|(_, place)| place.number)
    }

    /// Adds `number`, which is not 0, with its tag.
    pub(super) fn insert(&mut self, tag: u32, number: u32) {
        if places_for(self.used + 1) > self.places.len() {
            self.grow();
        }
        self.put(IndexPlace { tag, number });
        self.used += 1;
    }

    /// Removes `number` with this tag, if it is there.
    pub(super) fn remove(&mut self, tag: u32, number: u32) {
        let removed = IndexPlace { tag, number };
        let Some((mut hole, _)) = self.run(tag).find(|(_, place)| *place == removed) else {
            return;
        };
        self.used -= 1;
        // What follows moves up, unless that would be before its own first place.
        let mask = self.places.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let place = self.place(at);
            if place == EMPTY {
                break;
            }
            let from_first = at.wrapping_sub(place.tag as usize) & mask;
            let from_hole = at.wrapping_sub(hole) & mask;
            if from_first >= from_hole {
                self.set(hole, place);
                hole = at;
            }
        }
        self.set(hole, EMPTY);
    }

    /// Returns the used places from the first place of `tag` to the next empty one. There is an
    /// empty one.
    fn run(&self, tag: u32) -> impl Iterator<Item = (usize, IndexPlace)> {
        let mask = self.places.len() - 1;
        let first = tag as usize & mask;
        (0..self.places.len())
            .map(move |step| (first + step) & mask)
            .map(|at| (at, self.place(at)))
            .take_while(|(_, place)| *place != EMPTY)
    }

    fn put(&mut self, new: IndexPlace) {
        let mask = self.places.len() - 1;
        let mut at = new.tag as usize & mask;
        while self.place(at) != EMPTY {
            at = (at + 1) & mask;
        }
        self.set(at, new);
    }

    fn grow(&mut self) {
        let larger = vec![EMPTY; self.places.len() * 2];
        for place in std::mem::replace(&mut self.places, larger) {
            if place != EMPTY {
                self.put(place);
            }
        }
    }

    fn place(&self, at: usize) -> IndexPlace {
        self.places.get(at).copied().unwrap_or(EMPTY)
    }

    fn set(&mut self, at: usize, place: IndexPlace) {
        if let Some(to) = self.places.get_mut(at) {
            *to = place;
        }
    }
}

/// Returns the number of places for `count` numbers: at most three quarters are used.
fn places_for(count: usize) -> usize {
    (count + count / 3 + 1).next_power_of_two().max(LEAST)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The index agrees with a set of pairs, also if most tags collide.
        #[test]
        fn the_index_finds_what_was_inserted(
            steps in prop::collection::vec((any::<bool>(), 0_u32..40, 1_u32..30), 0..600)
        ) {
            let mut index = NumberIndex::with_capacity(0);
            let mut model = HashSet::new();
            for (inserts, tag, number) in steps {
                // Tags that fall on the same places of a small table, and around its end.
                let tag = (tag / 4) * LEAST as u32 + LEAST as u32 - 2 + tag % 4;
                if inserts && model.insert((tag, number)) {
                    index.insert(tag, number);
                } else {
                    model.remove(&(tag, number));
                    index.remove(tag, number);
                }
            }
            prop_assert_eq!(index.used, model.len());
            for tag in 0..20 * LEAST as u32 {
                let mut found: Vec<_> = index.find(tag).collect();
                let mut expected: Vec<_> = model.iter().filter(|(known, _)| *known == tag)
                    .map(|(_, number)| *number).collect();
                found.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn a_full_index_has_empty_places() {
        for count in 0..10_000 {
            assert!(places_for(count) > count);
        }
    }
}
