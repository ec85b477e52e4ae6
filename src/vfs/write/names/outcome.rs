//! What follows from the server's answers: names that it has, and changes that are taken back.

use std::sync::Arc;

use super::failures::{MOST_FAILURES, NameFailure};
use super::log::{LogEntry, Step, TakenBack};
use super::{Names, State};
use crate::cache::Attributes;
use crate::ftp::{Kind, RemotePath};
use crate::journal::{NameAction, NameChange, RecordedChange};
use crate::remote;
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::file::OpenFile;
use crate::vfs::table::ino::Ino;
use crate::vfs::write::writeback::StoreFailure;

/// What is given up with a change that the server refused.
pub(super) struct GivenUp<'a> {
    /// The paths of the changes of names.
    paths: Vec<&'a RemotePath>,
    /// The contents whose stores wait until a program asks.
    stores: &'a [u64],
}

impl Names {
    /// Records that the change at `place` was not made, or that this `is_unsure`. It will be sent
    /// again.
    pub(super) fn undone(&self, place: u64, is_unsure: bool) {
        let mut state = self.lock();
        if state
            .log
            .get(place)
            .is_some_and(|it| it.step == Step::Begun)
        {
            if is_unsure {
                state.log.is_unsure(place);
            } else {
                state.log.set_step(place, Step::Waiting);
            }
        }
        self.progressed(&state);
    }

    /// Lets the changes that an earlier mount may have sent be compared with the server later.
    pub(super) fn judge_later(&self) {
        self.lock().has_unjudged = true;
    }

    /// Records that the change at `place` was made. Returns it.
    pub(super) fn done(&self, place: u64) -> Option<LogEntry<RecordedChange>> {
        let mut state = self.lock();
        let entry = state.log.remove(place)?;
        RecordedChange::end(&entry.records);
        if let NameAction::SetAttributes { .. } = entry.change.action {
            self.forget_unshown(&entry.change.path);
        }
        for path in entry.change.paths() {
            self.confirm(&state, path);
        }
        self.progressed(&state);
        Some(entry)
    }

    /// Replaces what is pinned of `path` by the same as an observation, unless another change of it
    /// waits. A listing that was begun before the change is corrected by that.
    fn confirm(&self, state: &State, path: &RemotePath) {
        if let Some(directory) = path.parent()
            && state.log.last_at(path).is_none()
        {
            self.cache.confirm_pin(&directory, path.name());
            self.cache.unpin(&directory, path.name());
        }
    }

    /// Discards cached attributes from before the change, unless the change is pinned: one that a
    /// killed mount left is not shown before the server has it.
    fn forget_unshown(&self, path: &RemotePath) {
        if let Some(directory) = path.parent()
            && !self.cache.is_pinned(&directory, path.name())
        {
            self.cache.invalidate(&directory, path.name());
        }
    }

