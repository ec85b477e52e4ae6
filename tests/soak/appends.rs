//! Kills ftpfs with SIGKILL at random moments while programs append to large files. The old bytes
//! stay, with a part of the new ones; after the next mount, all or none of them are there. If a
//! program saw its bytes stored, the server has them: immediately, or after the next mount with
//! writeback.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::amount;
use crate::kills::{Promise, temporary_names};
use crate::programs::ends_in_time;
use crate::support::{Kind, Mount, Random, TestServer};

const NAMES: [&str; 3] = ["one", "two", "three"];

/// Numbers of bytes that are appended at a time.
const LENGTHS: [usize; 5] = [1, 100, 70_000, 1 << 20, 6 << 20];

/// The latest moments of a kill, in µs.
const LATEST: [usize; 3] = [10_000, 30_000, 90_000];

/// Size of a file from which it is begun again, so that the disk does not fill up.
const MOST: usize = 24 << 20;

/// A file and the bytes that are appended to it.
struct File {
    name: &'static str,
    old: Vec<u8>,
    new: Vec<u8>,
    is_acknowledged: bool,
}

/// Outcomes of the appends.
#[derive(Debug, Default)]
struct Tally {
    acknowledged: usize,
    none_after_a_kill: usize,
    a_part_after_a_kill: usize,
    all_after_a_kill: usize,
    all_after_the_next_mount: usize,
}

impl File {
    /// Checks that the server has the old bytes and the beginning of the new ones. Returns how many
    /// of these it has.
    fn appended(&self, root: &Path, when: &str) -> usize {
        let now = fs::read(root.join(self.name)).unwrap();
        let more = now.strip_prefix(&*self.old);
        let more = more.unwrap_or_else(|| panic!("{} {when}: the old bytes changed", self.name));
        assert!(
            self.new.starts_with(more),
            "{} {when}: {} bytes behind the old {}, not the beginning of {}",
            self.name,
            more.len(),
            self.old.len(),
            self.new.len()
        );
        more.len()
    }
}

fn append(from: &Path, mount: &Mount, name: &str) -> Child {
    Command::new("dd")
        .arg(format!("if={}", from.display()))
        .arg(format!("of={name}"))
        .args(["oflag=append", "conv=notrunc", "bs=256k", "status=none"])
        .current_dir(mount.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn kill_again_and_again(kind: Kind, kills: usize, acknowledged: Promise) {
    let (options, stretch): (&[&str], usize) = match acknowledged {
        Promise::Now => (&["timeout=10"], 1),
        Promise::Later => (&["timeout=10", "writeback"], 8),
    };
    let server = TestServer::start(kind);
    let state = TempDir::new().unwrap();
    let local = TempDir::new().unwrap();
    let mut random = Random::new();
    let mut tally = Tally::default();
    let mut files = NAMES.map(|name| File {
        name,
        old: Vec::new(),
        new: Vec::new(),
        is_acknowledged: false,
    });
    for _ in 0..kills {
        for file in &mut files {
            if file.old.is_empty() || file.old.len() > MOST {
                file.old = random
                    .bytes(997)
                    .into_iter()
                    .cycle()
                    .take(600_000)
                    .collect();
                server.write(file.name, &file.old);
            }
            let length = LENGTHS[random.below(LENGTHS.len())];
            file.new = random.bytes(991).into_iter().cycle().take(length).collect();
            fs::write(local.path().join(file.name), &file.new).unwrap();
        }
        let mount = Mount::with_state(&server, options, state.path());
        let mut programs = NAMES.map(|name| append(&local.path().join(name), &mount, name));
        let latest = LATEST[random.below(LATEST.len())] * stretch;
        thread::sleep(Duration::from_micros(random.below(latest) as u64));
        mount.kill_nine();
        for (file, program) in files.iter_mut().zip(&mut programs) {
            assert!(ends_in_time(program), "dd hangs on a dead mount");
            file.is_acknowledged = program.wait().unwrap().success();
            tally.acknowledged += usize::from(file.is_acknowledged);
            let count = file.appended(server.root(), "after the kill");
            match count {
                0 => tally.none_after_a_kill += 1,
                all if all == file.new.len() => tally.all_after_a_kill += 1,
                _ => tally.a_part_after_a_kill += 1,
            }
            assert!(
                count == file.new.len() || !file.is_acknowledged || acknowledged == Promise::Later,
                "{}: its dd ended well",
                file.name
            );
        }
        // It ends when it has stored what the killed one left.
        let next = Mount::with_state(&server, options, state.path());
        let log = next.log();
        next.unmount();
        assert_eq!(temporary_names(server.root()), 0, "after the next mount");
        for file in &mut files {
            let count = file.appended(server.root(), "after the next mount");
            let is_whole = count == file.new.len();
            assert!(is_whole || count == 0, "{}: {count} bytes {log}", file.name);
            assert!(is_whole || !file.is_acknowledged, "{}: {log}", file.name);
            tally.all_after_the_next_mount += usize::from(is_whole);
            if is_whole {
                file.old.append(&mut file.new);
            }
        }
    }
    println!("{kind:?}, acknowledged {acknowledged:?}, {kills} kills: {tally:?}; damaged: 0");
}

/// Returns one server's share of the kills.
fn share() -> usize {
    amount("FTPFS_SOAK_KILLS", 30).div_ceil(3)
}

#[test]
fn embedded() {
    kill_again_and_again(Kind::Embedded, share(), Promise::Now);
}

#[test]
fn vsftpd() {
    kill_again_and_again(Kind::Vsftpd, share(), Promise::Now);
}

#[test]
fn proftpd() {
    kill_again_and_again(Kind::Proftpd, share(), Promise::Now);
}

#[test]
fn embedded_writeback() {
    kill_again_and_again(Kind::Embedded, share(), Promise::Later);
}

#[test]
fn vsftpd_writeback() {
    kill_again_and_again(Kind::Vsftpd, share(), Promise::Later);
}
