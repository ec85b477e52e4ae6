//! Random changes to a small tree, applied through the cache and to a model of the server.
//! Everything the cache says must match the model.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::tests::cache_with_time;
use super::*;

/// The names in use: few, so that steps collide.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A path of up to three names; empty means the root.
type Place = Vec<usize>;

#[derive(Debug, Clone)]
enum Step {
    Store(Place, u64),
    MakeDirectory(Place),
    Remove(Place),
    Rename(Place, Place),
    /// Lists the directory while the inner steps run.
    List(Place, Vec<Step>),
    Stat(Place),
    Hold(Place),
    Forget(Place),
    ForgetTree(Place),
    Wait(u64),
}

fn place() -> impl Strategy<Value = Place> {
    prop::collection::vec(0..NAMES.len(), 0..=3)
}

fn change() -> impl Strategy<Value = Step> {
    prop_oneof![
        (place(), any::<u64>()).prop_map(|(at, size)| Step::Store(at, size)),
        place().prop_map(Step::MakeDirectory),
        place().prop_map(Step::Remove),
        (place(), place()).prop_map(|(from, to)| Step::Rename(from, to)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => change(),
        3 => (place(), prop::collection::vec(change(), 0..3))
            .prop_map(|(at, during)| Step::List(at, during)),
        1 => place().prop_map(Step::Stat),
        1 => place().prop_map(Step::Hold),
        1 => place().prop_map(Step::Forget),
        1 => place().prop_map(Step::ForgetTree),
        1 => (0..40_u64).prop_map(Step::Wait),
    ]
}

type Listed = Vec<(String, Attributes)>;

struct World {
    cache: Cache<String>,
    seconds: Arc<AtomicU64>,
    /// All paths on the server except the root.
    server: BTreeMap<RemotePath, Attributes>,
    held: Vec<(Arc<Snapshot>, Listed)>,
}

fn path(place: &[usize]) -> RemotePath {
    let names = place.iter().filter_map(|name| NAMES.get(*name));
    names.fold(RemotePath::root(), |path, name| {
        path.join(name.as_bytes()).unwrap()
    })
}

fn attributes(kind: Kind, size: u64) -> Attributes {
    Attributes::from(&Entry {
        size: (kind == Kind::File).then_some(size),
        ..Entry::new("", kind)
    })
}

fn listed(snapshot: &Snapshot) -> Listed {
    (0..snapshot.len())
        .map(|index| {
            let (name, attributes) = snapshot.get(index).unwrap();
            (String::from_utf8(name.to_vec()).unwrap(), attributes)
        })
        .collect()
}

impl World {
    fn new(max_bytes: usize) -> Self {
        let (cache, seconds) = cache_with_time(max_bytes);
        Self {
            cache,
            seconds,
            server: BTreeMap::new(),
            held: Vec::new(),
        }
    }

    fn is_directory(&self, at: &RemotePath) -> bool {
        at.is_root()
            || self
                .server
                .get(at)
                .is_some_and(|found| found.kind == Kind::Directory)
    }

    fn names_in(&self, directory: &RemotePath) -> Listed {
        self.server
            .iter()
            .filter(|(at, _)| at.parent().as_ref() == Some(directory))
            .map(|(at, found)| {
                (
                    String::from_utf8(at.name().to_vec()).unwrap(),
                    found.clone(),
                )
            })
            .collect()
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Store(at, size) => self.store(&path(at), *size),
            Step::MakeDirectory(at) => self.make_directory(&path(at)),
            Step::Remove(at) => self.remove(&path(at)),
            Step::Rename(from, to) => self.rename(&path(from), &path(to)),
            Step::List(at, during) => self.list(&path(at), during),
            Step::Stat(at) => self.stat(&path(at)),
            Step::Hold(at) => self.hold(&path(at)),
            Step::Forget(at) => self.cache.forget(&path(at)),
            Step::ForgetTree(at) => self.cache.forget_tree(&path(at)),
            Step::Wait(seconds) => {
                self.seconds.fetch_add(*seconds, Ordering::SeqCst);
            }
        }
    }

    fn store(&mut self, at: &RemotePath, size: u64) {
        let Some(parent) = at.parent().filter(|parent| self.is_directory(parent)) else {
            return;
        };
        if !self.is_directory(at) {
            let stored = attributes(Kind::File, size);
            self.server.insert(at.clone(), stored.clone());
            self.cache.insert(&parent, at.name(), stored);
        }
    }

    fn make_directory(&mut self, at: &RemotePath) {
        let Some(parent) = at.parent().filter(|parent| self.is_directory(parent)) else {
            return;
        };
        if !self.server.contains_key(at) {
            let made = attributes(Kind::Directory, 0);
            self.server.insert(at.clone(), made.clone());
            self.cache.insert(&parent, at.name(), made);
            self.cache.insert_empty_directory(at);
        }
    }

    fn remove(&mut self, at: &RemotePath) {
        if let Some(parent) = at.parent()
            && self.names_in(at).is_empty()
            && self.server.remove(at).is_some()
        {
            self.cache.remove(&parent, at.name());
        }
    }

    fn rename(&mut self, from: &RemotePath, to: &RemotePath) {
        let goes = self.server.contains_key(from)
            && to.parent().is_some_and(|parent| self.is_directory(&parent))
            && to.below(from).is_none()
            && self.names_in(to).is_empty()
            && (!self.server.contains_key(to) || self.is_directory(to) == self.is_directory(from));
        if !goes {
            return;
        }
        self.server.remove(to);
        let moved = std::mem::take(&mut self.server);
        self.server = moved
            .into_iter()
            .map(|(at, found)| (at.rebased(from, to).unwrap_or(at), found))
            .collect();
        self.cache.rename(from, to);
    }

    fn list(&mut self, at: &RemotePath, during: &[Step]) {
        if !self.is_directory(at) {
            return;
        }
        let entries = self
            .names_in(at)
            .into_iter()
            .map(|(name, found)| Entry {
                size: found.size,
                ..Entry::new(name, found.kind)
            })
            .collect();
        let flight = match self.cache.join_or_begin(at, Duration::MAX) {
            Joined::Mine(flight) => Some(flight),
            Joined::Cached(_) | Joined::Others(_) => None,
        };
        for change in during {
            self.apply(change);
        }
        if let Some(flight) = flight {
            let snapshot = self
                .cache
                .cache_listing(at, &flight, entries, self.cache.now());
            self.cache.state().end_flight(at, &flight);
            let is_still_there = self.is_directory(at);
            let was_moved = during.iter().any(|step| matches!(step, Step::Rename(..)));
            if is_still_there && !was_moved {
                assert_eq!(listed(&snapshot), self.names_in(at), "the listing of {at}");
            }
        }
    }

    fn stat(&mut self, at: &RemotePath) {
        let Some(parent) = at.parent() else { return };
        match self.server.get(at) {
            Some(found) => self.cache.insert(&parent, at.name(), found.clone()),
            None => self.cache.remove(&parent, at.name()),
        }
    }

    fn hold(&mut self, at: &RemotePath) {
        if let Some(snapshot) = self.cache.snapshot(at) {
            let seen = listed(&snapshot);
            self.held.push((snapshot, seen));
        }
    }

    /// Checks that everything the cache says is true, that handed-out listings are unchanged, and
    /// that the byte count is right.
    fn check(&self, max_bytes: usize) {
        let directories = (0..=3).flat_map(|depth| {
            (0..NAMES.len().pow(depth)).map(move |number| {
                let digit = |at| number / NAMES.len().pow(at) % NAMES.len();
                (0..depth).map(digit).collect::<Place>()
            })
        });
        for directory in directories.map(|place| path(&place)) {
            if let Some(snapshot) = self.cache.snapshot(&directory) {
                assert_eq!(listed(&snapshot), self.names_in(&directory), "{directory}");
            }
            for name in NAMES {
                let at = directory.join(name.as_bytes()).unwrap();
                match self.cache.lookup(&directory, name.as_bytes()) {
                    Answer::Present(found, _) => assert_eq!(Some(&found), self.server.get(&at)),
                    Answer::Absent(_) => assert_eq!(None, self.server.get(&at), "{at}"),
                    Answer::Unknown => {}
                }
            }
        }
        for (snapshot, seen) in &self.held {
            assert_eq!(&listed(snapshot), seen);
        }
        let state = self.cache.state();
        assert_eq!(state.bytes(), state.recounted_bytes());
        assert!(state.bytes() <= max_bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_is_done_the_cache_tells_no_lie(
        steps in prop::collection::vec(step(), 0..40),
        max_bytes in prop_oneof![Just(1 << 20), 500..5_000_usize],
    ) {
        let mut world = World::new(max_bytes);
        for step in &steps {
            world.apply(step);
            world.check(max_bytes);
        }
    }
}
