//! What the cache is asked and told, and what it then knows.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use proptest::prelude::*;

use crate::ftp::Modified;

use super::*;

const TTL: Duration = Duration::from_secs(60);

fn cache() -> Cache<String> {
    Cache::new(CacheOptions {
        ttl: TTL,
        max_bytes: 64 << 20,
    })
}

fn path(text: &str) -> RemotePath {
    RemotePath::new(text.as_bytes()).unwrap()
}

fn file(name: &str, size: u64) -> Entry {
    Entry {
        size: Some(size),
        ..Entry::new(name, Kind::File)
    }
}

fn attributes(size: u64) -> Attributes {
    Attributes::from(&file("", size))
}

fn list(cache: &Cache<String>, directory: &str, entries: Vec<Entry>) -> Arc<Snapshot> {
    cache
        .snapshot_or_fetch(&path(directory), || Ok(entries))
        .unwrap()
}

fn size_of_name(cache: &Cache<String>, directory: &str, name: &str) -> Option<u64> {
    match cache.lookup(&path(directory), name.as_bytes()) {
        Answer::Present(attributes, _) => attributes.size,
        Answer::Absent(_) | Answer::Unknown => None,
    }
}

fn is_absent(cache: &Cache<String>, directory: &str, name: &str) -> bool {
    matches!(
        cache.lookup(&path(directory), name.as_bytes()),
        Answer::Absent(_)
    )
}

fn names(snapshot: &Snapshot) -> Vec<String> {
    (0..snapshot.len())
        .map(|index| String::from_utf8(snapshot.get(index).unwrap().0.to_vec()).unwrap())
        .collect()
}

#[test]
fn a_listed_directory_answers_for_every_name_present_or_not() {
    let cache = cache();
    assert_eq!(cache.lookup(&path("/d"), b"a"), Answer::Unknown);
    list(&cache, "/d", vec![file("b", 2), file("a", 1)]);
    assert_eq!(size_of_name(&cache, "/d", "a"), Some(1));
    assert!(is_absent(&cache, "/d", "c"));
    assert_eq!(names(&cache.snapshot(&path("/d")).unwrap()), ["a", "b"]);
}

#[test]
fn a_listing_grows_old() {
    let cache = cache();
    list(&cache, "/d", vec![file("a", 1)]);
    let later = Instant::now() + TTL;
    assert_eq!(cache.lookup_at(&path("/d"), b"a", later), Answer::Unknown);
    assert!(cache.snapshot_at(&path("/d"), later).is_none());
}

#[test]
fn what_the_mount_changes_is_seen_at_once() {
    let cache = cache();
    let before = list(&cache, "/d", vec![file("a", 1), file("b", 2)]);
    cache.insert(&path("/d"), b"c", attributes(3));
    cache.insert(&path("/d"), b"a", attributes(9));
    cache.remove(&path("/d"), b"b");
    assert_eq!(size_of_name(&cache, "/d", "a"), Some(9));
    assert!(is_absent(&cache, "/d", "b"));
    assert_eq!(names(&cache.snapshot(&path("/d")).unwrap()), ["a", "c"]);
    assert_eq!(
        names(&before),
        ["a", "b"],
        "a snapshot that is being read does not change"
    );
}

#[test]
fn single_answers_are_remembered_without_a_listing() {
    let cache = cache();
    cache.insert(&path("/d"), b"a", attributes(1));
    cache.remove(&path("/d"), b"b");
    assert_eq!(size_of_name(&cache, "/d", "a"), Some(1));
    assert!(is_absent(&cache, "/d", "b"));
    assert_eq!(cache.lookup(&path("/d"), b"c"), Answer::Unknown);
    assert!(cache.snapshot(&path("/d")).is_none());
}

#[test]
fn lookups_without_an_answer_are_counted_until_the_listing() {
    let cache = cache();
    for expected in 1..=3 {
        cache.lookup(&path("/d"), b"x");
        assert_eq!(cache.misses(&path("/d")), expected);
    }
    list(&cache, "/d", vec![]);
    assert_eq!(cache.misses(&path("/d")), 0);
}

