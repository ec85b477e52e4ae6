//! What becomes of an open file that loses its name: its contents live until the last handle is
//! closed, in the spool or under a temporary name on the server, and are stored nowhere.

use std::mem;

use super::gate::Pass;
use super::{Contents, OpenFile};
use crate::journal::Before;
use crate::remote::HiddenFile;
use crate::vfs::errno::Errno;

/// Whether the file has a name, and where its contents are if not.
#[derive(Debug)]
pub(super) enum Naming {
    /// It has one.
    Linked,
    /// It has none; the server keeps it under a temporary name.
    Hidden(HiddenFile),
    /// It has none; the spool is all there is of it.
    Unlinked,
}

impl Naming {
    /// Whether the file has no name.
    pub(super) fn is_unlinked(&self) -> bool {
        match self {
            Self::Linked => false,
            Self::Hidden(_) | Self::Unlinked => true,
        }
    }
}

impl OpenFile {
    /// Whether the file has no name any more.
    pub(in crate::vfs) fn is_unlinked(&self) -> bool {
        self.state().naming.is_unlinked()
    }

    /// Whether the file is on the server under a temporary name.
    pub(in crate::vfs) fn is_hidden(&self) -> bool {
        matches!(self.state().naming, Naming::Hidden(_))
    }

    /// Whether its contents are read from the server, so that they would be lost with the file
    /// there.
    pub(in crate::vfs) fn needs_server(&self) -> bool {
        !self.is_spooled()
    }

    /// Fetches the contents before the file on the server is deleted or replaced.
    pub(in crate::vfs) fn keep_contents(&self, _pass: &Pass<'_>) -> Result<(), Errno> {
        self.fetch()
    }

    /// The name is gone, and the file with it.
    pub(in crate::vfs) fn unlink(&self, _pass: &Pass<'_>) {
        self.lose_name(Naming::Unlinked);
    }

    /// The name is gone; the server keeps the file as `hidden`, and never gives it its name back.
    pub(in crate::vfs) fn hide(&self, _pass: &Pass<'_>, mut hidden: HiddenFile) {
        hidden.mark_for_deletion();
        self.lose_name(Naming::Hidden(hidden));
    }

    /// Takes the file on the server out, to delete or to move it.
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

    /// Puts it back after it was [taken](Self::take_hidden).
    pub(in crate::vfs) fn put_hidden(&self, _pass: &Pass<'_>, hidden: HiddenFile) {
        self.state().naming = Naming::Hidden(hidden);
    }

    fn lose_name(&self, naming: Naming) {
        let (closed, contents) = {
            let mut state = self.state();
            state.naming = naming;
            state.before = Before::Absent;
            (state.closed.take(), state.contents.clone())
        };
        if let Some(closed) = closed {
            closed.spooled.spool.journal_record().done();
        }
        if let Contents::Spooled(spooled) = contents {
            spooled.store.cancel();
        }
    }
}
