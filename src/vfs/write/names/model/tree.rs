//! A tree of files and directories, and what changes do to it.

use std::collections::{BTreeMap, BTreeSet};

use super::super::judge::ServerNode;
use crate::ftp::{RemotePath, Version};
use crate::journal::{NameAction, NameBase, NameChange};

/// A file with these contents, or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ModelNode {
    Directory,
    File(u64),
}

pub(super) type Tree = BTreeMap<String, ModelNode>;

pub(super) fn path(text: &str) -> RemotePath {
    RemotePath::new(text.as_bytes()).unwrap()
}

pub(super) fn text(path: &RemotePath) -> String {
    String::from_utf8(path.as_bytes()[1..].to_vec()).unwrap()
}

pub(super) fn below(one: &str, other: &str) -> bool {
    one.strip_prefix(other)
        .is_some_and(|rest| rest.starts_with('/'))
}

pub(super) fn version(id: u64) -> Version {
    Version {
        size: Some(id),
        ..Version::default()
    }
}

pub(super) fn base(node: Option<ModelNode>) -> NameBase {
    match node {
        None => NameBase::Absent,
        Some(ModelNode::Directory) => NameBase::Directory,
        Some(ModelNode::File(id)) => NameBase::File(version(id)),
    }
}

pub(super) fn files(tree: &Tree) -> BTreeSet<u64> {
    let files = tree.values().filter_map(|node| match node {
        ModelNode::File(id) => Some(*id),
        ModelNode::Directory => None,
    });
    files.collect()
}

pub(super) fn inside(tree: &Tree, directory: &str) -> Vec<String> {
    let names = tree.keys().filter(|name| below(name, directory));
    names.cloned().collect()
}

/// Makes the change as a POSIX file system or an FTP server does. Returns whether it succeeded.
pub(super) fn apply(tree: &mut Tree, change: &NameChange) -> bool {
    let from = text(&change.path);
    let there = tree.get(&from).copied();
    let last = change.paths().last().map(text).unwrap_or_default();
    if let Some((parent, _)) = last.rsplit_once('/')
        && tree.get(parent) != Some(&ModelNode::Directory)
    {
        return false;
    }
    match &change.action {
        NameAction::MakeDirectory { .. } => {
            if there.is_some() {
                return false;
            }
            tree.insert(from, ModelNode::Directory);
        }
        NameAction::Store { id } => {
            if there == Some(ModelNode::Directory) {
                return false;
            }
            tree.insert(from, ModelNode::File(*id));
        }
        NameAction::Unlink => {
            if !matches!(there, Some(ModelNode::File(_))) {
                return false;
            }
            tree.remove(&from);
        }
        NameAction::RemoveDirectory => {
            if there != Some(ModelNode::Directory) || !inside(tree, &from).is_empty() {
                return false;
            }
            tree.remove(&from);
        }
        NameAction::Rename { to, .. } => {
            let to = text(to);
            let Some(ModelNode::File(id)) = there else {
                return false;
            };
            if from == to || tree.get(&to) == Some(&ModelNode::Directory) {
                return false;
            }
            tree.remove(&from);
            tree.insert(to, ModelNode::File(id));
        }
        NameAction::SetAttributes { .. } => return there.is_some(),
    }
    true
}

pub(super) fn look(tree: &Tree, path: &RemotePath) -> ServerNode {
    let name = text(path);
    match tree.get(&name) {
        None => ServerNode::Absent,
        Some(ModelNode::Directory) => ServerNode::Directory {
            is_filled: !inside(tree, &name).is_empty(),
        },
        Some(ModelNode::File(id)) => ServerNode::File(version(*id)),
    }
}