#[test]
fn a_renamed_directory_takes_its_listings_along() {
    let cache = cache();
    list(&cache, "/", vec![Entry::new("d", Kind::Directory)]);
    list(&cache, "/d", vec![file("f", 1)]);
    list(&cache, "/d/e", vec![file("g", 2)]);
    cache.rename(&path("/d"), &path("/x"));
    assert!(is_absent(&cache, "/", "d"));
    assert_eq!(size_of_name(&cache, "/x", "f"), Some(1));
    assert_eq!(size_of_name(&cache, "/x/e", "g"), Some(2));
    assert_eq!(cache.lookup(&path("/d"), b"f"), Answer::Unknown);
}

#[test]
fn a_rename_of_something_unknown_leaves_no_false_absence() {
    let cache = cache();
    list(&cache, "/to", vec![]);
    cache.rename(&path("/from/f"), &path("/to/f"));
    assert_eq!(cache.lookup(&path("/to"), b"f"), Answer::Unknown);
    assert!(cache.snapshot(&path("/to")).is_none());
    assert!(is_absent(&cache, "/from", "f"));
}

#[test]
fn a_removed_directory_takes_what_is_known_below_it() {
    let cache = cache();
    list(&cache, "/d", vec![file("f", 1)]);
    cache.remove(&path("/"), b"d");
    assert_eq!(cache.lookup(&path("/d"), b"f"), Answer::Unknown);
}

#[test]
fn a_directory_just_made_is_empty() {
    let cache = cache();
    cache.insert_empty_directory(&path("/new"));
    assert!(is_absent(&cache, "/new", "f"));
    assert!(cache.snapshot(&path("/new")).unwrap().is_empty());
}

#[test]
fn many_askers_share_one_fetch() {
    let cache = cache();
    let (fetches, barrier) = (AtomicUsize::new(0), Barrier::new(16));
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                barrier.wait();
                let fetch = || {
                    fetches.fetch_add(1, Ordering::SeqCst);
                    Ok(vec![file("a", 1)])
                };
                assert_eq!(
                    cache.snapshot_or_fetch(&path("/d"), fetch).unwrap().len(),
                    1
                );
            });
        }
    });
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
}

#[test]
fn a_failed_fetch_is_told_and_not_remembered() {
    let cache = cache();
    let failed = cache.snapshot_or_fetch(&path("/d"), || Err("no".to_owned()));
    assert_eq!(failed.unwrap_err(), "no");
    assert_eq!(list(&cache, "/d", vec![file("a", 1)]).len(), 1);
}

#[test]
fn a_fetch_that_panics_leaves_nobody_waiting() {
    let cache = cache();
    let panicked = thread::scope(|scope| {
        scope
            .spawn(|| cache.snapshot_or_fetch(&path("/d"), || panic!("in a fetch")))
            .join()
    });
    assert!(panicked.is_err());
    assert_eq!(list(&cache, "/d", vec![file("a", 1)]).len(), 1);
}

#[test]
fn a_change_made_during_a_fetch_is_in_its_result() {
    let cache = cache();
    let fetch = || {
        cache.insert(&path("/d"), b"new", attributes(7));
        cache.remove(&path("/d"), b"old");
        Ok(vec![file("old", 1), file("kept", 2)])
    };
    let snapshot = cache.snapshot_or_fetch(&path("/d"), fetch).unwrap();
    assert_eq!(names(&snapshot), ["kept", "new"]);
    assert!(is_absent(&cache, "/d", "old"));
}

#[test]
fn a_directory_forgotten_during_a_fetch_is_not_kept() {
    let cache = cache();
    let fetch = || {
        cache.forget(&path("/d"));
        Ok(vec![file("a", 1)])
    };
    assert_eq!(
        cache.snapshot_or_fetch(&path("/d"), fetch).unwrap().len(),
        1
    );
    assert_eq!(cache.lookup(&path("/d"), b"a"), Answer::Unknown);
}

fn timed(size: u64, seconds: i64, precision: Precision) -> Entry {
    let modified = Some(Modified {
        seconds,
        precision,
        utc: true,
    });
    Entry {
        modified,
        ..file("f", size)
    }
}

fn time_of(snapshot: &Snapshot) -> Option<(i64, Precision)> {
    snapshot.find(b"f").unwrap().modified
}

