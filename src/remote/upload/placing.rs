//! Uploads that are complete and verified, and get their names later, several in one write
//! (`-o writeback=names`).

use super::{RemoteUpload, State};
use crate::ftp::{
    BatchStep, Capability, ChangeCommand, Entry, Placing, PlacingAnswer, RemotePath, StepAnswer,
};
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

/// One of several steps that are taken together.
#[derive(Debug)]
pub(crate) enum PlacingStep {
    /// An upload gets its name.
    Upload(Box<CheckedUpload>),
    /// A change by these commands.
    Change(Vec<ChangeCommand>),
}

/// The result of a step.
#[derive(Debug)]
pub(crate) enum PlacingResult {
    /// Of [`PlacingStep::Upload`].
    Placed(Result<StoredFacts, Error>),
    /// Of [`PlacingStep::Change`]: whether the server is known to have made it.
    Changed(bool),
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
    /// Gives uploads their attributes and names, and makes changes, in order, each even if those
    /// before it were refused: in one write where the server queues commands. Returns the result of
    /// each. Changes are not made otherwise.
    pub(crate) fn place_together(&self, steps: Vec<PlacingStep>) -> Vec<PlacingResult> {
        let are_alike = steps.iter().all(|step| match step {
            PlacingStep::Upload(upload) => *upload.from() != upload.target,
            PlacingStep::Change(_) => true,
        });
        if steps.len() < 2 || !are_alike || !self.profile().is_proven(Capability::Pipelining) {
            let alone = steps.into_iter().map(|step| match step {
                PlacingStep::Upload(upload) => PlacingResult::Placed(upload.place()),
                PlacingStep::Change(_) => PlacingResult::Changed(false),
            });
            return alone.collect();
        }
        let (sent, answers) = self.ask_together(&steps);
        let mut exchange = self.exchange();
        let mut answers = answers.into_iter();
        let mut sent = sent.into_iter();
        let mut results = Vec::with_capacity(steps.len());
        for step in steps {
            results.push(match step {
                PlacingStep::Upload(upload) => {
                    let answer = match answers.next() {
                        Some(StepAnswer::Placed(answer)) => sent.next().zip(Some(answer)),
                        Some(StepAnswer::Changed(_)) | None => None,
                    };
                    PlacingResult::Placed(self.after_placing(&mut exchange, *upload, answer))
                }
                PlacingStep::Change(commands) => {
                    let own: Vec<_> = answers.by_ref().take(commands.len()).collect();
                    let is_made = |it: &StepAnswer| matches!(it, StepAnswer::Changed(Ok(())));
                    let is_complete = own.len() == commands.len();
                    PlacingResult::Changed(is_complete && own.iter().all(is_made))
                }
            });
        }
        results
    }

    /// Returns the result of an upload that was placed with others, and got this `answer`.
    fn after_placing(
        &self,
        exchange: &mut Exchange<'_>,
        mut upload: CheckedUpload,
        answer: Option<(RenameSettings, PlacingAnswer)>,
    ) -> Result<StoredFacts, Error> {
        let found = upload.found.take();
        let (target, commit) = (upload.target.clone(), upload.commit.clone());
        let mut finalizer = Finalizer::new(self, &target, &commit, found.as_ref());
        let is_placed = match answer {
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
            None => self.has_been_placed(exchange, &upload),
        };
        if is_placed {
            upload.upload.state = State::Ended;
            upload.upload.leave_place();
            finalizer.set_the_rest(exchange);
            Ok(finalizer.into_stored())
        } else {
            upload.found.clone_from(&found);
            upload.place()
        }
    }

    /// Sends all commands. Returns what was sent with each upload, and the answers that arrived.
    fn ask_together(&self, steps: &[PlacingStep]) -> (Vec<RenameSettings>, Vec<StepAnswer>) {
        let mut exchange = self.exchange();
        let mut sent = Vec::with_capacity(steps.len());
        let mut batch = Vec::with_capacity(steps.len());
        for step in steps {
            let upload = match step {
                PlacingStep::Upload(upload) => upload,
                PlacingStep::Change(commands) => {
                    batch.extend(commands.iter().cloned().map(BatchStep::Change));
                    continue;
                }
            };
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
            batch.push(BatchStep::Place(Placing {
                settings: settings.list(),
                from: from.clone(),
                to: to.clone(),
            }));
            sent.push(settings);
        }
        let mut answers = Vec::with_capacity(batch.len());
        if exchange.ensure_session().is_ok()
            && let Some(mut lease) = exchange.into_lease()
            && let Err(fault) = lease.place_batch(&batch, &mut answers)
        {
            log::debug!("not all of {} steps got an answer: {fault}", batch.len());
        }
        (sent, answers)
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
