//! `-o writeback=names` without a kernel: the operations of the vfs on the embedded server.
#![cfg(all(feature = "mount", feature = "server"))]

#[cfg(feature = "faults")]
mod outage;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use crate::cancel::{Blocking, Cancel};
use crate::ftp::{ConnectOptions, RemotePath};
use crate::journal::{Journal, StateDir};
use crate::pool::PoolOptions;
use crate::remote::{Append, Atomic, Links, Remote, RemoteOptions, RetryMode, Verify};
use crate::server::{Access, Server, ServerOptions};
use crate::vfs::write::recovery::recover;
use crate::vfs::{
    Changes, Errno, Handle, Ino, MountRoot, OpenAccess, OpenMode, Stage, Vfs, VfsOptions,
};

const NEVER: &Cancel = &Cancel::never();

/// How the tree is mounted.
#[derive(Debug, Clone, Copy)]
struct Setup {
    delay: Duration,
    way: Way,
    atomic: Atomic,
    names: bool,
    works_offline: bool,
    /// How long the server is tried again.
    patience: Duration,
}

impl Setup {
    /// The usual one, with this round-trip time and way to the server.
    fn new(delay: Duration, way: Way) -> Self {
        Self {
            delay,
            way,
            atomic: Atomic::Auto,
            names: true,
            works_offline: false,
            patience: Duration::from_secs(20),
        }
    }
}

struct Fixture {
    vfs: Arc<Vfs>,
    journal: Journal,
    server: Option<Server>,
    directory: Arc<TempDir>,
    /// Number of mounts before this one.
    number: u32,
    /// What is between the mount and the server.
    proxy: ControlProxy,
}

impl Fixture {
    /// Starts a server with this round-trip time, and a tree on it.
    fn new(delay: Duration) -> Self {
        Self::with(Setup::new(delay, Way::Open))
    }

    fn with(setup: Setup) -> Self {
        let directory = Arc::new(TempDir::new().unwrap());
        fs::create_dir(directory.path().join("root")).unwrap();
        Self::mount(setup, directory, 0)
    }

    fn mount(setup: Setup, directory: Arc<TempDir>, number: u32) -> Self {
        let root = directory.path().join("root");
        let access = Access::Account {
            user: "anna".into(),
            password: "secret".into(),
        };
        let server = Server::start(ServerOptions {
            delay: setup.delay,
            ..ServerOptions::new(root, access)
        });
        let server = server.unwrap();
        let proxy = ControlProxy::start(server.address().port());
        proxy.set(setup.way);
        let connect = ConnectOptions::new(Ipv4Addr::LOCALHOST.to_string())
            .port(proxy.port)
            .login("anna", "secret");
        let place = Self::place(&directory, number);
        let journal = Journal::open(&place, None).unwrap();
        let options = RemoteOptions {
            pool: PoolOptions {
                works_offline: setup.works_offline,
                connect,
                connections: 8,
                idle: Duration::from_secs(60),
                keep_alive: Duration::from_secs(30),
                lease_timeout: setup.patience,
                retry: RetryMode::Soft,
            },
            atomic: setup.atomic,
            append: Append::Auto,
            verify: Verify::Size,
            links: Links::Show,
            profile_file: None,
            listing_bytes: 64 << 20,
        };
        let remote = Remote::connect(options, journal.clone()).unwrap();
        let options = VfsOptions {
            uid: 0,
            gid: 0,
            file_mode: None,
            directory_mode: None,
            ignores_refused_attributes: false,
            read_only: false,
            dir_ttl: Duration::from_secs(20),
            open_ttl: Duration::from_secs(1),
            attr_ttl: Duration::from_secs(1),
            read_ahead: 1 << 20,
            timeout: Duration::from_secs(20),
            cache_bytes: 64 << 20,
            spool_size: None,
            writeback: true,
            names: setup.names,
            direct_io: false,
            space: None,
        };
        let root = MountRoot::Known(RemotePath::root());
        let remote = remote.handle().clone();
        let vfs = Vfs::new(remote, root, options, journal.clone(), None);
        recover(&vfs, &place);
        Self {
            vfs,
            journal,
            server: Some(server),
            directory,
            number,
            proxy,
        }
    }

