//! Why a certificate is not trusted.

use super::certificate::Certificate;

/// A certificate that is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server's certificate is not trusted: {reason} ({certificate}); {advice}")]
pub struct Distrust {
    /// The problem.
    pub reason: String,
    /// The certificate.
    pub certificate: Certificate,
    /// How to make it trusted.
    pub advice: String,
}
