//! What is sent together.

use super::super::relation::share_a_flight;
use super::{Domain, LogEntry, NamesLog, Step};
use crate::journal::NameAction;

impl<R: Clone> NamesLog<R> {
    /// Adds the new directories to `flight` that an upload waits for and that need not wait for
    /// anything else.
    pub(super) fn add_directories(&self, flight: &mut Vec<u64>, most: usize) {
        for place in &self.new_directories {
            if flight.len() >= most {
                break;
            }
            let may_go = |it: &&LogEntry<R>| it.step == Step::Waiting && !self.is_paused(*place);
            if let Some(entry) = self.get(*place).filter(may_go)
                && !flight.contains(place)
                && self.stores_below(&entry.change.path)
                && self.fits(*place, entry, flight)
            {
                flight.push(*place);
            }
        }
        flight.sort_unstable();
    }

    /// Returns the store at `place`, whose turn it is, and the places of the stores and of the new
    /// attributes behind it whose turn it is then, and that are `ready`: others see them in order.
    pub(in crate::vfs::write::names) fn stores_from(
        &self,
        place: u64,
        most: usize,
        is_ready: &dyn Fn(u64) -> bool,
    ) -> Vec<u64> {
        let mut batch = vec![place];
        for (next, entry) in self.entries.range(place + 1..) {
            if batch.len() >= most {
                break;
            }
            if entry.step.is_parked() {
                continue;
            }
            let may_join = match entry.change.action {
                NameAction::Store { .. } => true,
                NameAction::SetAttributes { .. } => !entry.needs_look && !self.is_paused(*next),
                NameAction::MakeDirectory { .. }
                | NameAction::Unlink
                | NameAction::RemoveDirectory
                | NameAction::Rename { .. } => false,
            };
            if !may_join || entry.step != Step::Waiting || !is_ready(*next) {
                break;
            }
            let is_in = |domain: &Domain| {
                let before = self.by_domain.get(domain).into_iter();
                let mut before = before.flat_map(|places| places.range(..*next));
                before.all(|it| batch.contains(it))
            };
            let mut related = self.related_before(*next).into_iter();
            let may_follow = |earlier: u64| {
                let earlier_change = self.entries.get(&earlier).map(|it| &it.change);
                batch.contains(&earlier)
                    && earlier_change.is_some_and(|it| share_a_flight(it, &entry.change))
            };
            if entry.domains.iter().all(is_in) && related.all(may_follow) {
                batch.push(*next);
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::super::testing::log;
    use super::super::NewChange;
    use super::*;
    use crate::ftp::RemotePath;
    use crate::journal::{NameBase, NameChange};

    const STORE: fn(u64) -> NameAction = |id| NameAction::Store { id };
    const MAKE: NameAction = NameAction::MakeDirectory { mode: None };

    fn mode(mode: u32) -> NameAction {
        NameAction::SetAttributes {
            mode: Some(mode),
            modified: None,
        }
    }

    #[test]
    fn new_directories_that_uploads_wait_for_overtake_stores_and_nothing_else_does() {
        let log = log(&[
            ("/a/x", STORE(1)),
            ("/a/d", MAKE),
            ("/a/d/e", MAKE),
            ("/a/d/e/y", STORE(2)),
            ("/a/d/f", MAKE),
            ("/a/old", NameAction::Unlink),
        ]);
        assert_eq!(log.next_flight(64, None), [2, 3]);
        assert!(log.may_store(1, false) && !log.may_store(4, false));
    }

    #[test]
    fn a_directory_that_says_that_a_file_is_complete_comes_after_it() {
        let mut log = log(&[("/job/data", STORE(1)), ("/job/done", MAKE)]);
        assert!(log.next_flight(64, None).is_empty());
        log.remove(1);
        assert_eq!(log.next_flight(64, None), [2]);
    }

    #[test]
    fn what_stands_behind_a_change_that_is_paused_waits_and_others_do_not() {
        let mut log = log(&[
            ("/a/x", NameAction::Unlink),
            ("/a/y", NameAction::Unlink),
            ("/a/z", STORE(1)),
            ("/b/x", NameAction::Unlink),
            ("/b/z", STORE(2)),
        ]);
        log.pause(1);
        assert_eq!(log.next_flight(64, None), [4]);
        // Who waits for a change overtakes what it does not depend on.
        assert_eq!(log.next_flight(64, Some(&BTreeSet::from([2]))), [2]);
        assert_eq!(log.stores_behind(Some(1)), BTreeSet::from([1]));
        assert_eq!(log.stores_behind(None), BTreeSet::from([1, 2]));
        let of_store = log.awaited_by(&BTreeSet::from([3]));
        assert_eq!(of_store, BTreeSet::from([1, 2, 3]));
        log.resume(1);
        assert_eq!(log.next_flight(64, None), [1, 2, 4]);
    }

    #[test]
    fn the_last_store_stands_for_an_earlier_one_that_was_not_made() {
        let mut log = log(&[("/a/x", STORE(1)), ("/a/y", NameAction::Unlink)]);
        log.set_step(1, Step::Begun);
        log.append(NewChange {
            change: NameChange {
                action: STORE(1),
                path: RemotePath::new(b"/a/x").unwrap(),
                base: NameBase::Absent,
            },
            records: vec![9],
            domains: BTreeSet::new(),
            needs_look: false,
        });
        assert_eq!(log.count_stores(1), 2);
        log.merge_stores(1);
        assert_eq!(log.store_at(1), Some(3));
        assert_eq!(log.get(3).unwrap().records, [0, 9]);
        assert_eq!(log.next_flight(64, None), [2]);
    }

    #[test]
    fn a_new_directory_waits_for_a_change_of_its_path() {
        let log = log(&[
            ("/a/x", STORE(1)),
            ("/a/d", NameAction::Unlink),
            ("/a/d", MAKE),
            ("/a/d/e", MAKE),
        ]);
        assert!(log.next_flight(64, None).is_empty());
    }

    #[test]
    fn modes_of_directories_go_with_the_files_in_them() {
        let log = log(&[
            ("/a/d/x", STORE(1)),
            ("/a/d", mode(0o755)),
            ("/a/e/y", STORE(2)),
            ("/a/e", mode(0o555)),
            ("/a/f/z", STORE(3)),
        ]);
        // The file whose store fails is stored again later.
        assert_eq!(log.stores_from(1, 64, &|_| true), [1, 2, 3]);
        assert_eq!(log.stores_from(1, 64, &|place| place != 3), [1, 2]);
    }
}
