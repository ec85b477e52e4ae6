//! The changes that a killed mount left: shown, compared with the server, and made.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::log::NewChange;
use super::outcome::renamed_attributes;
use super::{NameView, Names, State};
use crate::cache::Attributes;
use crate::ftp::{Kind, RemotePath, Version};
use crate::journal::{
    Domains, Journal, LeftChange, NameAction, NameBase, NameChange, RecordedChange,
};
use crate::vfs::attr::made_now;
use crate::vfs::table::ino::Ino;

/// A change that a killed mount left, and its journal.
pub(in crate::vfs) type ChangeOfMount = (Journal, LeftChange);

/// A spool file that a killed mount left, and that this mount shows.
#[derive(Debug)]
pub(in crate::vfs) struct ShownFile {
    /// The inode.
    pub(in crate::vfs) ino: Ino,
    /// The name.
    pub(in crate::vfs) path: RemotePath,
    /// What the server had there when it was closed.
    pub(in crate::vfs) base: Option<Version>,
    /// The position among all files that are shown.
    pub(in crate::vfs) position: usize,
}

/// The files that are shown, by the mount that left each of them and its number there.
pub(in crate::vfs) type ShownFiles = BTreeMap<(u32, u64), ShownFile>;

impl Names {
    /// Gives what is recorded in `journal`, which a killed mount left, and what is recorded from
    /// now on one order.
    pub(in crate::vfs) fn share_order(&self, journal: &Journal) {
        self.journal.share_order(journal);
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.push(journal.clone());
    }

    /// Takes over the changes that killed mounts of `root` left, in their order. Spool files that
    /// are not `shown` are stored before. One has its turn at the last record that names it as it
    /// is named now, or at the end if the mount was killed before it recorded that.
    pub(in crate::vfs) fn take_over(
        &self,
        root: &RemotePath,
        mut left: Vec<ChangeOfMount>,
        shown: &ShownFiles,
    ) {
        left.sort_by_key(|(_, left)| left.numbers.last().copied());
        let mut turns = BTreeMap::new();
        for (journal, left) in &left {
            if let NameAction::Store { id } = left.change.action
                && shown
                    .get(&(journal.mount(), id))
                    .is_some_and(|file| file.path == left.change.path)
            {
                turns.insert((journal.mount(), id), left.numbers.clone());
            }
        }
        let mut state = self.lock();
        state.log.set_root(root);
        let mut left = left.into_iter().map(|(journal, left)| {
            let numbers = left.numbers.iter();
            let records: Vec<_> = numbers.map(|number| journal.recorded(*number)).collect();
            (journal.mount(), records, left)
        });
        let mut todo: Vec<(u32, Vec<RecordedChange>, LeftChange)> = Vec::new();
        for (mount, mut records, left) in &mut left {
            // What stands for changes of several mounts is in the journal of each.
            let is_same = |other: &(u32, Vec<RecordedChange>, LeftChange)| {
                let is_begun = left.is_begun && other.2.is_begun;
                is_begun && other.0 != mount && other.2.change == left.change
            };
            if let Some(at) = todo.iter().position(is_same) {
                let (_, mut all, _) = todo.remove(at);
                all.append(&mut records);
                records = all;
            }
            todo.push((mount, records, left));
        }
        let mut without_turn = BTreeMap::new();
        for (mount, records, left) in todo {
            let LeftChange {
                numbers,
                domains,
                mut change,
                is_begun,
            } = left;
            if let NameAction::Store { id } = &mut change.action {
                let key = (mount, *id);
                let is_turn = turns.get(&key) == Some(&numbers);
                match shown.get(&key) {
                    Some(file) if is_turn => *id = file.ino.0,
                    Some(_) if !turns.contains_key(&key) => {
                        without_turn.insert(key, (records, domains));
                        continue;
                    }
                    Some(_) | None => {
                        RecordedChange::end(&records);
                        continue;
                    }
                }
            }
            let views = views(&change);
            let new = NewChange {
                change,
                records,
                domains,
                needs_look: true,
            };
            if is_begun {
                state.has_unjudged = true;
                state.log.append_begun(new);
            } else {
                let effects = state.log.append(new);
                self.carry_out(&state, effects);
            }
            for (path, known) in views {
                self.show(&state, &path, known);
            }
        }
        let mut last: Vec<_> = shown.iter().collect();
        last.retain(|(key, _)| !turns.contains_key(key));
        last.sort_unstable_by_key(|(_, file)| file.position);
        for (key, file) in last {
            let (records, domains) = without_turn.remove(key).unwrap_or_default();
            self.append_store(&mut state, *key, file, domains);
            RecordedChange::end(&records);
        }
        state.due = None;
        self.note(&state);
    }

    /// Gives a spool file that a killed mount left its turn behind all changes so far.
    fn append_store(
        &self,
        state: &mut State,
        (mount, number): (u32, u64),
        file: &ShownFile,
        domains: Domains,
    ) {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let journal = left.iter().find(|journal| journal.mount() == mount);
        let Some(journal) = journal.cloned() else {
            return;
        };
        drop(left);
        let mut change = NameChange {
            action: NameAction::Store { id: number },
            path: file.path.clone(),
            base: file.base.map_or(NameBase::Absent, NameBase::File),
        };
        let record = match journal.record_change(&change, &domains) {
            Ok(record) => record,
            Err(error) => {
                let path = &file.path;
                return ::log::warn!(path; "cannot record the order of {path}: {error}");
            }
        };
        change.action = NameAction::Store { id: file.ino.0 };
        let effects = state.log.append(NewChange {
            change,
            records: vec![record],
            domains,
            needs_look: true,
        });
        self.carry_out(state, effects);
    }

    /// Lets no store begin while `is_loading`.
    pub(in crate::vfs) fn set_loading(&self, is_loading: bool) {
        self.is_loading.store(is_loading, Ordering::Relaxed);
    }
}

/// Returns what programs see after `change`.
fn views(change: &NameChange) -> Vec<NameView> {
    let path = change.path.clone();
    match &change.action {
        NameAction::MakeDirectory { mode } => {
            vec![(path, Some(made_now(Kind::Directory, None, *mode)))]
        }
        NameAction::Unlink | NameAction::RemoveDirectory => vec![(path, None)],
        NameAction::Rename { to, .. } => {
            let moved: Option<Attributes> = match &change.base {
                NameBase::File(version) | NameBase::Retimed(_, version) => {
                    Some(renamed_attributes(version))
                }
                NameBase::Absent | NameBase::Directory => None,
            };
            vec![(path, None), (to.clone(), moved)]
        }
        NameAction::Store { .. } | NameAction::SetAttributes { .. } => Vec::new(),
    }
}
