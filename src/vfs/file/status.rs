//! What a user can ask about an open file: how much of it is here, and whether it is stored.

use super::{OpenFile, UploadFailure};
use crate::vfs::local_share::LocalShare;
use crate::vfs::write::state::Visible;

impl OpenFile {
    /// Returns how much of the contents is on this machine.
    pub(in crate::vfs) fn local_share(&self) -> LocalShare {
        match self.visible() {
            Visible::Remote(reader) => reader.local_share(),
            Visible::Copied(_) => LocalShare::None,
            Visible::Local(copy) if copy.spool.is_partial() => LocalShare::Part,
            Visible::Local(_) => LocalShare::Whole,
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
}
