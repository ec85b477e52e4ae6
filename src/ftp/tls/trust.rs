//! Trust in server certificates (RFC 5280 §6, RFC 6125): the system's roots, those in a file, a
//! pinned certificate, the first one, or any.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};

use super::certificate::day;
use super::distrust::{Distrust, DistrustCause};
use super::first_use::{FirstUse, Refusal, SharedPinStore};
use super::signature::{self, SHORT_RSA_SCHEMES, STRONG_RSA_BITS, SignatureProblem};
use super::{Certificate, ConfigError, Fingerprint};

/// Which certificates to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those issued by the system's roots.
    System,
    /// Only those in this PEM file, and those issued by them.
    File(PathBuf),
    /// Only the certificate with this fingerprint, whatever its contents.
    Pin(Fingerprint),
    /// The one of the first connection, whatever its contents. The store records it.
    First(SharedPinStore),
    /// Any certificate.
    Anyone,
}

/// Verifies certificates for rustls.
#[derive(Debug, Clone)]
pub(super) struct CertificateVerifier {
    rule: Rule,
    algorithms: WebPkiSupportedAlgorithms,
    /// Offer only the signature schemes for short RSA keys.
    only_short_rsa: bool,
    /// A trusted certificate had a short RSA key with a signature that could not be verified.
    met_short_rsa: Arc<AtomicBool>,
}

#[derive(Debug, Clone)]
enum Rule {
    Chain {
        roots: Arc<WebPkiServerVerifier>,
        /// Trusted although not necessarily roots, because the user put them into the file.
        listed: Vec<CertificateDer<'static>>,
    },
    Pin(Fingerprint),
    First(Arc<FirstUse>),
    Anyone,
}

impl CertificateVerifier {
    /// # Errors
    /// The file is not usable, or the system has no roots.
    pub(super) fn new(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Self, ConfigError> {
        let rule = match trust {
            Trust::System => Rule::Chain {
                roots: verifier(system_roots()?, provider).ok_or(ConfigError::NoRoots)?,
                listed: Vec::new(),
            },
            Trust::File(path) => {
                let listed = certificates(path)?;
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(listed.iter().cloned());
                let none = || ConfigError::NoCertificate(path.clone());
                Rule::Chain {
                    roots: verifier(roots, provider).ok_or_else(none)?,
                    listed,
                }
            }
            Trust::Pin(fingerprint) => Rule::Pin(*fingerprint),
            Trust::First(store) => Rule::First(Arc::new(FirstUse::new(store.clone()))),
            Trust::Anyone => Rule::Anyone,
        };
        Ok(Self {
            rule,
            algorithms: provider.signature_verification_algorithms,
            only_short_rsa: false,
            met_short_rsa: Arc::default(),
        })
    }

    /// Returns a verifier for servers with a short RSA key, over TLS 1.2.
    pub(super) fn for_short_rsa(&self) -> Self {
        Self {
            only_short_rsa: true,
            ..self.clone()
        }
    }

    /// Records the certificate of a completed handshake if it is the first one.
    ///
    /// # Errors
    /// It cannot be recorded, or another one is.
    pub(super) fn confirm(&self, chain: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        match (&self.rule, chain.first()) {
            (Rule::First(first_use), Some(leaf)) => first_use
                .confirm(leaf)
                .map_err(|refusal| refused(refusal, leaf)),
            (Rule::First(_), None) => Err(rustls::Error::NoCertificatesPresented),
            _ => Ok(()),
        }
    }

    /// Whether [`Self::for_short_rsa`] would have verified the server.
    pub(super) fn met_short_rsa(&self) -> bool {
        self.met_short_rsa.load(Relaxed)
    }

    /// Verifies the handshake signature of a certificate that is trusted by itself.
    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let checked = signature::verify(signed.scheme, certificate, message, signed.signature());
        let Err(problem) = checked else {
            return Ok(HandshakeSignatureValid::assertion());
        };
        Err(match problem {
            SignatureProblem::ShortRsa(bits) => {
                self.met_short_rsa.store(true, Relaxed);
                rustls::Error::General(format!(
                    "the server's RSA key has only {bits} bits: it can only be used over TLS 1.2, and no option changes that"
                ))
            }
            SignatureProblem::HopelessRsa(bits) => rustls::Error::General(format!(
                "the server's RSA key has only {bits} bits: no option changes that, the server needs another certificate"
            )),
            SignatureProblem::Unreadable => CertificateError::BadEncoding.into(),
            SignatureProblem::OtherKey | SignatureProblem::Forged => {
                CertificateError::BadSignature.into()
            }
        })
    }
}

