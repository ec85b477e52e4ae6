//! Why a certificate is not trusted.

use super::certificate::Certificate;

/// A certificate that is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server's certificate is not trusted: {reason} ({certificate})")]
#[non_exhaustive]
pub struct Distrust {
    /// The problem.
    pub reason: String,
    /// The certificate.
    pub certificate: Certificate,
    /// Whether another certificate was pinned ([`Trust::Pin`](super::Trust::Pin)).
    pub is_other_pinned: bool,
}
