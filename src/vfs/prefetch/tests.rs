use std::time::{Duration, Instant};

use super::*;
use crate::cache::CacheOptions;
use crate::ftp::Entry;

fn path(text: &str) -> RemotePath {
    RemotePath::new(text.as_bytes()).unwrap()
}

fn state(now: Instant) -> PrefetchState {
    let limits = RunLimits {
        most_bytes: 4 << 20,
        open_ttl: Duration::from_secs(1),
    };
    PrefetchState::new(limits, 1 << 20, true, now)
}

/// Reads two files in order in a directory of a hundred.
fn begin_run(state: &mut PrefetchState, now: Instant) {
    let cache: Cache<()> = Cache::new(CacheOptions {
        ttl: Duration::from_secs(600),
        max_bytes: 1 << 20,
    });
    let entry = |number: usize| {
        let mut entry = Entry::new(format!("{number:03}").as_bytes(), Kind::File);
        entry.size = Some(100);
        entry
    };
    let listing = cache.snapshot_or_fetch(&path("/d"), || Ok((0..100).map(entry).collect()));
    let listing = listing.unwrap();
    for number in 0..2 {
        let read = path(&format!("/d/{number:03}"));
        state
            .run
            .reads(&read, false, now, |_| Some((Arc::clone(&listing), now)));
    }
}

#[test]
fn files_are_not_fetched_far_ahead_while_directories_wait_to_be_listed() {
    let now = Instant::now();
    let mut state = state(now);
    begin_run(&mut state, now);
    let directories = ["1a", "2b", "3c"].map(|name| path(&format!("/objects/{name}")));
    state.walk.add_scattered(directories.clone());
    let mut read = 0;
    let listed = loop {
        match state.next(64, false, now) {
            Some(PrefetchJob::Read(_)) => read += 1,
            Some(PrefetchJob::List(listed)) => break listed,
            other => panic!("{other:?} after {read} files"),
        }
    };
    assert_eq!(listed, directories);
    assert!((1..=8).contains(&read), "{read} files first");
    assert!(matches!(
        state.next(64, false, now),
        None | Some(PrefetchJob::Read(_))
    ));
}

#[test]
fn directories_are_listed_while_files_are_read_as_fast_as_they_come() {
    let now = Instant::now();
    let mut state = state(now);
    begin_run(&mut state, now);
    state.walk.add_scattered([path("/objects/1a")]);
    let read_next = |state: &mut PrefetchState| {
        let brief = state.next(64, true, now);
        match brief.or_else(|| state.next(64, false, now)) {
            Some(PrefetchJob::Read(RunTask::Fetch(wanted))) => {
                let taken = state.run.take(&wanted.path, wanted.slot.version(), now);
                assert!(taken.is_some());
                true
            }
            Some(PrefetchJob::List(_)) => false,
            other => panic!("{other:?}"),
        }
    };
    let read = (0..100).take_while(|_| read_next(&mut state)).count();
    assert!((1..=10).contains(&read), "{read} files first");
    assert!(read_next(&mut state));
}

#[test]
fn files_are_fetched_where_no_connection_may_list_directories() {
    let now = Instant::now();
    let mut state = state(now);
    begin_run(&mut state, now);
    state.walk.add_scattered([path("/objects/1a")]);
    while let Some(job) = state.next(64, true, now) {
        assert!(
            matches!(job, PrefetchJob::Read(RunTask::Fetch(_))),
            "{job:?}"
        );
    }
    state.run.take(&path("/d/002"), &Version::default(), now);
    assert!(!state.is_brief(now), "directories are next");
    state.cannot_list();
    assert!(state.is_brief(now));
    assert!(state.next(64, true, now).is_some());
}

#[test]
fn a_brief_connection_lists_no_directories() {
    let now = Instant::now();
    let mut state = state(now);
    begin_run(&mut state, now);
    state.walk.add_scattered([path("/objects/1a")]);
    let mut read = 0;
    while let Some(job) = state.next(64, true, now) {
        assert!(matches!(job, PrefetchJob::Read(_)), "{job:?}");
        read += 1;
    }
    assert!(read > 0);
    assert!(matches!(
        state.next(64, false, now),
        Some(PrefetchJob::List(_))
    ));
}

#[test]
fn directories_that_a_program_is_about_to_look_into_come_before_files() {
    let now = Instant::now();
    let mut state = state(now);
    begin_run(&mut state, now);
    assert!(state.is_brief(now), "a small file is next");
    let soon = Duration::from_millis(500);
    state.relist.again(vec![path("/a"), path("/b")], soon, now);
    assert!(!state.is_brief(now));
    let first = state.next(64, false, now);
    assert!(matches!(&first, Some(PrefetchJob::Relist(again)) if again.len() == 2));
    // Those that this mount writes to wait.
    state.relist.absent(&path("/c"), None, soon, now);
    let second = state.next(64, false, now);
    assert!(matches!(second, Some(PrefetchJob::Read(_))));
}
