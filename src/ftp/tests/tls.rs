//! TLS with a scripted peer, for behaviour that real servers cannot be made to show.

use crate::ftp::Capability;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{HandshakeKind, ServerConfig, SupportedProtocolVersion};
use tempfile::NamedTempFile;

use crate::ftp::testing::{Channel, Peer, SHORT, Stage, path, secured};
use crate::ftp::tls::{Distrust, Fingerprint, Tls, TlsConfig, TlsOptions, Trust};
use crate::ftp::{ConnectOptions, Error, ListWith, Phase, Session, probe};

/// A server's certificate and what a client needs to trust it.
pub(super) struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    file: NamedTempFile,
}

impl Identity {
    /// Creates a certificate for 127.0.0.1, valid now.
    pub(super) fn new() -> Self {
        Self::changed(|_| {})
    }

    fn changed(change: impl FnOnce(&mut rcgen::CertificateParams)) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        let name = (rcgen::DnType::CommonName, "the peer");
        parameters.distinguished_name.push(name.0, name.1);
        change(&mut parameters);
        let certificate = parameters.self_signed(&key).unwrap();
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(certificate.pem().as_bytes()).unwrap();
        Self {
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
            file,
        }
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        self.server_of(rustls::ALL_VERSIONS)
    }

    pub(super) fn server_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth();
        let chain = vec![self.certificate.clone()];
        Arc::new(builder.with_single_cert(chain, key).unwrap())
    }

    /// Returns a server that presents this certificate but signs with the key of `other`.
    pub(super) fn server_with_the_key_of(&self, other: &Self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(other.key.clone()));
        let provider = ring::default_provider();
        let key = provider.key_provider.load_private_key(key).unwrap();
        let chain = vec![self.certificate.clone()];
        let certified = Arc::new(CertifiedKey::new(chain, key));
        let builder = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .unwrap()
            .with_no_client_auth();
        Arc::new(builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified))))
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// Returns the trust settings of a client that has this certificate in a file.
    pub(super) fn trust(&self) -> Trust {
        Trust::File(self.file.path().to_owned())
    }
}

fn explicit(trust: Trust) -> Tls {
    let identity = None;
    Tls::Explicit(TlsConfig::load(&TlsOptions { trust, identity }).unwrap())
}

pub(super) fn options(peer: &Peer, trust: Trust) -> ConnectOptions {
    ConnectOptions {
        tls: explicit(trust),
        ..peer.options()
    }
}

/// Plays the greeting, AUTH TLS, handshake and login.
pub(super) fn log_in(stage: &mut Stage, config: &Arc<ServerConfig>) {
    log_in_as(stage, config, "ready", "502 no FEAT");
}

/// The same with another greeting and answer to FEAT.
pub(super) fn log_in_as(
    stage: &mut Stage,
    config: &Arc<ServerConfig>,
    greeting: &str,
    features: &str,
) {
    stage.reply(&format!("220 {greeting}"));
    stage.answer("AUTH TLS", "234 go on");
    stage.secure(config);
    stage.answer("PBSZ 0", "200 so be it");
    stage.answer("PROT P", "200 protected");
    stage.answer("USER alice", "331 password?");
    stage.answer("PASS open sesame", "230 in");
    stage.answer("FEAT", features);
    stage.answer("TYPE I", "200 binary");
}

/// Starts the transfer requested by `line` and returns its data connection.
pub(super) fn begin(stage: &mut Stage, config: &Arc<ServerConfig>, line: &str) -> Channel {
    let socket = stage.extended_passive();
    stage.answer(line, "150 here it comes");
    secured(socket, config)
}

fn refused(peer: &Peer, trust: Trust) -> Distrust {
    match Session::connect(&options(peer, trust)) {
        Err(Error::Certificate(distrust)) => *distrust,
        other => panic!("{other:?}"),
    }
}

/// Presents a certificate that the client rejects, and expects no further data.
fn shows_only_its_certificate(stage: &mut Stage, config: &Arc<ServerConfig>) {
    stage.reply("220 ready");
    stage.answer("AUTH TLS", "234 go on");
    stage.secure(config);
    let mut heard = Vec::new();
    let ended = stage.channel().read_to_end(&mut heard);
    assert!(ended.is_err(), "the client's alert");
    assert_eq!(heard, b"");
}