    fn place(directory: &TempDir, number: u32) -> StateDir {
        let state = directory.path().join(format!("state{number}"));
        StateDir::of(&state, "anna", "host", 21)
    }

    /// Mounts the tree again, as if this mount had been killed now: no answer reaches it any more,
    /// and what it has recorded so far is all that the next mount knows.
    fn killed(self, delay: Duration) -> Self {
        self.killed_and_by(Way::Open, delay)
    }

    fn killed_and_by(mut self, by: Way, delay: Duration) -> Self {
        let mut way = self.proxy.way.lock().unwrap();
        let places = [self.number, self.number + 1].map(|it| Self::place(&self.directory, it));
        let [from, to] = places.map(|place| place.directory().to_owned());
        let files = journal_files(&from);
        drop(self.server.take());
        *way = Way::Closed;
        drop(way);
        let mode = fs::Permissions::from_mode(0o700);
        for (path, (content, modified)) in files {
            let copy = to.join(path);
            let parent = copy.parent().unwrap();
            fs::create_dir_all(parent).unwrap();
            fs::set_permissions(parent, mode.clone()).unwrap();
            fs::write(&copy, content).unwrap();
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
            // The journals of several mounts are in the order of their times.
            let copy = fs::File::options().write(true).open(&copy).unwrap();
            copy.set_modified(modified).unwrap();
        }
        fs::set_permissions(&to, mode).unwrap();
        let setup = Setup::new(delay, by);
        Self::mount(setup, Arc::clone(&self.directory), self.number + 1)
    }

    fn local(&self, path: &str) -> std::path::PathBuf {
        self.directory.path().join("root").join(path)
    }

    fn find(&self, path: &str) -> Result<Ino, Errno> {
        let mut at = Ino::ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let found = self.vfs.lookup(at, name.as_bytes(), Blocking::Yes(NEVER))?;
            at = found.value.ino;
        }
        Ok(at)
    }

    fn parent<'a>(&self, path: &'a str) -> (Ino, &'a [u8]) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        (self.find(parent).unwrap(), name.as_bytes())
    }

    fn write(&self, path: &str, content: &[u8]) {
        let handle = self.write_and_keep(path, content);
        self.vfs.release(handle, Blocking::Yes(NEVER)).unwrap();
    }

    /// Writes and closes a file that stays open elsewhere.
    fn write_and_keep(&self, path: &str, content: &[u8]) -> Handle {
        let (parent, name) = self.parent(path);
        let mode = OpenMode {
            access: OpenAccess::Write,
            append: false,
            truncate: true,
        };
        let may = Blocking::Yes(NEVER);
        let opened = match self.vfs.lookup(parent, name, may) {
            Ok(found) => self.vfs.open(found.value.ino, mode, may).unwrap(),
            Err(_) => self.vfs.create(parent, name, 0o644, mode, may).unwrap().1,
        };
        self.vfs.write(opened.handle, 0, content, 1, may).unwrap();
        self.vfs.flush(opened.handle, 1, may).unwrap();
        opened.handle
    }

    fn mkdir(&self, path: &str) {
        let (parent, name) = self.parent(path);
        let _ = self.vfs.lookup(parent, name, Blocking::Yes(NEVER));
        self.vfs.make_directory(parent, name, 0o755, NEVER).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        let (from, to) = (self.parent(from), self.parent(to));
        self.vfs.rename(from, to, false, NEVER).unwrap();
    }

    fn remove(&self, path: &str) {
        let (parent, name) = self.parent(path);
        self.vfs.unlink(parent, name, NEVER).unwrap();
    }

    fn rmdir(&self, path: &str) {
        let (parent, name) = self.parent(path);
        self.vfs.remove_directory(parent, name, NEVER).unwrap();
    }

    fn set_time(&self, path: &str, seconds: u64) {
        let changes = Changes {
            modified: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
            ..Changes::default()
        };
        let ino = self.find(path).unwrap();
        self.vfs.setattr(ino, None, &changes, NEVER).unwrap();
    }

    fn sync(&self) {
        self.vfs.sync_directory(Ino::ROOT, NEVER).unwrap();
    }

    #[cfg(feature = "faults")]
    fn faults(&self) -> &crate::server::Faults {
        self.server.as_ref().unwrap().faults()
    }

    fn round_trips(&self) -> u64 {
        self.vfs.report().totals.round_trips
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.vfs.drain();
            self.vfs.disconnect();
        }
    }
}

