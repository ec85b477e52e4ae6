//! A server to test against: the ftpfs server in this process, or a foreign one started by
//! `scripts/ftpd`.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ftpfs::server::{ANY, Access, CONNECT, Certificate, Fault, Misdeed, Server, ServerOptions};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use super::foreign::Foreign;
use super::kind::Kind;
use super::shell::wait_for;
use super::tls::{Secured, Tls};

/// How long a temporary name may outlive the last close of its file.
pub(crate) const ASIDE: Duration = Duration::from_secs(20);

/// The account on every server, as created by `scripts/ftpd`.
pub(crate) const USER: &str = "ftpfs-test";

/// The account's password.
pub(crate) const PASSWORD: &str = "ftpfs-test-secret";

/// Maximum time for a port to become free again.
const PORT_FREE: Duration = Duration::from_secs(10);

/// A running server with its own empty root. On drop, the server is stopped and the root removed.
pub(crate) struct TestServer {
    kind: Kind,
    running: Running,
    port: u16,
    root: PathBuf,
    secured: Option<Secured>,
    // Last, so that the server has ended before its root is removed.
    _directory: TempDir,
}

enum Running {
    Embedded {
        /// None while the server is down.
        server: Mutex<Option<Arc<Server>>>,
        options: ServerOptions,
        /// Keeps the port from others while the server is down.
        _reserved: Socket,
    },
    Foreign(Foreign),
}

impl TestServer {
    /// Starts a server of this kind in its ordinary configuration.
    pub(crate) fn start(kind: Kind) -> Self {
        match kind {
            Kind::Embedded => Self::start_with(kind, |_| {}),
            _ => Self::start_with_arguments(kind, &[]),
        }
    }

    /// Starts a server that speaks TLS.
    pub(crate) fn start_tls(kind: Kind, tls: Tls) -> Self {
        match kind {
            Kind::Embedded => Self::start_embedded(Some(tls), |_| {}),
            _ => Self::start_foreign(kind, Some(tls), &[]),
        }
    }

    /// Starts the embedded server with TLS and with changed options.
    pub(crate) fn start_tls_with(tls: Tls, change: impl FnOnce(&mut ServerOptions)) -> Self {
        Self::start_embedded(Some(tls), change)
    }

    /// Starts the embedded server with changed options: features off, a delay, limits.
    pub(crate) fn start_with(kind: Kind, change: impl FnOnce(&mut ServerOptions)) -> Self {
        assert_eq!(
            kind,
            Kind::Embedded,
            "only the embedded server takes ServerOptions"
        );
        Self::start_embedded(Tls::everywhere(kind), change)
    }

    fn start_embedded(tls: Option<Tls>, change: impl FnOnce(&mut ServerOptions)) -> Self {
        let (directory, root) = new_root();
        let (tls, secured) = tls.map(|tls| tls.options(directory.path())).unzip();
        let access = Access::Account {
            user: USER.into(),
            password: PASSWORD.into(),
        };
        let mut options = ServerOptions {
            tls,
            ..ServerOptions::new(&root, access)
        };
        change(&mut options);
        let reserved = reserve(options.listen);
        options.listen = reserved.local_addr().unwrap().as_socket().unwrap();
        let server = Server::start(options.clone()).expect("the embedded server starts");
        let port = server.address().port();
        let server = Mutex::new(Some(Arc::new(server)));
        Self {
            kind: Kind::Embedded,
            secured,
            running: Running::Embedded {
                server,
                options,
                _reserved: reserved,
            },
            port,
            root,
            _directory: directory,
        }
    }

    /// Starts a foreign server without TLS, regardless of the environment.
    pub(crate) fn start_plain(kind: Kind) -> Self {
        Self::start_foreign(kind, None, &[])
    }

