//! How a test server speaks TLS, and the files that its clients need.

use std::path::{Path, PathBuf};

use ftpfs::server::{Certificate, TlsMode, TlsOptions, TlsVersions};

use super::Kind;

/// Set to 1, this makes every test server speak TLS, require it, and require session reuse where
/// possible: the stories of plain FTP run again over TLS.
const EVERYWHERE: &str = "FTPFS_TEST_TLS";

/// The requested TLS configuration of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tls {
    mode: TlsMode,
    reuse: bool,
    versions: TlsVersions,
    demands_client: bool,
}

/// The actual TLS configuration of a server; its files exist as long as this value does.
pub(super) struct Secured {
    pub(super) scheme: &'static str,
    pub(super) ca: PathBuf,
    /// A client certificate and its key, if there are any.
    pub(super) client: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// AUTH TLS must come first, and PROT P before data.
    pub(crate) const REQUIRED: Self = Self::of(TlsMode::Required);
    /// AUTH TLS may come first.
    pub(crate) const OFFERED: Self = Self::of(TlsMode::Offered);
    /// TLS starts with the connection: embedded, vsftpd and ProFTPD.
    pub(crate) const IMPLICIT: Self = Self::of(TlsMode::Implicit);

    const fn of(mode: TlsMode) -> Self {
        Self {
            mode,
            reuse: false,
            versions: TlsVersions::Both,
            demands_client: false,
        }
    }

    /// Returns the TLS configuration that the environment requests for every server, if any.
    pub(super) fn everywhere(kind: Kind) -> Option<Self> {
        let is_set = std::env::var_os(EVERYWHERE).is_some_and(|value| value == "1");
        kind.tls().filter(|_| is_set)
    }

    /// Requires data connections to resume a session: embedded, vsftpd and ProFTPD.
    #[must_use]
    pub(crate) const fn with_reuse(self) -> Self {
        Self {
            reuse: true,
            ..self
        }
    }

    /// Restricts the server to one TLS version.
    #[must_use]
    pub(crate) const fn only(self, versions: TlsVersions) -> Self {
        Self { versions, ..self }
    }

    /// Requires clients to present a certificate of the server's CA: embedded, vsftpd and ProFTPD.
    #[must_use]
    pub(crate) const fn with_clients_known(self) -> Self {
        Self {
            demands_client: true,
            ..self
        }
    }

    pub(super) fn scheme(self) -> &'static str {
        match self.mode {
            TlsMode::Implicit => "ftps",
            TlsMode::Offered | TlsMode::Required => "ftpes",
        }
    }

    /// Returns the configuration as arguments for `scripts/ftpd run`.
    pub(super) fn arguments(self) -> Vec<&'static str> {
        let mode = match self.mode {
            TlsMode::Offered => "offered",
            TlsMode::Required => "required",
            TlsMode::Implicit => "implicit",
        };
        let mut arguments = vec!["--tls", mode];
        match self.versions {
            TlsVersions::Both => {}
            TlsVersions::Only12 => arguments.extend(["--tls-version", "1.2"]),
            TlsVersions::Only13 => arguments.extend(["--tls-version", "1.3"]),
        }
        if self.reuse {
            arguments.push("--tls-reuse");
        }
        if self.demands_client {
            arguments.push("--tls-client");
        }
        arguments
    }

    /// Returns the configuration for the embedded server; the client files go into `directory`.
    pub(super) fn options(self, directory: &Path) -> (TlsOptions, Secured) {
        let files = directory.join("tls");
        std::fs::create_dir(&files).unwrap();
        let file = |name: &str| files.join(name);
        let certificate = if self.demands_client {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/ftpd");
            super::run_with(script, &["certificates".as_ref(), files.as_os_str()]);
            Certificate::from_files(&file("server.pem"), &file("server.key"))
        } else {
            Certificate::made_for(std::net::Ipv4Addr::LOCALHOST.into())
        };
        let certificate = certificate.expect("a certificate");
        if !self.demands_client {
            std::fs::write(file("ca.pem"), certificate.pem()).unwrap();
        }
        let client = (file("client.pem"), file("client.key"));
        let secured = Secured {
            scheme: self.scheme(),
            ca: file("ca.pem"),
            client: self.demands_client.then_some(client),
        };
        let options = TlsOptions {
            mode: self.mode,
            reuse: self.reuse,
            versions: self.versions,
            client_ca: self.demands_client.then(|| file("ca.pem")),
            ..TlsOptions::new(certificate)
        };
        (options, secured)
    }
}
