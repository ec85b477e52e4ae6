//! The certificate that trust on first use has recorded.

use std::path::PathBuf;

use super::certificate::Fingerprint;

/// The recorded certificate of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedCertificate {
    /// Its digest.
    pub fingerprint: Fingerprint,
    /// The day on which it was recorded, for messages.
    pub since: String,
    /// The file with the record. Without it, the next connection is the first again.
    pub file: PathBuf,
}
