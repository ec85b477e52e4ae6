//! TLS on the server side (RFC 4217; RFC 5246 and 8446 by rustls): options and session
//! configuration.
//!
//! Each control connection has its own keys for session tickets and ids. A data connection that
//! resumes a session therefore comes from the client of this control connection.

mod certificate;
mod stream;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

pub use self::certificate::Certificate;
pub(super) use self::stream::Stream;

/// Number of sessions per control connection that a client without tickets can resume by id (TLS
/// 1.2).
const REMEMBERED_SESSIONS: usize = 16;

/// TLS options of a server.
#[derive(Clone)]
pub struct TlsOptions {
    /// Certificate chain and key of the server.
    pub certificate: Certificate,
    /// When TLS starts, and whether it is required.
    pub mode: TlsMode,
    /// Whether data connections must resume a TLS session of their control connection; others are
    /// refused with 522.
    pub reuse: bool,
    /// Supported versions.
    pub versions: TlsVersions,
    /// PEM file with certificate authorities. If set, clients must present a certificate signed by
    /// one of them.
    pub client_ca: Option<PathBuf>,
}

/// When TLS starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// After AUTH TLS, optionally.
    Offered,
    /// After AUTH TLS, which must precede USER. Data connections need PROT P.
    Required,
    /// With the connection itself, before the greeting. Data connections are protected from the
    /// start.
    Implicit,
}

/// Supported versions of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    Both,
    /// Only 1.2.
    Only12,
    /// Only 1.3.
    Only13,
}

impl TlsOptions {
    /// Requires TLS of either version from any client. Data connections need not resume a session.
    pub fn new(certificate: Certificate) -> Self {
        Self {
            certificate,
            mode: TlsMode::Required,
            reuse: false,
            versions: TlsVersions::Both,
            client_ca: None,
        }
    }
}

impl TlsVersions {
    fn spoken(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Both => vec![&TLS13, &TLS12],
            Self::Only12 => vec![&TLS12],
            Self::Only13 => vec![&TLS13],
        }
    }
}

/// TLS state shared by all sessions.
pub(super) struct Tls {
    pub(super) mode: TlsMode,
    pub(super) reuse: bool,
    versions: TlsVersions,
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Tls {
    /// Fails if the key does not belong to the certificate, or if the file of authorities is not
    /// usable.
    pub(super) fn new(options: &TlsOptions) -> io::Result<Self> {
        let provider = Arc::new(default_provider());
        let key = options.certificate.with_key(&provider)?;
        let clients = match &options.client_ca {
            Some(path) => clients_of(path, &provider)?,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        Ok(Self {
            mode: options.mode,
            reuse: options.reuse,
            versions: options.versions,
            provider,
            key: Arc::new(key),
            clients,
        })
    }

    /// Returns the configuration of one control connection and its data connections.
    pub(super) fn for_session(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&self.versions.spoken())?
            .with_client_cert_verifier(Arc::clone(&self.clients))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&self.key))));
        config.session_storage = ServerSessionMemoryCache::new(REMEMBERED_SESSIONS);
        config.ticketer = Ticketer::new()?;
        Ok(Arc::new(config))
    }
}

/// Returns a verifier for client certificates signed by an authority in the file.
fn clients_of(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> io::Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    let read = CertificateDer::pem_file_iter(path).map_err(|error| unusable(path, error))?;
    for certificate in read {
        let certificate = certificate.map_err(|error| unusable(path, error))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(path, error))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| unusable(path, error))
}

/// Builds the error for a file that is not usable.
fn unusable(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{}: {error}", path.display()),
    )
}
