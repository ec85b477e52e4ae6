//! The dispatcher of `-o writeback=names`: sends the changes that wait, in order.
//!
//! One thread sends one flight at a time. A flight of several changes is one write; a change that
//! is refused there is made again alone, which finds other ways, and the reason.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::judge::{ChangeVerdict, ServerNode, judge};
use super::log::{LogEntry, Step};
use super::relation::related;
use super::retries::may_be_made_later;
use super::{LOOK_UP, Names, NamesPhase, SYNC_AFTER};
use crate::ftp::{ChangeCommand, Kind, RemotePath, Version};
use crate::guarded::{self, OnDrop};
use crate::journal::{Domains, NameAction, NameBase, NameChange, RecordedChange};
use crate::remote::{self, BatchAnswer, ErrorKind, Remote};
use crate::vfs::Vfs;

/// Maximum number of changes in a flight.
const MOST_TOGETHER: usize = 64;
/// Age from which a change is compared with the server before it is sent.
const OLD: Duration = Duration::from_secs(60);
/// A change to send, at its place.
type Sent = (u64, LogEntry<RecordedChange>);

/// The next step of the dispatcher.
enum NamesNext {
    /// Compare these changes with the server, which an earlier mount may have sent.
    Judge(Vec<Sent>),
    /// Send these changes.
    Send(Vec<Sent>),
    /// The mount has ended.
    Stopped,
}

/// What became of a change.
#[derive(Debug)]
enum ChangeResult {
    Done,
    /// The server does not set the attribute.
    Unset,
    /// It was not made, and will be sent again.
    Undone,
    /// It may have been made, and is compared with the server before it is sent again.
    Unsure,
    /// It will not be made.
    Refused(remote::Error),
}

impl Names {
    /// Starts the dispatcher, which ends after [`Names::drain`] or when the vfs is dropped.
    pub(in crate::vfs) fn start(self: &Arc<Self>, vfs: &Arc<Vfs>) {
        if self.is_on.swap(true, Ordering::Relaxed) {
            return;
        }
        let (names, house) = (Arc::clone(self), Arc::downgrade(vfs));
        let serve = move || {
            let _ended = OnDrop::new(|| names.stop());
            dispatch(&names, &house);
        };
        let names = Arc::clone(self);
        let keep_synced = move || names.keep_synced();
        let spawned = guarded::spawn("names", serve)
            .and_then(|_| guarded::spawn("names journal", keep_synced));
        if let Err(error) = spawned {
            ::log::warn!("cannot start a thread; making changes of names now: {error}");
            self.stop();
        }
    }

    fn stop(&self) {
        self.is_on.store(false, Ordering::Relaxed);
        self.lock().phase = NamesPhase::Stopped;
        self.changed.notify_all();
    }

    fn next(&self, most: usize) -> NamesNext {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if state.phase == NamesPhase::Stopped {
                return NamesNext::Stopped;
            }
            let pause = state.retry_at.and_then(|at| at.checked_duration_since(now));
            let next_retry = state.end_pauses(now);
            if pause.is_none() {
                state.retry_at = None;
                if std::mem::take(&mut state.has_unjudged) {
                    let begun = state.log.iter().filter(|(_, entry)| is_unjudged(entry));
                    return NamesNext::Judge(begun.map(|(at, it)| (at, it.clone())).collect());
                }
                let mut places = Vec::new();
                if !state.urgent.is_empty() {
                    let urgent = state.urgent.places();
                    places = state.log.next_flight(most, Some(urgent));
                }
                let is_due = state.due.is_none_or(|due| now >= due);
                if places.is_empty() && (is_due || state.phase == NamesPhase::Draining) {
                    state.due = None;
                    places = state.log.next_flight(most, None);
                }
                let mut flight = Vec::with_capacity(places.len());
                for place in places {
                    state.log.set_step(place, Step::Begun);
                    state.log.look_if_older(place, OLD);
                    flight.extend(state.log.get(place).map(|entry| (place, entry.clone())));
                }
                if !flight.is_empty() {
                    return NamesNext::Send(flight);
                }
            }
            let due = state.due.filter(|due| *due > now);
            let wake = [due, state.retry_at, next_retry];
            let wake = wake.into_iter().flatten().min();
            let patience = wake.map(|at| at.saturating_duration_since(now).max(LOOK_UP / 10));
            state = self.wait(state, patience);
        }
    }

    /// Syncs the journal soon after each change, until nothing is sent any more. The dispatcher may
    /// wait for the server meanwhile.
    fn keep_synced(&self) {
        let mut state = self.lock();
        while state.phase != NamesPhase::Stopped {
            let now = Instant::now();
            let at = state.unsynced.map(|since| since + SYNC_AFTER);
            if at.is_some_and(|at| at <= now) {
                drop(state);
                self.sync();
                state = self.lock();
            } else {
                let patience = at.map(|at| at.saturating_duration_since(now));
                state = self.wait(state, patience);
            }
        }
    }
}

