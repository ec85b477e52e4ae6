//! The changes that a killed mount left: shown, compared with the server, and made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use super::log::NewChange;
use super::outcome::renamed_attributes;
use super::{NameView, Names};
use crate::cache::Attributes;
use crate::ftp::{Kind, RemotePath};
use crate::journal::{Journal, LeftChange, NameAction, NameBase, NameChange, RecordedChange};
use crate::vfs::attr::made_now;
use crate::vfs::table::ino::Ino;

impl Names {
    /// Takes over the changes that a killed mount of `root` left in `journal`, in their order.
    /// `shown` has the inode and the path of each spool file that this mount shows; the others are
    /// stored before. A spool file has its turn at the last record that names it as it is named
    /// now.
    pub(in crate::vfs) fn take_over(
        &self,
        root: &RemotePath,
        journal: &Journal,
        left: Vec<LeftChange>,
        shown: &BTreeMap<u64, (Ino, RemotePath)>,
    ) {
        let mut turns = BTreeMap::new();
        for left in &left {
            if let NameAction::Store { id } = left.change.action
                && shown
                    .get(&id)
                    .is_some_and(|(_, path)| *path == left.change.path)
            {
                turns.insert(id, left.numbers.clone());
            }
        }
        let mut state = self.lock();
        state.log.set_root(root);
        for LeftChange {
            numbers,
            mut change,
            is_begun,
        } in left
        {
            let is_turn = |id: &u64| turns.get(id) == Some(&numbers);
            let ino = match &change.action {
                NameAction::Store { id } => shown.get(id).filter(|_| is_turn(id)),
                _ => None,
            };
            let numbers = numbers.into_iter();
            let records: Vec<_> = numbers.map(|number| journal.recorded(number)).collect();
            if let NameAction::Store { id } = &mut change.action {
                let Some((ino, _)) = ino else {
                    RecordedChange::end(&records);
                    continue;
                };
                *id = ino.0;
            }
            let views = views(&change);
            let new = NewChange {
                change,
                records,
                domains: BTreeSet::new(),
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
                NameBase::File(version) => Some(renamed_attributes(version)),
                NameBase::Absent | NameBase::Directory => None,
            };
            vec![(path, None), (to.clone(), moved)]
        }
        NameAction::Store { .. } | NameAction::SetAttributes { .. } => Vec::new(),
    }
}
