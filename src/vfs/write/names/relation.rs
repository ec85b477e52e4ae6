//! What two changes have to do with each other.

use crate::ftp::RemotePath;
use crate::journal::{Domains, NameAction, NameChange};

/// Whether a path of one equals or lies above a path of the other.
pub(super) fn related(one: &NameChange, other: &NameChange) -> bool {
    other.paths().any(|path| concerns(one, path))
}

/// Whether a path of `change` equals `path`, or one of them lies above the other.
pub(super) fn concerns(change: &NameChange, path: &RemotePath) -> bool {
    let mut paths = change.paths();
    paths.any(|it| it.below(path).is_some() || path.below(it).is_some())
}

/// Permission bits without which nothing can be made in a directory.
const WRITES: u32 = 0o300;

/// Whether two related changes can be sent together: a new directory and what is in it, or a
/// removal and that of the directory above. If the first is refused, so is the second. Or a file or
/// attributes, and then the attributes of a directory above that still lets the first be repeated.
pub(super) fn share_a_flight(first: &NameChange, second: &NameChange) -> bool {
    let is_below =
        |path: &RemotePath, above: &RemotePath| path != above && path.below(above).is_some();
    let mut paths = second.paths();
    match first.action {
        NameAction::MakeDirectory { .. } => {
            paths.all(|path| is_below(path, &first.path) || first.path.below(path).is_none())
        }
        NameAction::Unlink | NameAction::RemoveDirectory => {
            second.action == NameAction::RemoveDirectory && is_below(&first.path, &second.path)
        }
        NameAction::Store { .. } | NameAction::SetAttributes { .. } => match second.action {
            NameAction::SetAttributes { mode, .. } => {
                is_below(&first.path, &second.path)
                    && mode.is_none_or(|mode| mode & WRITES == WRITES)
            }
            _ => false,
        },
        NameAction::Rename { .. } => false,
    }
}

/// Returns the domains of `path`: its top-level name, and nothing for one directly in the root.
pub(super) fn domains_of_path(root: &RemotePath, path: &RemotePath) -> Domains {
    let below = path.below(root).unwrap_or(path.as_bytes());
    let mut names = below.splitn(2, |byte| *byte == b'/');
    let mut domains = Domains::from([Box::from(names.next().unwrap_or_default())]);
    if names.next().is_none() {
        domains.insert(Box::default());
    }
    domains
}
