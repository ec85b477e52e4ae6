//! The server is killed and started again under `cp -r` and `sha256sum`: what ended well is whole,
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

/// Milliseconds that the server runs at most, and that it is away.
const UP: usize = 2_000;
const DOWN: usize = 800;

/// Between two tries while the server is away.
const REST: Duration = Duration::from_millis(100);

/// Until the mount has noticed that the server is back.
const BACK: Duration = Duration::from_secs(10);

/// Until what an upload left whose connection was lost, and which was begun anew, is cleared away.
const CLEARED: Duration = Duration::from_secs(30);

/// What the programs of one loop did.
#[derive(Debug, Default)]
struct Tally {
    done: usize,
    failed: usize,
    hung: usize,
}

/// `cp -r` of a tree on the server to another one there, and whether what it made is the same.
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

/// `sha256sum` of that tree, past the kernel's pages: each line that it prints is right.
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

/// The restarts are shared out among the servers.
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
