//! TLS for FTP (RFC 4217): explicit by AUTH TLS, or implicit from the first byte; TLS 1.2 and 1.3.
//!
//! There is no fallback to plaintext: if TLS is requested and the server does not support it,
//! connecting fails.

mod certificate;
pub(super) mod distrust;
mod first_use;
mod pinned_certificate;
mod signature;
mod stream;
mod tickets;
mod trust;

use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{
    AlertDescription, ClientConfig, InvalidMessage, PeerIncompatible, SupportedProtocolVersion,
};
use zeroize::Zeroizing;

pub use certificate::{Certificate, Fingerprint};
pub use distrust::{Distrust, DistrustCause};
pub use first_use::{PinStore, PinStoreError, SharedPinStore};
pub use pinned_certificate::PinnedCertificate;
pub use trust::Trust;

pub(super) use stream::TlsStream;

use super::error::{Error, Phase};
use stream::{CONTROL_ROOM, DATA_ROOM};
use tickets::Tickets;
use trust::CertificateVerifier;

/// Maximum age of a session for further transfers. Servers forget TLS sessions, ProFTPD's cache
/// first, after half an hour.
const MAX_SESSION_AGE: Duration = Duration::from_secs(20 * 60);

/// Versions for new sessions: both; only TLS 1.2 because the server gives too few tickets; both
/// because the server does not support TLS 1.2.
const ANY_VERSION: u8 = 0;
const ONLY_12: u8 = 1;
const NEVER_ONLY_12: u8 = 2;
/// Only TLS 1.2 because the server's RSA key is short.
const SHORT_RSA: u8 = 3;

/// Whether and how connections are encrypted.
#[derive(Debug, Clone, Default)]
pub enum Tls {
    /// No encryption.
    #[default]
    Off,
    /// By AUTH TLS, before any other command (RFC 4217 §4).
    Explicit(TlsConfig),
    /// From the first byte, on a separate port (990).
    Implicit(TlsConfig),
}

/// TLS options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// Which server certificates to trust.
    pub trust: Trust,
    /// Client certificate, for servers that request one.
    pub identity: Option<Identity>,
}

/// A client certificate and its key, in PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, followed by its issuers.
    pub certificate: PathBuf,
    /// The private key; if `None`, it is in the certificate's file.
    pub key: Option<PathBuf>,
}

/// A loaded TLS configuration; cheap to clone.
#[derive(Clone)]
pub struct TlsConfig(Arc<Loaded>);

struct Loaded {
    config: ClientConfig,
    /// The same for TLS 1.2 only, whose sessions can be resumed any number of times.
    tls12: ClientConfig,
    /// The same for TLS 1.2 with a short RSA key.
    short_rsa: ClientConfig,
    verifier: Arc<CertificateVerifier>,
    versions: AtomicU8,
    /// Set if any certificate is trusted: whether the user was warned.
    warned: Option<Once>,
}

/// Reason why TLS cannot be configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read, or is not PEM.
    #[error("cannot read {}: {}", .0.display(), .1)]
    Unreadable(PathBuf, String),
    /// A file contains no usable certificate in PEM.
    #[error("{} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)", .0.display())]
    NoCertificate(PathBuf),
    /// A file contains no private key in PEM.
    #[error("{} holds no private key in PEM without a passphrase", .0.display())]
    NoKey(PathBuf),
    /// A key does not belong to its certificate, or is of an unknown kind.
    #[error("the key of the certificate in {} cannot be used: {}", .0.display(), .1)]
    BadKey(PathBuf, String),
    /// The system has no trusted root certificates.
    #[error(
        "this system has no trusted root certificates (the package is usually called ca-certificates)"
    )]
    NoRoots,
    /// An error of rustls.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// What to change after a failed handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsFallback {
    /// Use TLS 1.2 with signature schemes for a short RSA key.
    ShortRsa,
    /// Lift the restriction to TLS 1.2.
    AnyVersion,
}

/// Properties of a session's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Security {
    /// Version, such as `TLS 1.3`.
    pub version: String,
    /// Name of the cipher suite.
    pub cipher: String,
    /// The server's certificate, followed by those sent along.
    pub certificates: Vec<Certificate>,
    /// Whether the last data connection resumed the session. `None` before the first.
    pub data_resumed: Option<bool>,
}

