//! A mount of a tree on the embedded server, without a kernel.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::proxy::{ControlProxy, Way};
use super::{NEVER, wait_until};
use crate::cancel::Blocking;
use crate::ftp::{ConnectOptions, RemotePath};
use crate::journal::{Journal, StateDir};
use crate::pool::PoolOptions;
use crate::remote::{Append, Atomic, Links, Remote, RemoteOptions, RetryMode, Verify};
use crate::server::{Access, Server, ServerOptions};
use crate::vfs::write::recovery::recover;
use crate::vfs::{Changes, Errno, Handle, Ino, MountRoot, OpenAccess, OpenMode, Vfs, VfsOptions};

/// O_RDONLY.
pub(super) const READS: OpenMode = OpenMode {
    access: OpenAccess::Read,
    append: false,
    truncate: false,
    execute: false,
};
/// O_WRONLY | O_TRUNC.
pub(super) const WRITES: OpenMode = OpenMode {
    access: OpenAccess::Write,
    append: false,
    truncate: true,
    execute: false,
};

/// How the tree is mounted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    pub(super) delay: Duration,
    pub(super) way: Way,
    pub(super) atomic: Atomic,
    pub(super) names: bool,
    pub(super) works_offline: bool,
    /// How long the server is tried again.
    pub(super) patience: Duration,
    /// Maximum number of bytes of files that wait.
    pub(super) spool_size: Option<u64>,
}

impl Setup {
    /// The usual one, with this round-trip time and way to the server.
    pub(super) fn new(delay: Duration, way: Way) -> Self {
        Self {
            delay,
            way,
            atomic: Atomic::Auto,
            names: true,
            works_offline: false,
            patience: Duration::from_secs(20),
            spool_size: None,
        }
    }
}

pub(super) struct Fixture {
    pub(super) vfs: Arc<Vfs>,
    pub(super) journal: Journal,
    pub(super) server: Option<Server>,
    pub(super) directory: Arc<TempDir>,
    /// Number of mounts before this one.
    pub(super) number: u32,
    /// What is between the mount and the server.
    pub(super) proxy: ControlProxy,
}

impl Fixture {
    /// Starts a server with this round-trip time, and a tree on it.
    pub(super) fn new(delay: Duration) -> Self {
        Self::with(Setup::new(delay, Way::Open))
    }

    pub(super) fn with(setup: Setup) -> Self {
        let directory = Arc::new(TempDir::new().unwrap());
        fs::create_dir(directory.path().join("root")).unwrap();
        Self::mount(setup, directory, 0)
    }

    pub(super) fn mount(setup: Setup, directory: Arc<TempDir>, number: u32) -> Self {
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
            spool_size: setup.spool_size,
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

    pub(super) fn place(directory: &TempDir, number: u32) -> StateDir {
        let state = directory.path().join(format!("state{number}"));
        StateDir::of(&state, "anna", "host", 21)
    }

    /// Mounts the tree again, as if this mount had been killed now: no answer reaches it any more,
    /// and what it has recorded so far is all that the next mount knows.
    pub(super) fn killed(self, delay: Duration) -> Self {
        self.killed_and_by(Way::Open, delay)
    }

    pub(super) fn killed_and_by(self, by: Way, delay: Duration) -> Self {
        self.killed_as(Setup::new(delay, by))
    }

    pub(super) fn killed_as(mut self, setup: Setup) -> Self {
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
        Self::mount(setup, Arc::clone(&self.directory), self.number + 1)
    }

    /// Ends all connections for good, as if this mount were killed.
    pub(super) fn disconnect(&mut self) {
        let mut way = self.proxy.way.lock().unwrap();
        drop(self.server.take());
        *way = Way::Closed;
    }

    pub(super) fn local(&self, path: &str) -> std::path::PathBuf {
        self.directory.path().join("root").join(path)
    }

    pub(super) fn find(&self, path: &str) -> Result<Ino, Errno> {
        let mut at = Ino::ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let found = self.vfs.lookup(at, name.as_bytes(), Blocking::Yes(NEVER))?;
            at = found.value.ino;
        }
        Ok(at)
    }

