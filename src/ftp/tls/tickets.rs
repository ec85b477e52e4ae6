//! TLS sessions of one control connection, which its data connections resume (RFC 4217 §10.2; RFC
//! 8446 §2.2, RFC 5246 §F.1.4, RFC 5077).
//!
//! vsftpd, ProFTPD and FileZilla Server only accept a data connection that resumes the session of
//! its own control connection, so sessions are not shared between control connections.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// Maximum number of stored TLS 1.3 tickets. Each is valid for one connection, and servers issue
/// one or two per connection.
const MAX_TICKETS: usize = 16;

/// The sessions and tickets of one control connection.
#[derive(Default)]
pub(super) struct Tickets(Mutex<TicketStore>);

#[derive(Default)]
struct TicketStore {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: VecDeque<Tls13ClientSessionValue>,
    /// The server has issued a ticket, so a connection without one is worse than the first.
    given: bool,
}

impl Tickets {
    /// Number of data connections that can still resume the session. `None` if the server does not
    /// resume sessions, or without limit.
    pub(super) fn remaining(&self) -> Option<usize> {
        let kept = self.lock();
        kept.given.then_some(kept.tls13.len())
    }

    fn lock(&self) -> MutexGuard<'_, TicketStore> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.lock().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.lock().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.lock().tls12 = Some(session);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.lock().tls12.clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.lock().tls12 = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut kept = self.lock();
        kept.given = true;
        if kept.tls13.len() >= MAX_TICKETS {
            kept.tls13.pop_front();
        }
        kept.tls13.push_back(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'_>) -> Option<Tls13ClientSessionValue> {
        self.lock().tls13.pop_back()
    }
}
