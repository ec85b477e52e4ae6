//! A program that works at random in a directory that only it changes. It knows what each file may
//! hold: the last known content, or the result of any later attempt that reported a failure.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{Kind, Random, wait_for};

/// The number of names each worker has; few, so that operations interact.
const NAMES: usize = 5;

/// Returns the names for this kind of server.
fn names(kind: Kind) -> [&'static str; NAMES] {
    let accented = if kind.takes("é".as_ref()) { "é" } else { "f" };
    ["a", "b c", accented, "-x", "e"]
}

const LENGTHS: [usize; 6] = [0, 1, 100, 5_000, 200_000, 2 << 20];

/// A file with more possible contents than this is only overwritten until its content is known
/// again: each failed change of existing content doubles the number of possibilities.
const MOST_POSSIBLE: usize = 16;

/// How many steps of a worker are remembered.
const TRAIL: usize = 24;

/// Maximum time for the server's misdeeds to end and for the mount to notice.
const RECOVERY: Duration = Duration::from_secs(60);

/// The possible contents of a name; None means that there is no file.
type Possible = Vec<Option<Arc<Vec<u8>>>>;

/// Contents before and after an append that failed. The server may have any part of what was
/// appended.
type Ragged = (Arc<Vec<u8>>, Arc<Vec<u8>>);

/// The state that all workers share.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) operations: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) hung: AtomicU64,
    pub(crate) mismatches: Mutex<Vec<String>>,
}

/// A program with a directory that only it changes.
pub(crate) struct Worker {
    pub(crate) directory: PathBuf,
    random: Random,
    files: Vec<(&'static str, Possible)>,
    /// The files to which an append failed, until they are overwritten.
    ragged: Vec<Vec<Ragged>>,
    /// The most recent steps, to help explain a mismatch.
    trail: VecDeque<String>,
    tally: Arc<Tally>,
    began: Clock,
}

/// When the worker's current call began.
pub(crate) type Clock = Arc<Mutex<Option<Instant>>>;

impl Worker {
    /// Creates a worker in a new, empty directory.
    pub(crate) fn new(
        kind: Kind,
        directory: PathBuf,
        random: Random,
        tally: &Arc<Tally>,
    ) -> (Self, Clock) {
        let began = Clock::default();
        let worker = Self {
            directory,
            random,
            files: names(kind).map(|name| (name, vec![None])).to_vec(),
            ragged: vec![Vec::new(); NAMES],
            trail: VecDeque::new(),
            tally: Arc::clone(tally),
            began: Arc::clone(&began),
        };
        (worker, began)
    }

    /// Works until `stop` is set.
    pub(crate) fn run(mut self, stop: &AtomicBool) -> Self {
        while !stop.load(Ordering::Relaxed) {
            *self.began.lock().unwrap() = Some(Instant::now());
            self.step();
            *self.began.lock().unwrap() = None;
            self.tally.operations.fetch_add(1, Ordering::Relaxed);
        }
        self
    }

    fn step(&mut self) {
        let index = self.random.below(NAMES);
        if self.files[index].1.len() > MOST_POSSIBLE || !self.ragged[index].is_empty() {
            return self.overwrite(index);
        }
        match self.random.below(12) {
            0..=3 => self.overwrite(index),
            4 => self.append(index),
            5 => self.change_the_middle(index),
            6 => self.truncate(index),
            7 => self.remove(index),
            8 => self.rename(index),
            9 => self.list(),
            _ => self.read(index),
        }
    }

    fn note(&mut self, index: usize, what: &str, outcome: &impl Debug) {
        let name = self.files[index].0;
        self.trail.push_back(format!("{what} {name}: {outcome:?}"));
        if self.trail.len() > TRAIL {
            self.trail.pop_front();
        }
    }

    fn path(&self, index: usize) -> PathBuf {
        self.directory.join(self.files[index].0)
    }

    fn content(&mut self) -> Vec<u8> {
        let length = LENGTHS[self.random.below(LENGTHS.len())];
        let pattern = self.random.bytes(251);
        pattern.into_iter().cycle().take(length).collect()
    }

