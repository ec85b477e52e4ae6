//! Why a certificate is not trusted.

use super::certificate::Certificate;
use super::pinned_certificate::PinnedCertificate;

/// A certificate that is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server's certificate is not trusted: {reason} ({certificate})")]
#[non_exhaustive]
pub struct Distrust {
    /// The problem.
    pub reason: String,
    /// The certificate.
    pub certificate: Certificate,
    /// What the user can do something about.
    pub cause: DistrustCause,
}

/// The kind of a [`Distrust`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DistrustCause {
    /// No trusted authority vouches for the certificate, or its names or dates are wrong.
    Unverified,
    /// Another certificate was pinned ([`Trust::Pin`](super::Trust::Pin)).
    OtherPinned,
    /// Another certificate is recorded ([`Trust::First`](super::Trust::First)).
    OtherRecorded(PinnedCertificate),
    /// The record was removed, and an earlier connection has confirmed another certificate.
    OnlyConfirmed,
    /// The record cannot be read or written. This says nothing about the certificate.
    StoreFailed,
}
