//! Exact times of files whose listings show the minute or the day.

use std::sync::atomic::Ordering;

use super::tests::{cache, cache_with_time, file, list, path};
use super::*;
use crate::ftp::Modified;

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
fn an_exact_time_is_entered_unless_the_file_has_changed() {
    let rough = Attributes::from(&timed(5, 120, Precision::Minute));
    let other = Attributes::from(&timed(6, 120, Precision::Minute));
    for (known, size, exact, is_entered) in [
        (&rough, 5, 125, true),
        (&rough, 5, 180, false),
        (&rough, 6, 125, false),
        // Changed through the mount after the question.
        (&other, 5, 125, false),
        (&other, 6, 125, false),
    ] {
        let cache = cache();
        cache.insert(&path("/d"), b"f", known.clone());
        let exact = Version::from(&timed(size, exact, Precision::Second));
        cache.refine(&path("/d"), b"f", &rough, &exact);
        let Answer::Present(found, _) = cache.lookup(&path("/d"), b"f") else {
            panic!("it is known");
        };
        let expected = if is_entered {
            exact.modified
        } else {
            known.modified
        };
        assert_eq!(found.modified, expected, "{exact:?}");
        assert_eq!(found.size, known.size);
    }
}

#[test]
fn an_exact_time_outlives_many_listings_and_renames() {
    let (cache, seconds) = cache_with_time(64 << 20);
    let exact = Attributes::from(&timed(5, 90_125, Precision::Second));
    cache.insert(&path("/d"), b"temporary", exact);
    cache.rename(&path("/d/temporary"), &path("/d/f"));
    for (rough, precision) in [(90_120, Precision::Minute), (86_400, Precision::Day)] {
        seconds.fetch_add(1_000, Ordering::SeqCst);
        let listed = list(&cache, "/d", vec![timed(5, rough, precision)]);
        assert_eq!(time_of(&listed), Some((90_125, Precision::Second)));
    }
    let rough = Attributes::from(&timed(5, 90_120, Precision::Minute));
    cache.insert(&path("/d"), b"f", rough);
    let listed = cache.snapshot(&path("/d")).unwrap();
    assert_eq!(time_of(&listed), Some((90_125, Precision::Second)));
}