    pub(super) fn parent<'a>(&self, path: &'a str) -> (Ino, &'a [u8]) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        (self.find(parent).unwrap(), name.as_bytes())
    }

    pub(super) fn write(&self, path: &str, content: &[u8]) {
        let handle = self.write_and_keep(path, content);
        self.vfs.release(handle, Blocking::Yes(NEVER)).unwrap();
    }

    /// Writes and closes a file that stays open elsewhere.
    pub(super) fn write_and_keep(&self, path: &str, content: &[u8]) -> Handle {
        let (parent, name) = self.parent(path);
        let may = Blocking::Yes(NEVER);
        let opened = match self.vfs.lookup(parent, name, may) {
            Ok(found) => self.vfs.open(found.value.ino, WRITES, may).unwrap(),
            Err(_) => self.vfs.create(parent, name, 0o644, WRITES, may).unwrap().1,
        };
        self.vfs.write(opened.handle, 0, content, 1, may).unwrap();
        self.vfs.flush(opened.handle, 1, may).unwrap();
        opened.handle
    }

    pub(super) fn mkdir(&self, path: &str) {
        let (parent, name) = self.parent(path);
        let _ = self.vfs.lookup(parent, name, Blocking::Yes(NEVER));
        self.vfs.make_directory(parent, name, 0o755, NEVER).unwrap();
    }

    pub(super) fn rename(&self, from: &str, to: &str) {
        let (from, to) = (self.parent(from), self.parent(to));
        self.vfs.rename(from, to, false, NEVER).unwrap();
    }

    pub(super) fn remove(&self, path: &str) {
        let (parent, name) = self.parent(path);
        self.vfs.unlink(parent, name, NEVER).unwrap();
    }

    pub(super) fn rmdir(&self, path: &str) {
        let (parent, name) = self.parent(path);
        self.vfs.remove_directory(parent, name, NEVER).unwrap();
    }

    pub(super) fn set_time(&self, path: &str, seconds: u64) {
        let changes = Changes {
            modified: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
            ..Changes::default()
        };
        let ino = self.find(path).unwrap();
        self.vfs.setattr(ino, None, &changes, NEVER).unwrap();
    }

    pub(super) fn sync(&self) {
        self.vfs.sync_directory(Ino::ROOT, NEVER).unwrap();
    }

    #[cfg(feature = "faults")]
    pub(super) fn faults(&self) -> &crate::server::Faults {
        self.server.as_ref().unwrap().faults()
    }

    pub(super) fn round_trips(&self) -> u64 {
        self.vfs.report().totals.round_trips
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if let Way::Holds(_) | Way::RefusesAndHolds(..) = self.proxy.way() {
            self.proxy.set(Way::Open);
        }
        if self.server.is_some() {
            self.vfs.drain();
            self.vfs.disconnect();
        }
    }
}

/// Returns the contents and times of the files of the journals in `directory`, as they are at one
/// moment.
pub(super) fn journal_files(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let read = || {
        let mut files = BTreeMap::new();
        for journal in fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()? {
            if !journal.path().is_dir() {
                continue;
            }
            for file in fs::read_dir(journal.path())?.collect::<Result<Vec<_>, _>>()? {
                if !file.path().is_file() {
                    continue;
                }
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
    pub(super) fn wait_for_begin(&self) {
        let place = Self::place(&self.directory, self.number);
        wait_until("a change is begun", || {
            let files = journal_files(place.directory());
            let mut logs = files.iter().filter(|(path, _)| path.ends_with("ordered"));
            logs.any(|(_, (log, _))| String::from_utf8_lossy(log).contains("\nbegin\t"))
        });
    }
}