#[test]
fn everything_but_auth_goes_over_tls() {
    let identity = Identity::new();
    let config = identity.server();
    let peer = Peer::plays(move |stage| {
        log_in(stage, &config);
        let mut data = begin(stage, &config, "RETR /a");
        data.write_all(b"secret").unwrap();
        data.tls().conn.send_close_notify();
        data.flush().unwrap();
        drop(data);
        stage.reply("226 done");
        stage.noop();
    });
    let session = Session::connect(&options(&peer, identity.trust())).unwrap();
    let security = session.security().unwrap();
    assert_eq!(security.version, "TLS 1.3");
    assert_eq!(security.certificates.len(), 1);
    assert_eq!(security.certificates[0].names, ["127.0.0.1"]);
    let mut download = session.retrieve(&path("/a"), 0).unwrap();
    let mut buffer = [0; 64];
    assert_eq!(download.read(&mut buffer).unwrap(), 6);
    assert_eq!(download.read(&mut buffer).unwrap(), 0);
    let mut session = download.finish().unwrap();
    assert_eq!(session.security().unwrap().data_resumed, Some(true));
    session.noop().unwrap();
    peer.join();
}

#[test]
fn many_data_connections_in_a_row_resume_the_session_on_both_versions() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let identity = Identity::new();
        let config = identity.server_of(&[version]);
        let peer = Peer::plays(move |stage| {
            log_in(stage, &config);
            for _ in 0..20 {
                let mut data = begin(stage, &config, "RETR /a");
                data.write_all(b"x").unwrap();
                data.tls().conn.send_close_notify();
                data.flush().unwrap();
                let kind = data.tls().conn.handshake_kind();
                assert_eq!(kind, Some(HandshakeKind::Resumed));
                stage.reply("226 done");
            }
        });
        let mut session = Session::connect(&options(&peer, identity.trust())).unwrap();
        for _ in 0..20 {
            let mut download = session.retrieve(&path("/a"), 0).unwrap();
            while download.read(&mut [0; 64]).unwrap() > 0 {}
            session = download.finish().unwrap();
            assert_eq!(session.security().unwrap().data_resumed, Some(true));
        }
        assert!(session.is_usable());
        peer.join();
    }
}

#[test]
fn an_upload_ends_with_close_notify_and_takes_the_ticket_that_came() {
    let identity = Identity::new();
    let config = identity.server();
    let peer = Peer::plays(move |stage| {
        log_in(stage, &config);
        for _ in 0..5 {
            let mut data = begin(stage, &config, "STOR /a");
            let mut stored = Vec::new();
            // Fails unless the connection ends with close_notify.
            data.read_to_end(&mut stored).unwrap();
            assert_eq!(stored.len(), 1_000_000);
            let kind = data.tls().conn.handshake_kind();
            assert_eq!(kind, Some(HandshakeKind::Resumed));
            stage.reply("226 stored");
        }
    });
    let mut session = Session::connect(&options(&peer, identity.trust())).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![7; 1_000_000]).unwrap();
    for _ in 0..5 {
        let mut upload = session.store(&path("/a"), 0).unwrap();
        upload.send_file(&file, 0, 600_000).unwrap();
        upload.write_all(&vec![7; 400_000]).unwrap();
        session = upload.finish().unwrap().0;
        assert!(session.is_usable());
    }
    peer.join();
}

#[test]
fn bytes_in_the_clear_behind_the_answer_to_auth_are_refused() {
    let identity = Identity::new();
    let peer = Peer::plays(|stage| {
        stage.reply("220 ready");
        stage.expect_command("AUTH TLS");
        stage.send(b"234 go on\r\n230 you are in already\r\n");
        stage.expect_disconnect();
    });
    let connected = Session::connect(&options(&peer, identity.trust()));
    assert!(
        matches!(connected, Err(Error::PlaintextInjected)),
        "{connected:?}"
    );
    peer.join();
}

#[test]
fn a_server_without_tls_is_told_nothing() {
    let identity = Identity::new();
    let peer = Peer::plays(|stage| {
        stage.reply("220 ready");
        stage.answer("AUTH TLS", "502 what?");
        stage.expect_disconnect();
    });
    let connected = Session::connect(&options(&peer, identity.trust()));
    assert!(
        matches!(
            &connected,
            Err(Error::TlsRefused {
                command: "AUTH TLS",
                ..
            })
        ),
        "{connected:?}"
    );
    peer.join();
}

#[test]
fn data_that_the_server_will_not_protect_is_not_asked_for() {
    let identity = Identity::new();
    let config = identity.server();
    let peer = Peer::plays(move |stage| {
        stage.reply("220 ready");
        stage.answer("AUTH TLS", "234 go on");
        stage.secure(&config);
        stage.answer("PBSZ 0", "503 log in first");
        stage.answer("USER alice", "331 password?");
        stage.answer("PASS open sesame", "230 in");
        stage.answer("PBSZ 0", "200 so be it");
        stage.answer("PROT P", "536 not here");
        let mut rest = Vec::new();
        let _ = stage.channel().read_to_end(&mut rest);
        assert_eq!(rest, b"");
    });
    let connected = Session::connect(&options(&peer, identity.trust()));
    assert!(
        matches!(
            &connected,
            Err(Error::TlsRefused {
                command: "PROT",
                ..
            })
        ),
        "{connected:?}"
    );
    peer.join();
}

