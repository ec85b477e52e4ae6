//! Kills and restarts the server during `cp -r` and `sha256sum`: whatever succeeds is complete, and
//! nothing hangs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::amount;
use crate::kills::temporary_names;
use crate::programs;
use crate::support::{Kind, Mount, Random, TestServer, assert_same_tree, lines, shell, wait_for};

const LENGTHS: [usize; 8] = [0, 1, 5_000, 70_000, 300_000, 1 << 20, 3 << 20, 6 << 20];

/// Maximum time in milliseconds that the server is up, and that it is down.
const UP: usize = 2_000;
const DOWN: usize = 800;

/// Pause between two attempts while the server is down.
const REST: Duration = Duration::from_millis(100);

/// Maximum time for the mount to notice that the server is back.
const BACK: Duration = Duration::from_secs(10);

/// Maximum time to clean up after an upload that lost its connection and was restarted.
const CLEARED: Duration = Duration::from_secs(30);

/// Counts of what the programs of one loop did.
#[derive(Debug, Default)]
struct Tally {
    done: usize,
    failed: usize,
    hung: usize,
}

/// Repeatedly copies a tree on the server to another one there with `cp -r`, and compares them.
fn copy_again_and_again(server: &TestServer, mount: &Mount, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let copy = format!("copy-{number}");
        let outcome = programs::script(mount.path(), &format!("cp -r source {copy}"));
        match outcome {
            None => tally.hung += 1,
            Some(output) if output.status.success() => {
                let copied = server.root().join(&copy);
                assert!(
                    wait_for(CLEARED, || temporary_names(&copied) == 0),
                    "what a lost upload left in {copy} is not cleared away"
                );
                assert_same_tree(server.root().join("source"), copied);
                tally.done += 1;
            }
            Some(output) => {
                assert!(!output.stderr.is_empty(), "it failed without a word");
                tally.failed += 1;
                thread::sleep(REST);
            }
        }
        let _ = fs::remove_dir_all(server.root().join(copy));
    }
    tally
}

/// Repeatedly runs `sha256sum` on that tree, bypassing the page cache; every printed line is right.
fn sum_again_and_again(mount: &Mount, sums: &BTreeMap<String, String>, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let drop_pages = "for f in *; do dd if=$f iflag=nocache count=0 status=none; done";
    while !stop.load(Ordering::Relaxed) {
        let script = format!("cd source || exit 9; {drop_pages}; exec sha256sum *");
        let Some(output) = programs::script(mount.path(), &script) else {
            tally.hung += 1;
            continue;
        };
        let told = lines(&output);
        for line in &told {
            let (sum, name) = line.split_once("  ").unwrap();
            assert_eq!(sums.get(name).map(String::as_str), Some(sum), "{name}");
        }
        if output.status.success() {
            assert_eq!(told.len(), sums.len());
            tally.done += 1;
        } else {
            tally.failed += 1;
            thread::sleep(REST);
        }
    }
    tally
}

fn sums_of(directory: &Path) -> BTreeMap<String, String> {
    lines(&shell(directory, "sha256sum *"))
        .iter()
        .map(|line| {
            let (sum, name) = line.split_once("  ").unwrap();
            (name.to_owned(), sum.to_owned())
        })
        .collect()
}

fn restart_again_and_again(kind: Kind, restarts: usize) {
    let server = TestServer::start(kind);
    let mut random = Random::new();
    for (number, length) in LENGTHS.into_iter().enumerate() {
        let content: Vec<u8> = random.bytes(997).into_iter().cycle().take(length).collect();
        server.write(format!("source/{number}"), content);
    }
    let sums = sums_of(&server.root().join("source"));
    let mount = Mount::with_options(&server, &["timeout=10"]);
    let stop = AtomicBool::new(false);
    let (copies, read) = thread::scope(|scope| {
        let copies = scope.spawn(|| copy_again_and_again(&server, &mount, &stop));
        let read = scope.spawn(|| sum_again_and_again(&mount, &sums, &stop));
        for _ in 0..restarts {
            thread::sleep(Duration::from_millis(random.below(UP) as u64));
            server.kill();
            thread::sleep(Duration::from_millis(random.below(DOWN) as u64));
            server.start_again();
        }
        stop.store(true, Ordering::Relaxed);
        (copies.join().unwrap(), read.join().unwrap())
    });
    let works = wait_for(BACK, || {
        let after = programs::script(mount.path(), "cp -r source after && rm -r after");
        after.is_some_and(|output| output.status.success())
    });
    assert!(works, "it does not work again by itself: {}", server.url());
    println!(
        "{kind:?}: {restarts} restarts; cp -r: {copies:?}; sha256sum: {read:?}; copies that differ: 0"
    );
    assert_eq!((copies.hung, read.hung), (0, 0));
}

/// Returns one server's share of the restarts.
fn share() -> usize {
    amount("FTPFS_SOAK_RESTARTS", 12).div_ceil(3)
}

#[test]
fn embedded() {
    restart_again_and_again(Kind::Embedded, share());
}

#[test]
fn vsftpd() {
    restart_again_and_again(Kind::Vsftpd, share());
}

#[test]
fn proftpd() {
    restart_again_and_again(Kind::Proftpd, share());
}
