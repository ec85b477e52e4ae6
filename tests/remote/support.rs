//! A served temporary directory and a `Remote` on it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use ftpfs::ftp::{ConnectOptions, RemotePath};
use ftpfs::server::{Access, Server, ServerOptions};
use ftpfs::testing::Journal;
use ftpfs::testing::PoolOptions;
use ftpfs::testing::remote::{
    Append, Atomic, CommitOptions, Error, Links, Remote, RemoteDownload, RemoteOptions, Verify,
};

pub const USER: &str = "ann";
pub const PASSWORD: &str = "secret";

/// A directory, its server and a client connected to it.
pub struct Site {
    pub remote: Remote,
    pub server: Server,
    directory: tempfile::TempDir,
}

impl Site {
    /// Starts a server with all features.
    pub fn new() -> Self {
        Self::without(&[])
    }

    /// Starts a server without these verbs and features.
    pub fn without(disabled: &[&str]) -> Self {
        Self::with(|server, _| {
            server.disabled = disabled.iter().map(ToString::to_string).collect();
        })
    }

    /// Starts a server and a client with options modified by `change`.
    pub fn with(change: impl FnOnce(&mut ServerOptions, &mut PoolOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = server_options(directory.path().to_owned());
        let mut pool = pool_options();
        change(&mut options, &mut pool);
        let server = Server::start(options).unwrap();
        pool.connect.port = server.address().port();
        let remote = connect(pool).unwrap();
        server.clear_commands();
        Self {
            remote,
            server,
            directory,
        }
    }

    /// Returns the path of a name on the server's disk.
    pub fn local(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Creates a file on the server's disk.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.local(name), content).unwrap();
    }

    /// Creates a directory on the server's disk.
    pub fn make(&self, name: &str) {
        fs::create_dir_all(self.local(name)).unwrap();
    }

    /// Returns the content of a file on the server's disk.
    pub fn content(&self, name: &str) -> Vec<u8> {
        fs::read(self.local(name)).unwrap()
    }

    /// Returns the names in a directory on the server's disk.
    pub fn names(&self, directory: &str) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.local(directory))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Returns the names that the client lists.
    pub fn listed(&self, directory: &str) -> Vec<String> {
        let mut names: Vec<_> = self
            .remote
            .list(&path(directory))
            .unwrap()
            .entries
            .into_iter()
            .map(|entry| String::from_utf8(entry.name).unwrap())
            .collect();
        names.sort();
        names
    }

    /// Waits until a session has the data connection for its next transfer.
    pub fn await_arm(&self) {
        wait_for("an open data connection", || {
            self.remote.pool_stats().armed > 0
        });
    }

    /// Asserts that a single user needs no more sessions than take turns in opening data
    /// connections, and returns each of them to the pool.
    pub fn assert_few_sessions(&self) {
        wait_for("all sessions to be idle", || {
            self.remote.pool_stats().leased == 0
        });
        let stats = self.remote.pool_stats();
        assert!(stats.open <= 3, "{stats:?}");
    }

    /// Returns the verbs received since the last call, except those of sessions and of data
    /// connections, which may be opened in advance.
    pub fn verbs(&self) -> Vec<String> {
        const AHEAD: [&str; 6] = ["USER", "PASS", "FEAT", "OPTS", "TYPE", "EPSV"];
        let verbs = self
            .server
            .commands()
            .iter()
            .map(|line| line.split(' ').next().unwrap().to_uppercase())
            .filter(|verb| !AHEAD.contains(&verb.as_str()))
            .collect();
        self.server.clear_commands();
        verbs
    }

    /// Stores `content` the way a program would.
    pub fn store(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let target = path(name);
        let (file, size) = (spool(content), content.len() as u64);
        let mut upload = self.remote.upload_whole(&target, &file, size)?;
        upload.send(&file, size - upload.sent())?;
        let commit = CommitOptions {
            size,
            ..CommitOptions::default()
        };
        upload.commit(&target, &commit).map(drop)
    }

    /// Reads a file from `offset` to its end.
    pub fn read(&self, name: &str, offset: u64) -> Result<Vec<u8>, Error> {
        rest_of(self.remote.open_at(&path(name), offset)?)
    }
}

/// Reads the rest of the download.
pub fn rest_of(mut download: RemoteDownload) -> Result<Vec<u8>, Error> {
    let (mut content, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match download.read(&mut buffer)? {
            0 => return Ok(content),
            count => content.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Returns options for a server with one account on a free port of this machine.
pub fn server_options(root: PathBuf) -> ServerOptions {
    let access = Access::Account {
        user: USER.into(),
        password: PASSWORD.into(),
    };
    ServerOptions {
        idle: Duration::from_secs(60),
        ..ServerOptions::new(root, access)
    }
}

/// Creates a client with a mount's default settings that uses these connections.
pub fn connect(pool: PoolOptions) -> Result<Remote, ftpfs::ftp::Error> {
    connect_with(pool, Atomic::Auto, Journal::disabled(None))
}

/// Creates a client that overwrites files according to `atomic` and records pending work in
/// `journal`.
pub fn connect_with(
    pool: PoolOptions,
    atomic: Atomic,
    journal: Journal,
) -> Result<Remote, ftpfs::ftp::Error> {
    let options = RemoteOptions {
        pool,
        atomic,
        append: Append::Auto,
        verify: Verify::Digest,
        links: Links::Show,
        profile_file: None,
        listing_bytes: 64 << 20,
    };
    Remote::connect(options, journal)
}

/// Returns pool options with eight connections and short timeouts.
pub fn pool_options() -> PoolOptions {
    let mut connect = ConnectOptions::new(Ipv4Addr::LOCALHOST.to_string())
        .port(0)
        .login(USER, PASSWORD);
    connect.connect_timeout = Duration::from_secs(5);
    connect.timeout = Duration::from_secs(10);
    PoolOptions {
        works_offline: false,
        connect,
        connections: 8,
        idle: Duration::from_secs(60),
        keep_alive: Duration::from_secs(30),
        lease_timeout: Duration::from_secs(20),
        retry: ftpfs::testing::RetryMode::Soft,
    }
}

pub fn path(name: &str) -> RemotePath {
    RemotePath::new(name.as_bytes()).unwrap()
}

/// Creates a local file with this content.
pub fn spool(content: &[u8]) -> fs::File {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, content).unwrap();
    file
}

/// Returns bytes in which every position differs from its neighbors.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

/// Waits for something that the server does in its own time.
pub fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