impl ServerCertVerifier for CertificateVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let judged = match &self.rule {
            Rule::Anyone => Ok(()),
            Rule::Pin(pin) if *pin == Fingerprint::of(leaf) => Ok(()),
            Rule::Pin(pin) => Err(format!("it is not the one that was pinned, {pin}")),
            Rule::First(first_use) => {
                return match first_use.judge(leaf) {
                    Ok(()) => Ok(ServerCertVerified::assertion()),
                    Err(refusal) => Err(refused(refusal, leaf)),
                };
            }
            Rule::Chain { .. } if is_short_rsa(leaf) => {
                Err("its RSA key is shorter than 2048 bits".to_owned())
            }
            Rule::Chain { listed, .. } if listed.iter().any(|it| it == leaf) => {
                judge_listed(leaf, host, now)
            }
            Rule::Chain { roots, .. } => roots
                .verify_server_cert(leaf, others, host, ocsp, now)
                .map(drop)
                .map_err(|error| in_words(&error, leaf, host)),
        };
        match judged {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(reason) => Err(distrusted(&self.rule, reason, leaf)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match self.rule {
            Rule::Pin(_) | Rule::First(_) | Rule::Anyone => {
                self.check_signature(message, certificate, signed)
            }
            Rule::Chain { .. } => {
                verify_tls12_signature(message, certificate, signed, &self.algorithms)
            }
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match self.rule {
            Rule::Pin(_) | Rule::First(_) | Rule::Anyone
                if signature::is_for_tls13(signed.scheme) =>
            {
                self.check_signature(message, certificate, signed)
            }
            _ => verify_tls13_signature(message, certificate, signed, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        if self.only_short_rsa {
            return SHORT_RSA_SCHEMES.to_vec();
        }
        self.algorithms.supported_schemes()
    }
}

/// Returns the certificates in a PEM file.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable(path.to_owned(), reason);
    let text = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(error.to_string()))?;
    if certificates.is_empty() {
        return Err(ConfigError::NoCertificate(path.to_owned()));
    }
    Ok(certificates)
}

/// Returns the refused certificate of a failed handshake.
pub(super) fn distrust(error: &rustls::Error) -> Option<Distrust> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
            other.downcast_ref::<Distrust>().cloned()
        }
        _ => None,
    }
}

fn system_roots() -> Result<RootCertStore, ConfigError> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        log::info!("some of the system's trusted roots cannot be read: {error}");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(ConfigError::NoRoots);
    }
    Ok(roots)
}

fn verifier(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Option<Arc<WebPkiServerVerifier>> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .ok()
}

/// Verifies a certificate listed in the file: no root is needed, but names and dates must match.
fn judge_listed(
    leaf: &CertificateDer<'_>,
    host: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), String> {
    let named = ParsedCertificate::try_from(leaf).and_then(|it| verify_server_name(&it, host));
    named.map_err(|error| in_words(&error, leaf, host))?;
    let Certificate {
        not_before,
        not_after,
        ..
    } = Certificate::read(leaf);
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now > not_after {
        return Err(expired(not_after));
    }
    if now < not_before {
        return Err(early(not_before));
    }
    Ok(())
}

fn is_short_rsa(leaf: &[u8]) -> bool {
    signature::rsa_bits(leaf).is_some_and(|bits| bits < STRONG_RSA_BITS)
}

fn expired(not_after: i64) -> String {
    format!("it expired on {}", day(not_after))
}

fn early(not_before: i64) -> String {
    format!("it is not valid before {}", day(not_before))
}

/// Describes an error of rustls for users.
fn in_words(error: &rustls::Error, leaf: &[u8], host: &ServerName<'_>) -> String {
    let rustls::Error::InvalidCertificate(problem) = error else {
        return error.to_string();
    };
    let certificate = || Certificate::read(leaf);
    match problem {
        CertificateError::UnknownIssuer => {
            format!(
                "no trusted authority has signed it; its issuer is {}",
                certificate().issuer
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            expired(certificate().not_after)
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            early(certificate().not_before)
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("it is not for {}", host.to_str())
        }
        CertificateError::BadSignature => {
            let issuer = certificate().issuer;
            format!("it names a trusted issuer, {issuer}, but lacks its signature")
        }
        CertificateError::Other(other) if other.to_string().contains("UnsupportedCertVersion") => {
            "it is of an old version of X.509".to_owned()
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "it is a self-signed certificate of an authority".to_owned()
        }
        other => other.to_string(),
    }
}

fn distrusted(rule: &Rule, reason: String, leaf: &[u8]) -> rustls::Error {
    to_rustls(Distrust {
        reason,
        certificate: Certificate::read(leaf),
        cause: match rule {
            Rule::Pin(_) => DistrustCause::OtherPinned,
            _ => DistrustCause::Unverified,
        },
    })
}

fn refused(refusal: Refusal, leaf: &[u8]) -> rustls::Error {
    to_rustls(Distrust {
        reason: refusal.reason,
        certificate: Certificate::read(leaf),
        cause: refusal.cause,
    })
}

fn to_rustls(distrust: Distrust) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(distrust))))
}