/// How the proxy of the control connections treats what goes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// The answer to the next command of this name is lost, and the way is closed then.
    LosesAnswer(&'static str),
    /// This command was sent, and its answer is not there yet.
    Loses(&'static str),
    /// There is no connection.
    Closed,
    /// Renames to paths that contain this are refused.
    RefusesRename(&'static str),
    /// Commands of these names do not arrive.
    Swallows(&'static [&'static str]),
    /// No time can be set.
    RefusesTimes,
    /// Commands of these names for paths that contain this are refused with this reply.
    Refuses(&'static [&'static str], &'static str, &'static str),
    /// The same, and lines that contain the last one wait.
    RefusesAndHolds(
        &'static [&'static str],
        &'static str,
        &'static str,
        &'static str,
    ),
}

struct ControlProxy {
    port: u16,
    way: Arc<Mutex<Way>>,
}

impl ControlProxy {
    fn start(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let way = Arc::new(Mutex::new(Way::Open));
        let of_thread = Arc::clone(&way);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, to));
                let Some(server) = server
                    .ok()
                    .filter(|_| *of_thread.lock().unwrap() != Way::Closed)
                else {
                    continue;
                };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let ends = [client.try_clone(), server.try_clone()].map(Result::unwrap);
                let way = Arc::clone(&of_thread);
                std::thread::spawn(move || {
                    forward(client, server, |line| {
                        let is_held = |held: &str| String::from_utf8_lossy(&line).contains(held);
                        let mut way = loop {
                            let way = way.lock().unwrap();
                            match *way {
                                Way::RefusesAndHolds(.., held) if is_held(held) => {}
                                _ => break way,
                            }
                            drop(way);
                            std::thread::sleep(Duration::from_millis(5));
                        };
                        if let Way::Refuses(names, part, _) | Way::RefusesAndHolds(names, part, ..) =
                            *way
                            && String::from_utf8_lossy(&line).contains(part)
                            && let Some(name) =
                                names.iter().find(|it| line.starts_with(it.as_bytes()))
                        {
                            let absent = format!("{name} /absent/directory/name\r\n");
                            return Some(absent.into_bytes());
                        }
                        if let Way::LosesAnswer(name) = *way
                            && line.starts_with(name.as_bytes())
                        {
                            *way = Way::Loses(name);
                        }
                        if let Way::Swallows(names) = *way
                            && names.iter().any(|name| line.starts_with(name.as_bytes()))
                        {
                            return Some(Vec::new());
                        }
                        let is_time = ["MFMT", "SITE UTIME", "MDTM 2"];
                        if *way == Way::RefusesTimes
                            && is_time.iter().any(|it| line.starts_with(it.as_bytes()))
                        {
                            return Some(b"SITE NONSENSE\r\n".to_vec());
                        }
                        if let Way::RefusesRename(part) = *way
                            && line.starts_with(b"RNTO")
                            && String::from_utf8_lossy(&line).contains(part)
                        {
                            return Some(b"RNTO /absent/directory/name\r\n".to_vec());
                        }
                        Some(line)
                    });
                });
                let way = Arc::clone(&of_thread);
                let [client, server] = ends;
                std::thread::spawn(move || {
                    forward(server, client, |line| {
                        let mut way = way.lock().unwrap();
                        if let Way::Loses(_) = *way
                            && line.starts_with(b"250")
                        {
                            *way = Way::Closed;
                        }
                        if let Way::Refuses(_, _, reply) | Way::RefusesAndHolds(_, _, reply, _) =
                            *way
                            && line.starts_with(b"550 ")
                        {
                            return Some(format!("{reply}\r\n").into_bytes());
                        }
                        (*way != Way::Closed).then_some(line)
                    });
                });
            }
        });
        Self { port, way }
    }

    fn set(&self, way: Way) {
        *self.way.lock().unwrap() = way;
    }

    fn way(&self) -> Way {
        *self.way.lock().unwrap()
    }
}