fn is_unjudged(entry: &LogEntry<RecordedChange>) -> bool {
    entry.step == Step::Begun && entry.needs_look
}

fn dispatch(names: &Names, house: &Weak<Vfs>) {
    loop {
        let queues = house
            .upgrade()
            .is_some_and(|vfs| vfs.remote.queues_changes());
        let next = names.next(if queues { MOST_TOGETHER } else { 1 });
        let Some(vfs) = house.upgrade() else { return };
        match next {
            NamesNext::Stopped => return,
            NamesNext::Judge(begun) => vfs.judge_names(&begun),
            NamesNext::Send(flight) => {
                for (_, entry) in &flight {
                    RecordedChange::begin(&entry.records, &entry.change, &entry.domains);
                }
                // After a power cut, attributes that may have been set are set again. What programs
                // did later is on the disk only if this is.
                let is_attributes =
                    |it: &Sent| matches!(it.1.change.action, NameAction::SetAttributes { .. });
                if !flight.iter().all(is_attributes) {
                    names.sync();
                }
                let results = guarded::catch("changing names", || vfs.send_names(&flight));
                let results = results.unwrap_or_else(|| {
                    names.pause(&panicked());
                    flight.iter().map(|_| ChangeResult::Unsure).collect()
                });
                vfs.finish_names(&flight, results);
            }
        }
    }
}

impl Vfs {
    /// Compares changes that an earlier mount may have sent with the server. What is related behind
    /// one that was not made, was not made.
    fn judge_names(&self, begun: &[Sent]) {
        let remote = self.remote.uncancelled();
        let mut results = Vec::with_capacity(begun.len());
        let mut undone: Vec<&NameChange> = Vec::new();
        for (_, entry) in begun {
            let is_behind = undone.iter().any(|it| related(it, &entry.change));
            let verdict = if is_behind {
                Ok(ChangeVerdict::Send)
            } else {
                judge_change(&remote, &entry.change)
            };
            match verdict {
                Ok(ChangeVerdict::Done) => results.push(ChangeResult::Done),
                Ok(ChangeVerdict::Send | ChangeVerdict::Conflict) => {
                    undone.push(&entry.change);
                    results.push(ChangeResult::Undone);
                }
                // It is compared again before it is sent, and refused if that fails then.
                Err(error) if !may_be_judged_later(error.kind) => {
                    log::debug!("{error}");
                    undone.push(&entry.change);
                    results.push(ChangeResult::Undone);
                }
                Err(error) => {
                    self.names.judge_later();
                    self.names.pause(&error);
                    return;
                }
            }
        }
        self.finish_names(begun, results);
    }

    /// Sends a flight. Returns what became of its changes; those without a result were not made.
    ///
    /// Changes that must be compared with the server first, or that take more than a command, are
    /// made one by one, in their turn.
    fn send_names(&self, flight: &[Sent]) -> Vec<ChangeResult> {
        let remote = self.remote.uncancelled();
        let last_outage = || self.names.lock().outage.as_ref().map(|it| it.number);
        let outage = last_outage();
        let mut results = Vec::with_capacity(flight.len());
        let mut undone: Vec<&NameChange> = Vec::new();
        let mut waiting = Domains::new();
        while let Some(rest) = flight.get(results.len()..).filter(|rest| !rest.is_empty()) {
            let together = rest.iter().map_while(|(_, entry)| {
                let commands = commands(&remote, &entry.change);
                commands.filter(|_| !entry.needs_look)
            });
            let together: Vec<_> = together.take(MOST_TOGETHER).collect();
            let were_sent = together.iter().flatten().count() > 1;
            let answers = if were_sent {
                remote.change_together(&together.concat())
            } else {
                Ok(vec![BatchAnswer::Refused])
            };
            let answers = match answers {
                Ok(answers) if were_sent => of_changes(&together, answers),
                Ok(answers) => answers,
                Err(error) => {
                    self.names.pause(&error);
                    return results;
                }
            };
            for ((place, entry), answer) in rest.iter().zip(answers) {
                let change = &entry.change;
                let is_behind = !entry.domains.is_disjoint(&waiting)
                    || undone.iter().any(|it| related(it, change));
                let result = match answer {
                    BatchAnswer::Done => ChangeResult::Done,
                    // It is not its turn, or the server cannot be asked any more.
                    _ if is_behind || last_outage() != outage => {
                        // A server may refuse a rename and make it.
                        let is_rename = matches!(change.action, NameAction::Rename { .. });
                        if answer == BatchAnswer::None || were_sent && is_rename {
                            ChangeResult::Unsure
                        } else {
                            ChangeResult::Undone
                        }
                    }
                    BatchAnswer::None if !sets_attributes(change) => {
                        self.after_silence(&remote, *place, change)
                    }
                    BatchAnswer::None | BatchAnswer::Refused => {
                        self.make_alone(&remote, *place, entry, were_sent)
                    }
                };
                if let ChangeResult::Undone | ChangeResult::Unsure = result {
                    undone.push(change);
                    waiting.extend(entry.domains.iter().cloned());
                }
                results.push(result);
            }
        }
        results
    }

