//! Kills ftpfs with SIGKILL at random moments during uploads over existing files. The server has
//! either the old or the new file, and the next mount leaves nothing behind. If a program saw its
//! file stored, the server has the new one: immediately, or after the next mount with writeback.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::amount;
use crate::programs::ends_in_time;
use crate::support::{Kind, Mount, Random, TestServer};

const NAMES: [&str; 3] = ["one", "two", "three"];

/// File lengths, from one stored in a single step to one that is uploaded while it is written.
const LENGTHS: [usize; 6] = [1, 4 << 10, 300 << 10, 1 << 20, 4 << 20, 12 << 20];

/// The latest moments of a kill, in µs: roughly when a small, a larger and the largest file are
/// stored.
const LATEST: [usize; 3] = [8_000, 25_000, 90_000];

/// A file and the content that overwrites it.
struct File {
    name: &'static str,
    old: Vec<u8>,
    new: Vec<u8>,
    /// Whether the program that wrote it ended successfully.
    is_acknowledged: bool,
}

/// When a file that a program saw stored is on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    Now,
    /// After the next mount.
    Later,
}

/// Outcomes of the overwrites.
#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    /// The program saw the file stored.
    acknowledged: usize,
    /// The program did not see the file stored, but the new file is there.
    stored_untold: usize,
    stored_by_the_next_mount: usize,
    old: usize,
    temporary_names_after_a_kill: usize,
}

impl File {
    /// Quickly makes bytes that identify their content even when truncated at any point.
    fn content(random: &mut Random) -> Vec<u8> {
        let pattern = random.bytes(997);
        let length = LENGTHS[random.below(LENGTHS.len())];
        pattern.into_iter().cycle().take(length).collect()
    }

    /// Whether the new file is on the server. Asserts that the server has either the old or the
    /// new.
    fn is_new(&self, root: &Path, when: &str, acknowledged: Promise) -> bool {
        let now = fs::read(root.join(self.name))
            .unwrap_or_else(|error| panic!("{} {when}: {error}", self.name));
        let is_new = now == self.new;
        assert!(
            is_new || now == self.old,
            "{} {when}: {} bytes, neither the old {} nor the new {}",
            self.name,
            now.len(),
            self.old.len(),
            self.new.len()
        );
        assert!(
            is_new || !self.is_acknowledged || acknowledged == Promise::Later,
            "{} {when}: its cp ended well, and it is the old one",
            self.name
        );
        is_new
    }
}

pub(crate) fn temporary_names(root: &Path) -> usize {
    let entries = fs::read_dir(root).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.as_encoded_bytes().starts_with(b".ftpfs-"))
        .count()
}

/// Copies from within the mount: by its full path, a late `cp` would find the directory below it.
fn copy(from: &Path, mount: &Mount, name: &str) -> Child {
    Command::new("cp")
        .arg(from)
        .arg(name)
        .current_dir(mount.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn kill_again_and_again(kind: Kind, kills: usize, acknowledged: Promise) {
    // With writeback, the time after the close also counts: background uploads run then.
    let (options, stretch): (&[&str], usize) = match acknowledged {
        Promise::Now => (&["timeout=10"], 1),
        Promise::Later => (&["timeout=10", "writeback"], 8),
    };
    let server = TestServer::start(kind);
    let state = TempDir::new().unwrap();
    let local = TempDir::new().unwrap();
    let mut random = Random::new();
    let mut tally = Tally::default();
    let mut files = NAMES.map(|name| {
        let old = File::content(&mut random);
        server.write(name, &old);
        File {
            name,
            new: old.clone(),
            old,
            is_acknowledged: false,
        }
    });
    for _ in 0..kills {
        // It ends when it has stored what the killed one left.
        Mount::with_state(&server, options, state.path()).unmount();
        settle(&server, &mut files, &mut tally);
        let mount = Mount::with_state(&server, options, state.path());
        for file in &mut files {
            file.new = File::content(&mut random);
            fs::write(local.path().join(file.name), &file.new).unwrap();
        }
        let mut programs = NAMES.map(|name| copy(&local.path().join(name), &mount, name));
        let latest = LATEST[random.below(LATEST.len())] * stretch;
        thread::sleep(Duration::from_micros(random.below(latest) as u64));
        mount.kill_nine();
        tally.kills += 1;
        tally.temporary_names_after_a_kill += temporary_names(server.root());
        for (file, program) in files.iter_mut().zip(&mut programs) {
            assert!(ends_in_time(program), "cp hangs on a dead mount");
            file.is_acknowledged = program.wait().unwrap().success();
            let is_new = file.is_new(server.root(), "after the kill", acknowledged);
            tally.acknowledged += usize::from(file.is_acknowledged);
            tally.stored_untold += usize::from(is_new && !file.is_acknowledged);
            tally.stored_by_the_next_mount += usize::from(!is_new);
        }
    }
    Mount::with_state(&server, &[], state.path()).unmount();
    settle(&server, &mut files, &mut tally);
    println!(
        "{kind:?}, acknowledged {acknowledged:?}: {tally:?}; neither old nor new: 0; temporary names after the next mount: 0"
    );
}

/// Checks the files after the mount that follows a kill.
fn settle(server: &TestServer, files: &mut [File], tally: &mut Tally) {
    assert_eq!(temporary_names(server.root()), 0, "after the next mount");
    for file in files {
        if !file.is_new(server.root(), "after the next mount", Promise::Now) {
            tally.stored_by_the_next_mount -= 1;
            tally.old += 1;
            continue;
        }
        file.old = file.new.clone();
        file.is_acknowledged = false;
    }
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
