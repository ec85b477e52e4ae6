//! What the unit tests of this module share.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::log::{NamesLog, NewChange};
use super::rules::LogRules;
use super::{Inherited, Names};
use crate::cache::{Cache, CacheOptions};
use crate::ftp::RemotePath;
use crate::journal::{Journal, NameAction, NameBase, NameChange, StateDir};
use crate::vfs::errno::Errno;
use crate::vfs::write::writeback::{StoreFailure, Writeback};

/// Creates an empty log of changes that nothing sends, and the directory of its journal.
pub(super) fn names() -> (TempDir, Names) {
    let directory = TempDir::new().unwrap();
    let place = StateDir::of(directory.path(), "anna", "host", 21);
    let journal = Journal::open(&place, None).unwrap();
    let cache = Cache::new(CacheOptions {
        ttl: Duration::from_secs(60),
        max_bytes: 1 << 20,
    });
    let names = Names::new(journal, Arc::new(cache), Arc::new(Writeback::default()));
    (directory, names)
}

pub(super) fn path(text: &str) -> RemotePath {
    RemotePath::new(text.as_bytes()).unwrap()
}

/// Returns the removal of a file.
pub(super) fn absent(text: &str) -> NameChange {
    NameChange {
        action: NameAction::Unlink,
        path: path(text),
        base: NameBase::Absent,
    }
}

/// Records `change`. Returns its place.
pub(super) fn record(names: &Names, change: NameChange) -> u64 {
    let root = RemotePath::root();
    let inherited = Inherited::default();
    names.record(&root, change, inherited, Vec::new()).unwrap();
    let state = names.lock();
    let last = state.log.iter().next_back();
    last.unwrap().0
}

pub(super) fn failure(errno: Errno) -> StoreFailure {
    StoreFailure {
        errno,
        reason: "not now".to_owned(),
    }
}

/// Creates a log of these changes, where nothing was before. The record of each is its number.
pub(super) fn log(changes: &[(&str, NameAction)]) -> NamesLog<usize> {
    let mut log = NamesLog::new(RemotePath::root(), LogRules::ALL);
    for (number, (at, action)) in changes.iter().enumerate() {
        log.append(NewChange {
            change: NameChange {
                action: action.clone(),
                path: path(at),
                base: NameBase::Absent,
            },
            records: vec![number],
            domains: BTreeSet::new(),
            needs_look: false,
        });
    }
    log
}
