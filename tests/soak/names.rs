//! Random work in a tree with `-o writeback=names` and `kill -9`s of ftpfs, also while the server
//! comes and goes: programs see what they made, also after the next mount, and the server has it
//! after a sync.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::amount;
use crate::kills::temporary_names;
use crate::support::{Kind, Mount, Random, TestServer, shell};

/// Few, so that operations interact.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

const DEPTH: usize = 3;

const LENGTHS: [usize; 6] = [0, 1, 100, 5_000, 40_000, 300_000];

/// Operations between two looks at the server, and on average between two kills.
const UNTIL_SYNC: usize = 60;
const UNTIL_KILL: usize = 40;

/// Longest time in milliseconds that the server is there, and that it is away.
const UP: usize = 1500;
const DOWN: usize = 700;

/// What programs have made: files with their contents, and directories.
type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// A program that works at random.
struct Walker {
    random: Random,
    tree: Tree,
    step: usize,
    /// The steps since the last sync.
    trail: Vec<String>,
}

impl Walker {
    /// Does one thing in the file system at `root`.
    fn step(&mut self, root: &Path) {
        self.step += 1;
        let new = self.new_name();
        let old = self.old_name();
        let (at_new, at_old) = (self.tree.get(&new).cloned(), self.tree.get(&old).cloned());
        let what = self.random.below(12);
        let (new_path, old_path) = (root.join(&new), root.join(&old));
        let done = match (what, at_new, at_old) {
            (0..=2, None | Some(Some(_)), _) => {
                let content = self.content();
                let done = write(&new_path, &content, self.random.below(8) == 0);
                self.tree.insert(new.clone(), Some(content));
                ("write", done)
            }
            // As editors save files.
            (3, None | Some(Some(_)), _) => {
                let content = self.content();
                let draft = root.join(format!("{new}~"));
                let done = write(&draft, &content, false);
                let done = done.and_then(|()| fs::rename(&draft, &new_path));
                self.tree.insert(new.clone(), Some(content));
                ("save", done)
            }
            (4, _, Some(Some(mut content))) => {
                let more = self.content();
                let file = File::options().append(true).open(&old_path);
                let done = file.and_then(|mut file| file.write_all(&more));
                content.extend(more);
                self.tree.insert(old.clone(), Some(content));
                ("append to", done)
            }
            (5, None, _) => {
                let done = fs::create_dir(&new_path);
                self.tree.insert(new.clone(), None);
                ("mkdir", done)
            }
            (6, _, Some(Some(_))) => {
                self.tree.remove(&old);
                ("remove", fs::remove_file(&old_path))
            }
            (7, _, Some(None)) if self.below(&old).is_empty() => {
                self.tree.remove(&old);
                ("rmdir", fs::remove_dir(&old_path))
            }
            (8..=9, None | Some(Some(_)), Some(Some(content))) if new != old => {
                self.tree.remove(&old);
                self.tree.insert(new.clone(), Some(content));
                ("rename", fs::rename(&old_path, &new_path))
            }
            (8, None, Some(None)) if !new.starts_with(&format!("{old}/")) => {
                for path in self.below(&old).into_iter().chain([old.clone()]) {
                    let kept = self.tree.remove(&path).unwrap();
                    self.tree
                        .insert(format!("{new}{}", &path[old.len()..]), kept);
                }
                ("rename", fs::rename(&old_path, &new_path))
            }
            (10, _, Some(Some(_))) => {
                let seconds = self.random.below(1 << 30) as u64;
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
                let file = File::open(&old_path);
                ("touch", file.and_then(|file| file.set_modified(time)))
            }
            (11, ..) => {
                thread::sleep(Duration::from_millis(self.random.below(300) as u64));
                return;
            }
            _ => return,
        };
        let (what, done) = done;
        self.trail
            .push(format!("{}: {what} {old} {new}", self.step));
        done.unwrap_or_else(|error| panic!("{error}: {:#?}", self.trail));
    }

