//! A directory of a million files fits in memory, and the cache's account of it is honest.

#![allow(
    clippy::unwrap_used,
    reason = "all of this is test code: a panic is the way to fail"
)]

use std::time::Duration;

use ftpfs::ftp::{Entry, Kind, Modified, Precision, RemotePath};
use ftpfs::testing::{Attributes, Cache, CacheOptions};

const ENTRIES: usize = 1_000_000;

/// Bytes of this process in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kibibytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kibibytes.parse::<usize>().unwrap() * 1024
}

fn entry(number: usize) -> Entry {
    Entry {
        size: Some(number as u64),
        modified: Some(Modified {
            seconds: number as i64,
            precision: Precision::Second,
            utc: true,
        }),
        mode: Some(0o644),
        ..Entry::new(
            format!("a name of middling length {number:08}.txt"),
            Kind::File,
        )
    }
}

fn list(cache: &Cache<String>, directory: &RemotePath) {
    let listed = cache.snapshot_or_fetch(directory, || Ok((0..ENTRIES).map(entry).collect()));
    assert_eq!(listed.unwrap().len(), ENTRIES);
}

/// Asserts that the account is not below the truth by more than a tenth, nor twice as high.
fn assert_honest(what: &str, said: usize, real: usize) {
    println!(
        "{what}: {} bytes an entry said, {} measured",
        said / ENTRIES,
        real / ENTRIES
    );
    assert!(
        said * 10 >= real * 9,
        "{what}: {said} said, {real} measured"
    );
    assert!(said <= real * 2, "{what}: {said} said, {real} measured");
}

#[test]
fn a_million_entries_fit_in_300_bytes_each_and_the_account_is_honest() {
    let cache = Cache::new(CacheOptions {
        ttl: Duration::from_secs(3600),
        max_bytes: usize::MAX,
    });
    let path = |text: &str| RemotePath::new(text.as_bytes()).unwrap();
    // What a fetch needs for a moment is in the heap after the first.
    list(&cache, &path("/first"));

    let before = (cache.bytes(), resident());
    list(&cache, &path("/listed"));
    let after = (cache.bytes(), resident());
    let listed = after.0 - before.0;
    assert_honest("listed", listed, after.1 - before.1);
    assert!(listed < 300 * ENTRIES);

    let made = path("/made");
    cache.insert_empty_directory(&made);
    for number in 0..ENTRIES {
        let entry = entry(number);
        cache.insert(&made, &entry.name, Attributes::from(&entry));
    }
    assert_eq!(cache.snapshot(&made).unwrap().len(), ENTRIES);
    let made = cache.bytes() - after.0;
    println!("made one by one: {} bytes an entry said", made / ENTRIES);
    assert!(made < 300 * ENTRIES);

    let before = (cache.bytes(), resident());
    for number in 0..ENTRIES {
        let entry = entry(number);
        cache.insert(&path("/singly"), &entry.name, Attributes::from(&entry));
    }
    let singly = (cache.bytes() - before.0, resident() - before.1);
    assert_honest("heard singly", singly.0, singly.1);
}