    /// Starts a foreign server with arguments for `scripts/ftpd run`: `["--max-per-ip", "2"]`.
    pub(crate) fn start_with_arguments(kind: Kind, arguments: &[&str]) -> Self {
        assert_ne!(
            kind,
            Kind::Embedded,
            "the embedded server is not run by scripts/ftpd"
        );
        Self::start_foreign(kind, Tls::everywhere(kind), arguments)
    }

    fn start_foreign(kind: Kind, tls: Option<Tls>, arguments: &[&str]) -> Self {
        let (directory, root) = new_root();
        let tls_arguments = tls.map(Tls::arguments).unwrap_or_default();
        let foreign = Foreign::start(kind.name(), &root, &[&tls_arguments, arguments].concat());
        let port = foreign.port();
        let secured = tls.map(|tls| Secured {
            scheme: tls.scheme(),
            ca: foreign.ca().expect("scripts/ftpd tells it").to_owned(),
            client: foreign.client().cloned(),
        });
        Self {
            kind,
            secured,
            running: Running::Foreign(foreign),
            port,
            root,
            _directory: directory,
        }
    }

    /// Returns the kind of the server.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the directory that clients see as `/`. The server's account can write to it. Files
    /// that a test creates below it belong to the test until [`TestServer::hand_over`].
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Gives the server's account ownership of everything below the root, so that it can change it.
    pub(crate) fn hand_over(&self) {
        match &self.running {
            Running::Embedded { .. } => {}
            Running::Foreign(_) => {
                let owner = format!("{USER}:");
                super::run_with(
                    "chown",
                    &["-hR".as_ref(), owner.as_ref(), self.root.as_os_str()],
                );
            }
        }
    }

