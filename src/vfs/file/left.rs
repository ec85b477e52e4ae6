//! Contents that were closed while the server could not be asked, or that a killed mount left: they
//! are uploaded only if the server's file is unchanged.

use std::sync::{Arc, PoisonError, Weak};

use super::change::Needed;
use super::gate::Pass;
use super::remote_file::FileServices;
use super::tail::AppendedTail;
use super::{OpenFile, Spooled, State};
use crate::cache::Attributes;
use crate::ftp::{Kind, Precision, RemotePath};
use crate::journal::{Pending, StateDir, UnprovenUpload};
use crate::remote::{self, CommitOptions, ErrorKind};
use crate::vfs::local::spool::Spool;
use crate::vfs::table::ino::Ino;
use crate::vfs::write::conflict::{self, OwnClaim, Problem, UploadVerdict};
use crate::vfs::write::state::{LocalCopy, Sealed, WriteState};

/// Which mount closed the contents that wait for their upload.
#[derive(Debug, Clone)]
pub(super) enum ClosedBy {
    /// This one.
    ThisMount,
    /// One that was killed. Before the first upload of this spool, the server's file must be found
    /// unchanged. If it is not, the contents are kept in this place.
    KilledMount(StateDir, Weak<Spool>),
    /// This one, but the server could not be asked when they were begun, closed or uploaded. Until
    /// an upload succeeds, the server's file must be found unchanged before each one. If it is not,
    /// the contents are stored under another name.
    Offline,
}

