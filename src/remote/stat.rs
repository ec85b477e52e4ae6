//! One path's entry: by MLST (RFC 3659 §7), else from its parent's listing.

use super::error::{Operation, Task, is_unsupported, meaning};
use super::links::treat;
use super::listing::{list_all, list_lines};
use super::retry::Dialogue;
use super::{Error, ErrorKind, Remote};
use crate::ftp::{Capability, Entry, Kind, RemotePath};

/// What is at a path.
#[derive(Debug)]
pub(super) enum Look {
    /// This.
    Found(Entry),
    /// Nothing, in a directory that is there.
    Absent,
    /// Nothing, and its parent is no directory or is not there either.
    NoParent(ErrorKind),
}

/// See [`Remote::stat`].
pub(super) fn stat(remote: &Remote, path: &RemotePath) -> Result<Entry, Error> {
    let task = Task::new(Operation::Stat, path);
    match look_as_shown(remote, &mut remote.dialogue(), path)? {
        Look::Found(entry) => Ok(entry),
        Look::Absent => Err(task.error(ErrorKind::NotFound, &"the server does not list it")),
        Look::NoParent(kind) => Err(task.error(kind, &"its directory is not there")),
    }
}

/// What is at `path`, links treated as the mount shows them.
pub(super) fn look_as_shown(
    remote: &Remote,
    dialogue: &mut Dialogue<'_>,
    path: &RemotePath,
) -> Result<Look, Error> {
    match (look(remote, dialogue, path)?, path.parent()) {
        (Look::Found(entry), Some(parent)) => treat(remote, dialogue, &parent, entry)
            .map(|shown| shown.map_or(Look::Absent, Look::Found))
            .map_err(|fault| remote.blame(dialogue, &Task::new(Operation::Stat, path), &fault)),
        (found, _) => Ok(found),
    }
}

/// What is at `path`.
pub(super) fn look(
    remote: &Remote,
    dialogue: &mut Dialogue<'_>,
    path: &RemotePath,
) -> Result<Look, Error> {
    if remote.profile().has(Capability::Mlst) {
        match dialogue.repeat(|session| session.mlst(path)) {
            Ok(entry) if may_be_a_link(&entry) => {
                return look_again(remote, dialogue, path, named(entry, path));
            }
            Ok(entry) => return Ok(Look::Found(named(entry, path))),
            Err(fault) if is_unsupported(&fault) => {
                remote.profile().fails(Capability::Mlst, &fault);
            }
            Err(fault) => {
                return match meaning(&fault, path) {
                    // A server that gives no reason for not showing a path mostly has none.
                    None | Some(ErrorKind::NotFound) => Ok(Look::Absent),
                    Some(kind @ ErrorKind::NotDirectory) => Ok(Look::NoParent(kind)),
                    Some(kind) => Err(Task::new(Operation::Stat, path).error(kind, &fault)),
                };
            }
        }
    }
    look_in_parent(remote, dialogue, path)
}

/// ProFTPD tells of a link the kind of what it leads to, but the link's own mode and size: the
/// target would be cut to the length of its name. Every link has mode 0777, and no name is longer
/// than `PATH_MAX`.
fn may_be_a_link(told: &Entry) -> bool {
    const PATH_MAX: u64 = 4096;
    told.kind != Kind::Symlink
        && told.mode == Some(0o777)
        && told.size.is_none_or(|size| size < PATH_MAX)
}

/// What the parent's listing says, which shows a link as a link; what MLST told, where it is not listed.
fn look_again(
    remote: &Remote,
    dialogue: &mut Dialogue<'_>,
    path: &RemotePath,
    told: Entry,
) -> Result<Look, Error> {
    if path.parent().is_none() {
        return Ok(Look::Found(told));
    }
    match look_in_parent(remote, dialogue, path)? {
        found @ Look::Found(_) => Ok(found),
        Look::Absent | Look::NoParent(_) => Ok(Look::Found(told)),
    }
}

fn look_in_parent(
    remote: &Remote,
    dialogue: &mut Dialogue<'_>,
    path: &RemotePath,
) -> Result<Look, Error> {
    let Some(parent) = path.parent() else {
        list_all(remote, dialogue, path)?;
        return Ok(Look::Found(Entry::new(b"", Kind::Directory)));
    };
    match list_all(remote, dialogue, &parent) {
        Ok(entries) => Ok(find(entries, path).map_or(Look::Absent, Look::Found)),
        Err(error) => match error.kind {
            ErrorKind::NotFound | ErrorKind::NotDirectory => Ok(Look::NoParent(error.kind)),
            _ => Err(error),
        },
    }
}

/// See [`Remote::read_link`].
pub(super) fn read_link(remote: &Remote, path: &RemotePath) -> Result<Vec<u8>, Error> {
    let task = Task::new(Operation::ReadLink, path);
    let mut dialogue = remote.dialogue();
    if remote.profile().has(Capability::Mlst)
        && let Look::Found(entry) = look(remote, &mut dialogue, path)?
        && let Some(target) = entry.target
    {
        return Ok(target);
    }
    let Some(parent) = path.parent() else {
        return Err(task.error(ErrorKind::IsDirectory, &"the root is no link"));
    };
    let entries = list_lines(remote, &mut dialogue, &parent)?;
    match find(entries, path) {
        Some(entry) => entry.target.ok_or_else(|| {
            task.error(
                ErrorKind::Unsupported,
                &"the server does not tell where it leads",
            )
        }),
        None => Err(task.error(ErrorKind::NotFound, &"the server does not list it")),
    }
}

fn find(entries: Vec<Entry>, path: &RemotePath) -> Option<Entry> {
    entries.into_iter().find(|entry| entry.name == path.name())
}

/// MLST shows a name or the whole path, as the server likes (RFC 3659 §7.2).
fn named(mut entry: Entry, path: &RemotePath) -> Entry {
    entry.name = path.name().to_vec();
    entry
}