    /// Records a change of the file at `index` from any content that it may hold.
    fn changed(&mut self, index: usize, outcome: &io::Result<()>, becomes: Possible) {
        let possible = &mut self.files[index].1;
        if outcome.is_ok() {
            *possible = becomes;
            self.ragged[index].clear();
            return;
        }
        self.tally.errors.fetch_add(1, Ordering::Relaxed);
        for content in becomes {
            if !possible.contains(&content) {
                possible.push(content);
            }
        }
    }

    fn overwrite(&mut self, index: usize) {
        let content = self.content();
        let outcome = File::create(self.path(index)).and_then(|file| store(&file, &content));
        self.note(
            index,
            &format!("overwrite ({} bytes)", content.len()),
            &outcome,
        );
        self.changed(index, &outcome, vec![Some(Arc::new(content))]);
    }

    fn append(&mut self, index: usize) {
        let more = self.content();
        let file = OpenOptions::new().append(true).open(self.path(index));
        let longer = |old: &[u8]| [old, &more].concat();
        let outcome = file.and_then(|file| store(&file, &more));
        self.note(index, &format!("append {} bytes to", more.len()), &outcome);
        self.change(index, &outcome, longer);
    }

    fn change_the_middle(&mut self, index: usize) {
        let bytes = self.content();
        let at = self.random.below(10_000);
        let file = OpenOptions::new().write(true).open(self.path(index));
        let outcome = file.and_then(|file| {
            file.write_all_at(&bytes, at as u64)?;
            file.sync_all()
        });
        self.note(
            index,
            &format!("write {} bytes at {at} to", bytes.len()),
            &outcome,
        );
        self.change(index, &outcome, |old| {
            let mut new = old.to_vec();
            // Writing nothing extends nothing.
            if !bytes.is_empty() {
                new.resize(old.len().max(at + bytes.len()), 0);
                new[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            new
        });
    }

    fn truncate(&mut self, index: usize) {
        let size = self.random.below(300_000);
        let file = OpenOptions::new().write(true).open(self.path(index));
        let outcome = file.and_then(|file| {
            file.set_len(size as u64)?;
            file.sync_all()
        });
        self.note(index, &format!("cut to {size} bytes"), &outcome);
        self.change(index, &outcome, |old| {
            let mut new = old.to_vec();
            new.resize(size, 0);
            new
        });
    }

    /// Records a change of existing content.
    fn change(&mut self, index: usize, outcome: &io::Result<()>, how: impl Fn(&[u8]) -> Vec<u8>) {
        if is_absent(outcome) {
            self.found(index, None);
            return;
        }
        let possible = self.files[index].1.iter().flatten();
        let becomes = possible
            .map(|old| Some(Arc::new(how(old))))
            .collect::<Vec<_>>();
        if outcome.is_ok() && becomes.is_empty() {
            self.mismatch(index, "is changed, and was not there");
        }
        if outcome.is_err() {
            let old = self.files[index].1.iter().flatten().cloned();
            let pairs = old.zip(becomes.iter().flatten().cloned());
            let grown = pairs.filter(|(old, new)| new.starts_with(old));
            self.ragged[index].extend(grown);
        }
        self.changed(index, outcome, becomes);
    }

    fn remove(&mut self, index: usize) {
        let outcome = fs::remove_file(self.path(index));
        self.note(index, "remove", &outcome);
        if is_absent(&outcome) {
            self.found(index, None);
            return;
        }
        self.changed(index, &outcome, vec![None]);
    }

    fn rename(&mut self, from: usize) {
        let to = self.random.below(NAMES);
        let outcome = fs::rename(self.path(from), self.path(to));
        self.note(from, &format!("rename to {}", self.files[to].0), &outcome);
        if is_absent(&outcome) {
            self.found(from, None);
            return;
        }
        if to == from {
            return;
        }
        let moved = self.files[from].1.iter().filter(|it| it.is_some());
        let moved = moved.cloned().collect();
        self.changed(to, &outcome, moved);
        self.changed(from, &outcome, vec![None]);
    }

    fn list(&mut self) {
        let names = fs::read_dir(&self.directory).and_then(|entries| {
            let names = entries.map(|entry| Ok(entry?.file_name()));
            names.collect::<io::Result<Vec<_>>>()
        });
        let Ok(names) = names else {
            self.tally.errors.fetch_add(1, Ordering::Relaxed);
            return;
        };
        for index in 0..NAMES {
            let is_listed = names.iter().any(|name| name == self.files[index].0);
            let can_be = self.files[index]
                .1
                .iter()
                .any(|content| content.is_some() == is_listed);
            if !can_be {
                self.mismatch(index, &format!("listed: {is_listed}"));
            }
        }
        if names.len() > NAMES {
            self.mismatch(0, &format!("listed with others: {names:?}"));
        }
    }

    fn read(&mut self, index: usize) {
        let outcome = fs::read(self.path(index));
        self.note(index, "read", &outcome.as_ref().map(Vec::len));
        match outcome {
            Ok(content) => self.found(index, Some(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => self.found(index, None),
            Err(_) => {
                self.tally.errors.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Checks what the mount shows.
    fn found(&self, index: usize, content: Option<Vec<u8>>) {
        if !self.may_hold(index, content.as_deref()) {
            let known = self.files[index].1.iter().flatten();
            let differs = content.as_deref().map(|content| {
                known
                    .map(|known| difference(content, known))
                    .collect::<Vec<_>>()
            });
            let size = content.map(|content| content.len());
            self.mismatch(index, &format!("has {size:?} bytes, others {differs:?}"));
        }
    }

    fn may_hold(&self, index: usize, content: Option<&[u8]>) -> bool {
        let possible = self.files[index].1.iter();
        let mut possible = possible.map(|content| content.as_deref().map(Vec::as_slice));
        let is_between = |(old, new): &Ragged, content: &[u8]| {
            content.starts_with(old) && new.starts_with(content)
        };
        let mut ragged = self.ragged[index].iter();
        possible.any(|possible| possible == content)
            || content.is_some_and(|content| ragged.any(|ragged| is_between(ragged, content)))
    }

    fn mismatch(&self, index: usize, what: &str) {
        let (name, possible) = &self.files[index];
        let sizes: Vec<_> = possible
            .iter()
            .map(|content| content.as_ref().map(|content| content.len()))
            .collect();
        let directory = self.directory.display();
        let trail = &self.trail;
        let text = format!("{directory}/{name} {what}; it may have {sizes:?} after {trail:#?}");
        self.tally.mismatches.lock().unwrap().push(text);
    }

    /// Compares the mount and the server's disk after all faults have ended.
    pub(crate) fn check(&self, on_server: &Path) {
        for (index, (name, _)) in self.files.iter().enumerate() {
            let path = self.path(index);
            let mut seen = Ok(None);
            let is_told = wait_for(RECOVERY, || {
                seen = read_if_there(&path);
                seen.is_ok()
            });
            assert!(is_told, "{name}: {seen:?} long after all is well");
            self.found(index, seen.unwrap());
            let stored = read_if_there(&on_server.join(name)).unwrap();
            self.found(index, stored);
        }
    }
}

/// Returns the first difference of two contents and the number of differing bytes. Bytes beyond the
/// end of the shorter one count as different.
fn difference(one: &[u8], other: &[u8]) -> (Option<usize>, usize) {
    let differ = |at: &usize| one.get(*at) != other.get(*at);
    let mut places = (0..one.len().max(other.len())).filter(differ);
    let first = places.next();
    (first, usize::from(first.is_some()) + places.count())
}

fn store(mut file: &File, content: &[u8]) -> io::Result<()> {
    file.write_all(content)?;
    file.sync_all()
}

fn is_absent(outcome: &io::Result<()>) -> bool {
    outcome
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
