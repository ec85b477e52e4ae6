//! Which server certificates are trusted (RFC 5280 §6, RFC 6125): the system's roots, a file's, one
//! pinned, or any.

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
use super::signature::{self, SHORT_RSA_SCHEMES, STRONG_RSA, SignatureProblem};
use super::{Certificate, ConfigError, Fingerprint};

/// Whom to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The system's roots.
    System,
    /// The certificates in this PEM file and what they have signed, and nothing else.
    File(PathBuf),
    /// The one certificate with this fingerprint, whatever it says.
    Pin(Fingerprint),
    /// Anybody.
    Anyone,
}

/// A certificate that is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server's certificate is not trusted: {reason} ({certificate}); {advice}")]
pub struct Distrust {
    /// What is wrong with it.
    pub reason: String,
    /// Itself.
    pub certificate: Certificate,
    /// What would make it trusted.
    pub advice: String,
}

/// Judges certificates for rustls.
#[derive(Debug, Clone)]
pub(super) struct CertificateVerifier {
    rule: Rule,
    algorithms: WebPkiSupportedAlgorithms,
    /// Only what a short RSA key can do is offered.
    only_short_rsa: bool,
    /// A short RSA key signed in a way that cannot be checked, where its certificate is trusted all
    /// the same.
    met_short_rsa: Arc<AtomicBool>,
}

#[derive(Debug, Clone)]
enum Rule {
    Chain {
        roots: Arc<WebPkiServerVerifier>,
        /// Trusted although it may be no root: what a person put into the file is meant.
        listed: Vec<CertificateDer<'static>>,
    },
    Pin(Fingerprint),
    Anyone,
}

impl CertificateVerifier {
    /// # Errors
    /// The file cannot be used, or the system has no roots.
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
            Trust::Anyone => Rule::Anyone,
        };
        Ok(Self {
            rule,
            algorithms: provider.signature_verification_algorithms,
            only_short_rsa: false,
            met_short_rsa: Arc::default(),
        })
    }

    /// The same, for servers with a short RSA key and TLS 1.2.
    pub(super) fn for_short_rsa(&self) -> Self {
        Self {
            only_short_rsa: true,
            ..self.clone()
        }
    }

    /// Whether [`Self::for_short_rsa`] would have done better.
    pub(super) fn met_short_rsa(&self) -> bool {
        self.met_short_rsa.load(Relaxed)
    }

    /// The handshake's signature, by a certificate that is trusted by itself.
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
                    "the server's RSA key has only {bits} bits: that can be used over TLS 1.2 alone, and no option helps"
                ))
            }
            SignatureProblem::HopelessRsa(bits) => rustls::Error::General(format!(
                "the server's RSA key has only {bits} bits: no option helps, the server needs another certificate"
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
            Rule::Pin(_) | Rule::Anyone => self.check_signature(message, certificate, signed),
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
            Rule::Pin(_) | Rule::Anyone if signature::is_for_tls13(signed.scheme) => {
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

/// The certificates in a PEM file.
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

/// The refusal of a certificate that a failed handshake carries.
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

/// A certificate that the file lists: its signature needs no root, its names and dates hold.
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
    signature::rsa_bits(leaf).is_some_and(|bits| bits < STRONG_RSA)
}

fn expired(not_after: i64) -> String {
    format!("it expired on {}", day(not_after))
}

fn early(not_before: i64) -> String {
    format!("it is not valid before {}", day(not_before))
}

/// What rustls says is wrong, for people.
fn in_words(error: &rustls::Error, leaf: &[u8], host: &ServerName<'_>) -> String {
    let rustls::Error::InvalidCertificate(problem) = error else {
        return error.to_string();
    };
    let certificate = || Certificate::read(leaf);
    match problem {
        CertificateError::UnknownIssuer => {
            format!(
                "nobody trusted has signed it; its issuer is {}",
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
            format!("it names a trusted issuer, {issuer}, whose signature it does not bear")
        }
        CertificateError::Other(other) if other.to_string().contains("UnsupportedCertVersion") => {
            "it is of an old version of X.509".to_owned()
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "it signed itself, as an authority's".to_owned()
        }
        other => other.to_string(),
    }
}

fn distrusted(rule: &Rule, reason: String, leaf: &[u8]) -> rustls::Error {
    let certificate = Certificate::read(leaf);
    let fingerprint = certificate.fingerprint;
    let advice = match rule {
        Rule::Pin(_) => {
            format!("if the server has changed it, -o fingerprint={fingerprint} trusts the new one")
        }
        Rule::Chain { .. } | Rule::Anyone => format!(
            "if this is your server's, -o fingerprint={fingerprint} trusts it, and so does -o cafile=FILE with it or its issuer's in FILE, while its name and dates are right"
        ),
    };
    let distrust = Distrust {
        reason,
        certificate,
        advice,
    };
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(distrust))))
}
