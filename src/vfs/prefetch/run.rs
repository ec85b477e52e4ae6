//! Predicts which small files a program reads next when it reads those of a directory in order, and
//! tracks them. Pure bookkeeping: no thread, no network.
//!
//! A prefetched file serves an open of the same version. The version comes from the listing, with
//! the time at which the server reported it, as for files that are not prefetched.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::slot::PrefetchSlot;
use crate::cache::Snapshot;
use crate::ftp::{Kind, RemotePath, Version};

/// So many files read in order are a run.
const A_RUN: u32 = 2;
/// The next file of a run is at most so many names behind the last.
const NEARLY_NEXT: usize = 8;
/// Names looked at when a run begins.
const FIRST_WINDOW: usize = 8;
/// Most names looked at.
const LARGEST_WINDOW: usize = 64;
/// A larger file is read as it is asked for.
const LARGEST_FILE: u64 = 256 << 10;
/// A run that reads nothing for so long has ended.
const LIVES: Duration = Duration::from_secs(3);

/// A file to be fetched.
#[derive(Debug)]
pub(super) struct WantedFile {
    pub(super) path: RemotePath,
    pub(super) size: u64,
    pub(super) slot: Arc<PrefetchSlot>,
}

/// What there is to do for a run.
#[derive(Debug)]
pub(super) enum RunTask {
    /// Ask what the server says of these now, then [`FileRun::confirmed`].
    Confirm(Vec<RemotePath>),
    /// Fetch this one, then [`FileRun::fetched`].
    Fetch(WantedFile),
}

/// The run under way, if any.
#[derive(Debug)]
pub(super) struct FileRun {
    rules: RunLimits,
    directory: RemotePath,
    listing: Option<Arc<Snapshot>>,
    /// When the listing was made.
    listed: Instant,
    /// How many files were read in order.
    streak: u32,
    /// The name read last is at this place of the listing.
    last: usize,
    window: usize,
    moved: Instant,
    /// Read in this run, or fetched for it and not worth another try.
    done: HashSet<RemotePath>,
    /// Fetched or being fetched.
    slots: HashMap<RemotePath, (Arc<PrefetchSlot>, u64)>,
    bytes: u64,
    /// What the server said apart from the listing, and when.
    confirmed: HashMap<RemotePath, (Version, Instant)>,
    confirming: bool,
}

/// How much may be fetched, and how old what was said of it may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunLimits {
    /// Most bytes fetched and not read yet.
    pub(super) most_bytes: u64,
    /// How long what the server said is good enough to open a file by.
    pub(super) open_ttl: Duration,
}

impl RunLimits {
    fn largest(self) -> u64 {
        LARGEST_FILE.min(self.most_bytes / 4)
    }
}

impl FileRun {
    pub(super) fn new(rules: RunLimits, now: Instant) -> Self {
        Self {
            rules,
            directory: RemotePath::root(),
            listing: None,
            listed: now,
            streak: 0,
            last: 0,
            window: FIRST_WINDOW,
            moved: now,
            done: HashSet::new(),
            slots: HashMap::new(),
            bytes: 0,
            confirmed: HashMap::new(),
            confirming: false,
        }
    }

    /// A program begins to read `path`, from its start; the listing of its directory that is known,
    /// made at `listed`, is looked up where it is needed.
    pub(super) fn reads(
        &mut self,
        path: &RemotePath,
        now: Instant,
        listing: impl FnOnce(&RemotePath) -> Option<(Arc<Snapshot>, Instant)>,
    ) {
        self.end_if_old(now);
        let Some(directory) = path.parent() else {
            return;
        };
        if self.directory != directory || self.listing.is_none() {
            self.end();
            self.directory = directory;
            if let Some((listing, listed)) = listing(&self.directory) {
                (self.listing, self.listed) = (Some(listing), listed);
            }
        }
        let place = self
            .listing
            .as_ref()
            .and_then(|it| it.position(path.name()));
        let Some(place) = place else {
            return self.end();
        };
        let is_next = (self.last + 1..=self.last + NEARLY_NEXT).contains(&place);
        // Two programs, or two threads, overtake each other.
        let is_near = self.streak >= A_RUN && place + NEARLY_NEXT > self.last && place <= self.last;
        if self.streak == 0 || is_next || is_near {
            self.streak += 1;
        } else {
            self.streak = 1;
            self.window = FIRST_WINDOW;
        }
        self.last = if is_near { self.last } else { place };
        self.moved = now;
        self.done.insert(path.clone());
    }

