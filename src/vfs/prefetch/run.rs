//! Predicts which small files a program reads next when it reads those of a directory in order, and
//! tracks them. Pure bookkeeping: no thread, no network.
//!
//! Programs read the files of one directory, then those of the next (git, grep -r). So once a run
//! has gone on in another directory, or a walk leads on to one, the files of the directories behind
//! that one are fetched, too, as far as their listings are known.
//!
//! A prefetched file serves an open of the same version. The version comes from the listing, with
//! the time at which the server reported it, as for files that are not prefetched.

mod directory;
mod task;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use directory::{RunDirectory, are_neighbours, behind};
pub(super) use task::{RunLimits, RunTask, WantedFile};

use super::slot::PrefetchSlot;
use super::walk::InOrder;
use crate::cache::Snapshot;
use crate::ftp::{Kind, RemotePath, Version};

/// Number of files read in order that make a run.
const A_RUN: u32 = 2;
/// Maximum number of names from one file of a run to the next.
const NEARLY_NEXT: usize = 8;
/// Number of names in the window when a run begins.
const FIRST_WINDOW: usize = 8;
/// Maximum number of names in the window.
const LARGEST_WINDOW: usize = 64;
/// Maximum size of a file that arrives within a round trip or two over most lines.
const BRIEF_FILE: u64 = 16 << 10;
/// Maximum number of directories of a run, with the one that is read.
const MOST_DIRECTORIES: usize = 8;
/// Time after which a run that reads nothing has ended.
const LIVES: Duration = Duration::from_secs(3);

/// A file in the window of a run, as it is listed.
struct InWindow {
    path: RemotePath,
    version: Version,
    /// When it was listed.
    listed: Instant,
}

/// The run under way, if any.
#[derive(Debug)]
pub(super) struct FileRun {
    rules: RunLimits,
    /// The directory that is read, then those that follow it.
    directories: VecDeque<RunDirectory>,
    /// Whether the run went on in another directory, or will.
    crosses: bool,
    /// How many files were read in order.
    streak: u32,
    /// The name read last is at this place of the listing.
    last: Option<usize>,
    window: usize,
    moved: Instant,
    /// Read in this run, or fetched for it and not worth another try.
    done: HashSet<RemotePath>,
    /// Fetched or being fetched.
    slots: HashMap<RemotePath, (Arc<PrefetchSlot>, u64)>,
    bytes: u64,
    /// Those that a program has begun to read while they were being fetched.
    awaited: Vec<Arc<PrefetchSlot>>,
    guess: Guess,
    /// What the run before this one fetched and nothing has read, until this one fetches: a program
    /// reads a file elsewhere on its way (git: `HEAD`, `config`, `refs/heads/main`, `index`).
    left: HashMap<RemotePath, Arc<PrefetchSlot>>,
    /// When that run was left.
    left_at: Instant,
    /// What the server said apart from the listing, and when.
    confirmed: HashMap<RemotePath, (Version, Instant)>,
    confirming: bool,
}

/// Whether a program that has read one file of a directory reads others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guess {
    /// It does, or no others were fetched for it.
    None,
    /// They are fetched, and it has not read any yet.
    Open,
    /// It left them unread (`.gitignore`, `__init__.py`), and most likely does so in the next
    /// directory.
    Wrong,
}

impl FileRun {
    pub(super) fn new(rules: RunLimits, now: Instant) -> Self {
        Self {
            rules,
            directories: VecDeque::new(),
            crosses: false,
            streak: 0,
            last: None,
            window: FIRST_WINDOW,
            moved: now,
            done: HashSet::new(),
            slots: HashMap::new(),
            bytes: 0,
            awaited: Vec::new(),
            guess: Guess::None,
            left: HashMap::new(),
            left_at: now,
            confirmed: HashMap::new(),
            confirming: false,
        }
    }

