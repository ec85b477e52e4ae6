//! Open files that lose their name. Their contents exist until the last handle is closed, in the
//! spool or under a temporary name on the server, and are not stored.

use std::mem;

use super::OpenFile;
use super::Spooled;
use super::gate::Pass;
use crate::cancel::Cancel;
use crate::remote::HiddenFile;
use crate::vfs::errno::Errno;

/// Whether the file has a name, and where its contents are if not.
#[derive(Debug)]
pub(super) enum Naming {
    /// The file has a name.
    Linked,
    /// The file has no name; the server holds it under a temporary name.
    Hidden(HiddenFile),
    /// The file has no name; only the spool has its contents.
    Unlinked,
}

impl Naming {
    /// Whether the file has a name.
    pub(super) fn is_linked(&self) -> bool {
        !self.is_unlinked()
    }

    /// Whether the file has no name.
    pub(super) fn is_unlinked(&self) -> bool {
        match self {
            Self::Linked => false,
            Self::Hidden(_) | Self::Unlinked => true,
        }
    }
}

impl OpenFile {
    /// Whether the file no longer has a name.
    pub(in crate::vfs) fn is_unlinked(&self) -> bool {
        self.state().naming.is_unlinked()
    }

    /// Whether the file is on the server under a temporary name.
    pub(in crate::vfs) fn is_hidden(&self) -> bool {
        matches!(self.state().naming, Naming::Hidden(_))
    }

    /// Whether its contents are read from the server and would be lost with the file there.
    pub(in crate::vfs) fn needs_server(&self) -> bool {
        let state = self.state();
        let is_end = state.contents.local().is_some_and(Spooled::is_end);
        is_end || !state.holds_contents()
    }

    /// Fetches the contents before the file on the server is deleted or replaced.
    pub(in crate::vfs) fn keep_contents(
        &self,
        _pass: &Pass<'_>,
        cancel: &Cancel,
    ) -> Result<(), Errno> {
        if self.is_copied() {
            // It has a name of its own on the server.
            return Ok(());
        }
        self.fetch(cancel)
    }

    /// Records that the name and the file on the server were removed.
    pub(in crate::vfs) fn unlink(&self, _pass: &Pass<'_>) {
        self.lose_name(Naming::Unlinked);
    }

    /// Records that the name was removed and the server holds the file as `hidden`, which never
    /// gets its name back.
    pub(in crate::vfs) fn hide(&self, _pass: &Pass<'_>, mut hidden: HiddenFile) {
        hidden.mark_for_deletion();
        self.lose_name(Naming::Hidden(hidden));
    }

    /// Takes the hidden file, to delete or move it.
    pub(in crate::vfs) fn take_hidden(&self, _pass: &Pass<'_>) -> Option<HiddenFile> {
        let mut state = self.state();
        match mem::replace(&mut state.naming, Naming::Unlinked) {
            Naming::Hidden(hidden) => Some(hidden),
            other => {
                state.naming = other;
                None
            }
        }
    }

    /// Puts the hidden file back after it was [taken](Self::take_hidden).
    pub(in crate::vfs) fn put_hidden(&self, _pass: &Pass<'_>, hidden: HiddenFile) {
        self.state().naming = Naming::Hidden(hidden);
    }

    fn lose_name(&self, naming: Naming) {
        let (sealed, local) = {
            let mut state = self.state();
            state.naming = naming;
            state.base = None;
            (state.contents.unseal(), state.contents.local().cloned())
        };
        if let Some(sealed) = sealed {
            sealed.spool.journal_record().done();
        }
        if let Some(local) = local {
            local.store.cancel();
        }
    }
}
