//! TLS under FTP (RFC 4217): explicit by AUTH TLS, or implicit from the first byte; TLS 1.2 and
//! 1.3.
//!
//! Asked for, it is never left out: a server that cannot is an error, not a session in the clear.

mod certificate;
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
pub use trust::{Distrust, Trust};

pub(super) use stream::TlsStream;

use super::error::{Error, Phase};
use stream::{CONTROL_ROOM, DATA_ROOM};
use tickets::Tickets;
use trust::CertificateVerifier;

/// A session that old is not begun another transfer on: servers forget what it would resume, the
/// first of them (ProFTPD's cache) after half an hour.
const OLD: Duration = Duration::from_secs(20 * 60);

/// The versions a session may have: both; TLS 1.2 for want of tickets; both, because the server has
/// no TLS 1.2.
const BOTH: u8 = 0;
const ONLY_12: u8 = 1;
const NEVER_ONLY_12: u8 = 2;
/// TLS 1.2 for want of a longer RSA key.
const SHORT_RSA: u8 = 3;

/// Whether and how a connection is protected.
#[derive(Debug, Clone, Default)]
pub enum Tls {
    /// All in the clear.
    #[default]
    Off,
    /// Asked for by AUTH TLS, before anything else is said (RFC 4217 §4).
    Explicit(TlsConfig),
    /// From the first byte, on a port of its own (990).
    Implicit(TlsConfig),
}

/// What is wanted of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// Whom to trust.
    pub trust: Trust,
    /// Who this side is, for servers that ask for a certificate.
    pub identity: Option<Identity>,
}

/// A client certificate and its key, in PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, with those between it and its root behind it.
    pub certificate: PathBuf,
    /// The private key; in the certificate's file where none is named.
    pub key: Option<PathBuf>,
}

/// Files read, roots found: made once, cheap to clone.
#[derive(Clone)]
pub struct TlsConfig(Arc<Loaded>);

struct Loaded {
    config: ClientConfig,
    /// The same for TLS 1.2 alone, whose session can be resumed any number of times.
    tls12: ClientConfig,
    /// The same for TLS 1.2 and RSA keys that are too short for anything else.
    short_rsa: ClientConfig,
    verifier: Arc<CertificateVerifier>,
    versions: AtomicU8,
    /// Where anybody is trusted: that it was said so.
    warned: Option<Once>,
}

/// Why TLS cannot be used as wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A file that cannot be read, or is no PEM.
    #[error("cannot read {}: {}", .0.display(), .1)]
    Unreadable(PathBuf, String),
    /// A file without a usable certificate in PEM.
    #[error("{} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)", .0.display())]
    NoCertificate(PathBuf),
    /// A file without a private key in PEM.
    #[error("{} holds no private key in PEM without a passphrase", .0.display())]
    NoKey(PathBuf),
    /// A key that does not belong to its certificate, or is of no kind that is known.
    #[error("the key of the certificate in {} cannot be used: {}", .0.display(), .1)]
    BadKey(PathBuf, String),
    /// The system has no trusted roots.
    #[error(
        "this system has no trusted root certificates (the package is mostly called ca-certificates); name one with -o cafile=FILE or pin the server's with -o fingerprint=sha256:HEX"
    )]
    NoRoots,
    /// rustls refused.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// How a handshake may go better than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsFallback {
    /// Over TLS 1.2, with what a short RSA key can do.
    ShortRsa,
    /// Without the restriction to TLS 1.2.
    AnyVersion,
}

/// What a session's TLS came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Security {
    /// `TLS 1.3`.
    pub version: String,
    /// The cipher suite's name.
    pub cipher: String,
    /// The server's certificate, then those it sent along.
    pub certificates: Vec<Certificate>,
    /// Whether the last data connection resumed the session; none before the first.
    pub data_resumed: Option<bool>,
}

/// A handshake's failure.
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
    /// As this floor tells it.
    pub(super) fn into_error(self, phase: Phase) -> Error {
        match self {
            Self::Io(error) => super::control::socket_error(phase, error),
            Self::Tls(error) => to_error(&error),
        }
    }
}

