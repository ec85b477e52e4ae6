//! Changes that the server refused, and what depends on them.

use super::{LogEntry, NamesLog, NewChange, Step, related};
use crate::ftp::RemotePath;
use crate::journal::{Domains, NameAction, NameChange};

/// What becomes of the changes behind one that the server refused.
#[derive(Debug)]
pub(in crate::vfs::write::names) struct TakenBack<R> {
    /// The changes that are given up, in their order; also the refused one unless it is parked.
    pub(in crate::vfs::write::names) dropped: Vec<LogEntry<R>>,
    /// The contents whose stores wait until a program asks.
    pub(in crate::vfs::write::names) behind: Vec<u64>,
    /// All these changes and the refused one, with their places.
    pub(in crate::vfs::write::names) changes: Vec<(u64, NameChange)>,
}

impl<R: Clone> NamesLog<R> {
    /// Gives up the change at `place`, which the server refused, and what depends on it:
    ///
    /// - what is related to it and comes later;
    /// - the removals and replacements of its domains if it adds a name: nothing is destroyed on
    ///   the strength of an add that failed.
    ///
    /// New directories and stores exist nowhere else and are parked. A change that already waits
    /// [behind](Step::Behind) another is not refused itself.
    pub(in crate::vfs::write::names) fn refuse(&mut self, place: u64) -> TakenBack<R> {
        let mut dropped = Vec::new();
        let mut behind = Vec::new();
        let refused = self.entries.get(&place).cloned();
        let Some(refused) = refused.filter(|it| it.step != Step::Behind) else {
            return TakenBack {
                dropped,
                behind,
                changes: Vec::new(),
            };
        };
        let mut gone = vec![(place, refused.change.clone())];
        dropped.extend(self.park_or_remove(place, Step::Parked));
        let later: Vec<_> = self.entries.range(place + 1..).map(|it| *it.0).collect();
        for place in later {
            let Some(entry) = self.entries.get(&place).filter(|it| !it.step.is_parked()) else {
                continue;
            };
            let is_behind =
                self.rules.cascade && gone.iter().any(|it| related(&it.1, &entry.change));
            let is_tail = self.rules.tail
                && refused.change.is_add()
                && entry.change.destroys()
                && !entry.domains.is_disjoint(&refused.domains);
            if is_behind || is_tail {
                gone.push((place, entry.change.clone()));
                if let NameAction::Store { id } = entry.change.action {
                    behind.push(id);
                }
                dropped.extend(self.park_or_remove(place, Step::Behind));
            }
        }
        TakenBack {
            dropped,
            behind,
            changes: gone,
        }
    }

    fn park_or_remove(&mut self, place: u64, step: Step) -> Option<LogEntry<R>> {
        let entry = self.entries.get_mut(&place)?;
        match entry.change.action {
            NameAction::MakeDirectory { .. } | NameAction::Store { .. } => {
                entry.needs_look |= step == Step::Behind;
                self.set_step(place, step);
                None
            }
            NameAction::Unlink
            | NameAction::RemoveDirectory
            | NameAction::Rename { .. }
            | NameAction::SetAttributes { .. } => self.remove(place),
        }
    }

    /// Lets the parked changes at `path`, above it and below it be tried again, and those before
    /// them that are related to them, and so on. Returns the contents of the stores among them, and
    /// whether they must be compared with the server.
    pub(in crate::vfs::write::names) fn unpark(&mut self, path: &RemotePath) -> Vec<(u64, bool)> {
        let mut stores = Vec::new();
        for place in self.closure_of(path, true) {
            let Some(entry) = self.entries.get(&place).filter(|it| it.step.is_parked()) else {
                continue;
            };
            if let NameAction::Store { id } = entry.change.action {
                stores.push((id, entry.step == Step::Behind));
            }
            self.set_step(place, Step::Waiting);
        }
        stores
    }
}