#[test]
fn a_server_that_demands_tls_gets_no_password() {
    for refusal in [
        "530 Non-anonymous sessions must use encryption.",
        "550 SSL/TLS required on the control channel",
        "421 Sorry, cleartext sessions and weak ciphers are not accepted on this server.",
        "503 Use AUTH first.",
        "534 Policy requires SSL.",
    ] {
        let peer = Peer::plays(move |stage| {
            stage.reply("220 ready");
            stage.answer("USER alice", refusal);
            stage.expect_disconnect();
        });
        let url = format!("ftpes://127.0.0.1:{}/", peer.options().port);
        match Session::connect(&peer.options()) {
            Err(Error::TlsDemanded { url: suggested, .. }) => assert_eq!(suggested, url),
            other => panic!("{other:?}"),
        }
        peer.join();
    }
}

#[test]
fn a_download_without_close_notify_is_not_said_to_be_whole() {
    let identity = Identity::new();
    let config = identity.server();
    let peer = Peer::plays(move |stage| {
        log_in(stage, &config);
        let mut data = begin(stage, &config, "RETR /a");
        data.write_all(b"half").unwrap();
        data.flush().unwrap();
        drop(data);
        stage.reply("226 done");
        stage.noop();
    });
    let session = Session::connect(&options(&peer, identity.trust())).unwrap();
    let mut download = session.retrieve(&path("/a"), 0).unwrap();
    assert_eq!(download.read(&mut [0; 64]).unwrap(), 4);
    assert_eq!(download.read(&mut [0; 64]).unwrap(), 0);
    let failed = download.finish().unwrap_err();
    assert!(matches!(failed.error, Error::NoCloseNotify));
    failed.session.expect("in step").noop().unwrap();
    peer.join();
}

#[test]
fn a_listing_without_close_notify_is_none() {
    let identity = Identity::new();
    let config = identity.server();
    let peer = Peer::plays(move |stage| {
        log_in(stage, &config);
        let mut data = begin(stage, &config, "MLSD /");
        data.write_all(b"type=file; a\r\n").unwrap();
        data.flush().unwrap();
        drop(data);
        stage.reply("226 done");
        stage.drain();
    });
    let mut session = Session::connect(&options(&peer, identity.trust())).unwrap();
    let mut listed = 0;
    let outcome = session.list(ListWith::Mlsd, &path("/"), &mut |_| {
        listed += 1;
        ControlFlow::Continue(())
    });
    assert!(matches!(outcome, Err(Error::NoCloseNotify)), "{outcome:?}");
    assert_eq!(listed, 1);
    assert!(!session.is_usable());
    drop(session);
    peer.join();
}

#[test]
fn a_strangers_certificate_is_refused_and_shown() {
    for (identity, reason) in [
        (
            Identity::new(),
            "no trusted authority has signed it; its issuer is CN=the peer",
        ),
        (
            Identity::changed(|it| {
                it.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            }),
            "it is a self-signed certificate of an authority",
        ),
    ] {
        is_refused_and_shown(&identity, reason);
    }
}