    /// A program begins to read `path`, from its start. `is_walked` says whether it goes through
    /// the directories beside that of `path`. `listing` returns the listing of a directory that is
    /// known, and when it was made.
    pub(super) fn reads(
        &mut self,
        path: &RemotePath,
        is_walked: bool,
        now: Instant,
        listing: impl Fn(&RemotePath) -> Option<(Arc<Snapshot>, Instant)>,
    ) {
        self.end_if_old(now);
        let Some(directory) = path.parent() else {
            return;
        };
        let is_here = self.current().is_some_and(|it| it.path == directory);
        if !is_here {
            self.enter(directory, now, &listing);
        }
        let place = self
            .current()
            .and_then(|it| it.listing.position(path.name()));
        let Some(place) = place else {
            return self.end();
        };
        self.step(place);
        if is_walked && self.guess != Guess::Wrong && self.is_first_file(place) {
            // A program that goes through a tree and reads this one most likely reads all.
            if self.streak < A_RUN {
                self.guess = Guess::Open;
            }
            self.streak = self.streak.max(A_RUN);
        }
        self.drop_passed();
        self.crosses |= is_walked;
        self.moved = now;
        self.done.insert(path.clone());
        self.look_further(&listing);
    }

    /// Drops what was fetched of files that the program has passed without reading them.
    fn drop_passed(&mut self) {
        let (Some(last), Some(here)) = (self.last, self.directories.front()) else {
            return;
        };
        if self.streak < A_RUN {
            // It may come back.
            return;
        }
        let is_passed = |path: &RemotePath| {
            path.parent().as_ref() == Some(&here.path)
                && here
                    .listing
                    .position(path.name())
                    .is_some_and(|place| place + NEARLY_NEXT < last)
        };
        let passed = self
            .slots
            .extract_if(|path, (slot, _)| is_passed(path) && !slot.is_under_way());
        for (_, (_, bytes)) in passed {
            self.bytes -= bytes;
        }
    }

    /// Whether the file at `place` is the first in the directory that is read.
    fn is_first_file(&self, place: usize) -> bool {
        let is_file = |directory: &RunDirectory, index| {
            let listed = directory.listing.get(index);
            listed.is_some_and(|(_, attributes)| attributes.kind == Kind::File)
        };
        place <= NEARLY_NEXT
            && self
                .current()
                .is_some_and(|it| !(0..place).any(|index| is_file(it, index)))
    }

    /// Goes on in `directory`, or begins there.
    fn enter(
        &mut self,
        directory: RemotePath,
        now: Instant,
        listing: &impl Fn(&RemotePath) -> Option<(Arc<Snapshot>, Instant)>,
    ) {
        let known = listing(&directory).map(|(listing, listed)| RunDirectory {
            path: directory,
            listing,
            listed,
        });
        if self.guess == Guess::Open && self.has_unread_here() {
            self.guess = Guess::Wrong;
        }
        let is_run = self.streak >= A_RUN && self.guess != Guess::Wrong;
        // Two programs in two directories would discard what was fetched for the other.
        let is_near = |from: &RunDirectory, to: &RunDirectory| {
            let is_forward = InOrder(from.path.clone()) < InOrder(to.path.clone());
            is_run && is_forward && are_neighbours(&from.path, &to.path)
        };
        let goes_on = match (self.current(), &known) {
            (Some(from), Some(to)) => is_near(from, to),
            (None, _) | (_, None) => false,
        };
        if !goes_on {
            let (left, left_at) = if self.slots.is_empty() {
                (std::mem::take(&mut self.left), self.left_at)
            } else {
                let slots = std::mem::take(&mut self.slots).into_iter();
                (slots.map(|(path, (slot, _))| (path, slot)).collect(), now)
            };
            self.end();
            (self.left, self.left_at) = (left, left_at);
            self.directories.extend(known);
            return;
        }
        while let Some(first) = self.directories.front()
            && known.as_ref().is_some_and(|it| it.path != first.path)
        {
            self.directories.pop_front();
        }
        if self.directories.is_empty() {
            self.directories.extend(known);
        }
        self.crosses = true;
        self.last = None;
        self.guess = Guess::Open;
        self.leave_behind();
    }

