//! Lookups and changes of the cache, and its answers afterwards.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use super::*;

const TTL: Duration = Duration::from_secs(60);

pub(super) fn cache() -> Cache<String> {
    Cache::new(CacheOptions {
        ttl: TTL,
        max_bytes: 64 << 20,
    })
}

pub(super) fn path(text: &str) -> RemotePath {
    RemotePath::new(text.as_bytes()).unwrap()
}

pub(super) fn file(name: &str, size: u64) -> Entry {
    Entry {
        size: Some(size),
        ..Entry::new(name, Kind::File)
    }
}

fn attributes(size: u64) -> Attributes {
    Attributes::from(&file("", size))
}

pub(super) fn list(cache: &Cache<String>, directory: &str, entries: Vec<Entry>) -> Arc<Snapshot> {
    cache
        .snapshot_or_fetch(&path(directory), || Ok(entries.into()))
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

/// Returns a cache whose clock the test advances.
pub(super) fn cache_with_time(max_bytes: usize) -> (Cache<String>, Arc<AtomicU64>) {
    let seconds = Arc::new(AtomicU64::new(0));
    let (passed, start) = (Arc::clone(&seconds), Instant::now());
    let clock = move || start + Duration::from_secs(passed.load(Ordering::SeqCst));
    let options = CacheOptions {
        ttl: TTL,
        max_bytes,
    };
    (Cache::with_clock(options, clock), seconds)
}

#[test]
fn a_listing_grows_old() {
    let (cache, seconds) = cache_with_time(64 << 20);
    list(&cache, "/d", vec![file("a", 1)]);
    seconds.store(59, Ordering::SeqCst);
    let last_second = Duration::from_secs(1);
    let present = Answer::Present(attributes(1), last_second);
    assert_eq!(cache.lookup(&path("/d"), b"a"), present);
    assert_eq!(cache.lookup(&path("/d"), b"b"), Answer::Absent(last_second));
    seconds.store(60, Ordering::SeqCst);
    assert_eq!(cache.lookup(&path("/d"), b"a"), Answer::Unknown);
    assert_eq!(cache.lookup(&path("/d"), b"b"), Answer::Unknown);
    assert!(cache.snapshot(&path("/d")).is_none());
    assert_eq!(list(&cache, "/d", vec![]).len(), 0, "it is fetched anew");
}

#[test]
fn a_single_answer_has_an_age_of_its_own() {
    let (cache, seconds) = cache_with_time(64 << 20);
    list(&cache, "/d", vec![file("a", 1)]);
    seconds.store(50, Ordering::SeqCst);
    cache.insert(&path("/d"), b"b", attributes(2));
    cache.remove(&path("/d"), b"c");
    seconds.store(70, Ordering::SeqCst);
    assert_eq!(cache.lookup(&path("/d"), b"a"), Answer::Unknown);
    let left = Duration::from_secs(40);
    let present = Answer::Present(attributes(2), left);
    assert_eq!(cache.lookup(&path("/d"), b"b"), present);
    assert_eq!(cache.lookup(&path("/d"), b"c"), Answer::Absent(left));
}

#[test]
fn a_ttl_without_end_is_one() {
    let cache: Cache<String> = Cache::new(CacheOptions {
        ttl: Duration::MAX,
        max_bytes: 64 << 20,
    });
    list(&cache, "/d", vec![file("a", 1)]);
    cache.insert(&path("/d"), b"b", attributes(2));
    assert_eq!(size_of_name(&cache, "/d", "a"), Some(1));
    assert_eq!(names(&cache.snapshot(&path("/d")).unwrap()), ["a", "b"]);
}

#[test]
fn a_ttl_of_nothing_keeps_nothing() {
    let cache: Cache<String> = Cache::new(CacheOptions {
        ttl: Duration::ZERO,
        max_bytes: 64 << 20,
    });
    let fetch = || {
        cache.insert(&path("/d"), b"new", attributes(2));
        Ok(vec![file("a", 1)].into())
    };
    let listed = cache.snapshot_or_fetch(&path("/d"), fetch).unwrap();
    assert_eq!(names(&listed), ["a", "new"]);
    assert_eq!(cache.lookup(&path("/d"), b"a"), Answer::Unknown);
    assert!(cache.snapshot(&path("/d")).is_none());
}

#[test]
fn asking_for_ever_new_names_does_not_fill_the_memory() {
    let (cache, seconds) = cache_with_time(64 << 20);
    for name in 0..100_000_u64 {
        seconds.store(name / 10, Ordering::SeqCst);
        cache.remove(&path("/d"), name.to_string().as_bytes());
    }
    assert!(cache.bytes() < 2_000_000, "{} bytes", cache.bytes());
    assert!(is_absent(&cache, "/d", "99999"));
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
fn changing_one_directory_looks_at_no_other() {
    let cache = cache();
    for number in 0..500 {
        list(&cache, &format!("/other/{number}"), vec![]);
    }
    list(&cache, "/d/e", vec![]);
    let before = cache.state().visited();
    cache.insert_empty_directory(&path("/new"));
    cache.rename(&path("/d"), &path("/moved"));
    cache.invalidate(&path("/other"), b"none");
    cache.remove(&path("/"), b"moved");
    let visited = cache.state().visited() - before;
    assert!(visited < 10, "{visited}");
    assert!(cache.snapshot(&path("/other/7")).is_some());
}

#[test]
fn misses_are_counted_until_the_listing_and_lookups_are_none() {
    let cache = cache();
    for expected in 1..=3 {
        for _ in 0..5 {
            assert_eq!(cache.lookup(&path("/d"), b"x"), Answer::Unknown);
        }
        assert_eq!(cache.count_miss(&path("/d")), expected);
    }
    list(&cache, "/d", vec![]);
    assert_eq!(cache.count_miss(&path("/d")), 1);
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
fn a_rename_takes_the_place_of_what_was_there() {
    let cache = cache();
    list(&cache, "/", vec![file("f", 1), file("g", 2)]);
    list(&cache, "/g", vec![file("below", 3)]);
    cache.rename(&path("/f"), &path("/g"));
    assert_eq!(names(&cache.snapshot(&path("/")).unwrap()), ["g"]);
    assert_eq!(size_of_name(&cache, "/", "g"), Some(1));
    assert_eq!(cache.lookup(&path("/g"), b"below"), Answer::Unknown);
    cache.rename(&path("/g"), &path("/g"));
    assert_eq!(size_of_name(&cache, "/", "g"), Some(1));
}

#[test]
fn a_rename_of_what_was_known_long_ago_does_not_make_it_fresh() {
    let (cache, seconds) = cache_with_time(64 << 20);
    list(&cache, "/from", vec![file("f", 1)]);
    seconds.store(60, Ordering::SeqCst);
    list(&cache, "/to", vec![]);
    cache.rename(&path("/from/f"), &path("/to/f"));
    assert_eq!(cache.lookup(&path("/to"), b"f"), Answer::Unknown);
    assert!(cache.snapshot(&path("/to")).is_none());
}

#[test]
fn a_file_in_a_directorys_place_has_nothing_below_it() {
    let cache = cache();
    list(&cache, "/d", vec![file("f", 1)]);
    cache.insert(&path("/"), b"d", attributes(1));
    assert_eq!(cache.lookup(&path("/d"), b"f"), Answer::Unknown);
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
                    Ok(vec![file("a", 1)].into())
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
        Ok(vec![file("old", 1), file("kept", 2)].into())
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
        Ok(vec![file("a", 1)].into())
    };
    assert_eq!(
        cache.snapshot_or_fetch(&path("/d"), fetch).unwrap().len(),
        1
    );
    assert_eq!(cache.lookup(&path("/d"), b"a"), Answer::Unknown);
}

#[test]
fn who_asks_after_a_forget_does_not_get_what_was_fetched_before() {
    let cache = cache();
    for forget in [Cache::forget, Cache::forget_tree] {
        let fetch = || {
            forget(&cache, &path("/d"));
            let newer = list(&cache, "/d", vec![file("new", 2)]);
            assert_eq!(names(&newer), ["new"]);
            Ok(vec![file("old", 1)].into())
        };
        let older = cache.snapshot_or_fetch(&path("/d"), fetch).unwrap();
        assert_eq!(names(&older), ["old"]);
        assert_eq!(size_of_name(&cache, "/d", "new"), Some(2));
        assert!(is_absent(&cache, "/d", "old"));
        cache.forget(&path("/d"));
    }
}

#[test]
fn a_directory_made_anew_during_a_fetch_stays_empty() {
    let cache = cache();
    let fetch = || {
        cache.remove(&path("/"), b"d");
        cache.insert_empty_directory(&path("/d"));
        Ok(vec![file("old", 1)].into())
    };
    cache.snapshot_or_fetch(&path("/d"), fetch).unwrap();
    assert!(is_absent(&cache, "/d", "old"));
}

#[test]
fn a_directory_renamed_during_a_fetch_is_known_by_neither_name() {
    let cache = cache();
    let fetch = || {
        cache.rename(&path("/d"), &path("/x"));
        Ok(vec![file("f", 1)].into())
    };
    cache.snapshot_or_fetch(&path("/d"), fetch).unwrap();
    for directory in ["/d", "/x"] {
        assert_eq!(cache.lookup(&path(directory), b"f"), Answer::Unknown);
    }
}

#[test]
fn a_failure_is_told_to_all_who_waited_for_it() {
    let cache = cache();
    let fetching = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            let failed = cache.snapshot_or_fetch(&path("/d"), || {
                fetching.wait();
                fetching.wait();
                Err("no".to_owned())
            });
            assert_eq!(failed.unwrap_err(), "no");
        });
        fetching.wait();
        let waiters: Vec<_> = (0..8)
            .map(|_| {
                let flight = cache.state().flight(&path("/d")).unwrap();
                scope.spawn(move || flight.wait())
            })
            .collect();
        fetching.wait();
        for waiter in waiters {
            let outcome = waiter.join().unwrap().unwrap();
            assert_eq!(outcome.unwrap_err(), "no");
        }
    });
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
    list(&cache, "/small", vec![file("a", 1)]);
    let huge = (0..100).map(|n| file(&n.to_string(), n)).collect();
    list(&cache, "/d", huge);
    assert_eq!(
        size_of_name(&cache, "/small", "a"),
        Some(1),
        "it drives out nobody"
    );
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

