//! Changes of names that are made in the background (`-o writeback=names`).
//!
//! A call records its change in the journal and in the [log](NamesLog), pins the names in the
//! listing cache, so that programs see the result, and returns. The dispatcher sends the changes in
//! order, several in one round trip. Stores are uploaded by `writeback` and wait here for their
//! turn to get their name.
//!
//! | file | contents |
//! |---|---|
//! | `log` | the ordered log: pure bookkeeping |
//! | `relation` | the order of two changes |
//! | `fold` | two changes of which the server sees only the result |
//! | `judge` | whether a change was made |
//! | `barrier` | programs that wait for changes |
//! | `dispatcher` | sending the changes |
//! | `failures` | changes that were not made |
//! | `outcome` | what follows from the server's answers |
//! | `refused` | changes that are given up while programs change something |
//! | `renamed` | changes that wait below a directory that was renamed |
//! | `retries` | failures that may be temporary, and the next attempts |
//! | `room` | programs that wait until there is room for another change |
//! | `times` | files whose time is being set |
//! | `turn` | complete uploads that wait for their turn |
//! | `left` | the changes that a killed mount left |
//! | `model` | random lives of the log, compared with a POSIX file system |
//!
//! The lock is held while the journal is appended to and the cache is changed, which waits for
//! neither the disk nor the network.

mod barrier;
mod dispatcher;
mod failures;
mod fold;
mod judge;
mod left;
mod log;
#[cfg(test)]
mod model;
mod outcome;
mod refused;
mod relation;
mod renamed;
mod retries;
mod room;
mod rules;
#[cfg(test)]
mod testing;
mod times;
mod turn;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cache::{Attributes, Cache};
use crate::ftp::RemotePath;
use crate::journal::{Domains, Journal, NameAction, NameBase, NameChange, RecordedChange};
use crate::remote::{self, CheckedUpload, StoredFacts};
use crate::vfs::table::ino::Ino;
use crate::vfs::write::writeback::Writeback;
use barrier::UrgentChanges;
use failures::NameFailure;
pub(in crate::vfs) use left::{ShownFile, ShownFiles};
use log::{Effect, LogEntry, NamesLog, NewChange, Step};
pub(in crate::vfs) use refused::RefusalWatch;
use refused::RefusedMeanwhile;
use retries::{ChangeRetry, Trouble};
use rules::LogRules;
use times::RetimedFile;
pub(in crate::vfs) use turn::StoreTurn;

/// Delay before a change is sent, because the next ones may go with it or undo it.
const DEBOUNCE: Duration = Duration::from_millis(25);
/// Maximum time for which a record may not be on the disk.
const SYNC_AFTER: Duration = Duration::from_secs(1);
/// How often a store that waits for its turn checks whether it is still wanted.
const LOOK_UP: Duration = Duration::from_millis(50);

/// The changes of names that the server does not have yet.
#[derive(Debug)]
pub(in crate::vfs) struct Names {
    journal: Journal,
    /// The journals of killed mounts, the oldest first.
    left: Mutex<Vec<Journal>>,
    cache: Arc<Cache<remote::Error>>,
    writeback: Arc<Writeback>,
    state: Mutex<State>,
    /// Notified on every change of the state.
    changed: Condvar,
    /// Number of changes, to be read without the lock.
    count: AtomicUsize,
    /// Whether there is a dispatcher.
    is_on: AtomicBool,
    /// Whether the changes of a killed mount are being read, so that no store may begin.
    is_loading: AtomicBool,
}

