//! Contents that a killed mount left: they are uploaded only if the server's file is unchanged.

use super::gate::Pass;
use super::{OpenFile, Origin, Spooled};
use crate::cache::Attributes;
use crate::ftp::{Entry, Precision, RemotePath};
use crate::journal::Pending;
use crate::remote::{self, ErrorKind, StoredFacts};
use crate::vfs::write::conflict::{self, Problem, Verdict};

impl OpenFile {
    /// Whether a killed mount closed the contents, and the server was not compared with them yet.
    pub(in crate::vfs) fn is_left(&self) -> bool {
        matches!(self.state().origin, Origin::KilledMount(_))
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
        if !self.is_left() {
            return Ok(None);
        }
        let remote = self.services.remote.uncancelled();
        let verdict = conflict::judge(&remote, pending, spooled.spool.file(), false);
        let verdict = verdict.map_err(|problem| to_error(problem, &pending.target))?;
        self.state().origin = Origin::ThisMount;
        Ok(match verdict {
            Verdict::Upload => None,
            Verdict::Stored(found) => {
                spooled.store.mark_stored();
                Some(self.on_uploaded(spooled, pending, facts(&found)))
            }
        })
    }

    /// Gives up contents that a killed mount left: moves them to where the user finds them, and the
    /// file loses them. Returns what to say about it, or `None` if they are not of a killed mount.
    pub(in crate::vfs) fn give_up_left(
        &self,
        pass: &Pass<'_>,
        problem: &remote::Error,
    ) -> Option<String> {
        let Origin::KilledMount(place) = self.state().origin.clone() else {
            return None;
        };
        let sealed = self.sealed()?;
        let record = sealed.spool.journal_record();
        let words = conflict::keep(record, &place, &problem.path, problem);
        self.unlink(pass);
        Some(words)
    }
}

fn to_error(problem: Problem, target: &RemotePath) -> remote::Error {
    let kind = match problem {
        Problem::Remote(error) => return error,
        Problem::Changed(_) => ErrorKind::Changed,
        Problem::Spool(_) => ErrorKind::Local,
    };
    remote::Error {
        kind,
        operation: "store",
        path: target.clone(),
        reason: problem.to_string(),
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
