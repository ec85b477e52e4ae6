//! Which listings prove that a name is absent.

use std::sync::atomic::{AtomicU64, Ordering};

use super::tests::cache_with_time;
use super::*;

fn path(text: &str) -> RemotePath {
    RemotePath::new(text.as_bytes()).unwrap()
}

fn file(name: &str) -> Entry {
    Entry::new(name, Kind::File)
}

#[test]
fn only_a_listing_that_answers_for_a_name_says_that_it_is_absent() {
    for (completeness, plain, hidden) in [
        (Completeness::Complete, true, true),
        (Completeness::Visible, true, false),
        (Completeness::Incomplete, false, false),
        (Completeness::Unreadable, false, false),
        (Completeness::Unlistable, false, false),
    ] {
        let cache: Cache<String> = Cache::new(CacheOptions {
            ttl: Duration::from_secs(60),
            max_bytes: 1 << 20,
        });
        let listing = DirectoryListing {
            entries: vec![file("a")],
            completeness,
            perm: None,
        };
        cache
            .snapshot_or_fetch(&path("/d"), || Ok(listing))
            .unwrap();
        let is_absent = |name: &[u8]| matches!(cache.lookup(&path("/d"), name), Answer::Absent(_));
        assert_eq!(is_absent(b"b"), plain, "{completeness:?}");
        assert_eq!(is_absent(b".b"), hidden, "{completeness:?}");
        assert!(matches!(
            cache.lookup(&path("/d"), b"a"),
            Answer::Present(..)
        ));
        cache.insert(&path("/d"), b"c", Attributes::from(&file("c")));
        let merged = cache.snapshot(&path("/d")).unwrap();
        assert_eq!((merged.len(), merged.completeness()), (2, completeness));
    }
}

#[test]
fn a_listing_that_is_replaced_ahead_of_time_answers_until_then() {
    let (cache, seconds) = cache_with_time(64 << 20);
    let directory = path("/d");
    let listed = || panic!("it is cached");
    let first = cache.snapshot_or_fetch(&directory, || Ok(vec![file("a")].into()));
    assert_eq!(first.unwrap().len(), 1);
    seconds.store(20, Ordering::SeqCst);
    let age = Duration::from_secs(20);
    assert!(cache.begin_again(&directory, age + age).is_none());
    let begun = cache.begin_again(&directory, age).unwrap();
    assert_eq!(
        cache.snapshot_or_fetch(&directory, listed).unwrap().len(),
        1
    );
    assert!(matches!(cache.lookup(&directory, b"b"), Answer::Absent(_)));
    seconds.store(25, Ordering::SeqCst);
    begun.complete(vec![file("a"), file("b")].into());
    assert!(matches!(
        cache.lookup(&directory, b"b"),
        Answer::Present(..)
    ));
    seconds.store(32, Ordering::SeqCst);
    let listed = cache.listing_age(&directory).unwrap();
    let expected = ListingAge {
        age: Duration::from_secs(7),
        took: Duration::from_secs(5),
    };
    assert_eq!(listed, expected);
}

#[test]
fn what_was_last_known_is_listed_while_the_server_cannot_be_asked() {
    let (cache, _seconds) = cache_with_time(64 << 20);
    let directory = path("/d");
    let listed = || Ok(vec![file("a")].into());
    cache.snapshot_or_fetch(&directory, listed).unwrap();
    let grown = Attributes {
        size: Some(7),
        ..Attributes::from(&file("a"))
    };
    for name in [b"a", b"b"] {
        cache.insert(&directory, name, grown.clone());
        cache.invalidate(&directory, name);
    }
    assert!(cache.snapshot(&directory).is_none(), "the server is asked");
    let last = cache.last_snapshot(&directory).unwrap();
    for name in [b"a", b"b"] {
        let answer = cache.last_answer(&directory, name);
        assert_eq!(answer, Answer::Present(grown.clone(), Duration::ZERO));
        assert_eq!(last.find(name), Some(grown.clone()));
    }
}

#[test]
fn a_listing_grows_old_while_the_machine_sleeps() {
    let slept = Arc::new(AtomicU64::new(0));
    let (for_clock, start) = (Arc::clone(&slept), BootClock::start());
    let options = CacheOptions {
        ttl: Duration::from_secs(60),
        max_bytes: 1 << 20,
    };
    let clock = move || start.now() + Duration::from_secs(for_clock.load(Ordering::SeqCst));
    let cache: Cache<String> = Cache::with_clock(options, clock);
    let listed = || Ok(vec![file("a")].into());
    let listing = cache.snapshot_or_fetch(&path("/d"), listed).unwrap();
    assert!(!cache.fresh_for(&listing).is_zero());
    slept.store(3600, Ordering::SeqCst);
    assert!(cache.fresh_for(&listing).is_zero());
    assert_eq!(cache.lookup(&path("/d"), b"a"), Answer::Unknown);
}