impl<R: Clone> NamesLog<R> {
    /// Lets the parked changes below `from`, a directory that was renamed to `to`, be about the
    /// new paths, behind all changes so far; without the stores, whose contents have a path of
    /// their own. `record` records each. Returns them as they were, and as they are.
    pub(in crate::vfs::write::names) fn move_parked(
        &mut self,
        (from, to): (&RemotePath, &RemotePath),
        mut record: impl FnMut(&NameChange, &Domains) -> Option<R>,
    ) -> Vec<(LogEntry<R>, NameChange)> {
        let is_parked = |entry: &LogEntry<R>| entry.step.is_parked() && !entry.change.is_store();
        let below = self.entries.iter().filter(|(_, it)| is_parked(it));
        let below: Vec<_> = below
            .filter_map(|(place, it)| Some((*place, it.change.path.rebased(from, to)?)))
            .collect();
        let mut moved = Vec::with_capacity(below.len());
        for (place, path) in below {
            let Some(mut entry) = self.remove(place) else {
                continue;
            };
            let change = NameChange {
                path,
                ..entry.change.clone()
            };
            let mut domains = entry.domains.clone();
            domains.extend(self.domains_of(&change));
            let records = match record(&change, &domains) {
                Some(record) => vec![record],
                None => std::mem::take(&mut entry.records),
            };
            let new = NewChange {
                change: change.clone(),
                records,
                domains,
                needs_look: true,
            };
            self.push(new, entry.step);
            moved.push((entry, change));
        }
        moved
    }
}

#[cfg(test)]
mod tests {

    use super::super::super::testing::log;
    use super::*;
    use crate::journal::NameBase;

    fn path(text: &str) -> RemotePath {
        RemotePath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn only_what_a_path_depends_on_is_tried_again() {
        let store = |id| NameAction::Store { id };
        let mut log = log(&[("/a/x", store(1)), ("/b/y", store(2)), ("/b/z", store(3))]);
        for place in 1..=3 {
            log.refuse(place);
        }
        assert_eq!(log.unpark(&path("/b/y")), [(2, false)]);
        assert!(log.get(1).unwrap().step.is_parked() && log.get(3).unwrap().step.is_parked());
        // What is refused keeps nothing else from its turn.
        assert!(log.may_store(2, false));
    }

    #[test]
    fn a_store_behind_a_refused_change_is_not_refused_itself() {
        let to = path("/a/log.1");
        let replaced = NameBase::Absent;
        let rename = NameAction::Rename { to, replaced };
        let mut log = log(&[("/a/log", rename), ("/a/log", NameAction::Store { id: 7 })]);
        let taken = log.refuse(1);
        assert_eq!((taken.dropped.len(), taken.behind), (1, vec![7]));
        assert!(!log.may_store(2, false) && !log.may_store(2, true));
        assert!(log.refuse(2).dropped.is_empty());
        assert_eq!(log.get(2).unwrap().step, Step::Behind);
        assert_eq!(log.unpark(&path("/a/log")), [(7, true)]);
        assert!(log.get(2).unwrap().needs_look && log.may_store(2, false));
    }

    #[test]
    fn what_is_parked_follows_the_renames_of_the_directories_above_it() {
        let make = NameAction::MakeDirectory { mode: None };
        let mut log = log(&[
            ("/a/x", make.clone()),
            ("/a/x/y", make.clone()),
            ("/a/x/y/f", NameAction::Store { id: 7 }),
            ("/b/x", make),
        ]);
        log.refuse(1);
        let moved = log.move_parked((&path("/a"), &path("/e")), |_, _| Some(9));
        let paths = |of: &[(LogEntry<usize>, NameChange)]| -> Vec<_> {
            of.iter().map(|it| it.1.path.clone()).collect()
        };
        assert_eq!(paths(&moved), [path("/e/x"), path("/e/x/y")]);
        assert_eq!(moved.first().unwrap().0.records, [0]);
        let waiting: Vec<_> = log.iter().map(|(place, it)| (place, it.step)).collect();
        let steps = [Step::Behind, Step::Waiting, Step::Parked, Step::Behind];
        let places = [3, 4, 5, 6];
        assert_eq!(waiting, places.into_iter().zip(steps).collect::<Vec<_>>());
        assert_eq!(log.get(5).unwrap().records, [9]);
        assert!(log.get(5).unwrap().needs_look);
        log.unpark(&path("/e/x/y"));
        assert_eq!(log.next_flight(64, None), [4, 5, 6]);
    }
}
