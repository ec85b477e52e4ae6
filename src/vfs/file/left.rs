//! Contents that a killed mount left: they are uploaded only if the server's file is unchanged.

use std::sync::{Arc, Weak};

use super::gate::Pass;
use super::remote_file::FileServices;
use super::tail::AppendedTail;
use super::{OpenFile, Spooled};
use crate::cache::Attributes;
use crate::ftp::{Entry, Kind, Precision, RemotePath};
use crate::journal::{Pending, StateDir};
use crate::remote::{self, CommitOptions, ErrorKind, StoredFacts};
use crate::vfs::local::spool::Spool;
use crate::vfs::table::ino::Ino;
use crate::vfs::write::conflict::{self, Problem, UploadVerdict};
use crate::vfs::write::state::{Sealed, WriteState};

/// Which mount closed the contents that wait for their upload.
#[derive(Debug, Clone)]
pub(super) enum ClosedBy {
    /// This one.
    ThisMount,
    /// One that was killed. Before the first upload of this spool, the server's file must be found
    /// unchanged. If it is not, the contents are kept in this place.
    KilledMount(StateDir, Weak<Spool>),
}

/// What became of contents that cannot be uploaded.
#[derive(Debug)]
pub(in crate::vfs) enum LeftContents {
    /// They are not of a killed mount.
    NotLeft,
    /// They were moved to where the user finds them, as this text says. The file has lost them.
    Kept(String),
    /// They stay with the file, because they could not be moved.
    Stay(String),
}

impl OpenFile {
    /// Creates the open file for contents that a killed mount left in `spool`, with its state in
    /// `place`.
    pub(in crate::vfs) fn left(
        services: &Arc<FileServices>,
        ino: Ino,
        spool: Spool,
        pending: &Pending,
        place: &StateDir,
    ) -> Self {
        let spool = Arc::new(spool);
        let store = Arc::new(services.store(ino, &spool));
        store.mark_dirty();
        let tail = pending
            .appended_from
            .zip(pending.base)
            .map(|(end, version)| {
                let reader = Arc::new(services.reader(ino, version));
                AppendedTail::new(reader, version, end, None).was_left(spool.len())
            });
        let CommitOptions { modified, mode, .. } = pending.commit;
        let attributes = Attributes {
            kind: Kind::File,
            size: Some(spool.len()),
            modified: modified.map(|seconds| (seconds, Precision::Second)),
            mode,
            target: None,
            unique: 0,
            perm: None,
        };
        let sealed = Sealed {
            generation: store.generation(),
            copy: Spooled { spool, store, tail },
            modified,
            mode,
        };
        let origin = ClosedBy::KilledMount(place.clone(), Arc::downgrade(&sealed.copy.spool));
        let contents = WriteState::left(sealed);
        let file = Self::new(services, ino, contents, attributes, pending.base);
        file.state().origin = origin;
        file
    }

    /// Whether a killed mount closed the contents that wait, and the server was not compared with
    /// them yet.
    pub(in crate::vfs) fn is_left(&self) -> bool {
        self.sealed()
            .is_some_and(|sealed| self.place_of_left(&sealed).is_some())
    }

    /// Returns where a killed mount left `spooled`, if it did.
    fn place_of_left(&self, spooled: &Spooled) -> Option<StateDir> {
        match &self.state().origin {
            ClosedBy::KilledMount(place, left)
                if std::ptr::eq(left.as_ptr(), Arc::as_ptr(&spooled.spool)) =>
            {
                Some(place.clone())
            }
            ClosedBy::KilledMount(..) | ClosedBy::ThisMount => None,
        }
    }

    /// Compares contents that a killed mount left with what the server has. Returns the attributes
    /// of the server's file if it has them already. Does nothing for other contents.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`] if another client changed the file; else the server cannot be asked,
    /// or the spool not be read.
    pub(super) fn check_left(
        &self,
        spooled: &Spooled,
        pending: &Pending,
    ) -> Result<Option<Attributes>, remote::Error> {
        if self.place_of_left(spooled).is_none() {
            return Ok(None);
        }
        let remote = self.services.remote.uncancelled();
        let verdict = conflict::judge(&remote, pending, spooled.spool.file(), false);
        let verdict = verdict.map_err(|problem| to_error(problem, &pending.target))?;
        self.state().origin = ClosedBy::ThisMount;
        Ok(match verdict {
            UploadVerdict::Upload => None,
            UploadVerdict::Stored(found) => {
                spooled.store.mark_stored();
                Some(self.on_uploaded(spooled, pending, facts(&found)))
            }
        })
    }

    /// Gives up contents that a killed mount left: moves them to where the user finds them, and the
    /// file loses them. What a program has written since stays in the file.
    pub(in crate::vfs) fn give_up_left(
        &self,
        pass: &Pass<'_>,
        problem: &remote::Error,
    ) -> LeftContents {
        let sealed = self.sealed();
        let left = sealed.and_then(|sealed| Some((self.place_of_left(&sealed)?, sealed)));
        let Some((place, sealed)) = left else {
            return LeftContents::NotLeft;
        };
        let record = sealed.spool.journal_record();
        let Some(pending) = self.pending_of(&sealed) else {
            return LeftContents::NotLeft;
        };
        match conflict::keep(record, &place, &pending, problem) {
            Err(words) => LeftContents::Stay(words),
            Ok(words) => {
                if self.state().contents.is_visible(&sealed) {
                    self.unlink(pass);
                } else {
                    self.state().contents.unseal();
                }
                LeftContents::Kept(words)
            }
        }
    }
}

fn to_error(problem: Problem, target: &RemotePath) -> remote::Error {
    let kind = match problem {
        Problem::Remote(error) => return error,
        Problem::Changed(_) => ErrorKind::Changed,
        Problem::NotAppended(_) => ErrorKind::Unsupported,
        Problem::Spool(_) => ErrorKind::Local,
    };
    remote::Error {
        kind,
        operation: "store",
        path: target.clone(),
        reason: problem.to_string(),
        reply: None,
    }
}

fn facts(found: &Entry) -> StoredFacts {
    let Attributes {
        modified,
        mode,
        unique,
        ..
    } = Attributes::from(found);
    StoredFacts {
        modified: match modified {
            Some((seconds, Precision::Second)) => Some(seconds),
            Some(_) | None => None,
        },
        mode,
        unique,
    }
}