    /// What was fetched, or is being fetched, of `path`, if it is of `version`: it is the asker's
    /// now.
    pub(super) fn take(
        &mut self,
        path: &RemotePath,
        version: &Version,
    ) -> Option<Arc<PrefetchSlot>> {
        let (slot, bytes) = self.slots.remove(path)?;
        self.bytes -= bytes;
        if !slot.version().agrees(version) {
            return None;
        }
        self.window = (self.window * 2).min(LARGEST_WINDOW);
        Some(slot)
    }

    /// When the server last said of `path`, apart from its listing, that it is as `listed`, and
    /// what it said.
    pub(super) fn said(&self, path: &RemotePath, listed: &Version) -> Option<(Version, Instant)> {
        let (version, at) = self.confirmed.get(path)?;
        version.agrees(listed).then_some((*version, *at))
    }

    /// How many tasks there are.
    pub(super) fn jobs(&mut self, now: Instant) -> usize {
        self.end_if_old(now);
        usize::from(!self.unsure(now).is_empty()) + self.sure(now).count()
    }

    /// What there is to do next.
    pub(super) fn task(&mut self, now: Instant) -> Option<RunTask> {
        self.end_if_old(now);
        let unsure = self.unsure(now);
        if !unsure.is_empty() {
            self.confirming = true;
            return Some(RunTask::Confirm(unsure));
        }
        let (path, size, version) = self.sure(now).next()?;
        let slot = Arc::new(PrefetchSlot::new(version));
        self.slots.insert(path.clone(), (Arc::clone(&slot), size));
        self.bytes += size;
        Some(RunTask::Fetch(WantedFile { path, size, slot }))
    }

    /// What the server said at `now` of what [`RunTask::Confirm`] asked for.
    pub(super) fn confirmed(&mut self, told: Vec<(RemotePath, Option<Version>)>, now: Instant) {
        self.confirming = false;
        for (path, version) in told {
            if path.parent().as_ref() != Some(&self.directory) {
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
        if self.directory.below(path).is_some() {
            return self.end();
        }
        self.confirmed.remove(path);
        if let Some((_, bytes)) = self.slots.remove(path) {
            self.bytes -= bytes;
        }
        if path.parent().as_ref() == Some(&self.directory) {
            self.done.insert(path.clone());
        }
    }

    /// The names in the window of which the server said nothing for half the time that it is good
    /// for.
    fn unsure(&self, now: Instant) -> Vec<RemotePath> {
        let old = self.rules.open_ttl / 2;
        if self.confirming
            || self.streak < A_RUN
            || old.is_zero()
            || is_recent(self.listed, old, now)
        {
            return Vec::new();
        }
        let is_old = |path: &RemotePath| {
            let said = self.confirmed.get(path);
            said.is_none_or(|(_, at)| !is_recent(*at, old, now))
        };
        let unsure: Vec<_> = self
            .window()
            .map(|(path, _)| path)
            .filter(|path| is_old(path))
            .collect();
        // Not for each name that comes into the window.
        let in_window = self.window().count();
        if unsure.len() * 2 >= in_window {
            unsure
        } else {
            Vec::new()
        }
    }

    /// The files to fetch, whose versions are known well enough to open them by.
    fn sure(&self, now: Instant) -> impl Iterator<Item = (RemotePath, u64, Version)> + '_ {
        let ttl = self.rules.open_ttl;
        let all = ttl.is_zero() || is_recent(self.listed, ttl, now);
        let is_sure = move |path: &RemotePath| {
            let said = || self.confirmed.get(path);
            all || said().is_some_and(|(_, at)| is_recent(*at, ttl, now))
        };
        self.window().filter_map(move |(path, version)| {
            let size = version.size?;
            let fits = self.bytes + size <= self.rules.most_bytes;
            let is_next = fits && !self.slots.contains_key(&path) && is_sure(&path);
            is_next.then_some((path, size, version))
        })
    }

    /// The files that may be fetched ahead, as listed.
    fn window(&self) -> impl Iterator<Item = (RemotePath, Version)> + '_ {
        let listing = self.listing.as_ref().filter(|_| self.streak >= A_RUN);
        let largest = self.rules.largest();
        let at = move |index: usize| {
            let (name, attributes) = listing?.get(index)?;
            let is_small = attributes
                .size
                .is_some_and(|size| (1..=largest).contains(&size));
            let path = self.directory.join(name).ok()?;
            let is_fit = attributes.kind == Kind::File && is_small && !self.done.contains(&path);
            is_fit.then(|| (path, Version::from(&attributes)))
        };
        (self.last + 1..=self.last + self.window).filter_map(at)
    }