#[derive(Debug)]
struct State {
    log: NamesLog<RecordedChange>,
    /// The changes that programs wait for and that may overtake others.
    urgent: UrgentChanges,
    failures: Vec<NameFailure>,
    refused: RefusedMeanwhile,
    /// The files whose time programs have set.
    retimed: BTreeMap<RemotePath, RetimedFile>,
    phase: NamesPhase,
    /// Whether nothing is sent any more because there was no server at the end of the mount.
    has_lost_server: bool,
    /// When the changes may be sent that wait for others to go with them.
    due: Option<Instant>,
    /// When the next attempt follows to reach the server.
    retry_at: Option<Instant>,
    /// Number of consecutive failures to reach it.
    tries: u32,
    /// The changes that the server refused for the moment, by their places.
    retries: BTreeMap<u64, ChangeRetry>,
    /// Number of failures that may be temporary since the start.
    troubles: u64,
    /// The last one that concerned all changes.
    outage: Option<Trouble>,
    /// The last ones of single changes, by their places.
    troubles_at: BTreeMap<u64, Trouble>,
    /// Since when there are records that may not be on the disk.
    unsynced: Option<Instant>,
    /// Whether the log contains changes of an earlier mount that may have been sent.
    has_unjudged: bool,
    /// Complete uploads that wait for their turn, by the places of their stores.
    ready: BTreeMap<u64, CheckedUpload>,
    /// What became of those that were placed with others.
    placed: BTreeMap<u64, Result<StoredFacts, remote::Error>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NamesPhase {
    /// The mount is running.
    Running,
    /// The mount is ending: changes are sent now, with a few attempts.
    Draining,
    /// Nothing is sent any more.
    Stopped,
}

/// What a change takes over from the one that it replaces.
#[derive(Debug, Clone, Default)]
pub(in crate::vfs) struct Inherited {
    domains: Domains,
    /// Whether the server may have something else than programs saw.
    pub(in crate::vfs) needs_look: bool,
}

impl From<&LogEntry<RecordedChange>> for Inherited {
    fn from(entry: &LogEntry<RecordedChange>) -> Self {
        Self {
            domains: entry.domains.clone(),
            needs_look: entry.needs_look,
        }
    }
}

impl Inherited {
    /// Adds what another change leaves.
    pub(in crate::vfs) fn merge(&mut self, other: Self) {
        self.domains.extend(other.domains);
        self.needs_look |= other.needs_look;
    }
}

/// What was known of the contents of a file when newer ones were closed.
#[derive(Debug, Clone, Copy)]
pub(in crate::vfs) struct StoreBefore {
    /// Whether the server's file must be compared first, because a change before it was refused.
    pub(in crate::vfs) was_behind: bool,
    /// Whether older contents may get the name now.
    pub(in crate::vfs) is_begun: bool,
}

/// What programs see of a name after a change: its attributes, or nothing.
pub(in crate::vfs) type NameView = (RemotePath, Option<Attributes>);

impl Names {
    /// Creates an empty log, whose changes are recorded in `journal` and shown in `cache`.
    /// `writeback` stores the files whose turn it is.
    pub(in crate::vfs) fn new(
        journal: Journal,
        cache: Arc<Cache<remote::Error>>,
        writeback: Arc<Writeback>,
    ) -> Self {
        Self {
            journal,
            left: Mutex::default(),
            cache,
            writeback,
            state: Mutex::new(State {
                log: NamesLog::new(RemotePath::root(), LogRules::ALL),
                urgent: UrgentChanges::default(),
                failures: Vec::new(),
                refused: RefusedMeanwhile::default(),
                retimed: BTreeMap::new(),
                phase: NamesPhase::Running,
                has_lost_server: false,
                due: None,
                retry_at: None,
                tries: 0,
                retries: BTreeMap::new(),
                troubles: 0,
                outage: None,
                troubles_at: BTreeMap::new(),
                unsynced: None,
                has_unjudged: false,
                ready: BTreeMap::new(),
                placed: BTreeMap::new(),
            }),
            changed: Condvar::new(),
            count: AtomicUsize::new(0),
            is_on: AtomicBool::new(false),
            is_loading: AtomicBool::new(false),
        }
    }

    /// Whether changes can be made in the background: there is a dispatcher.
    pub(in crate::vfs) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Number of changes that wait, including stores.
    pub(in crate::vfs) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Number of stores among them.
    pub(in crate::vfs) fn stores(&self) -> usize {
        let state = self.lock();
        let is_store = |entry: &LogEntry<RecordedChange>| entry.change.is_store();
        state
            .log
            .iter()
            .filter(|(_, entry)| is_store(entry))
            .count()
    }

    /// Whether no change waits.
    pub(in crate::vfs) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records `change`, and shows `views`. What it replaces was `inherited`.
    ///
    /// # Errors
    /// It cannot be recorded, so it must be made now.
    pub(in crate::vfs) fn record(
        &self,
        root: &RemotePath,
        mut change: NameChange,
        inherited: Inherited,
        views: Vec<NameView>,
    ) -> io::Result<()> {
        let mut state = self.lock();
        state.note_times(&mut change);
        let record = self.journal.record_change(&change, &inherited.domains)?;
        self.add(&mut state, root, change, record, inherited);
        for (path, known) in views {
            self.show(&state, &path, known);
        }
        self.note(&state);
        Ok(())
    }