    /// Whether files were fetched in the directory that is read, and not read.
    fn has_unread_here(&self) -> bool {
        let here = self.current().map(|it| &it.path);
        let mut fetched = self.slots.keys();
        here.is_some() && fetched.any(|path| path.parent().as_ref() == here)
    }

    /// Forgets the files of directories that are not in the run any more.
    fn leave_behind(&mut self) {
        let directories = &self.directories;
        let is_ahead = |path: &RemotePath| {
            let directory = path.parent();
            directories
                .iter()
                .any(|it| directory.as_ref() == Some(&it.path))
        };
        self.done.retain(is_ahead);
        self.confirmed.retain(|path, _| is_ahead(path));
        self.slots.retain(|path, _| is_ahead(path));
        self.bytes = self.slots.values().map(|(_, bytes)| bytes).sum();
    }

    /// Adds the directories behind the last one, until they fill the window.
    fn look_further(&mut self, listing: &impl Fn(&RemotePath) -> Option<(Arc<Snapshot>, Instant)>) {
        while self.crosses
            && self.streak >= A_RUN
            && self.directories.len() < MOST_DIRECTORIES
            && self.places().nth(self.window).is_none()
        {
            let next = self
                .directories
                .back()
                .and_then(|it| behind(&it.path, listing));
            let Some(next) = next else {
                return;
            };
            self.directories.push_back(next);
        }
    }

    /// The place that is read now is this one of the directory's listing.
    fn step(&mut self, place: usize) {
        let Some(last) = self.last else {
            self.streak += 1;
            self.last = Some(place);
            return;
        };
        let is_next = (last + 1..=last + NEARLY_NEXT).contains(&place);
        // Two programs, or two threads, overtake each other.
        let is_near = self.streak >= A_RUN && place + NEARLY_NEXT > last && place <= last;
        if is_next || is_near {
            self.streak += 1;
            self.guess = Guess::None;
        } else {
            self.streak = 1;
            self.window = FIRST_WINDOW;
        }
        self.last = Some(if is_near { last } else { place });
    }

    /// What was fetched, or is being fetched, of `path`, if it is of `version`: it is the asker's
    /// now.
    pub(super) fn take(
        &mut self,
        path: &RemotePath,
        version: &Version,
        now: Instant,
    ) -> Option<Arc<PrefetchSlot>> {
        self.end_if_old(now);
        let slot = match self.slots.remove(path) {
            Some((slot, bytes)) => {
                self.bytes -= bytes;
                slot
            }
            None => self.left.remove(path)?,
        };
        if !slot.version().agrees(version) {
            return None;
        }
        if path.parent().as_ref() == self.current().map(|it| &it.path) {
            self.guess = Guess::None;
        }
        self.window = (self.window * 2).min(LARGEST_WINDOW);
        self.awaited.retain(|it| it.is_under_way());
        if slot.is_under_way() {
            self.awaited.push(Arc::clone(&slot));
        }
        Some(slot)
    }

    /// When the server last said of `path`, apart from its listing, that it is as `listed`, and
    /// what it said.
    pub(super) fn said(&self, path: &RemotePath, listed: &Version) -> Option<(Version, Instant)> {
        let (version, at) = self.confirmed.get(path)?;
        version.agrees(listed).then_some((*version, *at))
    }

    /// Returns the directories of a run whose files come after those of `directory`, which is one
    /// of them.
    pub(super) fn directories_behind(&self, directory: &RemotePath) -> Vec<RemotePath> {
        let paths = self.directories.iter().map(|it| &it.path);
        let behind = paths.skip_while(|path| *path != directory).skip(1);
        behind.cloned().collect()
    }

    /// Whether a program began to read a file a moment ago.
    pub(super) fn is_under_way(&mut self, now: Instant) -> bool {
        self.end_if_old(now);
        self.last.is_some()
    }

