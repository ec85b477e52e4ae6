//! Names that only this mount knows, and directories that only it has made names in.

use crate::ftp::{Entry, Kind, RemotePath};

use super::*;

fn cache() -> Cache<String> {
    Cache::new(CacheOptions {
        ttl: Duration::from_secs(60),
        max_bytes: 64 << 20,
    })
}

fn path(text: &str) -> RemotePath {
    RemotePath::new(text.as_bytes()).unwrap()
}

fn file(name: &str) -> Entry {
    Entry::new(name, Kind::File)
}

fn attributes() -> Attributes {
    Attributes::from(&file(""))
}

fn list(cache: &Cache<String>, entries: &[&str]) -> Vec<String> {
    let listing: Vec<_> = entries.iter().map(|name| file(name)).collect();
    let listed = cache.snapshot_or_fetch(&path("/d"), || Ok(listing.into()));
    let listed = listed.unwrap();
    let names = (0..listed.len()).map(|index| listed.get(index).unwrap().0.to_vec());
    names.map(|name| String::from_utf8(name).unwrap()).collect()
}

fn is_absent(cache: &Cache<String>, name: &str) -> bool {
    matches!(
        cache.lookup(&path("/d"), name.as_bytes()),
        Answer::Absent(_)
    )
}

#[test]
fn a_pin_holds_whatever_the_server_lists() {
    let cache = cache();
    cache.pin(&path("/d"), b"gone", None);
    cache.pin(&path("/d"), b"new", Some(attributes()));
    assert!(is_absent(&cache, "gone"));
    assert_eq!(list(&cache, &["gone", "kept"]), ["kept", "new"]);
    cache.insert(&path("/d"), b"gone", attributes());
    cache.invalidate(&path("/d"), b"new");
    assert!(is_absent(&cache, "gone"));
    cache.forget(&path("/d"));
    assert_eq!(list(&cache, &["gone"]), ["new"]);
    cache.unpin(&path("/d"), b"gone");
    cache.unpin(&path("/d"), b"new");
    cache.forget(&path("/d"));
    assert_eq!(list(&cache, &["gone"]), ["gone"]);
}

#[test]
fn a_listing_begun_before_a_change_was_made_is_corrected_by_it() {
    let cache = cache();
    cache.pin(&path("/d"), b"gone", None);
    let fetch = cache.begin(&path("/d")).unwrap();
    // The server lists the name, then it is removed there.
    cache.confirm_pin(&path("/d"), b"gone");
    cache.unpin(&path("/d"), b"gone");
    let listed = fetch.complete(vec![file("gone")].into());
    assert!(listed.is_empty());
    assert!(is_absent(&cache, "gone"));
}

#[test]
fn a_waiter_for_a_listing_that_is_not_cached_sees_the_pins_too() {
    let cache = cache();
    let fetch = cache.begin(&path("/d")).unwrap();
    cache.forget(&path("/d"));
    cache.pin(&path("/d"), b"gone", None);
    assert!(fetch.complete(vec![file("gone")].into()).is_empty());
}

#[test]
fn a_directory_is_private_until_a_listing_shows_a_strange_name() {
    let cache = cache();
    cache.insert_empty_directory(&path("/d"));
    cache.set_private(&path("/d"));
    cache.insert(&path("/d"), b"own", attributes());
    let again = |names: &[&str]| {
        let fetch = cache.begin_again(&path("/d"), Duration::ZERO).unwrap();
        let entries: Vec<_> = names.iter().map(|name| file(name)).collect();
        fetch.complete(entries.into());
        cache.is_private(&path("/d"))
    };
    assert!(again(&["own"]));
    assert!(!again(&["own", "strange"]));
    cache.set_private(&path("/d"));
    cache.remove(&path("/"), b"d");
    assert!(!cache.is_private(&path("/d")));
}

#[test]
fn a_directory_that_another_one_replaces_is_not_private() {
    let cache = cache();
    cache.insert_empty_directory(&path("/others"));
    cache.insert_empty_directory(&path("/own"));
    cache.set_private(&path("/own"));
    cache.rename(&path("/others"), &path("/own"));
    assert!(!cache.is_private(&path("/own")));
}