/// Forwards lines as long as `pass` returns what to send.
fn forward(from: TcpStream, mut to: TcpStream, pass: impl Fn(Vec<u8>) -> Option<Vec<u8>>) {
    let mut from = BufReader::new(from);
    loop {
        let mut line = Vec::new();
        let count = from.read_until(b'\n', &mut line).unwrap_or(0);
        let line = pass(line).filter(|_| count > 0);
        if line.is_none_or(|line| to.write_all(&line).is_err()) {
            break;
        }
    }
    let _ = (
        from.get_ref().shutdown(Shutdown::Both),
        to.shutdown(Shutdown::Both),
    );
}

/// Returns the contents and times of the files of the journals in `directory`, as they are at one
/// moment.
fn journal_files(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let read = || {
        let mut files = BTreeMap::new();
        for journal in fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()? {
            if !journal.path().is_dir() {
                continue;
            }
            for file in fs::read_dir(journal.path())?.collect::<Result<Vec<_>, _>>()? {
                let name = PathBuf::from(journal.file_name()).join(file.file_name());
                let modified = file.metadata()?.modified()?;
                files.insert(name, (fs::read(file.path())?, modified));
            }
        }
        Ok::<_, io::Error>(files)
    };
    loop {
        // The threads of the mount go on until they wait for an answer.
        if let (Ok(first), Ok(second)) = (read(), read())
            && first == second
        {
            return first;
        }
    }
}