/// Error of a handshake.
#[derive(Debug)]
pub(super) enum HandshakeError {
    Io(io::Error),
    Tls(rustls::Error),
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<rustls::Error> for HandshakeError {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

impl HandshakeError {
    /// Converts to an FTP error.
    pub(super) fn into_error(self, phase: Phase) -> Error {
        match self {
            Self::Io(error) => super::error::socket_error(phase, error),
            Self::Tls(error) => to_error(&error),
        }
    }
}

impl Tls {
    /// Returns the configuration if TLS is on.
    pub(super) fn config(&self) -> Option<&TlsConfig> {
        match self {
            Self::Off => None,
            Self::Explicit(config) | Self::Implicit(config) => Some(config),
        }
    }
}

impl TlsConfig {
    /// Reads the files and loads the roots.
    ///
    /// # Errors
    /// A file is not usable, or there are no roots.
    pub fn load(options: &TlsOptions) -> Result<Self, ConfigError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(CertificateVerifier::new(&options.trust, &provider)?);
        let setup = |error: rustls::Error| ConfigError::Setup(error.to_string());
        let make = |versions: &[&'static SupportedProtocolVersion],
                    verifier: Arc<CertificateVerifier>| {
            let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(versions)
                .map_err(setup)?
                .dangerous()
                .with_custom_certificate_verifier(verifier as _);
            let Some(identity) = &options.identity else {
                return Ok(builder.with_no_client_auth());
            };
            let chain = trust::certificates(&identity.certificate)?;
            let key = private_key(identity.key.as_ref().unwrap_or(&identity.certificate))?;
            let bad = |error: rustls::Error| {
                ConfigError::BadKey(identity.certificate.clone(), error.to_string())
            };
            builder.with_client_auth_cert(chain, key).map_err(bad)
        };
        let config = make(rustls::ALL_VERSIONS, Arc::clone(&verifier))?;
        let tls12 = make(&[&rustls::version::TLS12], Arc::clone(&verifier))?;
        let lenient = Arc::new(verifier.for_short_rsa());
        let short_rsa = make(&[&rustls::version::TLS12], lenient)?;
        let warned = (options.trust == Trust::Anyone).then(Once::new);
        Ok(Self(Arc::new(Loaded {
            config,
            tls12,
            short_rsa,
            verifier,
            versions: AtomicU8::new(ANY_VERSION),
            warned,
        })))
    }

    /// Switches new sessions to TLS 1.2 because the server's TLS 1.3 tickets ran out: it issues
    /// none with uploads (ProFTPD), and rustls uses each ticket only once.
    fn fall_back_to_tls12(&self) {
        let only = self
            .versions()
            .compare_exchange(ANY_VERSION, ONLY_12, Relaxed, Relaxed);
        if only.is_ok() {
            log::debug!("the server issues too few TLS 1.3 tickets; continuing with TLS 1.2");
        }
    }

    /// Lifts the restriction to TLS 1.2 that was set for lack of tickets. Returns whether there was
    /// one. It is not set again.
    fn gave_up_tls12(&self) -> bool {
        let only = self
            .versions()
            .compare_exchange(ONLY_12, NEVER_ONLY_12, Relaxed, Relaxed);
        only.is_ok()
    }

    /// What to change after a failed handshake. Applies to all new sessions.
    pub(super) fn fallback(&self) -> Option<TlsFallback> {
        let met_short_rsa = self.0.verifier.met_short_rsa();
        if met_short_rsa && self.versions().swap(SHORT_RSA, Relaxed) != SHORT_RSA {
            log::warn!("the server's RSA key is shorter than 2048 bits; continuing with TLS 1.2");
            return Some(TlsFallback::ShortRsa);
        }
        self.gave_up_tls12().then_some(TlsFallback::AnyVersion)
    }

    fn versions(&self) -> &AtomicU8 {
        &self.0.versions
    }

    fn warn_once(&self) {
        if let Some(warned) = &self.0.warned {
            warned.call_once(|| {
                log::warn!(
                    "insecure: the server's certificate is not checked, so an attacker on the network can read and change everything"
                );
            });
        }
    }
}

impl std::fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsConfig")
    }
}

