//! Files whose modification time is being set: the server may leave it as it is, so changes behind
//! that find them with the old time or the new one.

use super::{Names, State};
use crate::ftp::{RemotePath, Version};
use crate::journal::{NameAction, NameBase, NameChange};

/// A file whose time is being set.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetimedFile {
    /// The file before that.
    before: Version,
    /// Whether the server has left the time as it is.
    is_unset: bool,
}

impl State {
    /// Lets `change`, a new one, expect both times of the files whose time programs have set, and
    /// follows them.
    pub(super) fn note_times(&mut self, change: &mut NameChange) {
        if self.log.len() == 0 {
            self.retimed.clear();
        }
        let both = |base: &mut NameBase, file: Option<RetimedFile>| {
            if let (NameBase::File(after), Some(file)) = (*base, file) {
                *base = NameBase::Retimed(file.before, after);
            }
        };
        match &mut change.action {
            NameAction::SetAttributes { modified, .. } => {
                if let (Some(_), NameBase::File(before)) = (modified, change.base) {
                    let file = self.retimed.entry(change.path.clone());
                    file.or_insert(RetimedFile {
                        before,
                        is_unset: false,
                    });
                }
            }
            NameAction::Unlink => both(&mut change.base, self.retimed.remove(&change.path)),
            NameAction::Rename { to, replaced } => {
                both(replaced, self.retimed.remove(to));
                let file = self.retimed.remove(&change.path);
                both(&mut change.base, file);
                if let Some(file) = file {
                    self.retimed.insert(to.clone(), file);
                }
            }
            NameAction::MakeDirectory { .. }
            | NameAction::Store { .. }
            | NameAction::RemoveDirectory => {}
        }
    }
}

impl Names {
    /// Records that the server left the time of a file as it was, in `base`.
    pub(super) fn time_is_unset(&self, base: &NameBase) {
        if let NameBase::File(before) = base {
            let mut state = self.lock();
            let mut files = state.retimed.values_mut();
            if let Some(file) = files.find(|file| file.before == *before) {
                file.is_unset = true;
            }
        }
    }

    /// Whether the server left the time of the file at `path` as it was.
    pub(super) fn has_unset_time(&self, path: &RemotePath) -> bool {
        let state = self.lock();
        let file = state.retimed.get(path);
        file.is_some_and(|file| file.is_unset)
    }
}