#[test]
fn who_asks_for_what_is_fetched_ahead_waits_for_it_or_fetches_it_where_that_failed() {
    let cache = cache();
    let begun = cache.begin(&path("/d")).unwrap();
    assert!(cache.begin(&path("/d")).is_none(), "it is under way");
    assert!(!cache.wait_for_fetch(&path("/e"), TTL));
    assert!(
        !cache.wait_for_fetch(&path("/d"), Duration::ZERO),
        "too old"
    );
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let waited = cache.wait_for_fetch(&path("/d"), TTL);
            (waited, cache.snapshot(&path("/d")).is_some())
        });
        let asker = scope.spawn(|| {
            cache
                .snapshot_or_fetch(&path("/d"), || panic!("it is there, or under way"))
                .unwrap()
        });
        begun.complete(vec![file("a", 1)].into());
        assert_eq!(asker.join().unwrap().len(), 1);
        // It may have come too late to wait.
        assert!(waiter.join().unwrap().1);
    });
    assert!(cache.begin(&path("/d")).is_none(), "it is known");

    let begun = cache.begin(&path("/e")).unwrap();
    let flight = cache.state().flight(&path("/e")).unwrap();
    drop(begun);
    assert!(flight.wait().is_none());
    assert_eq!(list(&cache, "/e", vec![file("b", 2)]).len(), 1);
}
