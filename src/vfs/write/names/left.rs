//! The changes that a killed mount left: shown, compared with the server, and made.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::log::NewChange;
use super::outcome::renamed_attributes;
use super::{NameView, Names};
use crate::cache::Attributes;
use crate::ftp::{Kind, RemotePath};
use crate::journal::{Journal, LeftChange, NameAction, NameBase, NameChange, RecordedChange};
use crate::vfs::attr::made_now;
use crate::vfs::table::ino::Ino;

/// A change that a killed mount left, and its journal.
pub(in crate::vfs) type ChangeOfMount = (Journal, LeftChange);

/// The inode and the path of each spool file that this mount shows, by the mount that left it and
/// its number.
pub(in crate::vfs) type ShownFiles = BTreeMap<(u32, u64), (Ino, RemotePath)>;

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
    /// is named now.
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
                    .is_some_and(|(_, path)| *path == left.change.path)
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
        for (mount, records, left) in todo {
            let LeftChange {
                numbers,
                domains,
                mut change,
                is_begun,
            } = left;
            if let NameAction::Store { id } = &mut change.action {
                let key = (mount, *id);
                let shown = shown.get(&key);
                let Some((ino, _)) = shown.filter(|_| turns.get(&key) == Some(&numbers)) else {
                    RecordedChange::end(&records);
                    continue;
                };
                *id = ino.0;
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
        state.due = None;
        self.note(&state);
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