    /// Gives up the change at `place` and what depends on it. `first` is called before any program
    /// or store goes on that waits for them, with the lock held.
    pub(super) fn refuse<T>(
        &self,
        place: u64,
        (errno, reason): (Errno, &str),
        first: impl FnOnce(&GivenUp<'_>) -> T,
    ) -> (TakenBack<RecordedChange>, T) {
        let mut state = self.lock();
        let refused = state.log.get(place).map(|entry| entry.change.clone());
        let refusal = state.log.refuse(place);
        let is_add = refused.as_ref().is_some_and(NameChange::is_add);
        if state.refused.is_watched() {
            let changes = refusal.changes.iter();
            let changes: Vec<_> = changes
                .map(|(place, it)| (*place, it.clone(), state.log.domains_of(it)))
                .collect();
            state.refused.add(changes.into_iter(), (errno, is_add));
        }
        for entry in &refusal.dropped {
            RecordedChange::end(&entry.records);
        }
        let parked = refused.as_ref().filter(|refused| {
            let is_it = |entry: &LogEntry<RecordedChange>| entry.change == **refused;
            // One that is behind a refused change is reported with that.
            !refusal.changes.is_empty() && !refusal.dropped.iter().any(is_it)
        });
        let changes = parked
            .into_iter()
            .chain(refusal.dropped.iter().map(|it| &it.change));
        for change in changes {
            if matches!(change.action, NameAction::Store { .. }) {
                continue;
            }
            let reason = if Some(change) == refused.as_ref() {
                reason.to_owned()
            } else {
                format!("not done, because an earlier change failed: {reason}")
            };
            if state.failures.len() >= MOST_FAILURES {
                state.failures.remove(0);
            }
            state.failures.push(NameFailure {
                path: change.path.clone(),
                errno,
                reason,
            });
        }
        for entry in &refusal.dropped {
            for path in entry.change.paths() {
                self.reveal(&state, path);
            }
        }
        let names = || {
            let dropped = refusal.dropped.iter().map(|it| &it.change);
            let changes = refused.iter().chain(dropped);
            changes.filter(|it| !it.is_store())
        };
        let result = first(&GivenUp {
            paths: names().flat_map(NameChange::paths).collect(),
            stores: &refusal.behind,
        });
        self.progressed(&state);
        (refusal, result)
    }

    /// Returns the place of the store of `ino`.
    fn store_place(&self, ino: Ino) -> Option<u64> {
        self.lock().log.store_at(ino.0)
    }
}

impl Vfs {
    /// Records that the change at `place` was made.
    pub(super) fn name_done(&self, place: u64) {
        let Some(entry) = self.names.done(place) else {
            return;
        };
        if let NameAction::Rename { to, .. } = &entry.change.action
            && let Some(cached) = self.begin_cached_rename(&entry.change.path, to, Kind::File)
        {
            cached.finish();
        }
        for path in entry.change.paths() {
            self.prefetcher.forget(path);
            if let Some(directory) = path.parent() {
                if self.names.has_unset_time(path) {
                    self.invalidate(&directory, path.name());
                }
                self.forget_variants(&directory, path.name());
            }
        }
    }

    /// Records that the server refused the change at `place` for good. What it and what depends on
    /// it changed is as it was before.
    pub(super) fn name_refused(&self, place: u64, error: &remote::Error) {
        self.take_back(place, error.kind.into(), &error.to_string());
    }

    /// Records that the store of `ino` was refused for good. The contents stay, and what removes or
    /// replaces something behind it is taken back.
    pub(in crate::vfs) fn store_refused(&self, ino: Ino, failure: &StoreFailure) {
        if self.names.is_empty() {
            return;
        }
        if let Some(place) = self.names.store_place(ino) {
            self.take_back(place, failure.errno, &failure.reason);
        }
    }

    /// Lets files in use be compared with the server before they are stored, where programs saw
    /// changes that are given up. Returns the files in use.
    fn compare_files_at(&self, given_up: &GivenUp<'_>) -> Vec<Arc<OpenFile>> {
        let files = self.files_in_use();
        for file in &files {
            let is_at = |path: &RemotePath| {
                let mut paths = given_up.paths.iter();
                paths.any(|above| path.below(above).is_some())
            };
            if given_up.stores.contains(&file.ino().0)
                || self.inodes.path(file.ino()).is_ok_and(|path| is_at(&path))
            {
                file.set_offline();
            }
        }
        files
    }

    fn take_back(&self, place: u64, errno: Errno, reason: &str) {
        let compare = |given_up: &GivenUp<'_>| self.compare_files_at(given_up);
        let (taken_back, files) = self.names.refuse(place, (errno, reason), compare);
        // The last owner of a file removes its copy.
        drop(files);
        for id in taken_back.behind {
            let failure = StoreFailure {
                errno,
                reason: format!("not done, because an earlier change failed: {reason}"),
            };
            if let Some(file) = self.inodes.open_file(Ino(id)) {
                file.set_failure(errno);
            }
            self.writeback.refuse(Ino(id), failure);
        }
        for entry in taken_back.dropped.iter().rev() {
            let path = &entry.change.path;
            log::warn!(path; "{path} is as it was before: {reason}");
            if let NameAction::Rename { to, .. } = &entry.change.action {
                self.inodes.rename_back(to, &entry.change.path);
            }
            for path in entry.change.paths() {
                self.prefetcher.forget(path);
                self.replaced.add(self.inodes.place_at(path));
            }
        }
    }
}

/// Returns the attributes of a file that was renamed, as far as the journal has them.
pub(super) fn renamed_attributes(version: &crate::ftp::Version) -> Attributes {
    Attributes {
        kind: crate::ftp::Kind::File,
        size: version.size,
        modified: version.modified,
        mode: None,
        target: None,
        unique: version.unique,
        perm: None,
    }
}