    /// How many tasks there are.
    pub(super) fn jobs(&mut self, now: Instant) -> usize {
        self.end_if_old(now);
        usize::from(!self.unsure(now).is_empty()) + self.missing().count()
    }

    /// Whether so many files were fetched, or are being fetched, that the next ones can wait.
    pub(super) fn is_well_ahead(&self) -> bool {
        self.ahead() >= FIRST_WINDOW
    }

    /// Number of files that were fetched, or are being fetched, and come next, up to
    /// [`FIRST_WINDOW`].
    fn ahead(&self) -> usize {
        let is_fetched = |it: &InWindow| self.slots.contains_key(&it.path);
        self.window().filter(is_fetched).take(FIRST_WINDOW).count()
    }

    /// Whether what there is to do next is to fetch a file that comes in a round trip or two.
    pub(super) fn is_next_brief(&self) -> bool {
        let next = self.missing().next();
        next.is_some_and(|(_, size, _)| size <= BRIEF_FILE)
    }

    /// What there is to do next.
    pub(super) fn task(&mut self, now: Instant) -> Option<RunTask> {
        self.end_if_old(now);
        let unsure = self.unsure(now);
        if !unsure.is_empty() {
            self.confirming = true;
            return Some(RunTask::Confirm(unsure));
        }
        let (path, size, version) = self.missing().next()?;
        // The memory is for this run.
        self.left.clear();
        let slot = Arc::new(PrefetchSlot::new(version));
        self.slots.insert(path.clone(), (Arc::clone(&slot), size));
        self.bytes += size;
        Some(RunTask::Fetch(WantedFile { path, size, slot }))
    }

    /// What the server said at `now` of what [`RunTask::Confirm`] asked for.
    pub(super) fn confirmed(&mut self, told: Vec<(RemotePath, Option<Version>)>, now: Instant) {
        self.confirming = false;
        for (path, version) in told {
            if !self.is_in_run(&path) {
                continue;
            }
            match version {
                Some(version)
                    if self
                        .listed_version(&path)
                        .is_some_and(|it| it.agrees(&version)) =>
                {
                    self.confirmed.insert(path, (version, now));
                }
                // Whoever opens it finds out what it is now.
                _ => self.forget(&path),
            }
        }
    }

    /// The fetching of `wanted` has ended, well or not.
    pub(super) fn fetched(&mut self, wanted: &WantedFile) {
        if wanted.slot.is_empty()
            && let Some((slot, bytes)) = self.slots.remove(&wanted.path)
        {
            if Arc::ptr_eq(&slot, &wanted.slot) {
                self.bytes -= bytes;
                self.done.insert(wanted.path.clone());
            } else {
                self.slots.insert(wanted.path.clone(), (slot, bytes));
            }
        }
    }

    /// `path`, or something above it, changed: nothing of it is known, and it is not fetched again
    /// in this run.
    pub(super) fn forget(&mut self, path: &RemotePath) {
        self.left.retain(|it, _| it.below(path).is_none());
        let is_below = |it: &RunDirectory| it.path.below(path).is_some();
        match self.directories.iter().position(is_below) {
            Some(0) => {
                let left = std::mem::take(&mut self.left);
                let left_at = self.left_at;
                self.end();
                (self.left, self.left_at) = (left, left_at);
                return;
            }
            Some(first) => {
                self.directories.truncate(first);
                self.leave_behind();
            }
            None => {}
        }
        self.confirmed.remove(path);
        if let Some((_, bytes)) = self.slots.remove(path) {
            self.bytes -= bytes;
        }
        if self.is_in_run(path) {
            self.done.insert(path.clone());
        }
    }

