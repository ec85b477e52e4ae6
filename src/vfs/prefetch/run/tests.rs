use super::task::LARGEST_FILE;
use super::*;
use crate::cache::{Cache, CacheOptions};
use crate::ftp::Entry;

const TTL: Duration = Duration::from_secs(1);

fn path(number: usize) -> RemotePath {
    RemotePath::new(format!("/d/{number:03}").as_bytes()).unwrap()
}

/// A listing of `files` files of `size` bytes each.
fn listing(files: usize, size: u64) -> Arc<Snapshot> {
    let cache: Cache<()> = Cache::new(CacheOptions {
        ttl: Duration::from_secs(600),
        max_bytes: 1 << 20,
    });
    let entry = |number| {
        let mut entry = Entry::new(path(number).name(), Kind::File);
        entry.size = Some(size);
        entry
    };
    let directory = path(0).parent().unwrap();
    let listed = cache.snapshot_or_fetch(&directory, || Ok((0..files).map(entry).collect()));
    listed.unwrap()
}

fn run(now: Instant) -> FileRun {
    let rules = RunLimits {
        most_bytes: 4 << 20,
        open_ttl: TTL,
    };
    FileRun::new(rules, now)
}

/// Reads those files, of a directory listed at `listed`.
fn read(run: &mut FileRun, numbers: impl IntoIterator<Item = usize>, size: u64, listed: Instant) {
    for number in numbers {
        run.reads(&path(number), false, listed, |_| {
            Some((listing(100, size), listed))
        });
    }
}

fn fetches(run: &mut FileRun, now: Instant) -> Vec<WantedFile> {
    let fetch = |task| match task {
        RunTask::Fetch(wanted) => wanted,
        RunTask::Confirm(paths) => panic!("asks of {paths:?}"),
    };
    std::iter::from_fn(|| run.task(now)).map(fetch).collect()
}

fn of_size(size: u64) -> Version {
    Version {
        size: Some(size),
        ..Version::default()
    }
}

#[test]
fn two_files_in_order_are_a_run_and_two_out_of_order_are_none() {
    let now = Instant::now();
    let mut run = run(now);
    read(&mut run, [50, 3], 10, now);
    assert_eq!(run.jobs(now), 0);
    read(&mut run, [5], 10, now);
    let wanted = fetches(&mut run, now);
    let expected: Vec<_> = (6..6 + FIRST_WINDOW).map(path).collect();
    let paths: Vec<_> = wanted.into_iter().map(|it| it.path).collect();
    assert_eq!(paths, expected);
    read(&mut run, [80], 10, now);
    assert_eq!(run.jobs(now), 0, "it is over");
}

#[test]
fn what_is_taken_is_of_the_version_that_is_opened_and_widens_the_window() {
    let now = Instant::now();
    let mut run = run(now);
    read(&mut run, [0, 1], 10, now);
    let first = fetches(&mut run, now);
    assert!(run.take(&path(2), &of_size(11), now).is_none());
    assert!(
        run.take(&path(2), &of_size(10), now).is_none(),
        "it is given up"
    );
    assert!(run.take(&path(3), &of_size(10), now).is_some());
    read(&mut run, [2, 3], 10, now);
    assert_eq!(
        fetches(&mut run, now).len(),
        2 * FIRST_WINDOW - first.len() + 2
    );
}

#[test]
fn few_files_are_fetched_ahead_while_no_program_waits() {
    let now = Instant::now();
    let mut run = run(now);
    read(&mut run, [0, 1], 10, now);
    let wanted = fetches(&mut run, now);
    let whole = || Some(vec![0; 10]);
    for it in wanted.iter().take(4) {
        it.slot.end(whole());
        run.take(&it.path, &of_size(10), now).unwrap();
    }
    read(&mut run, 2..6, 10, now);
    assert_eq!(fetches(&mut run, now).len(), 4, "in place of those");

    let awaited = run.take(&path(6), &of_size(10), now).unwrap();
    read(&mut run, [6], 10, now);
    assert!(run.jobs(now) > FIRST_WINDOW);
    awaited.end(whole());
    assert_eq!(run.jobs(now), 1);
}

