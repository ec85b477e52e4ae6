//! Uploads that are complete and verified, and get their names later, several in one write
//! (`-o writeback=names`).

use super::{RemoteUpload, State};
use crate::ftp::{Capability, Entry, Placing, PlacingAnswer, RemotePath};
use crate::remote::absence::lookup_reliably;
use crate::remote::error::{ErrorContext, Operation};
use crate::remote::finalize::{Finalizer, RenameSettings};
use crate::remote::name_lookup::Lookup;
use crate::remote::retry::Exchange;
use crate::remote::{CommitOptions, Error, Remote, StoredFacts};

/// A complete upload that holds no connection. Dropping it removes its remains.
#[derive(Debug)]
pub(crate) struct CheckedUpload {
    upload: RemoteUpload,
    target: RemotePath,
    commit: CommitOptions,
    found: Option<Entry>,
}

impl RemoteUpload {
    /// Does all of [`RemoteUpload::commit`] but the last step, which gives the file its attributes
    /// and its name.
    ///
    /// # Errors
    /// Those of [`RemoteUpload::commit`].
    pub(crate) fn check(
        mut self,
        target: &RemotePath,
        commit: &CommitOptions,
    ) -> Result<CheckedUpload, Error> {
        let lease = self.end_transfer(target, commit)?;
        let remote = self.remote.uncancelled();
        let mut exchange = lease.map_or_else(
            || remote.exchange(),
            |lease| Exchange::with(remote.pool(), lease),
        );
        match self.verify(&mut exchange, target, commit) {
            Ok(found) => {
                self.state = State::Checked;
                Ok(CheckedUpload {
                    upload: self,
                    target: target.clone(),
                    commit: commit.clone(),
                    found,
                })
            }
            Err(error) => {
                self.remove_temporary(&mut exchange);
                Err(error)
            }
        }
    }
}

impl CheckedUpload {
    /// Gives the file its attributes and its name.
    ///
    /// # Errors
    /// Those of [`RemoteUpload::commit`].
    pub(crate) fn place(mut self) -> Result<StoredFacts, Error> {
        self.upload.state = State::Ended;
        let remote = self.upload.remote.uncancelled();
        let mut exchange = remote.exchange();
        let done = self.upload.place_verified(
            &mut exchange,
            &self.target,
            &self.commit,
            self.found.as_ref(),
        );
        match done {
            Ok(_) => self.upload.leave_place(),
            Err(_) => self.upload.remove_temporary(&mut exchange),
        }
        done
    }

    fn from(&self) -> &RemotePath {
        self.upload.place.path()
    }
}

impl Remote {
    /// Gives uploads their attributes and names in order, each even if those before it were
    /// refused: in one write where the server queues commands. Returns the result of each.
    pub(crate) fn place_together(
        &self,
        uploads: Vec<CheckedUpload>,
    ) -> Vec<Result<StoredFacts, Error>> {
        let are_alike = uploads.iter().all(|it| *it.from() != it.target);
        if uploads.len() < 2 || !are_alike || !self.profile().is_proven(Capability::Pipelining) {
            return uploads.into_iter().map(CheckedUpload::place).collect();
        }
        let answers = self.ask_together(&uploads);
        let mut exchange = self.exchange();
        let mut answers = answers.into_iter();
        let mut results = Vec::with_capacity(uploads.len());
        for mut upload in uploads {
            let found = upload.found.take();
            let (target, commit) = (upload.target.clone(), upload.commit.clone());
            let mut finalizer = Finalizer::new(self, &target, &commit, found.as_ref());
            let is_placed = match answers.next() {
                Some((sent, Ok(made))) => {
                    let kept = sent.list().into_iter().zip(made);
                    let kept = kept.filter(|(_, made)| made.is_ok());
                    let kept: Vec<_> = kept.map(|(setting, _)| setting).collect();
                    finalizer.are_set(&sent, &kept);
                    true
                }
                Some((_, Err(refused))) => {
                    log::debug!("{target}: {refused}");
                    false
                }
                None => self.has_been_placed(&mut exchange, &upload),
            };
            if is_placed {
                upload.upload.state = State::Ended;
                upload.upload.leave_place();
                finalizer.set_the_rest(&mut exchange);
                results.push(Ok(finalizer.into_stored()));
            } else {
                upload.found.clone_from(&found);
                results.push(upload.place());
            }
        }
        results
    }

    /// Sends all commands, and returns the answers that arrived.
    fn ask_together(&self, uploads: &[CheckedUpload]) -> Vec<(RenameSettings, PlacingAnswer)> {
        let mut exchange = self.exchange();
        let mut sent = Vec::with_capacity(uploads.len());
        let mut placings = Vec::with_capacity(uploads.len());
        for upload in uploads {
            let (from, to) = (upload.from(), &upload.target);
            let context = ErrorContext::new(Operation::Rename, to);
            if self.confirm_name(&mut exchange, &context, false).is_err() {
                break;
            }
            for path in [from, to] {
                self.resolve_leftovers(&mut exchange, path);
            }
            let finalizer = Finalizer::new(self, to, &upload.commit, upload.found.as_ref());
            let settings = finalizer.settings();
            placings.push(Placing {
                settings: settings.list(),
                from: from.clone(),
                to: to.clone(),
            });
            sent.push(settings);
        }
        let mut answers = Vec::with_capacity(placings.len());
        if exchange.ensure_session().is_ok()
            && let Some(mut lease) = exchange.into_lease()
            && let Err(fault) = lease.place_batch(&placings, &mut answers)
        {
            log::debug!(
                "not all of {} uploads got an answer: {fault}",
                uploads.len()
            );
        }
        sent.into_iter().zip(answers).collect()
    }

    /// Whether an upload whose answer was lost has its name.
    fn has_been_placed(&self, exchange: &mut Exchange<'_>, upload: &CheckedUpload) -> bool {
        let is_gone = matches!(
            lookup_reliably(self, exchange, upload.from()),
            Ok(Lookup::Absent | Lookup::NoParent(_))
        );
        is_gone
            && matches!(
                lookup_reliably(self, exchange, &upload.target),
                Ok(Lookup::Found(found)) if found.size.is_none_or(|size| size == upload.commit.size)
            )
    }
}