    /// Writes a file on the server's side, creates its parent directories, and hands it over.
    pub(crate) fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().expect("a file below the root")).unwrap();
        fs::write(&path, content).unwrap();
        self.hand_over();
        path
    }

    /// Returns the names in its root, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let is_temporary = |name: &String| name.starts_with(".ftpfs-");
        let mut names = Vec::new();
        // A file that was removed a moment after its last close is moved aside until the kernel
        // reports the close.
        wait_for(ASIDE, || {
            let entries = std::fs::read_dir(self.root()).unwrap();
            names = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            !names.iter().any(is_temporary)
        });
        names.sort();
        names
    }

    /// Reads a file on the server's side.
    pub(crate) fn read(&self, path: impl AsRef<Path>) -> Vec<u8> {
        let path = self.root.join(path);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Returns `ftp://user@127.0.0.1:port/`; with TLS, `ftpes://…` or `ftps://…`.
    pub(crate) fn url(&self) -> String {
        format!("{}://{USER}@127.0.0.1:{}/", self.scheme(), self.port)
    }

    /// Returns `ftp://user:password@127.0.0.1:port/`, or the TLS equivalent.
    pub(crate) fn url_with_password(&self) -> String {
        format!(
            "{}://{USER}:{PASSWORD}@127.0.0.1:{}/",
            self.scheme(),
            self.port
        )
    }

    fn scheme(&self) -> &'static str {
        self.secured.as_ref().map_or("ftp", |tls| tls.scheme)
    }

    /// Returns the CA file that verifies the server's certificate if it speaks TLS.
    pub(crate) fn ca(&self) -> Option<&Path> {
        Some(&self.secured.as_ref()?.ca)
    }

    /// Returns a client certificate and its key, which the server accepts if it
    /// [demands](Tls::with_clients_known) one.
    pub(crate) fn client_certificate(&self) -> (&Path, &Path) {
        let client = self.secured.as_ref().and_then(|tls| tls.client.as_ref());
        let (certificate, key) = client.expect("a server that knows clients' certificates");
        (certificate, key)
    }

    /// Returns the `-o` options that any mount of the server needs.
    pub(crate) fn needed_options(&self) -> Vec<String> {
        let ca = self.ca().map(|ca| format!("cafile={}", ca.display()));
        ca.into_iter().collect()
    }

    /// Returns the account's name.
    #[allow(clippy::unused_self, reason = "read at a server like its port")]
    pub(crate) fn user(&self) -> &'static str {
        USER
    }

    /// Returns the account's password.
    #[allow(clippy::unused_self, reason = "read at a server like its port")]
    pub(crate) fn password(&self) -> &'static str {
        PASSWORD
    }

    /// Returns the port on 127.0.0.1 that the server listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the embedded server itself if this is one and it is running.
    pub(crate) fn embedded(&self) -> Option<Arc<Server>> {
        match &self.running {
            Running::Embedded { server, .. } => server.lock().unwrap().clone(),
            Running::Foreign(_) => None,
        }
    }

    /// Kills the server with its sessions; its files remain.
    pub(crate) fn kill(&self) {
        match &self.running {
            Running::Embedded { server, .. } => {
                if let Some(server) = server.lock().unwrap().take() {
                    server.stop();
                }
            }
            Running::Foreign(foreign) => foreign.tell("kill"),
        }
    }

    /// Restarts the server on the same port after [`TestServer::kill`].
    pub(crate) fn start_again(&self) {
        match &self.running {
            Running::Embedded {
                server, options, ..
            } => {
                // A child of another test may have a copy of the old socket for a moment.
                let is_up = super::wait_for(PORT_FREE, || {
                    let started = Server::start(options.clone()).ok().map(Arc::new);
                    let is_up = started.is_some();
                    *server.lock().unwrap() = started;
                    is_up
                });
                assert!(is_up, "the port {} stays in use", self.port);
            }
            Running::Foreign(foreign) => foreign.tell("start"),
        }
    }

    /// Restarts the embedded server with another certificate on the same port.
    pub(crate) fn change_certificate(&self, certificate: Certificate) {
        let Running::Embedded {
            server, options, ..
        } = &self.running
        else {
            panic!("only the embedded server changes its certificate");
        };
        self.kill();
        let mut options = options.clone();
        options.tls.as_mut().expect("a server with TLS").certificate = certificate;
        let is_up = super::wait_for(PORT_FREE, || {
            let started = Server::start(options.clone()).ok().map(Arc::new);
            let is_up = started.is_some();
            *server.lock().unwrap() = started;
            is_up
        });
        assert!(is_up, "the port {} stays in use", self.port);
    }

    /// Freezes the server: it accepts connections and commands but answers none.
    pub(crate) fn freeze(&self) {
        match &self.running {
            Running::Embedded { .. } => {
                let server = self.embedded().expect("it runs");
                for verb in [CONNECT, ANY] {
                    let fault = Fault::on(verb, Misdeed::Freeze);
                    server.faults().add(fault.always());
                }
            }
            Running::Foreign(foreign) => foreign.tell("freeze"),
        }
    }

    /// Resumes the server after [`TestServer::freeze`].
    pub(crate) fn thaw(&self) {
        match &self.running {
            Running::Embedded { .. } => self.embedded().expect("it runs").faults().clear(),
            Running::Foreign(foreign) => foreign.tell("thaw"),
        }
    }

    /// Returns every command received so far, in order, across all sessions.
    ///
    /// Pure-FTPd keeps no command log, so a test must not ask it.
    pub(crate) fn commands(&self) -> Vec<String> {
        match &self.running {
            Running::Embedded { .. } => self
                .embedded()
                .map(|server| server.commands())
                .unwrap_or_default(),
            Running::Foreign(foreign) => foreign.commands(),
        }
    }
}

/// Reserves a free port at `address`. Only a socket that asks for this very port can be bound to
/// it.
fn reserve(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

/// Creates an empty directory that the account can reach, inside a temporary directory.
fn new_root() -> (TempDir, PathBuf) {
    let directory = tempfile::Builder::new()
        .prefix("ftpfs-server-")
        .tempdir()
        .unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let root = directory.path().join("root");
    fs::create_dir(&root).unwrap();
    (directory, root)
}
