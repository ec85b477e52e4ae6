//! Protection of a session: whether TLS is active, and what PBSZ and PROT set for data connections
//! (RFC 4217).

use std::sync::Arc;

use rustls::ServerConfig;

use super::reply::{Stop, refused};
use super::tls::{Tls, TlsMode};

/// The protection of one session.
pub(super) struct Security {
    /// `None` if the server does not support TLS.
    tls: Option<SessionTls>,
    /// Data connections are private (PROT P), not clear (PROT C).
    pub(super) is_private: bool,
    /// PBSZ was received, which must precede PROT.
    pub(super) has_buffer_size: bool,
}

struct SessionTls {
    config: Arc<ServerConfig>,
    mode: TlsMode,
    reuse: bool,
}

impl Security {
    pub(super) fn of(tls: Option<&Tls>) -> Result<Self, rustls::Error> {
        let for_session = |tls: &Tls| {
            let (mode, reuse) = (tls.mode, tls.reuse);
            tls.for_session().map(|config| SessionTls {
                config,
                mode,
                reuse,
            })
        };
        Ok(Self {
            tls: tls.map(for_session).transpose()?,
            is_private: false,
            has_buffer_size: false,
        })
    }

    /// Whether TLS starts with the connection.
    pub(super) fn is_implicit(&self) -> bool {
        self.has_mode(TlsMode::Implicit)
    }

    /// Whether TLS is required for everything.
    pub(super) fn is_required(&self) -> bool {
        self.is_implicit() || self.has_mode(TlsMode::Required)
    }

    /// Returns the configuration for the handshake on the control connection.
    pub(super) fn for_control(&self) -> Option<Arc<ServerConfig>> {
        self.tls.as_ref().map(|tls| Arc::clone(&tls.config))
    }

    /// Returns the configuration for a data connection, and whether it must resume a session.
    /// `None` for data connections in the clear.
    pub(super) fn for_data(&self) -> Option<(Arc<ServerConfig>, bool)> {
        let tls = self.tls.as_ref().filter(|_| self.is_private)?;
        Some((Arc::clone(&tls.config), tls.reuse))
    }

    /// Records that TLS is active on the control connection.
    pub(super) fn begin(&mut self) {
        self.is_private = self.is_implicit();
        self.has_buffer_size = false;
    }

    /// Refuses a data connection in the clear if TLS is required.
    pub(super) fn check_data(&self) -> Result<(), Stop> {
        if self.is_required() && !self.is_private {
            return Err(refused(
                521,
                "TLS is required on data connections: say PBSZ 0 and PROT P first",
            ));
        }
        Ok(())
    }

    fn has_mode(&self, mode: TlsMode) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.mode == mode)
    }
}
