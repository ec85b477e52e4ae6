//! Trust on first use: the first connection records the server's certificate in a [`PinStore`], and
//! every later one accepts only that certificate.
//!
//! During the handshake, [`FirstUse::judge`] compares the certificate with the recorded one. It
//! accepts one that is not recorded yet, because only the end of the handshake proves that the
//! server has its key. Then [`FirstUse::confirm`] records it, before anything else is sent. If
//! another process has recorded another certificate in the meantime, that one counts.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::CertificateDer;

use super::{Certificate, DistrustCause, Fingerprint, PinnedCertificate};

/// Records the certificate of one server.
pub trait PinStore: fmt::Debug + Send + Sync {
    /// Returns the recorded certificate, or `None` before the first connection.
    ///
    /// # Errors
    /// The record cannot be read or is damaged. No certificate is trusted then.
    fn pinned(&self) -> Result<Option<PinnedCertificate>, PinStoreError>;

    /// Records `certificate` if none is recorded yet, in one step. Returns the recorded one.
    ///
    /// # Errors
    /// It cannot be recorded.
    fn record(&self, certificate: &Certificate) -> Result<PinnedCertificate, PinStoreError>;
}

/// The error of a [`PinStore`], whose text names the place of the record.
pub type PinStoreError = Box<dyn std::error::Error + Send + Sync>;

/// A shared [`PinStore`]. Two are equal if they are the same one.
#[derive(Debug, Clone)]
pub struct SharedPinStore(Arc<dyn PinStore>);

impl SharedPinStore {
    /// Shares `store`.
    pub fn new(store: impl PinStore + 'static) -> Self {
        Self(Arc::new(store))
    }
}

impl PartialEq for SharedPinStore {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for SharedPinStore {}

/// Why a certificate is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The problem, for users.
    pub(super) reason: String,
    pub(super) cause: DistrustCause,
}

/// The certificates of one server, with the one that this process has seen.
#[derive(Debug)]
pub(super) struct FirstUse {
    store: SharedPinStore,
    /// Accepted by an earlier connection. It counts even if its record was removed: then only
    /// another record replaces it. Not held during calls of the store.
    confirmed: Mutex<Option<PinnedCertificate>>,
}

impl FirstUse {
    pub(super) fn new(store: SharedPinStore) -> Self {
        Self {
            store,
            confirmed: Mutex::new(None),
        }
    }

    /// Decides during a handshake whether to continue it. Another record than the confirmed one
    /// counts: the user has replaced it.
    pub(super) fn judge(&self, leaf: &CertificateDer<'_>) -> Result<(), Refusal> {
        let shown = Fingerprint::of(leaf);
        let recorded = self.store.0.pinned().map_err(|error| Refusal {
            reason: format!("the pinned one is not known: {error}"),
            cause: DistrustCause::StoreFailed,
        })?;
        match (recorded, self.confirmed()) {
            (Some(pinned), _) => compare(shown, pinned).map(drop),
            (None, Some(confirmed)) if confirmed.fingerprint != shown => Err(Refusal {
                reason: format!(
                    "it is not the one that this mount has used, {}",
                    confirmed.fingerprint
                ),
                cause: DistrustCause::OnlyConfirmed,
            }),
            (None, _) => Ok(()),
        }
    }

    /// Records the certificate after a handshake, or compares it with the recorded one.
    pub(super) fn confirm(&self, leaf: &CertificateDer<'_>) -> Result<(), Refusal> {
        let shown = Fingerprint::of(leaf);
        if self.confirmed().is_some_and(|it| it.fingerprint == shown) {
            return Ok(());
        }
        let recorded = self.store.0.record(&Certificate::read(leaf));
        let pinned = recorded.map_err(|error| Refusal {
            reason: format!("it cannot be pinned: {error}"),
            cause: DistrustCause::StoreFailed,
        })?;
        let pinned = compare(shown, pinned)?;
        *self
            .confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(pinned);
        Ok(())
    }

