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
                    base: either(old.base, new.base),
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

/// Returns the base of a change of a file of which programs saw `after` and whose attributes were
/// `before`: a killed mount may have set new ones.
fn either(before: NameBase, after: NameBase) -> NameBase {
    match (before, after) {
        (NameBase::File(before), NameBase::File(after)) if before != after => {
            NameBase::Retimed(before, after)
        }
        (NameBase::File(before), NameBase::Retimed(first, last)) if before == first => {
            NameBase::Retimed(first, last)
        }
        (NameBase::File(before), NameBase::Retimed(first, _)) => NameBase::Retimed(first, before),
        _ => before,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::{Precision, Version};

    fn version(seconds: i64) -> Version {
        Version {
            size: Some(3),
            modified: Some((seconds, Precision::Second)),
            ..Version::default()
        }
    }

    #[test]
    fn a_file_may_be_removed_with_its_old_time_or_its_new_one() {
        let change = |action, base| NameChange {
            action,
            path: RemotePath::new(b"/a").unwrap(),
            base,
        };
        let action = NameAction::SetAttributes {
            mode: None,
            modified: Some(2),
        };
        let old = change(action, NameBase::File(version(1)));
        let both = NameBase::Retimed(version(1), version(2));
        for (base, expected) in [
            (NameBase::File(version(1)), NameBase::File(version(1))),
            (NameBase::File(version(2)), both),
            (both, both),
            (
                NameBase::Retimed(version(0), version(2)),
                NameBase::Retimed(version(0), version(1)),
            ),
        ] {
            let new = change(NameAction::Unlink, base);
            let folded = Fold::Into(change(NameAction::Unlink, expected));
            assert_eq!(fold(&old, &new, &|_| true), folded, "{base:?}");
        }
    }
}