    /// The names in the window of which the server said nothing for half the time that it is good
    /// for.
    fn unsure(&self, now: Instant) -> Vec<RemotePath> {
        let old = self.rules.open_ttl / 2;
        if self.confirming || self.streak < A_RUN || old.is_zero() {
            return Vec::new();
        }
        let is_old = |it: &InWindow| {
            let said = self.confirmed.get(&it.path).map(|(_, at)| *at);
            !is_recent(it.listed, old, now) && said.is_none_or(|at| !is_recent(at, old, now))
        };
        let window: Vec<_> = self.window().collect();
        let in_window = window.len();
        let unsure: Vec<_> = window
            .into_iter()
            .filter(is_old)
            .map(|it| it.path)
            .collect();
        // Not for each name that comes into the window.
        if unsure.len() * 2 >= in_window {
            unsure
        } else {
            Vec::new()
        }
    }

    /// The files to fetch. Their versions may have changed since they were listed: an open compares
    /// them with what the server says by then.
    ///
    /// While no program waits for a file, a few are enough: the run may be over, and the program
    /// may need the connections for something else.
    fn missing(&self) -> impl Iterator<Item = (RemotePath, u64, Version)> + '_ {
        let room = if self.awaited.iter().any(|it| it.is_under_way()) {
            LARGEST_WINDOW
        } else {
            FIRST_WINDOW.saturating_sub(self.ahead())
        };
        let missing = self.window().filter_map(move |it| {
            let size = it.version.size?;
            let fits = self.bytes + size <= self.rules.most_bytes;
            let is_next = fits && !self.slots.contains_key(&it.path);
            is_next.then_some((it.path, size, it.version))
        });
        missing.take(room)
    }

    /// The files that may be fetched ahead, as listed.
    fn window(&self) -> impl Iterator<Item = InWindow> + '_ {
        let largest = self.rules.largest();
        let of_run = self.places().take(self.window);
        let of_run = of_run.filter(|_| self.streak >= A_RUN);
        of_run.filter_map(move |(directory, index)| {
            let (name, attributes) = directory.listing.get(index)?;
            let is_small = attributes
                .size
                .is_some_and(|size| (1..=largest).contains(&size));
            if attributes.kind != Kind::File || !is_small {
                return None;
            }
            let path = directory.path.join(name).ok()?;
            let is_fit = !self.done.contains(&path);
            is_fit.then(|| InWindow {
                path,
                version: Version::from(&attributes),
                listed: directory.listed,
            })
        })
    }

    /// The places behind the last one, in the order of the run.
    fn places(&self) -> impl Iterator<Item = (&RunDirectory, usize)> {
        let first = self.last.map_or(0, |last| last + 1);
        self.directories
            .iter()
            .enumerate()
            .flat_map(move |(number, directory)| {
                let from = if number == 0 { first } else { 0 };
                (from..directory.listing.len()).map(move |index| (directory, index))
            })
    }

    fn current(&self) -> Option<&RunDirectory> {
        self.directories.front()
    }

    fn is_in_run(&self, path: &RemotePath) -> bool {
        self.directory_of(path).is_some()
    }

    fn directory_of(&self, path: &RemotePath) -> Option<&RunDirectory> {
        let directory = path.parent()?;
        self.directories.iter().find(|it| it.path == directory)
    }

    fn listed_version(&self, path: &RemotePath) -> Option<Version> {
        let listed = self.directory_of(path)?.listing.find(path.name())?;
        Some(Version::from(&listed))
    }

    fn end_if_old(&mut self, now: Instant) {
        if now.saturating_duration_since(self.left_at) >= LIVES {
            self.left.clear();
        }
        if now.saturating_duration_since(self.moved) >= LIVES {
            self.end();
            self.guess = Guess::None;
        }
    }

    fn end(&mut self) {
        let (rules, moved, confirming) = (self.rules, self.moved, self.confirming);
        let guess = self.guess;
        *self = Self {
            guess,
            confirming,
            ..Self::new(rules, moved)
        };
    }
}

fn is_recent(at: Instant, age: Duration, now: Instant) -> bool {
    now.saturating_duration_since(at) < age
}

#[cfg(test)]
mod tests;
