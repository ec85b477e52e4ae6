//! Which listings prove that a name is absent.

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
