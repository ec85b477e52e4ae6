//! Trust on first use with a scripted peer.

use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::tls::{Identity, begin, log_in, options};
use crate::ftp::testing::{Peer, path};
use crate::ftp::tls::{
    Certificate, DistrustCause, Fingerprint, PinStore, PinStoreError, PinnedCertificate,
    SharedPinStore,
};
use crate::ftp::{Error, Session, Trust, server_certificate};

/// A store in memory. Clones share it.
#[derive(Debug, Clone, Default)]
struct SharedMemory(Arc<Mutex<Option<Fingerprint>>>);

impl SharedMemory {
    fn trust(&self) -> Trust {
        Trust::First(SharedPinStore::new(self.clone()))
    }

    fn fingerprint(&self) -> Option<Fingerprint> {
        *self.0.lock().unwrap()
    }
}

fn pinned(fingerprint: Fingerprint) -> PinnedCertificate {
    PinnedCertificate {
        fingerprint,
        since: "2026-01-02".to_owned(),
        file: PathBuf::from("/pins"),
    }
}

impl PinStore for SharedMemory {
    fn pinned(&self) -> Result<Option<PinnedCertificate>, PinStoreError> {
        Ok(self.fingerprint().map(pinned))
    }

    fn record(&self, certificate: &Certificate) -> Result<PinnedCertificate, PinStoreError> {
        let mut stored = self.0.lock().unwrap();
        Ok(pinned(*stored.get_or_insert(certificate.fingerprint)))
    }
}

/// Even if the store forgets the certificate in the meantime.
#[test]
fn a_data_connection_must_show_the_pinned_certificate() {
    for is_forgotten in [false, true] {
        let (identity, other) = (Identity::new(), Identity::new());
        let (config, others) = (identity.server(), other.server());
        let store = SharedMemory::default();
        let peer = Peer::plays(move |stage| {
            log_in(stage, &config);
            let mut data = begin(stage, &others, "RETR /a");
            assert!(data.read(&mut [0; 64]).is_err(), "the client's alert");
        });
        let session = Session::connect(&options(&peer, store.trust())).unwrap();
        assert_eq!(store.fingerprint(), Some(identity.fingerprint()));
        if is_forgotten {
            *store.0.lock().unwrap() = None;
        }
        let Err(failed) = session.retrieve(&path("/a"), 0).map(drop) else {
            panic!("the other certificate was accepted");
        };
        let Error::Certificate(distrust) = failed.error else {
            panic!("{:?}", failed.error);
        };
        let expected = if is_forgotten {
            DistrustCause::OnlyConfirmed
        } else {
            DistrustCause::OtherRecorded(pinned(identity.fingerprint()))
        };
        assert_eq!(distrust.cause, expected);
        assert_eq!(distrust.certificate.fingerprint, other.fingerprint());
        peer.join();
    }
}

/// A server that shows a certificate without having its key must not be able to pin it.
#[test]
fn a_handshake_that_does_not_end_pins_nothing() {
    let (identity, other) = (Identity::new(), Identity::new());
    let config = identity.server_with_the_key_of(&other);
    let store = SharedMemory::default();
    let peer = Peer::plays(move |stage| {
        stage.reply("220 ready");
        stage.answer("AUTH TLS", "234 go on");
        stage.secure(&config);
        let ended = stage.channel().read_to_end(&mut Vec::new());
        assert!(ended.is_err(), "the client's alert");
    });
    let outcome = Session::connect(&options(&peer, store.trust()));
    assert!(matches!(outcome, Err(Error::Tls(_))), "{outcome:?}");
    assert_eq!(store.fingerprint(), None);
    peer.join();
}

#[test]
fn a_certificate_is_fetched_without_a_login() {
    let identity = Identity::new();
    let config = identity.server();
    let store = SharedMemory::default();
    let peer = Peer::plays(move |stage| {
        stage.reply("220 ready");
        stage.answer("AUTH TLS", "234 go on");
        stage.secure(&config);
        stage.answer("QUIT", "221 bye");
    });
    let certificate = server_certificate(&options(&peer, store.trust())).unwrap();
    assert_eq!(
        certificate.map(|it| it.fingerprint),
        Some(identity.fingerprint())
    );
    peer.join();
}