/// As with `grep x *.c` among headers.
#[test]
fn files_that_a_program_leaves_out_do_not_end_the_run() {
    let now = Instant::now();
    let mut run = run(now);
    let mut fetched = 0;
    for number in (0..90).step_by(3) {
        let taken = run.take(&path(number), &of_size(10), now);
        fetched += usize::from(taken.is_some());
        read(&mut run, [number], 10, now);
        for wanted in fetches(&mut run, now) {
            wanted.slot.end(Some(vec![0; 10]));
        }
    }
    assert_eq!(fetched, 28, "all but two");
    assert!(run.slots.len() <= 2 * FIRST_WINDOW);
    let bytes: u64 = run.slots.values().map(|it| it.1).sum();
    assert_eq!(bytes, run.bytes);
}

/// Reads as the prefetcher does. Returns whether the file was fetched ahead, and how many others
/// are then.
fn taken_and_read(run: &mut FileRun, files: usize, path: &str) -> (bool, usize) {
    let now = Instant::now();
    let file = RemotePath::new(path.as_bytes()).unwrap();
    let taken = run.take(&file, &of_size(10), now);
    read_in_walk(run, files, path, true);
    let others = fetches(run, now);
    for wanted in &others {
        wanted.slot.end(Some(vec![0; 10]));
    }
    (taken.is_some(), others.len())
}

#[test]
fn a_program_that_reads_the_first_file_of_each_directory_gets_no_others() {
    // With few files in a directory, those of the next ones are fetched, too.
    for files in [3, 20] {
        let mut run = run(Instant::now());
        let (_, others) = taken_and_read(&mut run, files, "/a/0");
        assert_eq!(others, FIRST_WINDOW, "it may read all");
        for path in ["/b/0", "/c/0"] {
            let (_, others) = taken_and_read(&mut run, files, path);
            assert_eq!(others, 0, "{path}");
        }
        let (_, others) = taken_and_read(&mut run, files, "/c/1");
        assert!(others > 0, "it reads others");
    }
}

#[test]
fn directories_of_one_file_are_a_run() {
    let mut run = run(Instant::now());
    taken_and_read(&mut run, 1, "/a/0");
    // The first ones may come too late to fetch anything.
    run.slots.clear();
    run.bytes = 0;
    assert_eq!(taken_and_read(&mut run, 1, "/b/0"), (false, 2));
    for path in ["/c/0", "/d/0"] {
        let (is_fetched, _) = taken_and_read(&mut run, 1, path);
        assert!(is_fetched, "{path}");
    }
}

#[test]
fn a_look_far_ahead_drops_nothing() {
    let now = Instant::now();
    let mut run = run(now);
    read(&mut run, [0, 1], 10, now);
    for wanted in fetches(&mut run, now) {
        wanted.slot.end(Some(vec![0; 10]));
    }
    read(&mut run, [50], 10, now);
    assert!(run.take(&path(2), &of_size(10), now).is_some());
    read(&mut run, [2, 3], 10, now);
    assert!(run.take(&path(4), &of_size(10), now).is_some());
}

#[test]
fn bytes_are_bounded_and_large_files_are_left_alone() {
    let now = Instant::now();
    let mut run = run(now);
    read(&mut run, [0, 1], LARGEST_FILE, now);
    for _ in 0..4 {
        let wanted = fetches(&mut run, now);
        let bytes: u64 = run.slots.values().map(|it| it.1).sum();
        assert!(bytes <= 4 << 20 && bytes == run.bytes, "{bytes} bytes");
        for wanted in wanted.into_iter().take(3) {
            let taken = run.take(&wanted.path, &of_size(LARGEST_FILE), now);
            assert!(taken.is_some());
        }
    }
    let mut run = self::run(now);
    read(&mut run, [0, 1], LARGEST_FILE + 1, now);
    assert_eq!(run.jobs(now), 0);
}

