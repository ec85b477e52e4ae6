//! Changes that the server refused, and what depends on them.

use super::{LogEntry, NamesLog, Step, related};
use crate::ftp::RemotePath;
use crate::journal::NameAction;

/// What becomes of the changes behind one that the server refused.
#[derive(Debug)]
pub(in crate::vfs::write::names) struct TakenBack<R> {
    /// The changes that are given up, in their order; also the refused one unless it is parked.
    pub(in crate::vfs::write::names) dropped: Vec<LogEntry<R>>,
    /// The contents whose stores wait until a program asks.
    pub(in crate::vfs::write::names) behind: Vec<u64>,
    /// The places of all these changes, and of the refused one.
    pub(in crate::vfs::write::names) places: Vec<u64>,
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
                places: Vec::new(),
            };
        };
        let mut places = vec![place];
        let mut gone = vec![refused.change.clone()];
        dropped.extend(self.park_or_remove(place, Step::Parked));
        let later: Vec<_> = self.entries.range(place + 1..).map(|it| *it.0).collect();
        for place in later {
            let Some(entry) = self.entries.get(&place).filter(|it| !it.step.is_parked()) else {
                continue;
            };
            let is_behind = self.rules.cascade && gone.iter().any(|it| related(it, &entry.change));
            let is_tail = self.rules.tail
                && refused.change.is_add()
                && entry.change.destroys()
                && !entry.domains.is_disjoint(&refused.domains);
            if is_behind || is_tail {
                gone.push(entry.change.clone());
                places.push(place);
                if let NameAction::Store { id } = entry.change.action {
                    behind.push(id);
                }
                dropped.extend(self.park_or_remove(place, Step::Behind));
            }
        }
        TakenBack {
            dropped,
            behind,
            places,
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::super::rules::LogRules;
    use super::super::NewChange;
    use super::*;
    use crate::journal::{NameBase, NameChange};

    fn path(text: &str) -> RemotePath {
        RemotePath::new(text.as_bytes()).unwrap()
    }

    fn log(changes: &[(&str, NameAction)]) -> NamesLog<usize> {
        let mut log = NamesLog::new(RemotePath::root(), LogRules::ALL);
        for (number, (at, action)) in changes.iter().enumerate() {
            log.append(NewChange {
                change: NameChange {
                    action: action.clone(),
                    path: path(at),
                    base: NameBase::Absent,
                },
                records: vec![number],
                domains: BTreeSet::new(),
                needs_look: false,
            });
        }
        log
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
}
