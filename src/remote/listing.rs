//! A directory's listing, by MLSD where the server has it, else by STAT where that is as good as LIST, else by LIST,
//! whose answers need doubt: an empty
//! one or one with a single name may come of a path that is a file, or of none at all.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::error::{Operation, Task, is_unsupported, meaning, refusal};
use super::links::treat_all;
use super::retry::Dialogue;
use super::stat_listing::StatAnswer;
use super::temporary::is_temporary;
use super::{Error, ErrorKind, Remote, stat_listing};
use crate::ftp::{self, Capability, Entry, Kind, ListWith, RemotePath};
use crate::pool;

/// The listing as users see it.
pub(super) fn list(remote: &Remote, path: &RemotePath) -> Result<Vec<Entry>, Error> {
    let mut dialogue = if stat_listing::is_believed(remote) {
        remote.dialogue()
    } else {
        Dialogue::to_list(remote.pool())
    };
    let mut entries = list_all(remote, &mut dialogue, path)?;
    entries.retain(|entry| !is_temporary(&entry.name));
    treat_all(remote, &mut dialogue, path, entries)
        .map_err(|fault| remote.blame(&mut dialogue, &Task::new(Operation::List, path), &fault))
}

/// The listing of `directory` with unfinished uploads in it.
pub(super) fn list_all(
    remote: &Remote,
    dialogue: &mut Dialogue<'_>,
    directory: &RemotePath,
) -> Result<Vec<Entry>, Error> {
    let task = Task::new(Operation::List, directory);
    if remote.profile().has(Capability::Mlsd) {
        match fetch(remote, dialogue, ListWith::Mlsd, directory) {
            Ok(Some(entries)) if !may_be_a_file(&entries, directory) => {
                return Ok(without_repeats(entries));
            }
            Ok(Some(entries)) => return confirmed(remote, dialogue, directory, entries),
            Ok(None) => return Err(too_large(remote, directory)),
            Err(fault) if is_unsupported(&fault) => {
                remote.profile().fails(Capability::Mlsd, &fault);
            }
            Err(fault) => return Err(remote.blame(dialogue, &task, &fault)),
        }
    }
    match stat_listing::list(remote, dialogue, directory) {
        StatAnswer::Believed(entries) => return Ok(without_repeats(entries)),
        StatAnswer::TooLarge => return Err(too_large(remote, directory)),
        StatAnswer::None => {}
    }
    match fetch(remote, dialogue, ListWith::List, directory) {
        Ok(Some(entries)) if entries.is_empty() || may_be_a_file(&entries, directory) => {
            confirmed(remote, dialogue, directory, entries)
        }
        Ok(Some(entries)) => {
            let entries = without_repeats(entries);
            stat_listing::compare(remote, dialogue, directory, &entries);
            Ok(entries)
        }
        Ok(None) => Err(too_large(remote, directory)),
        Err(fault) if says_empty(&fault, directory) => {
            confirmed(remote, dialogue, directory, Vec::new())
        }
        Err(fault) => Err(remote.blame(dialogue, &task, &fault)),
    }
}

/// The entry lines of LIST's answer about the names in `directory`: what MLSD does not tell (a link's target).
pub(super) fn list_lines(
    remote: &Remote,
    dialogue: &mut Dialogue<'_>,
    directory: &RemotePath,
) -> Result<Vec<Entry>, Error> {
    match fetch(remote, dialogue, ListWith::List, directory) {
        Ok(Some(entries)) => Ok(entries),
        Ok(None) => Err(too_large(remote, directory)),
        Err(fault) => {
            let task = Task::new(Operation::List, directory);
            Err(remote.blame(dialogue, &task, &fault))
        }
    }
}