/// Why contents must not be uploaded before the server's file is found unchanged.
#[derive(Debug)]
enum Unchecked {
    /// A killed mount left them in this place.
    Left(StateDir),
    /// They were begun or closed without the server.
    Offline,
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
    /// They stay with the file for now: the server could not be asked.
    Later(String),
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
        {
            let mut state = file.state();
            state.origin = origin;
            state.unproven.clone_from(&pending.unproven);
        }
        file
    }

    /// Records that the server may have the contents of `spooled`, if it did not answer when their
    /// upload was completed. Newer contents that are closed already can still replace them.
    pub(super) fn note_unproven(&self, spooled: &Spooled) {
        let uploads = spooled.store.take_unproven();
        if uploads.is_empty() {
            return;
        }
        let newer = {
            let mut state = self.state();
            for upload in uploads {
                upload.add_to(&mut state.unproven);
            }
            let sealed = state.contents.sealed().map(|sealed| &sealed.copy);
            sealed.filter(|sealed| !sealed.is_same(spooled)).cloned()
        };
        if let Some(newer) = newer {
            self.rerecord(&newer);
        }
    }

    /// Records that the server may have the contents that are being uploaded, for the next mount,
    /// which otherwise takes them for another client's when it stores the newer ones.
    pub(in crate::vfs) fn note_superseded(&self) {
        let (older, newer) = {
            let state = self.state();
            let older = state.contents.uploading().cloned();
            let sealed = state.contents.sealed().map(|sealed| sealed.copy.clone());
            (older, sealed)
        };
        let Some((older, newer)) = older.zip(newer).filter(|(a, b)| !a.is_same(b)) else {
            return;
        };
        // The beginning of what was appended to is not here.
        if older.spool.start() > 0 {
            return;
        }
        match UnprovenUpload::of(older.spool.file(), older.spool.len()) {
            Ok(upload) => {
                upload.add_to(&mut self.state().unproven);
                self.rerecord(&newer);
            }
            Err(error) => log::debug!("cannot read what is being uploaded: {error}"),
        }
    }

    /// Shows the server's file again instead of a copy that was made when a program opened the file
    /// for writing without the server, and that was not changed since.
    pub(in crate::vfs) fn leave_unchanged_draft(&self) {
        // A change that is being made here is part of the draft afterwards.
        let _alone = self
            .changing
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        let is_from_outage = matches!(state.origin, ClosedBy::Offline);
        if !is_from_outage || state.naming.is_unlinked() || !state.contents.is_only_draft() {
            return;
        }
        let Some((draft, base)) = state.contents.local().cloned().zip(state.base) else {
            return;
        };
        let reader = Arc::new(self.services.reader(self.ino, base));
        state.contents.leave(&draft, reader);
        // Dropping the draft deletes its spool file.
        drop(state);
    }

    /// Records that `newer` contents take the place of those that a killed mount left, if the
    /// server was not compared with those. It is compared with `newer` instead, and may have the
    /// others: the killed mount may have stored them.
    pub(super) fn supersede_left(&self, newer: &Spooled) {
        let left = match &self.state().origin {
            ClosedBy::KilledMount(_, left) => left.upgrade(),
            ClosedBy::ThisMount | ClosedBy::Offline => None,
        };
        let Some(left) = left.filter(|left| !Arc::ptr_eq(left, &newer.spool)) else {
            return;
        };
        // The beginning of what was appended to is not here.
        let upload = (left.start() == 0).then(|| UnprovenUpload::of(left.file(), left.len()));
        let mut state = self.state();
        if let ClosedBy::KilledMount(..) = state.origin {
            state.origin = ClosedBy::Offline;
        }
        match upload {
            Some(Ok(upload)) => upload.add_to(&mut state.unproven),
            Some(Err(error)) => log::debug!("cannot read what a killed mount left: {error}"),
            None => {}
        }
    }

    /// Whether a killed mount closed the contents that wait, and the server was not compared with
    /// them yet.
    pub(in crate::vfs) fn is_left(&self) -> bool {
        self.sealed()
            .is_some_and(|sealed| matches!(self.unchecked(&sealed), Some(Unchecked::Left(_))))
    }

    /// Records that the contents are changed, closed or uploaded now. If that is done without the
    /// server, its file is compared before they replace it.
    pub(super) fn note_offline(&self) {
        if self.services.remote.is_offline() {
            self.set_offline();
        }
    }

    /// Records that the server could not be asked when the contents were to be uploaded.
    pub(in crate::vfs) fn set_offline(&self) {
        let mut state = self.state();
        if matches!(state.origin, ClosedBy::ThisMount) {
            state.origin = ClosedBy::Offline;
        }
    }

    /// Returns why the server's file must be compared before `spooled` is uploaded, if it must.
    fn unchecked(&self, spooled: &Spooled) -> Option<Unchecked> {
        let is_it = |spool: &Weak<Spool>| std::ptr::eq(spool.as_ptr(), Arc::as_ptr(&spooled.spool));
        match &self.state().origin {
            ClosedBy::KilledMount(place, left) if is_it(left) => {
                Some(Unchecked::Left(place.clone()))
            }
            ClosedBy::Offline => Some(Unchecked::Offline),
            ClosedBy::KilledMount(..) | ClosedBy::ThisMount => None,
        }
    }

    /// Whether the server may have another file of this name than this mount knows.
    pub(in crate::vfs) fn is_unconfirmed(&self) -> bool {
        self.sealed()
            .is_some_and(|sealed| self.is_unchecked(&sealed))
    }

    /// Whether the server's file is compared with what this mount knows before anything that is
    /// written now replaces it.
    pub(in crate::vfs) fn is_compared_first(&self) -> bool {
        matches!(self.state().origin, ClosedBy::Offline)
    }

    /// Whether the server's file must be compared before `spooled` is uploaded.
    pub(super) fn is_unchecked(&self, spooled: &Spooled) -> bool {
        self.unchecked(spooled).is_some()
    }

    /// Compares contents that a killed mount left, or that were closed without the server, with
    /// what the server has. Returns the attributes of the server's file if it has them already.
    /// Does nothing for other contents.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`] if another client changed the file; else the server cannot be asked,
    /// or the spool not be read.
    pub(super) fn check_left(
        &self,
        spooled: &Spooled,
        pending: &Pending,
    ) -> Result<Option<Attributes>, remote::Error> {
        if self.unchecked(spooled).is_none() {
            return Ok(None);
        }
        let remote = self.services.remote.uncancelled();
        // What is written during the comparison remains to be stored.
        let generation = spooled.store.generation();
        let verdict = conflict::judge(&remote, pending, spooled.spool.file(), OwnClaim::None);
        let verdict = verdict.map_err(|problem| to_error(problem, &pending.target))?;
        let mut state = self.state();
        if matches!(state.origin, ClosedBy::KilledMount(..)) {
            state.origin = ClosedBy::ThisMount;
        }
        drop(state);
        Ok(match verdict {
            UploadVerdict::Upload => None,
            UploadVerdict::Stored(found) => {
                let Pending {
                    target,
                    commit,
                    base,
                    ..
                } = pending;
                let stored = remote.complete_stored(target, commit, base.as_ref(), &found);
                spooled.store.mark_stored(generation);
                Some(self.on_uploaded(spooled, pending, stored))
            }
        })
    }

    /// Gives up contents whose file has changed on the server: they are stored under another name,
    /// or moved to where the user finds them, and the file loses them. What a program has written
    /// since stays in the file.
    pub(in crate::vfs) fn give_up_left(
        &self,
        pass: &Pass<'_>,
        problem: &remote::Error,
    ) -> LeftContents {
        let sealed = self.sealed();
        let left = sealed.and_then(|sealed| Some((self.unchecked(&sealed)?, sealed)));
        let Some((unchecked, sealed)) = left else {
            return LeftContents::NotLeft;
        };
        let record = sealed.spool.journal_record();
        let Some(pending) = self.pending_of(&sealed) else {
            return LeftContents::NotLeft;
        };
        if matches!(unchecked, Unchecked::Offline) && self.has_writers() {
            // What a program still writes belongs to the same version.
            return LeftContents::Later(format!("{problem}; it is open for writing"));
        }
        let kept = match unchecked {
            Unchecked::Left(place) => conflict::keep(record, &place, &pending, problem)
                .map(|words| format!("closed before ftpfs was killed, {words}"))
                .map_err(|words| {
                    LeftContents::Stay(format!("closed before ftpfs was killed, {words}"))
                }),
            Unchecked::Offline => self.keep_beside(&sealed, problem),
        };
        match kept {
            Err(stay) => stay,
            Ok(words) => {
                let is_visible = self.state().contents.is_visible(&sealed);
                // What a program still writes goes into a copy, and is not lost with this one.
                let has_copy = is_visible
                    && self.has_writers()
                    && self.begin_draft(Needed::All).is_ok()
                    && !self.state().contents.is_visible(&sealed);
                if is_visible && !has_copy {
                    self.unlink(pass);
                } else {
                    let mut state = self.state();
                    let now = state.contents.sealed();
                    if now.is_some_and(|now| now.copy.is_same(&sealed)) {
                        state.contents.unseal();
                    }
                }
                LeftContents::Kept(words)
            }
        }
    }
}

