//! TLS as the server offers it (RFC 4217; RFC 5246 and 8446 by rustls): what is asked for, and what
//! sessions get of it.
//!
//! Every control connection has keys of its own for the tickets and ids by which a session is
//! resumed. A data connection that resumes one therefore comes from the client of this control
//! connection, and from no other.

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

/// Sessions of one control connection that a client without tickets can resume by their id (TLS
/// 1.2).
const REMEMBERED_SESSIONS: usize = 16;

/// How a server speaks TLS.
#[derive(Clone)]
pub struct TlsOptions {
    /// What the server shows, with its key.
    pub certificate: Certificate,
    /// When TLS begins, and whether a client may do without.
    pub mode: TlsMode,
    /// Whether a data connection must resume a TLS session of its control connection; else it is
    /// refused with 522.
    pub reuse: bool,
    /// What is spoken.
    pub versions: TlsVersions,
    /// Authorities in a PEM file: a client must then show a certificate that one of them has
    /// signed.
    pub client_ca: Option<PathBuf>,
}

/// When TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// With AUTH TLS, if the client says so.
    Offered,
    /// With AUTH TLS, which must come before USER; data connections need PROT P.
    Required,
    /// With the connection itself, before the greeting; data connections are protected from the
    /// start.
    Implicit,
}

/// The versions of TLS that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    Both,
    /// 1.2 alone.
    Only12,
    /// 1.3 alone.
    Only13,
}

impl TlsOptions {
    /// TLS is required, in either version, by any client; data connections may begin sessions of
    /// their own.
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

/// What all sessions share of TLS.
pub(super) struct Tls {
    pub(super) mode: TlsMode,
    pub(super) reuse: bool,
    versions: TlsVersions,
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Tls {
    /// Fails where the key does not belong to the certificate, or the file of authorities cannot be
    /// used.
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

    /// The settings of one control connection and its data connections.
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

/// The judge of clients whose certificates an authority in the file has signed.
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

/// A file that was to be read, and why it is of no use.
fn unusable(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{}: {error}", path.display()),
    )
}
