//! Two changes of which the server sees only the result.

use crate::ftp::RemotePath;
use crate::journal::{NameAction, NameBase, NameChange};

/// The result of a change and a later one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fold {
    /// Both are made.
    Keep,
    /// Only this one is made, in the place of the later one.
    Into(NameChange),
    /// Neither is made.
    Vanish,
}

/// Combines `old` and the later change `new`. `is_untouched` says whether no change between them is
/// about a path.
pub(super) fn fold(
    old: &NameChange,
    new: &NameChange,
    is_untouched: &dyn Fn(&RemotePath) -> bool,
) -> Fold {
    match (&old.action, &new.action) {
        (NameAction::MakeDirectory { .. }, NameAction::RemoveDirectory) if old.path == new.path => {
            Fold::Vanish
        }
        (
            NameAction::Rename {
                to,
                replaced: NameBase::Absent,
            },
            _,
        ) if *to == new.path && is_untouched(&old.path) => fold_rename(old, new),
        (NameAction::SetAttributes { mode, modified }, _) if old.path == new.path => {
            match &new.action {
                NameAction::SetAttributes {
                    mode: new_mode,
                    modified: new_time,
                } => Fold::Into(NameChange {
                    action: NameAction::SetAttributes {
                        mode: new_mode.or(*mode),
                        modified: new_time.or(*modified),
                    },
                    path: new.path.clone(),
                    base: old.base,
                }),
                NameAction::Unlink | NameAction::RemoveDirectory => Fold::Into(NameChange {
                    base: old.base,
                    ..new.clone()
                }),
                NameAction::MakeDirectory { .. }
                | NameAction::Store { .. }
                | NameAction::Rename { .. } => Fold::Keep,
            }
        }
        _ => Fold::Keep,
    }
}

/// Combines a rename to an unused name with a change of that name.
fn fold_rename(old: &NameChange, new: &NameChange) -> Fold {
    match &new.action {
        NameAction::Rename {
            to,
            replaced: NameBase::Absent,
        } if *to == old.path => Fold::Vanish,
        NameAction::Rename { to, .. } if *to != old.path => Fold::Into(NameChange {
            action: new.action.clone(),
            path: old.path.clone(),
            base: old.base,
        }),
        NameAction::Unlink => Fold::Into(NameChange {
            action: NameAction::Unlink,
            path: old.path.clone(),
            base: old.base,
        }),
        NameAction::Rename { .. }
        | NameAction::MakeDirectory { .. }
        | NameAction::Store { .. }
        | NameAction::RemoveDirectory
        | NameAction::SetAttributes { .. } => Fold::Keep,
    }
}