/// The question and the fetches need no order: an open compares the versions.
#[test]
fn what_was_said_too_long_ago_is_asked_again() {
    let now = Instant::now();
    let mut run = run(now);
    read(&mut run, [0, 1], 10, now);
    let later = now + TTL;
    let Some(RunTask::Confirm(paths)) = run.task(later) else {
        panic!("it does not ask");
    };
    assert_eq!(paths, (2..2 + FIRST_WINDOW).map(path).collect::<Vec<_>>());
    assert_eq!(fetches(&mut run, later).len(), FIRST_WINDOW, "meanwhile");
    let told = paths.into_iter().map(|path| {
        let size = if path == self::path(3) { 11 } else { 10 };
        (path, Some(of_size(size)))
    });
    run.confirmed(told.collect(), later);
    assert!(
        run.take(&path(3), &of_size(10), now).is_none(),
        "it changed"
    );
    assert!(run.take(&path(4), &of_size(10), now).is_some());
    assert!(run.said(&path(2), &of_size(10)).is_some());
    assert!(run.said(&path(2), &of_size(11)).is_none());
    assert!(run.said(&path(3), &of_size(10)).is_none());
}

/// Directories `a` to `d` of `files` files each.
fn tree(files: usize) -> impl Fn(&RemotePath) -> Option<(Arc<Snapshot>, Instant)> {
    let listed = Instant::now();
    move |directory: &RemotePath| {
        let cache: Cache<()> = Cache::new(CacheOptions {
            ttl: Duration::from_secs(600),
            max_bytes: 1 << 20,
        });
        let below = directory.as_bytes() != b"/";
        let directories =
            ["a", "b", "c", "d"].map(|name| Entry::new(name.as_bytes(), Kind::Directory));
        let file = |number: usize| {
            let mut entry = Entry::new(number.to_string().as_bytes(), Kind::File);
            entry.size = Some(10);
            entry
        };
        let entries = if below {
            (0..files).map(file).collect()
        } else {
            directories.into_iter().collect()
        };
        Some((
            cache.snapshot_or_fetch(directory, || Ok(entries)).ok()?,
            listed,
        ))
    }
}

fn read_in_tree(run: &mut FileRun, files: usize, path: &str) {
    read_in_walk(run, files, path, false);
}

fn read_in_walk(run: &mut FileRun, files: usize, path: &str, is_walked: bool) {
    let path = RemotePath::new(path.as_bytes()).unwrap();
    run.reads(&path, is_walked, Instant::now(), tree(files));
}

#[test]
fn a_run_in_a_walk_reaches_the_directories_behind() {
    let now = Instant::now();
    let mut run = run(now);
    for path in ["/a/1", "/a/2"] {
        assert_eq!(run.jobs(now), 0);
        read_in_walk(&mut run, 4, path, true);
    }
    let wanted = fetches(&mut run, now);
    let wanted: Vec<_> = wanted.iter().map(|it| it.path.to_string()).collect();
    let expected = [
        "/a/3", "/b/0", "/b/1", "/b/2", "/b/3", "/c/0", "/c/1", "/c/2",
    ];
    assert_eq!(wanted, expected);
}

#[test]
fn the_first_file_of_a_directory_is_a_run_in_a_walk_only() {
    let now = Instant::now();
    let mut run = run(now);
    read_in_tree(&mut run, 3, "/a/0");
    assert_eq!(run.jobs(now), 0);
    let mut run = self::run(now);
    read_in_walk(&mut run, 3, "/a/0", true);
    let wanted = fetches(&mut run, now);
    let wanted: Vec<_> = wanted.iter().map(|it| it.path.to_string()).collect();
    let expected = ["/a/1", "/a/2", "/b/0"];
    assert_eq!(wanted.get(..3), Some(&expected.map(String::from)[..]));
}

