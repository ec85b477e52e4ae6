//! The changes that a killed mount left: shown, compared with the server, and made.

use std::collections::BTreeSet;
use std::time::Instant;

use super::log::NewChange;
use super::outcome::renamed_attributes;
use super::{NameView, Names};
use crate::cache::Attributes;
use crate::ftp::{Kind, RemotePath};
use crate::journal::{Journal, LeftChange, NameAction, NameBase, NameChange, RecordedChange};
use crate::vfs::attr::made_now;

impl Names {
    /// Takes over the changes that a killed mount of `root` left in `journal`, in their order.
    /// `inode_of` returns the inode of the contents of a spool file that this mount shows; the
    /// others are stored before.
    pub(in crate::vfs) fn take_over(
        &self,
        root: &RemotePath,
        journal: &Journal,
        left: Vec<LeftChange>,
        mut inode_of: impl FnMut(u64) -> Option<u64>,
    ) {
        let mut state = self.lock();
        state.log.set_root(root);
        for LeftChange {
            numbers,
            mut change,
            is_begun,
        } in left
        {
            let numbers = numbers.into_iter();
            let records: Vec<_> = numbers.map(|number| journal.recorded(number)).collect();
            if let NameAction::Store { id } = &mut change.action {
                let Some(ino) = inode_of(*id) else {
                    RecordedChange::end(&records);
                    continue;
                };
                *id = ino;
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
        state.due = Instant::now();
        self.note(&state);
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
