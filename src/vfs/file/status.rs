//! What a user can ask about an open file: how much of it is here, and whether it is stored.

use super::{OpenFile, UploadFailure};
use crate::vfs::CachedShare;
use crate::vfs::write::state::Visible;

impl OpenFile {
    /// Returns how much of the contents is on this machine.
    pub(in crate::vfs) fn cached_share(&self) -> CachedShare {
        match self.visible() {
            Visible::Remote(reader) => reader.cached_share(),
            Visible::Copied(_) => CachedShare::None,
            Visible::Local(copy) if copy.spool.is_partial() => CachedShare::Part,
            Visible::Local(_) => CachedShare::Whole,
        }
    }

    /// Returns `none`, `waiting`, or `failed` and why.
    pub(in crate::vfs) fn upload_in_words(&self) -> String {
        let state = self.state();
        match state.failure {
            UploadFailure::Unreported(errno) => format!("failed: {errno:?}"),
            UploadFailure::Reported if state.is_dirty() => "failed".to_owned(),
            _ if state.is_dirty() || state.contents.sealed().is_some() => "waiting".to_owned(),
            UploadFailure::None | UploadFailure::Reported => "none".to_owned(),
        }
    }

    /// Removes the setuid bit, and the setgid bit of a file that its group may execute, after a
    /// program without the privilege to keep them has changed the contents.
    pub(in crate::vfs) fn drop_privileged_mode(&self) {
        let mode = self.state().attributes.mode;
        if let Some(mode) = mode.filter(|mode| mode & 0o6000 != 0) {
            let of_group = if mode & 0o010 == 0 { 0 } else { 0o2000 };
            self.set_mode_later(mode & !(0o4000 | of_group));
        }
    }
}
