//! Changes that wait below a directory that was renamed.

use super::Names;
use crate::ftp::{Kind, RemotePath};
use crate::journal::{NameAction, RecordedChange};
use crate::vfs::attr::made_now;

impl Names {
    /// Lets what was refused below `from`, a directory that the server has renamed to `to`, be
    /// tried again at its new path; without the stores, whose contents have a path of their own.
    pub(in crate::vfs) fn directory_renamed(&self, from: &RemotePath, to: &RemotePath) {
        if self.is_empty() {
            return;
        }
        let mut state = self.lock();
        let record = |change: &_, domains: &_| match self.journal.record_change(change, domains) {
            Ok(record) => Some(record),
            Err(error) => {
                ::log::warn!("cannot record that a change has another path now: {error}");
                None
            }
        };
        let moved = state.log.move_parked((from, to), record);
        for (old, new) in &moved {
            RecordedChange::end(&old.records);
            self.reveal(&state, &old.change.path);
            if let NameAction::MakeDirectory { mode } = new.action {
                let attributes = made_now(Kind::Directory, None, mode);
                self.show(&state, &new.path, Some(attributes));
            }
        }
        for failure in &mut state.failures {
            if let Some(path) = failure.path.rebased(from, to) {
                failure.path = path;
            }
        }
        self.note(&state);
    }
}
