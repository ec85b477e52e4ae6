//! Uploads that are complete and verified, and get their names later, several in one write
//! (`-o writeback=names`).

use super::{RemoteUpload, State};
use crate::ftp::{
    BatchStep, Capability, ChangeCommand, Entry, Placing, PlacingAnswer, RemotePath, Setting,
    StepAnswer,
};
use crate::pool::Purpose;
use crate::remote::absence::lookup_reliably;
use crate::remote::error::{ErrorContext, Operation};
use crate::remote::finalize::{Finalizer, RenameSettings};
use crate::remote::name_lookup::Lookup;
use crate::remote::retry::Exchange;
use crate::remote::together::BatchAnswer;
use crate::remote::{CommitOptions, Error, Remote, StoredFacts};

/// A complete upload that holds no connection. Dropping it removes its remains.
#[derive(Debug)]
pub(crate) struct CheckedUpload {
    upload: RemoteUpload,
    target: RemotePath,
    commit: CommitOptions,
    found: Option<Entry>,
    /// Whether the answer to an attempt to give it its name was lost.
    may_be_placed: bool,
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
    /// Of [`PlacingStep::Change`].
    Changed(BatchAnswer),
    /// It was not taken, because one before it failed. An upload is given back.
    NotTaken(Option<Box<CheckedUpload>>),
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
                    may_be_placed: false,
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
        self.make_uninterruptible();
        let remote = self.upload.remote.uncancelled();
        let mut exchange = remote.exchange();
        if self.may_be_placed && self.has_been_placed(&mut exchange) {
            return Ok(self.complete(&mut exchange, None));
        }
        self.upload.state = State::Ended;
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

    /// Completes an upload that has its name, with these settings of those that were sent with
    /// the name.
    fn complete(
        mut self,
        exchange: &mut Exchange<'_>,
        set: Option<(&RenameSettings, &[Setting])>,
    ) -> StoredFacts {
        let remote = self.upload.remote.uncancelled();
        let mut finalizer =
            Finalizer::new(&remote, &self.target, &self.commit, self.found.as_ref());
        if let Some((sent, kept)) = set {
            finalizer.are_set(sent, kept);
        }
        self.upload.state = State::Ended;
        self.upload.leave_place();
        finalizer.set_the_rest(exchange);
        finalizer.into_stored()
    }

    /// Returns the result of an upload that was placed with others if it `is_sent`, and got this
    /// `answer`. It is not placed by itself if a step before it `has_failed`.
    fn after_placing(
        mut self,
        exchange: &mut Exchange<'_>,
        answer: Option<(RenameSettings, PlacingAnswer)>,
        (is_sent, has_failed): (bool, bool),
    ) -> PlacingResult {
        match answer {
            Some((sent, Ok(made))) => {
                let kept = sent.list().into_iter().zip(made);
                let kept = kept.filter(|(_, made)| made.is_ok());
                let kept: Vec<_> = kept.map(|(setting, _)| setting).collect();
                let stored = self.complete(exchange, Some((&sent, &kept)));
                return PlacingResult::Placed(Ok(stored));
            }
            Some((_, Err(refused))) => log::debug!("{}: {refused}", self.target),
            None if is_sent && self.has_been_placed(exchange) => {
                return PlacingResult::Placed(Ok(self.complete(exchange, None)));
            }
            None => self.may_be_placed |= is_sent,
        }
        if has_failed {
            PlacingResult::NotTaken(Some(Box::new(self)))
        } else {
            PlacingResult::Placed(self.place())
        }
    }

    /// Whether an upload whose answer was lost has its name.
    fn has_been_placed(&self, exchange: &mut Exchange<'_>) -> bool {
        let remote = &self.upload.remote;
        let is_gone = matches!(
            lookup_reliably(remote, exchange, self.from()),
            Ok(Lookup::Absent | Lookup::NoParent(_))
        );
        is_gone
            && matches!(
                lookup_reliably(remote, exchange, &self.target),
                Ok(Lookup::Found(found)) if found.size.is_none_or(|size| size == self.commit.size)
            )
    }

    /// Lets nothing end what follows: the server may get the name at any time.
    fn make_uninterruptible(&mut self) {
        self.upload.remote = self.upload.remote.uncancelled();
    }