    fn new_name(&mut self) -> String {
        let name = NAMES[self.random.below(NAMES.len())];
        let is_parent = |(path, content): &(&String, &Option<Vec<u8>>)| {
            content.is_none() && path.matches('/').count() + 1 < DEPTH
        };
        let parents = self.tree.iter().filter(is_parent);
        let mut parents: Vec<String> = parents.map(|(path, _)| format!("{path}/")).collect();
        parents.push(String::new());
        format!("{}{name}", parents[self.random.below(parents.len())])
    }

    fn old_name(&mut self) -> String {
        let names: Vec<_> = self.tree.keys().cloned().collect();
        if names.is_empty() {
            return String::new();
        }
        names[self.random.below(names.len())].clone()
    }

    fn content(&mut self) -> Vec<u8> {
        let length = LENGTHS[self.random.below(LENGTHS.len())];
        let pattern = format!("{} ", self.step).into_bytes();
        pattern.into_iter().cycle().take(length).collect()
    }

    fn below(&self, path: &str) -> Vec<String> {
        let start = format!("{path}/");
        let names = self.tree.keys().filter(|it| it.starts_with(&start));
        names.cloned().collect()
    }

    /// Asserts that `root` has what the program made.
    fn check(&self, root: &Path, whose: &str, log: impl FnOnce() -> String) {
        let mut found = Tree::new();
        collect(root, "", &mut found);
        let lengths = |tree: &Tree| -> BTreeMap<String, Option<(usize, Vec<u8>)>> {
            let length =
                |content: &Vec<u8>| (content.len(), content.iter().take(8).copied().collect());
            let tree = tree.iter();
            tree.map(|(path, content)| (path.clone(), content.as_ref().map(length)))
                .collect()
        };
        assert!(
            found == self.tree,
            "{whose} {:?}, and not {:?} after {:#?}\nthe mount's log:\n{}",
            lengths(&found),
            lengths(&self.tree),
            self.trail,
            log()
        );
    }
}

fn write(path: &Path, content: &[u8], is_synced: bool) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    if is_synced { file.sync_all() } else { Ok(()) }
}

fn collect(directory: &Path, at: &str, found: &mut Tree) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with(".ftpfs-") {
            continue;
        }
        let path = format!("{at}{name}");
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{path}/"), found);
            found.insert(path, None);
        } else {
            let content = fs::read(entry.path()).unwrap_or_else(|error| panic!("{path}: {error}"));
            found.insert(path, Some(content));
        }
    }
}

/// What happens to the mount while the program works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disturbance {
    /// `kill -9`.
    Kills,
    /// `kill -9`, and the server is killed and started again repeatedly.
    KillsAndOutages,
}

/// Ends the outages when the program has ended, even if it panics.
struct StopOutages<'a>(&'a AtomicBool);

impl Drop for StopOutages<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The process of the mount, which ends if the server cannot be started again: programs would wait
/// for it for ever.
#[derive(Default)]
struct EndMount {
    pid: AtomicU32,
    has_ended: AtomicBool,
}

impl EndMount {
    fn is_of(&self, mount: Mount) -> Mount {
        self.pid.store(mount.pid(), Ordering::SeqCst);
        assert!(!self.has_ended.load(Ordering::SeqCst), "there is no server");
        mount
    }
}

/// See [`EndMount`].
struct EndOnPanic<'a>(&'a EndMount);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.has_ended.store(true, Ordering::SeqCst);
            let pid = i32::try_from(self.0.pid.load(Ordering::SeqCst)).unwrap_or_default();
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// Kills the server and starts it again until `stop`. Returns how often.
fn interrupt(server: &TestServer, stop: &AtomicBool, mount: &EndMount) -> usize {
    let _end = EndOnPanic(mount);
    let mut random = Random::new();
    let mut outages = 0;
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(random.below(UP) as u64));
        server.kill();
        thread::sleep(Duration::from_millis(random.below(DOWN) as u64));
        server.start_again();
        outages += 1;
    }
    outages
}