impl State {
    /// Records that an upload succeeded, so that the server's file is known.
    pub(super) fn uploaded(&mut self) {
        self.unproven.clear();
        if matches!(self.origin, ClosedBy::Offline) {
            self.origin = ClosedBy::ThisMount;
        }
    }
}

impl OpenFile {
    /// Keeps contents that were closed without the server: under another name on the server if
    /// another client has changed the file, or on the local disk. Returns what to say about it.
    ///
    /// # Errors
    /// They stay where they are. Returns what to say about it.
    fn keep_beside(
        &self,
        sealed: &Spooled,
        problem: &remote::Error,
    ) -> Result<String, LeftContents> {
        const CLOSED: &str = "closed while the server could not be reached,";
        let record = sealed.spool.journal_record();
        // The spool of an append has no beginning.
        if problem.kind == ErrorKind::Changed
            && !sealed.is_end()
            && let Some(pending) = self.pending_of(sealed)
        {
            let remote = self.services.remote.uncancelled();
            match conflict::store_beside(&remote, &pending, sealed.spool.file()) {
                Ok(path) => {
                    record.done();
                    return Ok(format!(
                        "{CLOSED} was changed there; this version is {path}"
                    ));
                }
                Err(error) if error.kind.transience().may_pass() => {
                    let words = format!("{CLOSED} was changed there: {error}");
                    return Err(LeftContents::Later(words));
                }
                Err(error) => log::debug!("{error}"),
            }
        }
        let Some((place, pending)) = record.place().zip(self.pending_of(sealed)) else {
            let words = format!("{CLOSED} cannot be stored: {problem}");
            return Err(LeftContents::Stay(words));
        };
        conflict::keep(record, &place, &pending, problem)
            .map(|words| format!("{CLOSED} {words}"))
            .map_err(|words| LeftContents::Stay(format!("{CLOSED} {words}")))
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