impl Fixture {
    /// Waits until a change that is about to be sent is in the journal.
    fn wait_for_begin(&self) {
        let place = Self::place(&self.directory, self.number);
        wait_until("a change is begun", || {
            let files = journal_files(place.directory());
            let mut logs = files.iter().filter(|(path, _)| path.ends_with("log"));
            logs.any(|(_, (log, _))| String::from_utf8_lossy(log).contains("\nbegin\t"))
        });
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn the_server_has_a_tree_after_a_sync_and_its_removal_takes_a_few_round_trips() {
    let tree = Fixture::new(Duration::from_millis(20));
    tree.mkdir("t");
    tree.mkdir("t/a");
    for number in 0..40 {
        tree.write(&format!("t/a/tmp{number}"), format!("{number}").as_bytes());
        tree.rename(&format!("t/a/tmp{number}"), &format!("t/a/{number}"));
    }
    assert!(tree.find("t/a/39").is_ok() && tree.find("t/a/tmp39").is_err());
    tree.sync();
    assert_eq!(names(&tree.local("t/a")).len(), 40);
    assert_eq!(fs::read(tree.local("t/a/7")).unwrap(), b"7");

    let before = tree.round_trips();
    for number in 0..40 {
        tree.rename(&format!("t/a/{number}"), &format!("t/{number}"));
    }
    tree.sync();
    let moved = tree.round_trips() - before;
    assert_eq!(names(&tree.local("t/a")), [""; 0]);
    assert!(moved <= 20, "{moved} round trips for 40 renames");

    let before = tree.round_trips();
    for number in 0..40 {
        tree.remove(&format!("t/{number}"));
    }
    tree.rmdir("t/a");
    tree.rmdir("t");
    assert!(tree.find("t").is_err());
    tree.sync();
    let removed = tree.round_trips() - before;
    assert_eq!(names(&tree.local("")), [""; 0]);
    assert!(removed <= 20, "{removed} round trips for 42 removals");
}

#[test]
fn a_file_that_is_written_again_while_its_upload_waits_is_stored_in_its_last_version() {
    let tree = Fixture::new(Duration::from_millis(5));
    tree.mkdir("d");
    for round in 0..20 {
        for name in ["d/one", "d/two"] {
            tree.write(name, format!("{round}").as_bytes());
        }
        tree.write("d/tmp", b"tmp");
        tree.rename("d/tmp", "d/two");
        if round % 3 == 0 {
            tree.remove("d/one");
        }
        if round % 5 == 0 {
            std::thread::sleep(Duration::from_millis(230));
        }
    }
    tree.sync();
    assert_eq!(names(&tree.local("d")), ["one", "two"]);
    assert_eq!(fs::read(tree.local("d/one")).unwrap(), b"19");
    assert_eq!(fs::read(tree.local("d/two")).unwrap(), b"tmp");
}

/// Returns the files and directories below `directory`, with the contents of the files.
fn tree_of(directory: &Path, at: &str, found: &mut BTreeMap<String, Option<Vec<u8>>>) {
    for name in names(directory) {
        let (path, at) = (directory.join(&name), format!("{at}{name}"));
        if path.is_dir() {
            tree_of(&path, &format!("{at}/"), found);
            found.insert(at, None);
        } else {
            found.insert(at, Some(fs::read(path).unwrap()));
        }
    }
}

fn work_at_random(mut seed: u64, is_killed: bool) {
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 11) as usize % below.max(1)
    };
    let delay = Duration::from_millis(2);
    let mut tree = Fixture::new(delay);
    let mut model: BTreeMap<String, Option<Vec<u8>>> = BTreeMap::new();
    for step in 0..250 {
        let directories: Vec<_> = model.iter().filter(|it| it.1.is_none()).collect();
        let mut parents: Vec<String> = directories.iter().map(|it| format!("{}/", it.0)).collect();
        parents.retain(|parent| parent.matches('/').count() < 3);
        parents.push(String::new());
        let name = ["a", "b", "c", "d"][random(4)];
        let new = format!("{}{name}", parents[random(parents.len())]);
        let all: Vec<String> = model.keys().cloned().collect();
        let old = all.get(random(all.len())).cloned().unwrap_or_default();
        let below = |path: &str| {
            let start = format!("{path}/");
            all.iter().filter(move |it| it.starts_with(&start)).cloned()
        };
        let (at_new, at_old) = (model.get(&new).cloned(), model.get(&old).cloned());
        match (random(9), at_new, at_old) {
            (0..=3, None | Some(Some(_)), _) => {
                let content = format!("{step}").into_bytes();
                tree.write(&new, &content);
                model.insert(new, Some(content));
            }
            (4, None, _) => {
                tree.mkdir(&new);
                model.insert(new, None);
            }
            (5, _, Some(Some(_))) => {
                tree.remove(&old);
                model.remove(&old);
            }
            (6, _, Some(None)) if below(&old).next().is_none() => {
                tree.rmdir(&old);
                model.remove(&old);
            }
            (7..=8, None | Some(Some(_)), Some(Some(content))) if new != old => {
                tree.rename(&old, &new);
                model.remove(&old);
                model.insert(new, Some(content));
            }
            (7, None, Some(None)) if !new.starts_with(&format!("{old}/")) => {
                tree.rename(&old, &new);
                let moved: Vec<_> = below(&old).chain([old.clone()]).collect();
                for path in moved {
                    let kept = model.remove(&path).unwrap();
                    model.insert(format!("{new}{}", &path[old.len()..]), kept);
                }
            }
            (8, _, _) => std::thread::sleep(Duration::from_millis(random(300) as u64)),
            _ => {}
        }
        for path in &all {
            assert_eq!(
                tree.find(path).is_ok(),
                model.contains_key(path),
                "{step}: {path}"
            );
        }
        if is_killed && random(25) == 0 {
            tree = tree.killed(delay);
        }
        if step % 40 == 39 {
            tree.sync();
            let mut found = BTreeMap::new();
            tree_of(&tree.local(""), "", &mut found);
            assert_eq!(found, model, "{step}");
        }
    }
    assert_eq!(tree.number > 0, is_killed);
    let root = tree.local("");
    tree.vfs.drain();
    let mut found = BTreeMap::new();
    tree_of(&root, "", &mut found);
    assert_eq!(found, model);
}