    /// Returns what became of a change whose answer was lost.
    fn after_silence(&self, remote: &Remote, place: u64, change: &NameChange) -> ChangeResult {
        match judge_change(remote, change) {
            Ok(ChangeVerdict::Done) => ChangeResult::Done,
            Ok(ChangeVerdict::Send) => ChangeResult::Undone,
            Ok(ChangeVerdict::Conflict) => ChangeResult::Refused(conflict(change)),
            Err(error) if !may_be_judged_later(error.kind) => ChangeResult::Refused(error),
            Err(error) => {
                self.names.pause_at(place, &error);
                ChangeResult::Unsure
            }
        }
    }

    /// Makes a change by itself. It `was_sent` with others before, and refused.
    fn make_alone(
        &self,
        remote: &Remote,
        place: u64,
        entry: &LogEntry<RecordedChange>,
        was_sent: bool,
    ) -> ChangeResult {
        let change = &entry.change;
        // A server may refuse a rename and make it.
        let is_rename = matches!(change.action, NameAction::Rename { .. });
        if entry.needs_look || was_sent && is_rename {
            match judge_change(remote, change) {
                Ok(ChangeVerdict::Done) => return ChangeResult::Done,
                Ok(ChangeVerdict::Conflict) if entry.needs_look => {
                    return ChangeResult::Refused(conflict(change));
                }
                Ok(ChangeVerdict::Send) => self.names.lock().log.has_looked(place),
                Ok(ChangeVerdict::Conflict) => {}
                Err(error) if !may_be_judged_later(error.kind) => {
                    return ChangeResult::Refused(error);
                }
                Err(error) => {
                    self.names.pause_at(place, &error);
                    return ChangeResult::Unsure;
                }
            }
        }
        match make(remote, change) {
            Ok(()) => ChangeResult::Done,
            Err(error) if may_be_made_later(error.kind) => {
                ::log::debug!("{error}; it will be retried");
                self.names.pause_at(place, &error);
                if error.kind.is_unanswered() {
                    ChangeResult::Unsure
                } else {
                    ChangeResult::Undone
                }
            }
            Err(error) if matches!(change.action, NameAction::SetAttributes { .. }) => {
                // Several servers set times only on files.
                let is_usual =
                    change.base == NameBase::Directory && error.operation == "set the time of";
                if is_usual {
                    ::log::debug!("{error}; the time stays the same");
                } else {
                    ::log::warn!(path = error.path, reply = error.reply; "{error}");
                }
                ChangeResult::Unset
            }
            Err(error) => ChangeResult::Refused(error),
        }
    }

    /// Records what became of the changes of a flight.
    fn finish_names(&self, flight: &[Sent], results: Vec<ChangeResult>) {
        let mut results = results.into_iter();
        let mut has_made_one = false;
        for (place, entry) in flight {
            match results.next().unwrap_or(ChangeResult::Undone) {
                ChangeResult::Done => {
                    has_made_one = true;
                    self.name_done(*place);
                }
                ChangeResult::Unset => {
                    self.name_done(*place);
                    self.names.time_is_unset(&entry.change.base);
                    let path = &entry.change.path;
                    if let Some(directory) = path.parent() {
                        self.invalidate(&directory, path.name());
                    }
                }
                ChangeResult::Undone => {
                    RecordedChange::undo(&entry.records);
                    self.names.undone(*place, false);
                }
                // In the journal, it stays one that was begun.
                ChangeResult::Unsure => self.names.undone(*place, true),
                ChangeResult::Refused(error) => self.name_refused(*place, &error),
            }
        }
        if has_made_one {
            self.names.lock().tries = 0;
        }
    }
}

/// Returns the commands that make `change` together with others, if there are any that are known to
/// work.
pub(super) fn commands(remote: &Remote, change: &NameChange) -> Option<Vec<ChangeCommand>> {
    let path = &change.path;
    let mut commands = Vec::with_capacity(2);
    let (mut wanted_mode, mut wanted_time) = (None, None);
    match &change.action {
        NameAction::MakeDirectory { mode } => {
            commands.push(ChangeCommand::MakeDirectory(path.clone()));
            wanted_mode = *mode;
        }
        NameAction::Unlink => commands.push(ChangeCommand::Delete(path.clone())),
        NameAction::RemoveDirectory => commands.push(ChangeCommand::RemoveDirectory(path.clone())),
        NameAction::Rename { to, .. } => {
            commands.push(ChangeCommand::Rename(path.clone(), to.clone()));
        }
        NameAction::SetAttributes { mode, modified } => {
            (wanted_mode, wanted_time) = (*mode, *modified);
        }
        NameAction::Store { .. } => return None,
    }
    if let Some(mode) = wanted_mode {
        commands.push(remote.mode_command(path, mode)?);
    }
    if let Some(seconds) = wanted_time {
        let is_directory = change.base == NameBase::Directory;
        commands.push(remote.time_command(path, seconds, is_directory)?);
    }
    Some(commands)
}

