//! Why a certificate is not trusted.

use super::certificate::Certificate;
use super::first_use::PinnedCertificate;

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
    /// The recorded certificate, if it is another one ([`Trust::First`](super::Trust::First)).
    pub recorded: Option<PinnedCertificate>,
}