    fn confirmed(&self) -> Option<PinnedCertificate> {
        let confirmed = self.confirmed.lock();
        confirmed.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn compare(shown: Fingerprint, pinned: PinnedCertificate) -> Result<PinnedCertificate, Refusal> {
    if pinned.fingerprint == shown {
        return Ok(pinned);
    }
    let PinnedCertificate {
        fingerprint,
        since,
        file,
    } = &pinned;
    Err(Refusal {
        reason: format!(
            "it is not the one that was pinned on {since} in {}, {fingerprint}",
            file.display()
        ),
        cause: DistrustCause::OtherRecorded(pinned),
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A store in memory; `None` is damaged.
    #[derive(Debug, Clone)]
    struct MemoryStore(Arc<Mutex<Option<Vec<Fingerprint>>>>);

    impl MemoryStore {
        fn new() -> Self {
            Self(Arc::new(Mutex::new(Some(Vec::new()))))
        }

        fn set(&self, pins: Option<&[&CertificateDer<'_>]>) {
            let pins = pins.map(|pins| pins.iter().map(|it| Fingerprint::of(it)).collect());
            *self.0.lock().unwrap() = pins;
        }
    }

    impl PinStore for MemoryStore {
        fn pinned(&self) -> Result<Option<PinnedCertificate>, PinStoreError> {
            let pins = self.0.lock().unwrap();
            let pins = pins.as_ref().ok_or("the store is damaged")?;
            Ok(pins.first().map(|fingerprint| PinnedCertificate {
                fingerprint: *fingerprint,
                since: "2026-01-02".to_owned(),
                file: PathBuf::from("/pins"),
            }))
        }

        fn record(&self, certificate: &Certificate) -> Result<PinnedCertificate, PinStoreError> {
            let mut pins = self.0.lock().unwrap();
            let pins = pins.as_mut().ok_or("the store is damaged")?;
            pins.push(certificate.fingerprint);
            drop(pins.split_off(1));
            Ok(PinnedCertificate {
                fingerprint: pins[0],
                since: "2026-01-02".to_owned(),
                file: PathBuf::from("/pins"),
            })
        }
    }

    fn certificates() -> [CertificateDer<'static>; 2] {
        [b"one".to_vec(), b"two".to_vec()].map(CertificateDer::from)
    }

    fn in_use() -> (MemoryStore, FirstUse) {
        let store = MemoryStore::new();
        (store.clone(), FirstUse::new(SharedPinStore::new(store)))
    }

    #[test]
    fn the_first_certificate_is_the_only_one_from_then_on() {
        let [one, two] = certificates();
        let (store, first_use) = in_use();
        // A handshake that does not end records nothing.
        first_use.judge(&two).unwrap();
        first_use.judge(&one).unwrap();
        first_use.confirm(&one).unwrap();
        first_use.judge(&one).unwrap();
        for refusal in [first_use.judge(&two), first_use.confirm(&two)] {
            let refusal = refusal.unwrap_err();
            let DistrustCause::OtherRecorded(recorded) = refusal.cause else {
                panic!("{:?}", refusal.cause);
            };
            assert_eq!(recorded.fingerprint, Fingerprint::of(&one));
            assert!(refusal.reason.contains("on 2026-01-02 in /pins, sha256:"));
        }
        let other_process = FirstUse::new(SharedPinStore::new(store));
        assert!(other_process.judge(&two).is_err());
        other_process.judge(&one).unwrap();
    }

    #[test]
    fn of_two_first_connections_the_one_that_records_wins() {
        let [one, two] = certificates();
        let (store, first_use) = in_use();
        first_use.judge(&two).unwrap();
        store.set(Some(&[&one]));
        assert!(first_use.confirm(&two).is_err());
        first_use.judge(&one).unwrap();
    }

    #[test]
    fn a_removed_record_frees_no_running_mount_but_a_new_one_is_accepted() {
        let [one, two] = certificates();
        let (store, first_use) = in_use();
        first_use.confirm(&one).unwrap();
        store.set(Some(&[]));
        let refusal = first_use.judge(&two).unwrap_err();
        assert_eq!(refusal.cause, DistrustCause::OnlyConfirmed);
        first_use.judge(&one).unwrap();
        store.set(Some(&[&two]));
        // The record was replaced, even if the server still shows the old certificate.
        assert!(first_use.judge(&one).is_err());
        first_use.judge(&two).unwrap();
        first_use.confirm(&two).unwrap();
        assert!(first_use.judge(&one).is_err());
    }

    #[test]
    fn with_a_damaged_store_nothing_is_trusted() {
        let [one, two] = certificates();
        let (store, first_use) = in_use();
        store.set(None);
        let refusal = first_use.judge(&one).unwrap_err();
        assert!(refusal.reason.contains("the store is damaged"));
        assert_eq!(refusal.cause, DistrustCause::StoreFailed);
        assert!(first_use.confirm(&two).is_err());
    }
}