#[test]
fn random_work_is_on_the_server_after_a_sync_and_at_the_end() {
    for seed in [1_u64, 2, 3, 4] {
        work_at_random(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed), false);
    }
}

#[test]
fn random_work_goes_on_after_kills() {
    for seed in [1_u64, 2, 3, 4] {
        work_at_random(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed), true);
    }
}

/// Returns the names that could not be stored, for good or until a program asks.
fn refused(tree: &Fixture) -> Vec<String> {
    let waiting = tree.vfs.report().uploads;
    let refused = waiting
        .into_iter()
        .filter(|file| file.stage == Stage::Failed);
    let mut names: Vec<_> = refused
        .filter_map(|file| file.path)
        .map(|it| it.to_string())
        .collect();
    names.sort();
    names
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_was_to_be_renamed_before_is_not_overwritten_if_the_rename_is_refused() {
    let tree = Fixture::new(Duration::from_millis(2));
    // No program has it open.
    fs::create_dir(tree.local("d")).unwrap();
    fs::write(tree.local("d/log"), b"old").unwrap();
    assert!(tree.find("d/log.1").is_err());
    tree.proxy.set(Way::RefusesRename("log.1"));
    tree.rename("d/log", "d/log.1");
    tree.write("d/log", b"new");
    wait_until("the file waits", || refused(&tree) == ["/d/log"]);
    // The upload, if there were one, takes less than this.
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(fs::read(tree.local("d/log")).unwrap(), b"old");
    assert!(tree.vfs.sync_directory(Ino::ROOT, NEVER).is_err());
    // Both are kept.
    assert_eq!(fs::read(tree.local("d/log")).unwrap(), b"old");
    let all = names(&tree.local("d"));
    let is_new = |name: &&String| {
        let path = tree.local("d").join(name);
        path.is_file() && fs::read(path).unwrap() == b"new"
    };
    assert_eq!(all.iter().filter(is_new).count(), 1, "{all:?}");
}

#[test]
fn many_uploads_that_wait_for_one_that_is_due_later_do_not_keep_it_from_starting() {
    let tree = Fixture::new(Duration::ZERO);
    tree.mkdir("d");
    tree.sync();
    // It waits longer, because it may soon be closed again.
    let first = tree.write_and_keep("d/first", b"first");
    for number in 0..150 {
        tree.write(&format!("d/{number}"), b"content");
    }
    wait_until("all are stored", || names(&tree.local("d")).len() == 151);
    tree.vfs.release(first, Blocking::Yes(NEVER)).unwrap();
}

#[test]
fn a_rename_whose_answer_is_lost_is_not_refused_when_it_is_sent_again() {
    let tree = Fixture::with(Setup {
        patience: Duration::from_secs(2),
        ..Setup::new(Duration::ZERO, Way::Open)
    });
    // No program has it open.
    fs::create_dir(tree.local("d")).unwrap();
    fs::write(tree.local("d/a"), b"content").unwrap();
    tree.proxy.set(Way::LosesAnswer("RNTO"));
    tree.rename("d/a", "d/b");
    wait_until("the answer is lost", || tree.proxy.way() == Way::Closed);
    // It cannot be asked what became of it.
    wait_until("it has failed", || tree.vfs.name_troubles() > 0);
    tree.proxy.set(Way::Open);
    wait_until("it is done or refused", || {
        let report = tree.vfs.report();
        report.changes == 0 || !report.refused.is_empty()
    });
    assert_eq!(tree.vfs.report().refused, []);
    assert_eq!(names(&tree.local("d")), ["b"]);
    assert!(tree.find("d/b").is_ok() && tree.find("d/a").is_err());
}

/// Nothing is changed on the server.
const CHANGES_NOTHING: Way = Way::Swallows(&["STOR", "RNFR", "RNTO", "MKD", "RMD", "DELE", "MFMT"]);

#[test]
fn two_versions_of_a_file_that_a_killed_mount_left_come_after_its_rename() {
    let delay = Duration::ZERO;
    let tree = Fixture::new(delay);
    fs::create_dir(tree.local("d")).unwrap();
    fs::write(tree.local("d/a"), b"old").unwrap();
    assert!(tree.find("d/b").is_err());
    tree.proxy.set(Way::Swallows(&["RNFR", "RNTO"]));
    tree.rename("d/a", "d/b");
    tree.write("d/a", b"first");
    let has_part = || {
        names(&tree.local("d"))
            .iter()
            .any(|it| it.ends_with(".part"))
    };
    wait_until("it is uploaded", has_part);
    tree.write("d/a", b"second");
    let tree = tree.killed(delay);
    assert!(tree.find("d/a").is_ok() && tree.find("d/b").is_ok());
    tree.sync();
    assert_eq!(fs::read(tree.local("d/a")).unwrap(), b"second");
    assert_eq!(fs::read(tree.local("d/b")).unwrap(), b"old");
}

#[test]
fn the_changes_of_two_killed_mounts_have_one_order() {
    let delay = Duration::ZERO;
    let tree = Fixture::new(delay);
    fs::create_dir(tree.local("px")).unwrap();
    fs::write(tree.local("px/first"), b"content").unwrap();
    assert!(tree.find("px/first").is_ok() && tree.find("px/y").is_err());
    let all = &["DELE", "STOR", "MKD", "RNFR"];
    let busy = Way::Refuses(all, "x/", "450 Busy");
    tree.proxy.set(busy);
    tree.remove("px/first");
    tree.write("px/y", b"content");
    let tree = tree.killed_and_by(busy, delay);
    tree.mkdir("rx");
    // No name but its own can be in it.
    for name in ["1", "2", "3", "4", "5", "6", "7", "s"] {
        tree.mkdir(&format!("rx/{name}"));
    }
    tree.rename("px/y", "rx/s/y");
    let tree = tree.killed(delay);
    tree.sync();
    assert_eq!(names(&tree.local("px")), [""; 0]);
    assert_eq!(fs::read(tree.local("rx/s/y")).unwrap(), b"content");
}

#[test]
fn a_rename_behind_a_time_that_the_server_does_not_set_is_made() {
    let delay = Duration::ZERO;
    let tree = Fixture::new(delay);
    fs::create_dir(tree.local("d")).unwrap();
    fs::write(tree.local("d/a"), b"content").unwrap();
    fs::write(tree.local("d/x"), b"other").unwrap();
    assert!(tree.find("d/b").is_err());
    tree.proxy.set(CHANGES_NOTHING);
    tree.set_time("d/a", 1_000_000_000);
    tree.rename("d/a", "d/b");
    tree.set_time("d/x", 1_000_000_000);
    tree.remove("d/x");
    // The next mount compares everything with the server.
    let tree = tree.killed_and_by(Way::RefusesTimes, delay);
    tree.sync();
    assert_eq!(tree.vfs.report().refused, []);
    assert_eq!(names(&tree.local("d")), ["b"]);
}

#[test]
fn what_cannot_be_compared_does_not_keep_other_changes_from_being_made() {
    let delay = Duration::ZERO;
    let tree = Fixture::new(delay);
    for name in ["d/denied", "e/x"] {
        fs::create_dir_all(tree.local(name).parent().unwrap()).unwrap();
        fs::write(tree.local(name), b"content").unwrap();
    }
    tree.proxy.set(CHANGES_NOTHING);
    tree.remove("d/denied");
    tree.wait_for_begin();
    let all = &["MLST", "SIZE", "MDTM", "CWD", "MLSD", "LIST", "STAT"];
    let denied = Way::Refuses(all, "denied", "550 Permission denied");
    let tree = tree.killed_and_by(denied, delay);
    tree.remove("e/x");
    wait_until("the other one is removed", || !tree.local("e/x").exists());
    wait_until("it is given up", || tree.vfs.report().refused.len() == 1);
    assert!(tree.local("d/denied").exists());
}

#[test]
fn files_that_need_their_turn_before_the_first_byte_follow_one_another_quickly() {
    let tree = Fixture::with(Setup {
        atomic: Atomic::Never,
        ..Setup::new(Duration::from_millis(5), Way::Open)
    });
    tree.mkdir("d");
    tree.sync();
    let start = Instant::now();
    for number in 0..100 {
        tree.write(&format!("d/{number}"), b"content");
    }
    // No program waits.
    wait_until("all are stored", || tree.vfs.report().waiting == 0);
    assert_eq!(names(&tree.local("d")).len(), 100);
    // A pause of 200 ms before each takes 20 s.
    let taken = start.elapsed();
    assert!(taken < Duration::from_secs(12), "{taken:?}");
}

#[test]
fn the_journal_is_on_the_disk_soon_although_the_server_does_not_answer() {
    let tree = Fixture::new(Duration::ZERO);
    fs::create_dir(tree.local("d")).unwrap();
    for name in ["d/a", "d/b"] {
        fs::write(tree.local(name), b"content").unwrap();
        assert!(tree.find(name).is_ok());
    }
    tree.proxy.set(CHANGES_NOTHING);
    tree.remove("d/a");
    tree.wait_for_begin();
    tree.remove("d/b");
    let start = Instant::now();
    assert!(!tree.journal.is_synced());
    wait_until("the journal is synced", || tree.journal.is_synced());
    // The server is waited for until then.
    assert!(start.elapsed() < Duration::from_secs(15));
    let tree = tree.killed(Duration::ZERO);
    tree.sync();
    assert_eq!(names(&tree.local("d")), [""; 0]);
}

#[test]
fn the_end_of_a_mount_without_names_syncs_no_journal() {
    let tree = Fixture::with(Setup {
        names: false,
        ..Setup::new(Duration::ZERO, Way::Open)
    });
    tree.write("a", b"content");
    tree.vfs.drain();
    assert_eq!(fs::read(tree.local("a")).unwrap(), b"content");
    assert!(!tree.journal.is_synced());
}

#[test]
fn a_file_that_the_server_takes_later_does_not_end_the_waits_for_others() {
    let tree = Fixture::new(Duration::ZERO);
    tree.mkdir("a");
    tree.mkdir("b");
    tree.sync();
    let held = Way::RefusesAndHolds(&["RNTO"], "/a/", "450 Busy", "RNTO /b/");
    tree.proxy.set(held);
    tree.write("b/y", b"content");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let directory = tree.find("b").unwrap();
            tree.vfs.sync_directory(directory, NEVER)
        });
        std::thread::sleep(Duration::from_millis(300));
        tree.write("a/x", b"content");
        wait_until("the other one is refused", || {
            let uploads = tree.vfs.report().uploads;
            uploads.iter().any(|it| it.stage == Stage::Retrying)
        });
        std::thread::sleep(Duration::from_millis(300));
        tree.proxy.set(Way::Open);
        assert_eq!(waiting.join().unwrap(), Ok(()));
    });
}