/// Returns the answer to each change from those to all its commands.
fn of_changes(together: &[Vec<ChangeCommand>], answers: Vec<BatchAnswer>) -> Vec<BatchAnswer> {
    let mut answers = answers.into_iter();
    let of_one = |commands: &Vec<ChangeCommand>| {
        let own: Vec<_> = answers.by_ref().take(commands.len()).collect();
        let worst = [BatchAnswer::None, BatchAnswer::Refused];
        let worst = worst.into_iter().find(|answer| own.contains(answer));
        worst.unwrap_or(BatchAnswer::Done)
    };
    together.iter().map(of_one).collect()
}

/// Whether `change` sets attributes. Sent again, such commands do no harm.
fn sets_attributes(change: &NameChange) -> bool {
    matches!(
        change.action,
        NameAction::SetAttributes { .. } | NameAction::MakeDirectory { mode: Some(_) }
    )
}

/// Whether the server may say later what became of a change.
fn may_be_judged_later(kind: ErrorKind) -> bool {
    may_be_made_later(kind) || kind.transience().may_pass()
}

/// Makes `change`. What it wants may be there already.
fn make(remote: &Remote, change: &NameChange) -> Result<(), remote::Error> {
    let path = &change.path;
    let gone = |removed: Result<(), remote::Error>| match removed {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    match &change.action {
        NameAction::MakeDirectory { mode } => {
            match remote.make_directory(path) {
                Err(error) if error.kind == ErrorKind::AlreadyExists => {
                    let found = remote.stat(path)?;
                    if found.kind != Kind::Directory {
                        return Err(error);
                    }
                }
                made => made?,
            }
            if let Some(mode) = mode
                && let Err(error) = remote.set_directory_mode(path, *mode)
            {
                ::log::info!(
                    path = error.path, reply = error.reply;
                    "{error}; the directory has the server's default mode"
                );
            }
            Ok(())
        }
        NameAction::Unlink => gone(remote.delete(path)),
        NameAction::RemoveDirectory => gone(remote.remove_directory(path)),
        NameAction::Rename { to, .. } => remote.rename(path, to),
        NameAction::SetAttributes { mode, modified } => {
            let is_directory = change.base == NameBase::Directory;
            let mode = mode.map(|mode| {
                if is_directory {
                    remote.set_directory_mode(path, mode)
                } else {
                    remote.set_mode(path, mode)
                }
            });
            let modified = modified.map(|seconds| {
                if is_directory {
                    remote.set_directory_modified(path, seconds).map(drop)
                } else {
                    remote.set_modified(path, seconds).map(drop)
                }
            });
            mode.into_iter().chain(modified).collect()
        }
        // The upload gives the contents their name.
        NameAction::Store { .. } => Ok(()),
    }
}

fn judge_change(remote: &Remote, change: &NameChange) -> Result<ChangeVerdict, remote::Error> {
    let is_removal = change.action == NameAction::RemoveDirectory;
    judge(change, |path| look(remote, path, is_removal))
}

/// Returns what the server has at `path`. Only if `lists`, a directory is looked into.
fn look(remote: &Remote, path: &RemotePath, lists: bool) -> Result<ServerNode, remote::Error> {
    match remote.stat(path) {
        Ok(found) if found.kind == Kind::Directory => {
            if !lists {
                return Ok(ServerNode::Directory { is_filled: false });
            }
            let listing = remote.list(path)?;
            Ok(ServerNode::Directory {
                is_filled: !listing.entries.is_empty(),
            })
        }
        Ok(found) => Ok(ServerNode::File(Version::from(&found))),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(ServerNode::Absent),
        Err(error) => Err(error),
    }
}

fn panicked() -> remote::Error {
    remote::Error {
        kind: ErrorKind::Other,
        operation: "change",
        path: RemotePath::root(),
        reason: "it panicked, which is a bug in ftpfs".to_owned(),
        reply: None,
    }
}

fn conflict(change: &NameChange) -> remote::Error {
    remote::Error {
        kind: ErrorKind::Changed,
        operation: "change",
        path: change.path.clone(),
        reason: "it was changed on the server in the meantime".to_owned(),
        reply: None,
    }
}