    fn from(&self) -> &RemotePath {
        self.upload.place.path()
    }
}

impl Remote {
    /// Gives uploads their attributes and names, and makes changes, in order: in one write where
    /// the server queues commands, which then takes each step even if it refused those before it.
    /// Otherwise, and for what was refused or got no answer, the steps are taken one by one, up to
    /// the first that fails. Changes are not made one by one. Returns the result of each step.
    pub(crate) fn place_together(&self, mut steps: Vec<PlacingStep>) -> Vec<PlacingResult> {
        for step in &mut steps {
            if let PlacingStep::Upload(upload) = step {
                upload.make_uninterruptible();
            }
        }
        let are_alike = steps.iter().all(|step| match step {
            PlacingStep::Upload(upload) => *upload.from() != upload.target && !upload.may_be_placed,
            PlacingStep::Change(_) => true,
        });
        let mut results = Vec::with_capacity(steps.len());
        if steps.len() < 2 || !are_alike || !self.profile().is_proven(Capability::Pipelining) {
            let mut has_failed = false;
            for step in steps {
                results.push(match step {
                    PlacingStep::Upload(upload) if has_failed => {
                        PlacingResult::NotTaken(Some(upload))
                    }
                    PlacingStep::Upload(upload) => {
                        let placed = upload.place();
                        has_failed = placed.is_err();
                        PlacingResult::Placed(placed)
                    }
                    PlacingStep::Change(_) => {
                        has_failed = true;
                        PlacingResult::NotTaken(None)
                    }
                });
            }
            return results;
        }
        let sent = self.ask_together(&steps);
        let mut exchange = self.exchange();
        let mut answers = sent.answers.into_iter();
        let mut settings = sent.settings.into_iter();
        let mut has_failed = false;
        for (number, step) in steps.into_iter().enumerate() {
            let is_sent = number < sent.steps;
            let result = match step {
                PlacingStep::Upload(upload) => {
                    let answer = match answers.next() {
                        Some(StepAnswer::Placed(answer)) => settings.next().zip(Some(answer)),
                        Some(StepAnswer::Changed(_)) | None => None,
                    };
                    upload.after_placing(&mut exchange, answer, (is_sent, has_failed))
                }
                PlacingStep::Change(commands) => {
                    let own: Vec<_> = answers.by_ref().take(commands.len()).collect();
                    let is_made = |it: &StepAnswer| matches!(it, StepAnswer::Changed(Ok(())));
                    if !is_sent {
                        PlacingResult::NotTaken(None)
                    } else if own.len() < commands.len() {
                        PlacingResult::Changed(BatchAnswer::None)
                    } else if own.iter().all(is_made) {
                        PlacingResult::Changed(BatchAnswer::Done)
                    } else {
                        PlacingResult::Changed(BatchAnswer::Refused)
                    }
                }
            };
            has_failed |= !matches!(
                result,
                PlacingResult::Placed(Ok(_)) | PlacingResult::Changed(BatchAnswer::Done)
            );
            results.push(result);
        }
        results
    }

    /// Sends all commands.
    fn ask_together(&self, steps: &[PlacingStep]) -> SentSteps {
        let mut exchange = self.exchange();
        let mut sent = SentSteps::default();
        let mut batch = Vec::with_capacity(steps.len());
        let mut count = 0;
        for step in steps {
            let upload = match step {
                PlacingStep::Upload(upload) => upload,
                PlacingStep::Change(commands) => {
                    batch.extend(commands.iter().cloned().map(BatchStep::Change));
                    count += 1;
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
            sent.settings.push(settings);
            count += 1;
        }
        if exchange.ensure_session(Purpose::Command).is_ok()
            && let Some(mut lease) = exchange.into_lease()
        {
            sent.steps = count;
            if let Err(fault) = lease.place_batch(&batch, &mut sent.answers) {
                log::debug!("not all of {} steps got an answer: {fault}", batch.len());
            }
        }
        sent
    }
}

/// What was sent of several steps.
#[derive(Default)]
struct SentSteps {
    /// The number of the first steps, whose commands were sent.
    steps: usize,
    /// The attributes that went with the uploads.
    settings: Vec<RenameSettings>,
    /// The answers that arrived.
    answers: Vec<StepAnswer>,
}
