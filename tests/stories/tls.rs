//! Mounting over TLS: secrets are protected from the first one on, sessions are resumed where the
//! server requires it, and only trusted servers are accepted.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use crate::support::{Kind, Mount, PASSWORD, TestServer, Tls, USER, assert_errno, sha256};
use ftpfs::server::{Fault, Misdeed, TlsVersions};

/// Turns each function into a module with one test for each listed kind of server.
macro_rules! on {
    ($($(#[$attribute:meta])* fn $name:ident($kind:ident: Kind) on [$($test:ident: $variant:ident),*] $body:block)*) => {
        $(
            $(#[$attribute])*
            #[cfg(test)]
            mod $name {
                #[allow(unused_imports, reason = "not every story needs what its file imports")]
                use super::*;

                fn story($kind: Kind) $body

                $(
                    #[test]
                    fn $test() {
                        story(Kind::$variant);
                    }
                )*
            }
        )*
    };
}

on! {
    /// Many files are transferred in both directions, one after the other and in parallel, with
    /// each TLS version, while the server requires session reuse on data connections if it can.
    fn many_transfers_in_a_row_and_side_by_side(kind: Kind) on [
        embedded: Embedded, vsftpd: Vsftpd, proftpd: Proftpd, pure_ftpd: PureFtpd, pyftpdlib: Pyftpdlib
    ] {
        for version in [TlsVersions::Only12, TlsVersions::Only13] {
            let tls = Tls::REQUIRED.only(version);
            let tls = if kind.demands_reuse() { tls.with_reuse() } else { tls };
            work(&TestServer::start_tls(kind, tls));
        }
    }

    /// The same with both versions enabled, as on most servers.
    fn work_goes_on_whatever_tickets_the_server_gives(kind: Kind) on [vsftpd: Vsftpd, proftpd: Proftpd] {
        work(&TestServer::start_tls(kind, Tls::REQUIRED.with_reuse()));
    }

    /// `ftps://` starts with the handshake.
    fn implicit_tls_is_mounted_by_ftps(kind: Kind) on [embedded: Embedded, vsftpd: Vsftpd, proftpd: Proftpd] {
        let server = TestServer::start_tls(kind, Tls::IMPLICIT);
        server.write("file", "over TLS");
        let mount = Mount::new(&server);
        assert_eq!(fs::read(mount.join("file")).unwrap(), b"over TLS");
        mount.unmount();
    }

    /// Without TLS, the server refuses before the password would be sent, and the message says how
    /// to proceed.
    fn a_server_that_demands_tls_is_sent_no_password(kind: Kind) on [
        embedded: Embedded, vsftpd: Vsftpd, proftpd: Proftpd, pure_ftpd: PureFtpd, pyftpdlib: Pyftpdlib
    ] {
        let server = TestServer::start_tls(kind, Tls::REQUIRED);
        let port = server.port();
        let (is_well, message) = check(&format!("ftp://{USER}@127.0.0.1:{port}/"), &[]);
        assert!(!is_well, "{message}");
        assert!(message.contains("demands TLS"), "{message}");
        assert!(message.contains(&format!("ftpes://127.0.0.1:{port}/")), "{message}");
        assert!(!message.contains(PASSWORD), "{message}");
        if kind != Kind::PureFtpd && kind != Kind::Pyftpdlib {
            let commands = server.commands();
            assert!(!commands.iter().any(|line| line.starts_with("PASS")), "{commands:?}");
        }
    }

    /// `ftpfs check` shows how the session is protected, and the certificate.
    fn check_shows_version_cipher_and_certificate(kind: Kind) on [
        embedded: Embedded, vsftpd: Vsftpd, proftpd: Proftpd, pure_ftpd: PureFtpd, pyftpdlib: Pyftpdlib
    ] {
        for (version, name) in [(TlsVersions::Only12, "TLS 1.2, TLS_"), (TlsVersions::Only13, "TLS 1.3, TLS13_")] {
            let server = TestServer::start_tls(kind, Tls::REQUIRED.only(version));
            let options = server.needed_options();
            let options: Vec<_> = options.iter().map(String::as_str).collect();
            let (is_well, told) = check(&server.url(), &options);
            assert!(is_well, "{told}");
            let line = |topic: &str| told.lines().find(|line| line.starts_with(topic)).unwrap_or_default();
            assert!(line("security").contains(name), "{told}");
            assert!(line("security").contains("the data connection"), "{told}");
            assert!(line("certificate").contains("127.0.0.1"), "{told}");
            assert!(line("certificate").contains("sha256:"), "{told}");
        }
    }

    /// An unknown certificate is refused with a message that says how to trust it; doing so works.
    fn a_certificate_is_pinned_by_what_its_refusal_says(kind: Kind) on [
        embedded: Embedded, vsftpd: Vsftpd, proftpd: Proftpd, pure_ftpd: PureFtpd, pyftpdlib: Pyftpdlib
    ] {
        let server = TestServer::start_tls(kind, Tls::REQUIRED);
        server.write("file", "over TLS");
        let (is_well, message) = check(&server.url(), &[]);
        assert!(!is_well, "{message}");
        assert!(message.contains("certificate is not trusted"), "{message}");
        assert!(message.contains("-o cafile=FILE"), "{message}");
        let (_, rest) = message.split_once("-o fingerprint=").expect("how to trust it");
        let pin = format!("fingerprint={}", rest.split(' ').next().unwrap());
        let mount = Mount::of_url(&server.url(), PASSWORD, &[&pin]);
        assert_eq!(fs::read(mount.join("file")).unwrap(), b"over TLS");
        mount.unmount();
        let other = format!("fingerprint=sha256:{}", "00".repeat(32));
        let (is_well, message) = check(&server.url(), &[&other]);
        assert!(!is_well && message.contains("not the one that was pinned"), "{message}");
    }

    /// If the server requires client certificates, ours is sent; without one, the error says what
    /// is missing.
    fn a_client_certificate_opens_the_door(kind: Kind) on [embedded: Embedded, vsftpd: Vsftpd, proftpd: Proftpd] {
        for version in [TlsVersions::Only12, TlsVersions::Only13] {
            let server = TestServer::start_tls(kind, Tls::REQUIRED.only(version).with_clients_known());
            let (certificate, key) = server.client_certificate();
            let (certificate, key) = (certificate.display(), key.display());
            let (certificate, key) = (format!("cert={certificate}"), format!("key={key}"));
            let ca = server.needed_options().remove(0);
            let (is_well, told) = check(&server.url(), &[&ca, &certificate, &key]);
            assert!(is_well, "{told}");
            let (is_well, message) = check(&server.url(), &[&ca]);
            assert!(!is_well, "{message}");
            assert!(!message.contains("login refused"), "{message}");
        }
    }

    /// `-o tls` is equivalent to `ftpes://`; where TLS is optional, only AUTH is sent in cleartext.
    fn the_option_protects_a_plain_url(kind: Kind) on [embedded: Embedded] {
        let server = TestServer::start_tls(kind, Tls::OFFERED);
        let url = format!("ftp://{USER}@127.0.0.1:{}/", server.port());
        let ca = server.needed_options().remove(0);
        for tls in ["tls", "tls=require"] {
            server.embedded().unwrap().clear_commands();
            let (is_well, told) = check(&url, &[tls, &ca]);
            assert!(is_well && told.contains("TLS 1.3"), "{told}");
            let commands = server.commands();
            assert_eq!(commands.first().map(String::as_str), Some("AUTH TLS"), "{commands:?}");
        }
        let (is_well, told) = check(&url, &[]);
        assert!(is_well && told.contains("in the clear, though the server offers TLS"), "{told}");
    }

    /// With TLS requested, a server that lacks it is disconnected rather than used in cleartext.
    fn tls_asked_for_is_never_left_out(kind: Kind) on [
        embedded: Embedded, vsftpd: Vsftpd, proftpd: Proftpd, pure_ftpd: PureFtpd, pyftpdlib: Pyftpdlib
    ] {
        let server = match kind {
            Kind::Embedded => TestServer::start_with(kind, |options| options.tls = None),
            _ => TestServer::start_plain(kind),
        };
        for scheme in ["ftpes", "ftps"] {
            let url = format!("{scheme}://{USER}@127.0.0.1:{}/", server.port());
            let (is_well, message) = check(&url, &["insecure"]);
            assert!(!is_well && message.contains("TLS"), "{message}");
        }
        if kind != Kind::PureFtpd && kind != Kind::Pyftpdlib {
            let commands = server.commands();
            assert!(!commands.iter().any(|line| line.starts_with("USER")), "{commands:?}");
        }
    }
}

/// Runs `ftpfs check` on this URL, with `-o` for each option; returns its success and its output.
fn check(url: &str, options: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ftpfs"))
        .arg("check")
        .args(options.iter().flat_map(|option| ["-o", option]))
        .arg(url)
        .env("FTPFS_PASSWORD", PASSWORD)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(printed).unwrap())
}

/// Writes and reads on a mount, in sequence and in parallel.
fn work(server: &TestServer) {
    let mount = Mount::with_options(server, &["connections=4"]);
    let content = |number: usize| vec![number as u8; 1 + number * 40_009];
    let name = |number: usize| format!("file {number}");
    for number in 0..10 {
        fs::write(mount.join(name(number)), content(number)).unwrap();
    }
    thread::scope(|scope| {
        for part in 0..4 {
            let mount = &mount;
            scope.spawn(move || {
                for number in (10..30).filter(|number| number % 4 == part) {
                    fs::write(mount.join(name(number)), content(number)).unwrap();
                }
            });
        }
    });
    mount.unmount();
    for number in 0..30 {
        assert!(server.read(name(number)) == content(number), "{number}");
    }
    let mount = Mount::with_options(server, &["connections=4", "dir_ttl=0"]);
    for number in 0..10 {
        assert!(fs::read(mount.join(name(number))).unwrap() == content(number));
    }
    thread::scope(|scope| {
        for part in 0..4 {
            let mount = &mount;
            scope.spawn(move || {
                for number in (10..30).filter(|number| number % 4 == part) {
                    let read = fs::read(mount.join(name(number))).unwrap();
                    assert!(read == content(number), "{number}");
                    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 30);
                }
            });
        }
    });
    mount.unmount();
}

/// A download without a TLS close is accepted if the file's size is right.
#[test]
fn a_whole_download_without_its_close_notify_is_whole() {
    let server = TestServer::start_tls(Kind::Embedded, Tls::REQUIRED);
    let file = server.write("file", vec![7; 300_000]);
    let fault = Fault::on("RETR", Misdeed::Unclosed { after: u64::MAX });
    server.embedded().unwrap().faults().add(fault.always());
    let mount = Mount::new(&server);
    assert_eq!(sha256(mount.join("file")), sha256(&file));
    mount.unmount();
}

/// A download that is cut off without a TLS close is resumed, and otherwise fails: partial data is
/// never taken for the file.
#[test]
fn a_download_that_is_cut_off_is_never_a_file() {
    let server = TestServer::start_tls(Kind::Embedded, Tls::REQUIRED);
    let file = server.write("file", vec![7; 300_000]);
    let fault = || Fault::on("RETR", Misdeed::Unclosed { after: 1000 });
    let mount = Mount::new(&server);
    let faults = server.embedded().unwrap();
    faults.faults().add(fault());
    assert_eq!(sha256(mount.join("file")), sha256(&file));
    faults
        .faults()
        .add(Fault::on("RETR", Misdeed::Unclosed { after: 0 }).always());
    server.write("other", vec![8; 300_000]);
    assert_errno(fs::read(mount.join("other")), libc::EIO);
    mount.unmount();
}

/// A listing that is cut off is requested again, and otherwise fails: it never omits names.
#[test]
fn a_listing_that_is_cut_off_is_never_a_directory() {
    let server = TestServer::start_tls(Kind::Embedded, Tls::REQUIRED);
    for number in 0..50 {
        server.write(format!("directory/{number}"), "");
    }
    let mount = Mount::with_options(&server, &["dir_ttl=0"]);
    let faults = server.embedded().unwrap();
    let count = |path: &Path| fs::read_dir(path).map(Iterator::count);
    let fault = || Fault::on("MLSD", Misdeed::Unclosed { after: 500 });
    faults.faults().add(fault());
    assert_eq!(count(&mount.join("directory")).unwrap(), 50);
    faults.faults().add(fault().always());
    assert_errno(count(&mount.join("directory")), libc::EIO);
    faults.faults().clear();
    mount.unmount();
}

/// `-o insecure` trusts any server and says so once.
#[test]
fn insecure_is_said_once() {
    let server = TestServer::start_tls(Kind::Embedded, Tls::REQUIRED);
    server.write("file", "whoever you are");
    let mount = Mount::of_url(&server.url(), PASSWORD, &["insecure"]);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(fs::read(mount.join("file")).unwrap().len(), 15));
        }
    });
    let log = mount.log();
    assert_eq!(log.matches("insecure").count(), 1, "{log}");
    mount.unmount();
}

