//! Whether a change was made: for one that may have been sent, and for one that others may have
//! disturbed.

use crate::ftp::{RemotePath, Version};
use crate::journal::{NameAction, NameBase, NameChange};

/// What the server has at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerNode {
    /// Nothing.
    Absent,
    /// A directory; with whether something is in it.
    Directory {
        /// Whether something is in it.
        is_filled: bool,
    },
    /// A file, a link or anything else.
    File(Version),
}

/// What to do with a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeVerdict {
    /// The server shows its result.
    Done,
    /// The server has what the program saw before.
    Send,
    /// Others have changed something. Both is kept.
    Conflict,
}

/// Judges `change` by what the server has.
///
/// # Errors
/// Those of `look`.
pub(super) fn judge<E>(
    change: &NameChange,
    mut look: impl FnMut(&RemotePath) -> Result<ServerNode, E>,
) -> Result<ChangeVerdict, E> {
    let found = look(&change.path)?;
    Ok(match &change.action {
        NameAction::MakeDirectory { .. } => match found {
            ServerNode::Directory { .. } => ChangeVerdict::Done,
            ServerNode::Absent => ChangeVerdict::Send,
            ServerNode::File(_) => ChangeVerdict::Conflict,
        },
        NameAction::Unlink => match found {
            ServerNode::Absent => ChangeVerdict::Done,
            found if is_base(found, &change.base) => ChangeVerdict::Send,
            ServerNode::File(_) | ServerNode::Directory { .. } => ChangeVerdict::Conflict,
        },
        NameAction::RemoveDirectory => match found {
            ServerNode::Absent => ChangeVerdict::Done,
            ServerNode::Directory { is_filled: false } => ChangeVerdict::Send,
            ServerNode::Directory { is_filled: true } | ServerNode::File(_) => {
                ChangeVerdict::Conflict
            }
        },
        NameAction::Rename { to, replaced } => {
            let there = look(to)?;
            if is_base(found, &change.base) && is_base(there, replaced) {
                ChangeVerdict::Send
            } else if is_base(there, &change.base) && !matches!(found, ServerNode::Directory { .. })
            {
                ChangeVerdict::Done
            } else {
                ChangeVerdict::Conflict
            }
        }
        // The upload compares the contents.
        NameAction::Store { .. } => ChangeVerdict::Send,
        NameAction::SetAttributes { .. } => match found {
            ServerNode::Absent => ChangeVerdict::Conflict,
            ServerNode::File(_) | ServerNode::Directory { .. } => ChangeVerdict::Send,
        },
    })
}

fn is_base(found: ServerNode, base: &NameBase) -> bool {
    match (found, base) {
        (ServerNode::Absent, NameBase::Absent)
        | (ServerNode::Directory { is_filled: false }, NameBase::Directory) => true,
        (ServerNode::File(found), NameBase::File(base)) => base.agrees(&found),
        (ServerNode::File(found), NameBase::Retimed(before, after)) => {
            before.agrees(&found) || after.agrees(&found)
        }
        (ServerNode::Absent | ServerNode::Directory { .. } | ServerNode::File(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::ftp::Precision;

    const EMPTY: ServerNode = ServerNode::Directory { is_filled: false };
    const FILLED: ServerNode = ServerNode::Directory { is_filled: true };

    fn version(size: u64) -> Version {
        Version {
            size: Some(size),
            modified: Some((1_700_000_000, Precision::Second)),
            unique: 0,
        }
    }

    fn file(size: u64) -> ServerNode {
        ServerNode::File(version(size))
    }

    fn verdict(action: NameAction, base: NameBase, seen: [ServerNode; 2]) -> ChangeVerdict {
        let path = RemotePath::new(b"/a").unwrap();
        let change = NameChange { action, path, base };
        let look = |path: &RemotePath| {
            Ok::<_, Infallible>(if path.as_bytes() == b"/a" {
                seen[0]
            } else {
                seen[1]
            })
        };
        let Ok(verdict) = judge(&change, look);
        verdict
    }

    #[test]
    fn a_change_is_made_again_only_if_the_server_has_what_the_program_saw() {
        use ChangeVerdict::{Conflict, Done, Send};
        let made = NameAction::MakeDirectory { mode: None };
        let base = NameBase::File(version(1));
        for (action, base, seen, expected) in [
            (made.clone(), NameBase::Absent, ServerNode::Absent, Send),
            (made.clone(), NameBase::Absent, FILLED, Done),
            (made, NameBase::Absent, file(1), Conflict),
            (NameAction::Unlink, base, ServerNode::Absent, Done),
            (NameAction::Unlink, base, file(1), Send),
            (NameAction::Unlink, base, file(2), Conflict),
            (NameAction::Unlink, base, EMPTY, Conflict),
            (
                NameAction::RemoveDirectory,
                NameBase::Directory,
                ServerNode::Absent,
                Done,
            ),
            (
                NameAction::RemoveDirectory,
                NameBase::Directory,
                EMPTY,
                Send,
            ),
            (
                NameAction::RemoveDirectory,
                NameBase::Directory,
                FILLED,
                Conflict,
            ),
        ] {
            let found = verdict(action.clone(), base, [seen, ServerNode::Absent]);
            assert_eq!(found, expected, "{action:?} {seen:?}");
        }
    }

    #[test]
    fn a_rename_is_done_if_the_file_has_the_new_name_and_the_old_one_is_free_or_taken() {
        use ChangeVerdict::{Conflict, Done, Send};
        for (replaced, seen, expected) in [
            (NameBase::Absent, [file(1), ServerNode::Absent], Send),
            (NameBase::Absent, [ServerNode::Absent, file(1)], Done),
            (NameBase::Absent, [file(3), file(1)], Done),
            (NameBase::Absent, [file(1), file(2)], Conflict),
            (
                NameBase::Absent,
                [ServerNode::Absent, ServerNode::Absent],
                Conflict,
            ),
            (NameBase::File(version(2)), [file(1), file(2)], Send),
            (NameBase::File(version(2)), [file(1), file(4)], Conflict),
            (
                NameBase::File(version(2)),
                [ServerNode::Absent, file(1)],
                Done,
            ),
        ] {
            let to = RemotePath::new(b"/b").unwrap();
            let action = NameAction::Rename { to, replaced };
            let found = verdict(action, NameBase::File(version(1)), seen);
            assert_eq!(found, expected, "{replaced:?} {seen:?}");
        }
    }
}