    /// Records that the closed contents of `ino` get the name `path`, where the server has `base`,
    /// behind all changes so far. It has what it `inherited`, and what an earlier store of them had
    /// that was not sent. `record` records it in the journal of the contents. If only the name is
    /// new (`is_moved`), a store that waits until a program asks goes on doing that.
    ///
    /// # Errors
    /// It cannot be recorded. The contents are stored out of the order then.
    pub(in crate::vfs) fn record_store(
        &self,
        root: &RemotePath,
        (ino, is_moved): (Ino, bool),
        path: &RemotePath,
        (base, mut inherited): (NameBase, Inherited),
        record: impl FnOnce(&NameChange, &Domains) -> io::Result<RecordedChange>,
    ) -> io::Result<StoreBefore> {
        let mut state = self.lock();
        let change = NameChange {
            action: NameAction::Store { id: ino.0 },
            path: path.clone(),
            base,
        };
        if let Some(before) = state.log.unsent_store(ino.0) {
            inherited.merge(Inherited::from(before));
        }
        let recorded = record(&change, &inherited.domains)?;
        let before = state.log.take_store(ino.0);
        let before_it = StoreBefore {
            was_behind: before.as_ref().is_some_and(|it| it.step == Step::Behind),
            is_begun: state.log.count_stores(ino.0) > 0,
        };
        self.add(&mut state, root, change, recorded, inherited);
        if let Some(before) = before {
            RecordedChange::end(&before.records);
            if is_moved
                && before.step.is_parked()
                && let Some(place) = state.log.last_store(ino.0)
            {
                state.log.set_step(place, before.step);
            }
        }
        self.note(&state);
        Ok(before_it)
    }

    /// Removes the store of `ino`, which is not needed any more. The caller holds the gate of the
    /// file, so it is not under way. Returns what its successor inherits.
    pub(in crate::vfs) fn forget_store(&self, ino: Ino) -> Inherited {
        if self.is_empty() {
            return Inherited::default();
        }
        let mut state = self.lock();
        let place = state.log.store_at(ino.0);
        let Some(entry) = place.and_then(|place| state.log.remove(place)) else {
            return Inherited::default();
        };
        RecordedChange::end(&entry.records);
        self.progressed(&state);
        Inherited::from(&entry)
    }

    /// Whether the server may have another file than programs saw where the contents of `ino` get
    /// their name.
    pub(in crate::vfs) fn needs_look(&self, ino: Ino) -> bool {
        if self.is_empty() {
            return false;
        }
        let state = self.lock();
        let entry = state
            .log
            .store_at(ino.0)
            .and_then(|place| state.log.get(place));
        entry.is_some_and(|entry| entry.needs_look)
    }

    /// Whether nothing can be uploaded to `path` yet, because the directory is not there.
    pub(in crate::vfs) fn is_held(&self, path: &RemotePath) -> bool {
        if self.is_loading.load(Ordering::Relaxed) {
            return true;
        }
        if self.is_empty() {
            return false;
        }
        let state = self.lock();
        state.phase != NamesPhase::Stopped && state.log.is_held(path)
    }

    /// Whether `directory`, or one above it, is not made yet.
    pub(in crate::vfs) fn is_unmade(&self, directory: &RemotePath) -> bool {
        if self.is_empty() {
            return false;
        }
        let state = self.lock();
        let mut at = Some(directory.clone());
        while let Some(path) = at {
            if state.log.makes(&path) {
                return true;
            }
            at = path.parent();
        }
        false
    }

    /// Records that the store of `ino` was not made. It will be tried again.
    pub(in crate::vfs) fn store_undone(&self, ino: Ino) {
        if self.is_empty() {
            return;
        }
        let mut state = self.lock();
        if let Some(place) = state.log.store_at(ino.0)
            && state
                .log
                .get(place)
                .is_some_and(|it| it.step == Step::Begun)
        {
            state.log.set_step(place, Step::Waiting);
        }
        // Older contents do not exist any more.
        state.log.merge_stores(ino.0);
        self.note(&state);
    }

    /// Records that the store of `ino` was made.
    pub(in crate::vfs) fn store_done(&self, ino: Ino) {
        self.store_is_done(ino);
        self.wake();
    }

    /// [Records](Self::store_done) that a store was made. Who waits for that is woken later.
    pub(in crate::vfs) fn store_is_done(&self, ino: Ino) {
        if self.is_empty() {
            return;
        }
        let mut state = self.lock();
        if let Some(place) = state.log.store_at(ino.0)
            && let Some(entry) = state.log.remove(place)
        {
            RecordedChange::end(&entry.records);
        }
        self.count.store(state.log.len(), Ordering::Relaxed);
    }

    /// Records that older contents of `ino` were stored than those that were closed last.
    pub(in crate::vfs) fn older_store_done(&self, ino: Ino) {
        let has_two = self.lock().log.count_stores(ino.0) > 1;
        if has_two {
            self.store_done(ino);
        } else {
            self.store_undone(ino);
        }
    }