/// One listing with its times in UTC; none when memory has no room for it.
fn fetch(
    remote: &Remote,
    dialogue: &mut Dialogue<'_>,
    with: ListWith,
    directory: &RemotePath,
) -> Result<Option<Vec<Entry>>, pool::Error> {
    dialogue.repeat(|session| {
        let mut entries = Vec::new();
        let listed = session.list(with, directory, &mut |mut entry| {
            // Nothing here uses them, and they are of the server's length.
            (entry.owner, entry.group) = (None, None);
            entries.push(entry);
            ControlFlow::Continue(())
        });
        let outcome = match listed {
            Err(ftp::Error::ListingTooLarge(_)) => return Ok(None),
            listed => listed?,
        };
        remote.zone().settle(session, directory, &mut entries);
        // The entries are counted until they are ready for the cache, which has a bound of its own.
        drop(outcome);
        Ok(Some(entries))
    })
}

/// `entries`, if `directory` is one: a server that lists nothing for a path that is not there, or a file for
/// itself, refuses to enter it (CWD, RFC 959 §4.1.1).
fn confirmed(
    remote: &Remote,
    dialogue: &mut Dialogue<'_>,
    directory: &RemotePath,
    entries: Vec<Entry>,
) -> Result<Vec<Entry>, Error> {
    if directory.is_root() {
        return Ok(entries);
    }
    match dialogue.repeat(|session| session.change_directory(directory)) {
        Ok(()) => Ok(without_repeats(entries)),
        Err(fault) => {
            let task = Task::new(Operation::List, directory);
            Err(remote.blame(dialogue, &task, &fault))
        }
    }
}

/// Whether these lines may be about a file at `path` itself: LIST and STAT take a file for an answer.
fn may_be_a_file(entries: &[Entry], path: &RemotePath) -> bool {
    matches!(entries, [only] if only.kind != Kind::Directory && only.name == path.name())
}

/// Whether a refusal only means that there is nothing to list: `450 No files found`.
fn says_empty(fault: &pool::Error, directory: &RemotePath) -> bool {
    refusal(fault).is_some_and(|reply| matches!(reply.code().0, 450 | 550))
        && matches!(
            meaning(fault, directory),
            Some(ErrorKind::NotFound | ErrorKind::Busy)
        )
}

/// Each name once: the first line of it.
fn without_repeats(mut entries: Vec<Entry>) -> Vec<Entry> {
    let mut seen = HashSet::with_capacity(entries.len());
    let first: Vec<bool> = entries
        .iter()
        .map(|entry| seen.insert(entry.name.as_slice()))
        .collect();
    if first.contains(&false) {
        let mut first = first.into_iter();
        entries.retain(|_| first.next().unwrap_or(true));
    }
    entries
}

fn too_large(remote: &Remote, directory: &RemotePath) -> Error {
    let mebibytes = remote.listings().limit() >> 20;
    Task::new(Operation::List, directory).error(
        ErrorKind::Protocol,
        &format!(
            "the listings under way take more than {mebibytes} MiB of memory: see -o cache_size"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_listed_twice_is_shown_once() {
        let names = |entries: Vec<Entry>| -> Vec<Vec<u8>> {
            entries.into_iter().map(|entry| entry.name).collect()
        };
        let listed = ["a", "b", "a", "c", "b"].map(|name| Entry::new(name, Kind::File));
        assert_eq!(
            names(without_repeats(listed.to_vec())),
            [b"a", b"b", b"c"].map(|name| name.to_vec())
        );
    }

    #[test]
    fn only_a_single_line_of_the_same_name_is_doubted() {
        let path = RemotePath::new(b"/a/b").unwrap();
        assert!(may_be_a_file(&[Entry::new("b", Kind::File)], &path));
        assert!(may_be_a_file(&[Entry::new("b", Kind::Unknown)], &path));
        assert!(!may_be_a_file(&[Entry::new("b", Kind::Directory)], &path));
        assert!(!may_be_a_file(&[Entry::new("c", Kind::File)], &path));
        let two = ["b", "c"].map(|name| Entry::new(name, Kind::File));
        assert!(!may_be_a_file(&two, &path));
    }
}