/// Creates the TLS connections of one session: the control connection, and data connections that
/// resume it.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    loaded: TlsConfig,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    tickets: Arc<Tickets>,
    made: Instant,
}

impl Connector {
    /// Creates the connector for the server at `host`. Returns `None` if TLS is off.
    ///
    /// # Errors
    /// The host name is not valid in a certificate.
    pub(super) fn new(tls: &Tls, host: &str) -> Result<Option<Self>, Error> {
        let Some(loaded) = tls.config() else {
            return Ok(None);
        };
        loaded.warn_once();
        // The zone of a link-local address is only meaningful on this machine.
        let address = host.split('%').next().unwrap_or(host);
        let name = ServerName::try_from(address.trim_end_matches('.').to_owned());
        let name =
            name.map_err(|_| Error::Tls(format!("no certificate can have the name {host}")))?;
        let tickets = Arc::new(Tickets::default());
        let mut config = match loaded.versions().load(Relaxed) {
            ONLY_12 => loaded.0.tls12.clone(),
            SHORT_RSA => loaded.0.short_rsa.clone(),
            _ => loaded.0.config.clone(),
        };
        config.resumption = Resumption::store(Arc::clone(&tickets) as _);
        Ok(Some(Self {
            loaded: loaded.clone(),
            config: Arc::new(config),
            name,
            tickets,
            made: Instant::now(),
        }))
    }

    /// Wraps a control connection. The handshake follows.
    pub(super) fn over_control(&self, socket: Arc<TcpStream>) -> Result<TlsStream, Error> {
        self.wrap(socket, CONTROL_ROOM)
    }

    /// Wraps a data connection. The handshake follows.
    pub(super) fn over_data(&self, socket: Arc<TcpStream>) -> Result<TlsStream, Error> {
        self.wrap(socket, DATA_ROOM)
    }

    /// Whether data connections can no longer resume the session, although the server supports it.
    pub(super) fn is_exhausted(&self) -> bool {
        self.tickets.remaining() == Some(0) || self.made.elapsed() > MAX_SESSION_AGE
    }

    /// Falls back to TLS 1.2 if no tickets are left after an upload that brought none.
    pub(super) fn check_tickets_after_upload(&self) {
        if self.tickets.remaining() == Some(0) {
            self.loaded.fall_back_to_tls12();
        }
    }

    fn wrap(&self, socket: Arc<TcpStream>, room: usize) -> Result<TlsStream, Error> {
        let config = Arc::clone(&self.config);
        let connection = UnbufferedClientConnection::new(config, self.name.clone());
        let connection = connection.map_err(|error| to_error(&error))?;
        let verifier = Arc::clone(&self.loaded.0.verifier);
        Ok(TlsStream::new(socket, connection, verifier, room))
    }
}

impl TlsStream {
    /// Properties of this connection.
    pub(super) fn security(&self, data_resumed: Option<bool>) -> Security {
        Security {
            version: self.version(),
            cipher: self.cipher(),
            certificates: self.certificates(),
            data_resumed,
        }
    }
}

/// Converts an error of rustls.
pub(super) fn to_error(error: &rustls::Error) -> Error {
    if let Some(distrust) = trust::distrust(error) {
        return Error::Certificate(Box::new(distrust));
    }
    if matches!(
        error,
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)
    ) {
        return Error::NotTls;
    }
    Error::Tls(match error {
        // Reported by servers that share no version or cipher with the client, or caused by their
        // choosing one that was not offered.
        rustls::Error::AlertReceived(
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity,
        )
        | rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => format!(
            "{error}: the server most likely speaks only TLS older than 1.2 or old ciphers, which ftpfs does not; \
             update the server's TLS, or, on a network that you trust, do without (ftp://)"
        ),
        rustls::Error::AlertReceived(alert) => format!("the server said {alert:?}"),
        rustls::Error::General(words) => words.clone(),
        other => other.to_string(),
    })
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, ConfigError> {
    let text = std::fs::read(path)
        .map(Zeroizing::new)
        .map_err(|error| ConfigError::Unreadable(path.to_owned(), error.to_string()))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| ConfigError::NoKey(path.to_owned()))
}