impl Tls {
    /// What TLS is made with, where there is any.
    pub(super) fn config(&self) -> Option<&TlsConfig> {
        match self {
            Self::Off => None,
            Self::Explicit(config) | Self::Implicit(config) => Some(config),
        }
    }
}

impl TlsConfig {
    /// Reads the files and finds the roots.
    ///
    /// # Errors
    /// A file that cannot be used, or no roots.
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
            versions: AtomicU8::new(BOTH),
            warned,
        })))
    }

    /// A server's TLS 1.3 tickets ran out, for it gives none with uploads (ProFTPD does not), and
    /// rustls takes each for one connection: sessions made from now on are of TLS 1.2.
    fn fall_back_to_tls12(&self) {
        let only = self
            .versions()
            .compare_exchange(BOTH, ONLY_12, Relaxed, Relaxed);
        if only.is_ok() {
            log::debug!("the server gives too few TLS 1.3 tickets: going on with TLS 1.2");
        }
    }

    /// Whether TLS 1.2 alone was tried, for want of tickets; it is not tried again.
    fn gave_up_tls12(&self) -> bool {
        let only = self
            .versions()
            .compare_exchange(ONLY_12, NEVER_ONLY_12, Relaxed, Relaxed);
        only.is_ok()
    }

    /// How a handshake that failed may go better; new sessions are made so from now on.
    pub(super) fn fallback(&self) -> Option<TlsFallback> {
        let met_short_rsa = self.0.verifier.met_short_rsa();
        if met_short_rsa && self.versions().swap(SHORT_RSA, Relaxed) != SHORT_RSA {
            log::warn!("the server's RSA key is shorter than 2048 bits: going on with TLS 1.2");
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
                    "insecure: the server's certificate is not checked, so anybody on the way can read and change all"
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

/// Makes the TLS connections of one session: the control connection's, and the data connections'
/// that resume it.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    loaded: TlsConfig,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    tickets: Arc<Tickets>,
    made: Instant,
}

impl Connector {
    /// For the server at `host`; none in the clear.
    ///
    /// # Errors
    /// The host's name is none that a certificate can have.
    pub(super) fn new(tls: &Tls, host: &str) -> Result<Option<Self>, Error> {
        let Some(loaded) = tls.config() else {
            return Ok(None);
        };
        loaded.warn_once();
        // The zone of a link-local address is this machine's own affair.
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

    /// TLS over a control connection, its handshake still to be made.
    pub(super) fn over_control(&self, socket: TcpStream) -> Result<TlsStream, Error> {
        self.wrap(socket, CONTROL_ROOM)
    }

    /// TLS over a data connection, its handshake still to be made.
    pub(super) fn over_data(&self, socket: TcpStream) -> Result<TlsStream, Error> {
        self.wrap(socket, DATA_ROOM)
    }

    /// Whether a data connection could no longer resume the session, where the server had let it.
    pub(super) fn is_exhausted(&self) -> bool {
        self.tickets.remaining() == Some(0) || self.made.elapsed() > OLD
    }

    /// A whole upload brought no ticket: where none is left, so will the next ones.
    pub(super) fn check_tickets_after_upload(&self) {
        if self.tickets.remaining() == Some(0) {
            self.loaded.fall_back_to_tls12();
        }
    }

    fn wrap(&self, socket: TcpStream, room: usize) -> Result<TlsStream, Error> {
        let config = Arc::clone(&self.config);
        let connection = UnbufferedClientConnection::new(config, self.name.clone());
        let connection = connection.map_err(|error| to_error(&error))?;
        Ok(TlsStream::new(socket, connection, room))
    }
}

impl TlsStream {
    /// What this connection came to.
    pub(super) fn security(&self, data_resumed: Option<bool>) -> Security {
        Security {
            version: self.version(),
            cipher: self.cipher(),
            certificates: self.certificates(),
            data_resumed,
        }
    }
}

/// What rustls found, as this floor tells it.
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
        // A server that shares no version or cipher says either of these, or chooses what was not
        // offered.
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