fn is_refused_and_shown(identity: &Identity, reason: &str) {
    let other = Identity::changed(|it| {
        it.distinguished_name
            .push(rcgen::DnType::CommonName, "another");
    });
    let (config, fingerprint) = (identity.server(), identity.fingerprint());
    let peer = Peer::plays(move |stage| shows_only_its_certificate(stage, &config));
    let distrust = refused(&peer, other.trust());
    let message = distrust.to_string();
    for part in [
        reason,
        "CN=the peer",
        "127.0.0.1",
        "valid from",
        &fingerprint.to_string(),
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    peer.join();
}

#[test]
fn a_certificate_must_be_for_this_host_and_this_day() {
    let year = rcgen::date_time_ymd;
    let cases = [
        (
            Identity::changed(|it| it.not_after = year(2001, 2, 3)),
            "it expired on 2001-02-03",
        ),
        (
            Identity::changed(|it| it.not_before = year(2999, 2, 3)),
            "it is not valid before 2999-02-03",
        ),
        (
            Identity::changed(|it| {
                let name = "ftp.example.org".try_into().unwrap();
                it.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
            }),
            "it is not for 127.0.0.1",
        ),
    ];
    for (identity, reason) in cases {
        let config = identity.server();
        let peer = Peer::plays(move |stage| shows_only_its_certificate(stage, &config));
        assert_eq!(refused(&peer, identity.trust()).reason, reason);
        peer.join();

        // A pin checks neither.
        let config = identity.server();
        let peer = Peer::plays(move |stage| log_in(stage, &config));
        let trust = Trust::Pin(identity.fingerprint());
        Session::connect(&options(&peer, trust)).unwrap();
        peer.join();
    }
}

#[test]
fn a_pin_takes_no_other_certificate() {
    let (identity, other) = (Identity::new(), Identity::new());
    let config = identity.server();
    let peer = Peer::plays(move |stage| shows_only_its_certificate(stage, &config));
    let distrust = refused(&peer, Trust::Pin(other.fingerprint()));
    assert!(distrust.reason.contains(&other.fingerprint().to_string()));
    assert_eq!(distrust.certificate.fingerprint, identity.fingerprint());
    peer.join();
}

#[test]
fn what_tls_says_between_the_data_of_an_idle_session_is_no_news() {
    let identity = Identity::new();
    let config = identity.server();
    let (quiet, looked) = std::sync::mpsc::channel();
    let peer = Peer::plays(move |stage| {
        log_in(stage, &config);
        let connection = stage.channel().tls();
        connection.conn.refresh_traffic_keys().unwrap();
        connection.flush().unwrap();
        stage.noop();
        looked.recv().unwrap();
        stage.reply("421 time is up");
    });
    let mut session = Session::connect(&options(&peer, identity.trust())).unwrap();
    assert!(session.is_quiet());
    session.noop().unwrap();
    assert!(session.is_quiet(), "tickets and new keys are not words");
    quiet.send(()).unwrap();
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while session.is_quiet() {
        assert!(std::time::Instant::now() < patience, "the 421 is news");
        std::thread::yield_now();
    }
    peer.join();
}

#[test]
fn a_handshake_that_stalls_ends_at_the_deadline() {
    let identity = Identity::new();
    let peer = Peer::plays(|stage| {
        stage.reply("220 ready");
        stage.answer("AUTH TLS", "234 go on");
        stage.drain();
    });
    let connected = Session::connect(&ConnectOptions {
        connect_timeout: SHORT,
        ..options(&peer, identity.trust())
    });
    assert!(
        matches!(connected, Err(Error::Timeout(Phase::Handshake))),
        "{connected:?}"
    );
    peer.join();
}

#[test]
fn implicit_tls_comes_before_the_greeting() {
    let identity = Identity::new();
    let config = identity.server();
    let peer = Peer::plays(move |stage| {
        stage.secure(&config);
        stage.reply("220 ready");
        stage.drain();
    });
    let Tls::Explicit(tls) = explicit(identity.trust()) else {
        unreachable!()
    };
    let options = ConnectOptions {
        tls: Tls::Implicit(tls),
        ..peer.options()
    };
    assert!(probe(&options, SHORT * 20));
    peer.join();
}

/// Answers AUTH TLS and continues to read commands.
fn takes_the_hello_for_a_command(stage: &mut Stage) {
    stage.reply("220 ready");
    stage.answer("AUTH TLS", "234 go on");
    assert!(stage.channel().read(&mut [0; 10]).unwrap() > 0);
    stage.send(b"500 what do you mean?\r\n");
    stage.drain();
}

#[test]
fn a_server_that_is_slow_to_listen_for_tls_is_given_a_moment_from_then_on() {
    let identity = Identity::new();
    let config = identity.server();
    let peer = Peer::plays_two(takes_the_hello_for_a_command, move |stage| {
        log_in(stage, &config);
        stage.noop();
    });
    let options = options(&peer, identity.trust());
    let mut session = Session::connect(&options).unwrap();
    assert!(!options.profile.has(Capability::PromptHandshake));
    session.noop().unwrap();
    peer.join();
}

#[test]
fn junk_is_no_handshake_and_no_data_however_often_it_is_read() {
    let identity = Identity::new();
    // The client tries once more, because a server may only have been slow to start TLS.
    let peer = Peer::plays_two(takes_the_hello_for_a_command, takes_the_hello_for_a_command);
    let connected = Session::connect(&options(&peer, identity.trust()));
    assert!(matches!(connected, Err(Error::NotTls)), "{connected:?}");
    peer.join();

    let config = identity.server();
    let peer = Peer::plays(move |stage| {
        log_in(stage, &config);
        let mut data = begin(stage, &config, "RETR /a");
        data.write_all(b"data").unwrap();
        data.flush().unwrap();
        data.tls().sock.write_all(&[b'x'; 100]).unwrap();
        stage.drain();
    });
    let session = Session::connect(&options(&peer, identity.trust())).unwrap();
    let mut download = session.retrieve(&path("/a"), 0).unwrap();
    assert_eq!(download.read(&mut [0; 64]).unwrap(), 4);
    for _ in 0..3 {
        let read = download.read(&mut [0; 64]);
        let phase = Phase::DataRead;
        assert!(matches!(read, Err(Error::Io { phase: it, .. }) if it == phase));
    }
    drop(download);
    peer.join();
}
