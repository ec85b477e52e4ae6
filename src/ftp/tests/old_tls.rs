//! Certificates of old appliances, served by OpenSSL because rustls can neither create nor serve
//! them.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use crate::ftp::testing::Peer;
use crate::ftp::tls::{Fingerprint, Tls, TlsConfig, TlsOptions, Trust};
use crate::ftp::{ConnectOptions, Error, Session};

/// A key and its stored self-signed certificate of X.509 version 1, which newer versions of OpenSSL
/// do not create.
#[derive(Debug)]
struct OldCertificate {
    key: &'static str,
    certificate: &'static str,
}

const RSA_1024: OldCertificate = OldCertificate {
    key: include_str!("../../../tests/fixtures/old_tls/rsa_1024.key"),
    certificate: include_str!("../../../tests/fixtures/old_tls/rsa_1024.crt"),
};
const P256: OldCertificate = OldCertificate {
    key: include_str!("../../../tests/fixtures/old_tls/p256.key"),
    certificate: include_str!("../../../tests/fixtures/old_tls/p256.crt"),
};

/// A process that serves FTP logins over implicit TLS.
struct OldServer {
    program: Child,
    talk: Option<JoinHandle<()>>,
    address: SocketAddr,
    directory: tempfile::TempDir,
}

impl OldServer {
    /// Serves `old`. `versions` are options of `openssl s_server`.
    fn start(old: &OldCertificate, versions: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        std::fs::write(place.join("key"), old.key).unwrap();
        std::fs::write(place.join("certificate"), old.certificate).unwrap();
        openssl(place, "x509 -in certificate -outform DER -out der");
        let mut program = Command::new("openssl")
            .args("s_server -accept 127.0.0.1:0 -cert certificate -key key".split(' '))
            .args(["-cipher", "DEFAULT@SECLEVEL=0"])
            .args(versions)
            .current_dir(place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut replies = program.stdin.take().unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it never began");
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                break address.trim().parse().unwrap();
            }
        };
        let talk = std::thread::spawn(move || {
            for line in lines.lines() {
                let Ok(line) = line else { return };
                let word = line.split_whitespace().next().unwrap_or_default();
                let reply = match word {
                    // Printed by OpenSSL after the handshake.
                    "CIPHER" => "220 ready",
                    "USER" => "230 in",
                    "PBSZ" | "PROT" | "TYPE" => "200 so be it",
                    "FEAT" => "502 what?",
                    _ => continue,
                };
                if write!(replies, "{reply}\r\n").is_err() {
                    return;
                }
            }
        });
        Self {
            program,
            talk: Some(talk),
            address,
            directory,
        }
    }

    fn pin(&self) -> Trust {
        let der = std::fs::read(self.directory.path().join("der")).unwrap();
        Trust::Pin(Fingerprint::of(&der))
    }

    fn connect(&self, trust: Trust) -> Result<Session, Error> {
        let identity = None;
        let config = TlsConfig::load(&TlsOptions { trust, identity }).unwrap();
        Session::connect(&ConnectOptions {
            tls: Tls::Implicit(config),
            ..Peer::elsewhere(self.address).options()
        })
    }
}

impl Drop for OldServer {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
        let _ = self.talk.take().map(JoinHandle::join);
    }
}

#[track_caller]
fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn an_old_certificate_serves_where_it_is_pinned_or_not_checked() {
    for (old, versions, version) in [
        (RSA_1024, [].as_slice(), "TLS 1.2"),
        (RSA_1024, &["-tls1_2"], "TLS 1.2"),
        (P256, &[], "TLS 1.3"),
        (P256, &["-tls1_2"], "TLS 1.2"),
    ] {
        let server = OldServer::start(&old, versions);
        for trust in [server.pin(), Trust::Anyone] {
            let session = server.connect(trust).unwrap();
            assert_eq!(session.security().unwrap().version, version, "{old:?}");
        }
    }
}

#[test]
fn an_old_certificate_that_is_not_pinned_is_refused_and_shown() {
    for (old, reason) in [(RSA_1024, "RSA key"), (P256, "old version of X.509")] {
        let server = OldServer::start(&old, &[]);
        let file = server.directory.path().join("certificate");
        let Err(Error::Certificate(distrust)) = server.connect(Trust::File(file)) else {
            panic!("not refused");
        };
        let message = distrust.to_string();
        assert!(message.contains(reason), "{message}");
        assert!(message.contains("sha256:"), "{message}");
    }
}

#[test]
fn a_short_key_that_only_tls_1_3_would_use_is_said_to_be_hopeless() {
    let server = OldServer::start(&RSA_1024, &["-tls1_3"]);
    let error = server.connect(server.pin()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("1024 bits"), "{message}");
    assert!(message.contains("no option changes that"), "{message}");
}