    fn listed_version(&self, path: &RemotePath) -> Option<Version> {
        let listed = self.listing.as_ref()?.find(path.name())?;
        Some(Version::from(&listed))
    }

    fn end_if_old(&mut self, now: Instant) {
        if now.saturating_duration_since(self.moved) >= LIVES {
            self.end();
        }
    }

    fn end(&mut self) {
        let (rules, moved, confirming) = (self.rules, self.moved, self.confirming);
        *self = Self {
            confirming,
            ..Self::new(rules, moved)
        };
    }
}

fn is_recent(at: Instant, age: Duration, now: Instant) -> bool {
    now.saturating_duration_since(at) < age
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Cache, CacheOptions};
    use crate::ftp::Entry;

    const TTL: Duration = Duration::from_secs(1);

    fn path(number: usize) -> RemotePath {
        RemotePath::new(format!("/d/{number:03}").as_bytes()).unwrap()
    }

    /// A listing of `files` files of `size` bytes each.
    fn listing(files: usize, size: u64) -> Arc<Snapshot> {
        let cache: Cache<()> = Cache::new(CacheOptions {
            ttl: Duration::from_secs(600),
            max_bytes: 1 << 20,
        });
        let entry = |number| {
            let mut entry = Entry::new(path(number).name(), Kind::File);
            entry.size = Some(size);
            entry
        };
        let directory = path(0).parent().unwrap();
        let listed = cache.snapshot_or_fetch(&directory, || Ok((0..files).map(entry).collect()));
        listed.unwrap()
    }

    fn run(now: Instant) -> FileRun {
        let rules = RunLimits {
            most_bytes: 4 << 20,
            open_ttl: TTL,
        };
        FileRun::new(rules, now)
    }

    /// Reads those files, of a directory listed at `listed`.
    fn read(
        run: &mut FileRun,
        numbers: impl IntoIterator<Item = usize>,
        size: u64,
        listed: Instant,
    ) {
        for number in numbers {
            run.reads(&path(number), listed, |_| {
                Some((listing(100, size), listed))
            });
        }
    }

    fn fetches(run: &mut FileRun, now: Instant) -> Vec<WantedFile> {
        let fetch = |task| match task {
            RunTask::Fetch(wanted) => wanted,
            RunTask::Confirm(paths) => panic!("asks of {paths:?}"),
        };
        std::iter::from_fn(|| run.task(now)).map(fetch).collect()
    }

    fn of_size(size: u64) -> Version {
        Version {
            size: Some(size),
            ..Version::default()
        }
    }

    #[test]
    fn two_files_in_order_are_a_run_and_two_out_of_order_are_none() {
        let now = Instant::now();
        let mut run = run(now);
        read(&mut run, [50, 3], 10, now);
        assert_eq!(run.jobs(now), 0);
        read(&mut run, [5], 10, now);
        let wanted = fetches(&mut run, now);
        let expected: Vec<_> = (6..6 + FIRST_WINDOW).map(path).collect();
        let paths: Vec<_> = wanted.into_iter().map(|it| it.path).collect();
        assert_eq!(paths, expected);
        read(&mut run, [80], 10, now);
        assert_eq!(run.jobs(now), 0, "it is over");
    }

    #[test]
    fn what_is_taken_is_of_the_version_that_is_opened_and_widens_the_window() {
        let now = Instant::now();
        let mut run = run(now);
        read(&mut run, [0, 1], 10, now);
        let first = fetches(&mut run, now);
        assert!(run.take(&path(2), &of_size(11)).is_none());
        assert!(run.take(&path(2), &of_size(10)).is_none(), "it is given up");
        assert!(run.take(&path(3), &of_size(10)).is_some());
        read(&mut run, [2, 3], 10, now);
        assert_eq!(
            fetches(&mut run, now).len(),
            2 * FIRST_WINDOW - first.len() + 2
        );
    }

    #[test]
    fn bytes_are_bounded_and_large_files_are_left_alone() {
        let now = Instant::now();
        let mut run = run(now);
        read(&mut run, [0, 1], LARGEST_FILE, now);
        for _ in 0..4 {
            let wanted = fetches(&mut run, now);
            let bytes: u64 = run.slots.values().map(|it| it.1).sum();
            assert!(bytes <= 4 << 20 && bytes == run.bytes, "{bytes} bytes");
            for wanted in wanted.into_iter().take(3) {
                assert!(run.take(&wanted.path, &of_size(LARGEST_FILE)).is_some());
            }
        }
        let mut run = self::run(now);
        read(&mut run, [0, 1], LARGEST_FILE + 1, now);
        assert_eq!(run.jobs(now), 0);
    }

    #[test]
    fn what_was_said_too_long_ago_is_asked_anew_before_it_is_fetched() {
        let now = Instant::now();
        let mut run = run(now);
        read(&mut run, [0, 1], 10, now);
        let later = now + TTL;
        let Some(RunTask::Confirm(paths)) = run.task(later) else {
            panic!("it fetches what may have changed");
        };
        assert_eq!(paths, (2..2 + FIRST_WINDOW).map(path).collect::<Vec<_>>());
        assert!(run.task(later).is_none(), "it waits for the answer");
        let told = paths.into_iter().map(|path| {
            let size = if path == self::path(3) { 11 } else { 10 };
            (path, Some(of_size(size)))
        });
        run.confirmed(told.collect(), later);
        let wanted = fetches(&mut run, later);
        assert_eq!(wanted.len(), FIRST_WINDOW - 1);
        assert!(
            wanted.iter().all(|wanted| wanted.path != path(3)),
            "it changed"
        );
        assert!(run.said(&path(2), &of_size(10)).is_some());
        assert!(run.said(&path(2), &of_size(11)).is_none());
        assert!(run.said(&path(3), &of_size(10)).is_none());
    }

    #[test]
    fn what_failed_or_changed_is_not_fetched_again() {
        let now = Instant::now();
        let mut run = run(now);
        read(&mut run, [0, 1], 10, now);
        let wanted = fetches(&mut run, now);
        wanted[0].slot.end(Some(vec![0; 9]));
        wanted[1].slot.end(Some(vec![0; 10]));
        for wanted in &wanted {
            run.fetched(wanted);
        }
        assert!(run.take(&path(2), &of_size(10)).is_none(), "too short");
        run.forget(&path(3));
        assert!(run.take(&path(3), &of_size(10)).is_none());
        assert_eq!(run.jobs(now), 0);
        run.forget(&path(0).parent().unwrap());
        assert!(run.take(&path(4), &of_size(10)).is_none());
    }

    #[test]
    fn a_run_that_stopped_keeps_nothing() {
        let now = Instant::now();
        let mut run = run(now);
        read(&mut run, [0, 1], 10, now);
        assert!(!fetches(&mut run, now).is_empty());
        assert_eq!(run.jobs(now + LIVES), 0);
        assert!(run.slots.is_empty() && run.listing.is_none());
    }
}