/// Options that contradict each other, or have no effect without TLS, are refused before anything
/// is sent.
#[test]
fn options_that_make_no_sense_are_refused() {
    let pin = format!("fingerprint=sha256:{}", "00".repeat(32));
    for (url, options, words) in [
        ("ftp://127.0.0.1:1/", vec!["insecure"], "add -o tls"),
        ("ftp://127.0.0.1:1/", vec![&pin], "add -o tls"),
        (
            "ftpes://127.0.0.1:1/",
            vec!["insecure", &pin],
            "give one of them",
        ),
        ("ftpes://127.0.0.1:1/", vec!["key=/dev/null"], "-o cert="),
        (
            "ftpes://127.0.0.1:1/",
            vec!["cafile=/dev/null"],
            "no certificate in PEM",
        ),
        (
            "ftpes://127.0.0.1:1/",
            vec!["cafile=/nowhere"],
            "cannot read /nowhere",
        ),
        (
            "ftpes://127.0.0.1:1/",
            vec!["fingerprint=sha256:12"],
            "64 hexadecimal digits",
        ),
        (
            "ftpes://127.0.0.1:1/",
            vec!["tls=auto"],
            "require, or no value",
        ),
    ] {
        let (is_well, message) = check(url, &options);
        assert!(
            !is_well && message.contains(words),
            "{options:?}: {message}"
        );
    }
}