#[test]
fn a_run_that_went_on_in_another_directory_reaches_those_behind_it() {
    let now = Instant::now();
    let mut run = run(now);
    for path in ["/a/0", "/a/1"] {
        read_in_tree(&mut run, 3, path);
    }
    let wanted = |run: &mut FileRun| -> Vec<_> {
        let wanted = fetches(run, now);
        wanted.iter().map(|it| it.path.to_string()).collect()
    };
    assert_eq!(wanted(&mut run), ["/a/2"], "it may end there");
    read_in_tree(&mut run, 3, "/b/0");
    let expected = [
        "/b/1", "/b/2", "/c/0", "/c/1", "/c/2", "/d/0", "/d/1", "/d/2",
    ];
    assert_eq!(wanted(&mut run), expected);
    let path = |text: &str| RemotePath::new(text.as_bytes()).unwrap();
    assert!(
        run.take(&path("/a/2"), &of_size(10), now).is_none(),
        "it is behind"
    );
    run.forget(&path("/d"));
    for file in ["/b/1", "/b/2", "/c/0"] {
        assert!(run.take(&path(file), &of_size(10), now).is_some());
        read_in_tree(&mut run, 3, file);
    }
    let expected = ["/d/0", "/d/1", "/d/2"];
    assert_eq!(wanted(&mut run), expected, "as it is now, and others once");
}

#[test]
fn a_program_that_reads_elsewhere_begins_a_new_run() {
    let now = Instant::now();
    let mut run = run(now);
    for path in ["/a/0", "/a/1", "/a/2", "/b/x/0"] {
        read_in_tree(&mut run, 3, path);
    }
    assert!(fetches(&mut run, now).is_empty());
}

/// As git does: `HEAD`, `config`, `refs/heads/main`, `index`.
#[test]
fn what_was_fetched_is_kept_while_a_program_reads_one_file_elsewhere() {
    let path = |text: &str| RemotePath::new(text.as_bytes()).unwrap();
    let now = Instant::now();
    let left = |elsewhere: &[&str]| {
        let mut run = run(now);
        for path in ["/a/0", "/a/1"] {
            read_in_tree(&mut run, 5, path);
        }
        assert_eq!(fetches(&mut run, now).len(), 3);
        for path in elsewhere {
            read_in_tree(&mut run, 5, path);
        }
        run
    };
    let mut one = left(&["/a/x/y/0"]);
    one.forget(&path("/a/3"));
    assert!(one.take(&path("/a/2"), &of_size(10), now).is_some());
    assert!(one.take(&path("/a/3"), &of_size(10), now).is_none());
    let late = now + LIVES * 2;
    assert!(one.take(&path("/a/4"), &of_size(10), late).is_none());

    let mut other = left(&["/a/x/y/0", "/a/x/y/1"]);
    assert!(!fetches(&mut other, now).is_empty());
    assert!(other.take(&path("/a/2"), &of_size(10), now).is_none());

    let mut removed = left(&["/a/x/y/0"]);
    removed.forget(&path("/a"));
    assert!(removed.take(&path("/a/2"), &of_size(10), now).is_none());
}

#[test]
fn what_failed_or_changed_is_not_fetched_again() {
    let now = Instant::now();
    let mut run = run(now);
    read(&mut run, [0, 1], 10, now);
    let wanted = fetches(&mut run, now);
    wanted[0].slot.end(Some(vec![0; 9]));
    wanted[1].slot.end(Some(vec![0; 10]));
    for wanted in &wanted {
        run.fetched(wanted);
    }
    assert!(run.take(&path(2), &of_size(10), now).is_none(), "too short");
    run.forget(&path(3));
    assert!(run.take(&path(3), &of_size(10), now).is_none());
    assert_eq!(run.jobs(now), 0);
    run.forget(&path(0).parent().unwrap());
    assert!(run.take(&path(4), &of_size(10), now).is_none());
}

#[test]
fn a_run_that_stopped_keeps_nothing() {
    let now = Instant::now();
    let mut run = run(now);
    read(&mut run, [0, 1], 10, now);
    assert!(!fetches(&mut run, now).is_empty());
    assert_eq!(run.jobs(now + LIVES), 0);
    assert!(run.slots.is_empty() && run.directories.is_empty());
}