#[test]
fn an_exact_time_outlives_a_rough_listing_of_the_same_file() {
    for (size, rough, kept) in [
        (5, 120, true),
        (6, 120, false),
        (5, 180, false),
        (5, 60, false),
    ] {
        let cache = cache();
        let exact = Attributes::from(&timed(5, 125, Precision::Second));
        cache.insert(&path("/d"), b"f", exact);
        let listed = list(&cache, "/d", vec![timed(size, rough, Precision::Minute)]);
        let expected = if kept {
            (125, Precision::Second)
        } else {
            (rough, Precision::Minute)
        };
        assert_eq!(
            time_of(&listed),
            Some(expected),
            "size {size}, listed {rough}"
        );
    }
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let many = || {
        (0..100)
            .map(|n| file(&format!("file number {n:04}"), n))
            .collect::<Vec<_>>()
    };
    let one = cache();
    list(&one, "/a", many());
    let max_bytes = one.bytes() * 5 / 2;
    let cache: Cache<String> = Cache::new(CacheOptions {
        ttl: TTL,
        max_bytes,
    });
    for directory in ["/a", "/b"] {
        list(&cache, directory, many());
    }
    assert!(size_of_name(&cache, "/a", "file number 0001").is_some());
    list(&cache, "/c", many());
    assert!(cache.bytes() <= max_bytes);
    assert!(cache.snapshot(&path("/a")).is_some());
    assert!(cache.snapshot(&path("/b")).is_none());
}

#[test]
fn a_directory_beyond_the_bound_still_serves_who_fetched_it() {
    let cache: Cache<String> = Cache::new(CacheOptions {
        ttl: TTL,
        max_bytes: 1_000,
    });
    let listed = list(
        &cache,
        "/d",
        (0..100).map(|n| file(&n.to_string(), n)).collect(),
    );
    assert_eq!(listed.len(), 100);
    assert!(cache.snapshot(&path("/d")).is_none());
    assert!(cache.bytes() <= 1_000);
}

#[test]
fn an_account_of_bytes_ends_where_it_began() {
    let cache = cache();
    let empty = cache.bytes();
    list(&cache, "/d", vec![file("a", 1)]);
    cache.insert(&path("/d"), b"b", attributes(2));
    cache.rename(&path("/d"), &path("/e"));
    cache.forget_tree(&RemotePath::root());
    assert_eq!(cache.bytes(), empty);
}

#[test]
fn twenty_thousand_files_made_one_by_one_are_all_there() {
    let cache = cache();
    cache.insert_empty_directory(&path("/d"));
    for number in 0..20_000 {
        cache.insert(
            &path("/d"),
            format!("{number}").as_bytes(),
            attributes(number),
        );
    }
    assert_eq!(cache.snapshot(&path("/d")).unwrap().len(), 20_000);
    assert_eq!(size_of_name(&cache, "/d", "19999"), Some(19_999));
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u8, u64),
    Remove(u8),
    Rename(u8, u8),
    List,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..40_u8, any::<u64>()).prop_map(|(name, size)| Step::Insert(name, size)),
        (0..40_u8).prop_map(Step::Remove),
        (0..40_u8, 0..40_u8).prop_map(|(from, to)| Step::Rename(from, to)),
        Just(Step::List),
    ]
}

proptest! {
    #[test]
    fn after_any_changes_a_listed_directory_is_known_exactly(
        steps in proptest::collection::vec(step(), 0..200),
    ) {
        let cache = cache();
        let mut model = std::collections::BTreeMap::new();
        list(&cache, "/d", vec![]);
        for step in steps {
            match step {
                Step::Insert(name, size) => {
                    cache.insert(&path("/d"), name.to_string().as_bytes(), attributes(size));
                    model.insert(name.to_string(), size);
                }
                Step::Remove(name) => {
                    cache.remove(&path("/d"), name.to_string().as_bytes());
                    model.remove(&name.to_string());
                }
                Step::Rename(from, to) if from != to => {
                    let Some(size) = model.remove(&from.to_string()) else { continue };
                    cache.rename(&path(&format!("/d/{from}")), &path(&format!("/d/{to}")));
                    model.insert(to.to_string(), size);
                }
                Step::Rename(..) => {}
                Step::List => {
                    let snapshot = cache.snapshot(&path("/d")).unwrap();
                    prop_assert_eq!(names(&snapshot), model.keys().cloned().collect::<Vec<_>>());
                }
            }
            for name in 0..40_u8 {
                let name = name.to_string();
                prop_assert_eq!(size_of_name(&cache, "/d", &name), model.get(&name).copied());
            }
        }
    }
}
