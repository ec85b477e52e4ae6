//! The TLS sessions of one control connection, for its data connections to resume (RFC 4217 §10.2;
//! RFC 8446 §2.2, RFC 5246 §F.1.4, RFC 5077).
//!
//! vsftpd, ProFTPD and FileZilla Server take a data connection only where it resumes its own
//! control connection's session, and another control connection's is none of theirs, so nothing is
//! shared between them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// Most TLS 1.3 tickets kept: each is good for one connection, and servers give one or two with
/// each.
const MOST: usize = 16;

/// What one control connection and its data connections were given.
#[derive(Default)]
pub(super) struct Tickets(Mutex<TicketStore>);

#[derive(Default)]
struct TicketStore {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: VecDeque<Tls13ClientSessionValue>,
    /// The server gave a ticket, so that a connection without one is worse than the first.
    given: bool,
}

impl Tickets {
    /// How many data connections can still resume; none known where the server resumes nothing or
    /// any number.
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
        if kept.tls13.len() >= MOST {
            kept.tls13.pop_front();
        }
        kept.tls13.push_back(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'_>) -> Option<Tls13ClientSessionValue> {
        self.lock().tls13.pop_back()
    }
}