    /// Sends everything at the end of the mount, with a few attempts at most.
    pub(in crate::vfs) fn end(&self) {
        let mut state = self.lock();
        if state.phase == NamesPhase::Running {
            state.phase = NamesPhase::Draining;
        }
        state.retry_at = None;
        state.tries = 0;
        state.forget_retries();
        self.changed.notify_all();
    }

    /// Sends nothing more if the mount is ending: a file could not be stored.
    pub(in crate::vfs) fn give_up_draining(&self) {
        let mut state = self.lock();
        if state.phase == NamesPhase::Draining && state.log.has_waiting_store() {
            state.phase = NamesPhase::Stopped;
        }
        self.changed.notify_all();
    }

    /// Whether nothing is sent any more.
    pub(in crate::vfs) fn has_stopped(&self) -> bool {
        self.lock().phase == NamesPhase::Stopped
    }

    /// Whether nothing is sent any more because there was no server at the end of the mount.
    pub(in crate::vfs) fn has_lost_server(&self) -> bool {
        self.lock().has_lost_server
    }

    /// Returns after [`Self::end`] when nothing is left to try. Nothing is sent from then on.
    pub(in crate::vfs) fn drain(&self) {
        // What waits for a file that could not be stored is left to the next mount.
        let is_done = |state: &State| {
            state.phase == NamesPhase::Stopped
                || !state.log.is_sending()
                    && !state.is_pausing()
                    && state.log.next_flight(1, None).is_empty()
        };
        let was_on = self.is_on();
        let mut state = self.lock();
        while self.is_on() && !is_done(&state) {
            state = self.wait(state, None);
        }
        state.phase = NamesPhase::Stopped;
        self.changed.notify_all();
        drop(state);
        if was_on {
            self.sync();
        }
    }

    /// Removes the spool files that are not needed any more.
    pub(in crate::vfs) fn tidy(&self) {
        if self.journals().iter().any(Journal::has_garbage) {
            self.sync();
        }
    }

    /// Syncs the journals.
    fn sync(&self) {
        self.lock().unsynced = None;
        for journal in self.journals() {
            if let Err(error) = journal.sync() {
                ::log::warn!("cannot write the journal to the disk: {error}");
            }
        }
    }

    /// Returns the journals that changes are recorded in, the oldest first.
    fn journals(&self) -> Vec<Journal> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.iter().chain([&self.journal]).cloned().collect()
    }

    fn add(
        &self,
        state: &mut State,
        root: &RemotePath,
        change: NameChange,
        record: RecordedChange,
        inherited: Inherited,
    ) {
        state.log.set_root(root);
        let effects = state.log.append(NewChange {
            change,
            records: vec![record],
            domains: inherited.domains,
            needs_look: inherited.needs_look,
        });
        self.carry_out(state, effects);
        let now = Instant::now();
        state.due.get_or_insert(now + DEBOUNCE);
        state.unsynced.get_or_insert(now);
    }

    fn carry_out(&self, state: &State, effects: Vec<Effect<RecordedChange>>) {
        for effect in effects {
            match effect {
                Effect::Ended(records) => RecordedChange::end(&records),
                Effect::Unknown(path) => self.reveal(state, &path),
            }
        }
    }

    /// Shows what programs see of `path` until the server has it.
    fn show(&self, state: &State, path: &RemotePath, known: Option<Attributes>) {
        if let Some(directory) = path.parent()
            && state.log.last_at(path).is_some()
        {
            self.cache.pin(&directory, path.name(), known);
        }
    }

    /// Lets the server say what is at `path`, unless a change of it waits.
    fn reveal(&self, state: &State, path: &RemotePath) {
        if let Some(directory) = path.parent()
            && state.log.last_at(path).is_none()
        {
            self.cache.unpin(&directory, path.name());
            self.cache.invalidate(&directory, path.name());
        }
    }

    /// [Notes](Self::note) that changes were made or given up, so that others may have their turn.
    fn progressed(&self, state: &State) {
        self.note(state);
        self.writeback.look_again();
    }

    /// Wakes everything that waits.
    pub(in crate::vfs) fn wake(&self) {
        self.changed.notify_all();
    }

    /// Records a new number of changes, and wakes everything that waits.
    fn note(&self, state: &State) {
        self.count.store(state.log.len(), Ordering::Relaxed);
        self.changed.notify_all();
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        patience: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        match patience {
            None => {
                let waited = self.changed.wait(state);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
            Some(patience) => {
                let waited = self.changed.wait_timeout(state, patience);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is made under one lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
