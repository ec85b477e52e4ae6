//! What is sent together.

use super::super::relation::share_a_flight;
use super::{Domain, NamesLog, Step};
use crate::journal::NameAction;

impl<R: Clone> NamesLog<R> {
    /// Adds the new directories to `flight` that need not wait for anything else.
    pub(super) fn add_directories(&self, flight: &mut Vec<u64>, most: usize) {
        for place in &self.new_directories {
            if flight.len() >= most {
                break;
            }
            let entry = self.get(*place).filter(|it| it.step == Step::Waiting);
            if let Some(entry) = entry
                && !flight.contains(place)
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
                NameAction::SetAttributes { .. } => !entry.needs_look,
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

    use super::super::super::rules::LogRules;
    use super::super::NewChange;
    use super::*;
    use crate::ftp::RemotePath;
    use crate::journal::{NameBase, NameChange};

    const STORE: fn(u64) -> NameAction = |id| NameAction::Store { id };
    const MAKE: NameAction = NameAction::MakeDirectory { mode: None };

    fn log(changes: &[(&str, NameAction)]) -> NamesLog<usize> {
        let mut log = NamesLog::new(RemotePath::root(), LogRules::ALL);
        for (number, (at, action)) in changes.iter().enumerate() {
            log.append(NewChange {
                change: NameChange {
                    action: action.clone(),
                    path: RemotePath::new(at.as_bytes()).unwrap(),
                    base: NameBase::Absent,
                },
                records: vec![number],
                domains: BTreeSet::new(),
                needs_look: false,
            });
        }
        log
    }

    fn mode(mode: u32) -> NameAction {
        NameAction::SetAttributes {
            mode: Some(mode),
            modified: None,
        }
    }

    #[test]
    fn new_directories_overtake_stores_and_nothing_else_does() {
        let log = log(&[
            ("/a/x", STORE(1)),
            ("/a/d", MAKE),
            ("/a/d/y", STORE(2)),
            ("/a/d/e", MAKE),
            ("/a/old", NameAction::Unlink),
        ]);
        assert_eq!(log.next_flight(64, None), [2, 4]);
        assert!(log.may_store(1, false) && !log.may_store(3, false));
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
        // One that could not be stored would have to be stored again.
        assert_eq!(log.stores_from(1, 64, &|_| true), [1, 2, 3]);
        assert_eq!(log.stores_from(1, 64, &|place| place != 3), [1, 2]);
    }
}