fn work(kind: Kind, disturbance: Disturbance) {
    let server = TestServer::start(kind);
    let state = TempDir::new().unwrap();
    let mut options = vec!["writeback=names", "timeout=10"];
    if disturbance == Disturbance::KillsAndOutages {
        // A program waits until the server is back, and a mount begins without it.
        options.extend(["hard", "delay_connect"]);
    }
    let end = EndMount::default();
    let mount = || end.is_of(Mount::with_state(&server, &options, state.path()));
    let mut walker = Walker {
        random: Random::new(),
        tree: Tree::new(),
        step: 0,
        trail: Vec::new(),
    };
    let stop = AtomicBool::new(false);
    let (mounted, tally, outages) = thread::scope(|scope| {
        let outages = match disturbance {
            Disturbance::Kills => None,
            Disturbance::KillsAndOutages => Some(scope.spawn(|| interrupt(&server, &stop, &end))),
        };
        let stop = StopOutages(&stop);
        let (mounted, tally) = walk(&mut walker, &server, &mount);
        drop(stop);
        let outages = outages.map_or(0, |outages| outages.join().unwrap());
        (mounted, tally, outages)
    });
    walker.check(mounted.path(), "at the end, the mount has", || {
        mounted.log()
    });
    mounted.unmount();
    walker.check(server.root(), "at the end, the server has", String::new);
    let (kills, syncs) = tally;
    println!(
        "{kind:?}, names in the background: {} operations, {kills} kills, {outages} outages, {syncs} syncs, 0 mismatches",
        walker.step
    );
    assert_eq!(temporary_names(server.root()), 0);
}

/// Works, kills the mount and syncs at random. Returns the last mount, and the numbers of kills and
/// syncs.
fn walk(
    walker: &mut Walker,
    server: &TestServer,
    mount: &impl Fn() -> Mount,
) -> (Mount, (usize, usize)) {
    let duration = Duration::from_secs(amount("FTPFS_SOAK_SECONDS", 6) as u64);
    let mut mounted = mount();
    let (mut kills, mut syncs) = (0, 0);
    let end = Instant::now() + duration;
    while Instant::now() < end || kills == 0 {
        walker.step(mounted.path());
        if walker.random.below(UNTIL_KILL) == 0 {
            thread::sleep(Duration::from_millis(walker.random.below(250) as u64));
            walker.trail.push("kill".to_owned());
            mounted.kill_nine();
            kills += 1;
            mounted = mount();
            walker.check(mounted.path(), "after a kill, the mount has", || {
                mounted.log()
            });
        }
        if walker.random.below(UNTIL_SYNC) == 0 {
            shell(mounted.path(), "sync .");
            syncs += 1;
            walker.check(server.root(), "after a sync, the server has", || {
                mounted.log()
            });
            walker.trail.clear();
        }
    }
    (mounted, (kills, syncs))
}

#[test]
fn embedded() {
    work(Kind::Embedded, Disturbance::Kills);
}

#[test]
fn vsftpd() {
    work(Kind::Vsftpd, Disturbance::Kills);
}

#[test]
fn proftpd() {
    work(Kind::Proftpd, Disturbance::Kills);
}

#[test]
fn pure_ftpd() {
    work(Kind::PureFtpd, Disturbance::Kills);
}

#[test]
fn pyftpdlib() {
    work(Kind::Pyftpdlib, Disturbance::Kills);
}

/// The server comes and goes.
mod outages {
    use super::{Disturbance, Kind, work};

    #[test]
    fn embedded() {
        work(Kind::Embedded, Disturbance::KillsAndOutages);
    }

    #[test]
    fn vsftpd() {
        work(Kind::Vsftpd, Disturbance::KillsAndOutages);
    }

    #[test]
    fn proftpd() {
        work(Kind::Proftpd, Disturbance::KillsAndOutages);
    }

    #[test]
    fn pure_ftpd() {
        work(Kind::PureFtpd, Disturbance::KillsAndOutages);
    }

    #[test]
    fn pyftpdlib() {
        work(Kind::Pyftpdlib, Disturbance::KillsAndOutages);
    }
}
