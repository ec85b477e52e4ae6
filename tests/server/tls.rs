//! TLS with curl, which resumes the control connection's session by itself, and byte by byte with
//! the tests' own client.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::{Command, Output};
use std::time::Duration;

use ftpfs::server::{CONNECT, Fault, HANDSHAKE_FAILURE, Misdeed, TlsMode, TlsVersions};

use crate::client::{Client, pattern, wait_until};
use crate::secure::{Connection, Secured};

fn run(secured: &Secured, scheme: &str, path: &str, arguments: &[&str]) -> Output {
    let url = format!("{scheme}://{}/{path}", secured.served.server.address());
    Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "60", "--ssl-reqd"])
        .arg("--cacert")
        .arg(&secured.ca)
        .args(arguments)
        .arg(url)
        .output()
        .expect("curl is installed")
}

/// Runs curl, which must succeed; returns its output.
#[track_caller]
fn curl(secured: &Secured, scheme: &str, path: &str, arguments: &[&str]) -> Vec<u8> {
    let output = run(secured, scheme, path, arguments);
    assert!(
        output.status.success(),
        "{scheme} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Downloads, uploads and lists with curl, by a URL with this scheme.
fn work_with_curl(secured: &Secured, scheme: &str, arguments: &[&str]) {
    let contents = pattern(3_000_000);
    let local = secured.served.outside("local");
    std::fs::write(&local, &contents).unwrap();
    let upload = ["--upload-file", local.to_str().unwrap()];
    curl(secured, scheme, "file", &[&upload, arguments].concat());
    assert!(secured.served.read("file") == contents);
    assert!(curl(secured, scheme, "file", arguments) == contents);
    let listing = curl(secured, scheme, "", arguments);
    assert!(String::from_utf8(listing).unwrap().ends_with(" file\n"));
    std::fs::remove_file(secured.served.path("file")).unwrap();
}

#[test]
fn curl_works_over_tls_however_it_begins() {
    for (mode, scheme) in [
        (TlsMode::Required, "ftp"),
        (TlsMode::Offered, "ftp"),
        (TlsMode::Implicit, "ftps"),
    ] {
        let secured = Secured::with(|tls| tls.mode = mode);
        work_with_curl(&secured, scheme, &[]);
        work_with_curl(&secured, scheme, &["--disable-epsv"]);
    }
}

#[test]
fn curl_resumes_its_session_where_that_is_demanded_in_both_versions() {
    for (mode, scheme) in [(TlsMode::Required, "ftp"), (TlsMode::Implicit, "ftps")] {
        let secured = Secured::with(|tls| {
            tls.mode = mode;
            tls.reuse = true;
        });
        work_with_curl(&secured, scheme, &["--tls-max", "1.2"]);
        work_with_curl(&secured, scheme, &["--tlsv1.3"]);
    }
}

#[test]
fn a_data_connection_with_a_session_of_its_own_is_refused_where_reuse_is_demanded() {
    let secured = Secured::with(|tls| tls.reuse = true);
    secured.served.write("file", pattern(100_000));
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        let own_session = [version, &["--no-sessionid"]].concat();
        let output = run(&secured, "ftp", "file", &own_session);
        assert!(!output.status.success());
        assert!(output.stdout.is_empty());
    }
    let config = secured.config();
    let mut client = secured.client(&config);
    let socket = client.extended_passive();
    client.expect("RETR file", 150);
    // A separate configuration does not have the control connection's session.
    let mut data = Connection::secure(socket, &secured.config());
    assert!(matches!(data.read(&mut [0; 16]), Ok(0) | Err(_)));
    let reply = client.reply();
    assert_eq!(reply.code, 522);
    assert!(reply.text.contains("must resume"), "{reply:?}");
    let (bytes, _, code) = client.receive_secure(&config, "RETR file");
    assert_eq!((bytes.len(), code), (100_000, 226));
}

#[test]
fn a_session_of_another_control_connection_is_none_of_this_one() {
    let secured = Secured::with(|tls| tls.reuse = true);
    secured.served.write("file", "x");
    let (one, other) = (secured.config(), secured.config());
    let mut client = secured.client(&one);
    let mut stranger = secured.client(&other);
    let (bytes, ended, code) = stranger.receive_secure(&other, "RETR file");
    assert_eq!(
        (bytes.as_slice(), ended.is_ok(), code),
        (&b"x"[..], true, 226)
    );
    let (bytes, _, code) = client.receive_secure(&other, "RETR file");
    assert_eq!((bytes.as_slice(), code), (&b""[..], 522));
}

#[test]
fn many_data_connections_in_a_row_resume_the_session() {
    for versions in [TlsVersions::Only12, TlsVersions::Only13] {
        let secured = Secured::with(|tls| {
            tls.reuse = true;
            tls.versions = versions;
        });
        secured.served.write("file", "over and over");
        let config = secured.config();
        let mut client = secured.client(&config);
        for _ in 0..40 {
            let (bytes, ended, code) = client.receive_secure(&config, "RETR file");
            ended.unwrap();
            assert_eq!((bytes.as_slice(), code), (&b"over and over"[..], 226));
        }
    }
}

#[test]
fn the_server_is_tls_s_server_where_it_opens_the_data_connection_too() {
    let secured = Secured::with(|tls| tls.reuse = true);
    secured.served.write("file", "over there");
    let config = secured.config();
    let mut client = secured.client(&config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    client.expect(format!("EPRT |1|127.0.0.1|{port}|"), 200);
    client.expect("RETR file", 150);
    let mut data = Connection::secure(listener.accept().unwrap().0, &config);
    let mut text = String::new();
    data.read_to_string(&mut text).unwrap();
    assert_eq!(text, "over there");
    assert_eq!(client.reply().code, 226);
}

#[test]
fn only_the_versions_that_are_spoken_are_spoken() {
    for (versions, spoken, refused) in [
        (
            TlsVersions::Only12,
            ["--tls-max", "1.2"],
            ["--tlsv1.3", "--http1.1"],
        ),
        (
            TlsVersions::Only13,
            ["--tlsv1.3", "--http1.1"],
            ["--tls-max", "1.2"],
        ),
    ] {
        let secured = Secured::with(|tls| tls.versions = versions);
        curl(&secured, "ftp", "", &spoken);
        // 35: the handshake failed.
        let code = run(&secured, "ftp", "", &refused).status.code();
        assert_eq!(code, Some(35), "{versions:?}");
    }
}

#[test]
fn nothing_is_done_in_the_clear_where_tls_is_required() {
    let secured = Secured::start();
    secured.served.write("file", "x");
    let mut client = secured.served.stranger();
    let words = client.expect("USER anonymous", 530);
    assert!(words.contains("TLS"), "{words}");
    client.expect("PASS me@", 503);
    client.expect("AUTH TLS", 234);
    let config = secured.config();
    let mut client = client.secure(&config);
    client.expect("USER anonymous", 331);
    client.expect("PASS me@", 230);
    client.expect("EPSV", 229);
    for line in ["RETR file", "LIST", "STOR new"] {
        let words = client.expect(line, 521);
        assert!(words.contains("PROT P"), "{words}");
    }
    client.expect("PBSZ 0", 200);
    client.expect("PROT C", 534);
    assert!(!secured.served.path("new").exists());
}

#[test]
fn tls_may_be_done_without_where_it_is_only_offered() {
    let secured = Secured::with(|tls| tls.mode = TlsMode::Offered);
    secured.served.write("file", "in the clear");
    let mut plain = secured.served.client();
    assert_eq!(plain.receive("RETR file").0, b"in the clear");
    let config = secured.config();
    let mut client = secured.client(&config);
    client.expect("PROT C", 200);
    assert_eq!(client.receive("RETR file").0, b"in the clear");
    client.expect("PROT P", 200);
    let (bytes, ended, _) = client.receive_secure(&config, "RETR file");
    ended.unwrap();
    assert_eq!(bytes, b"in the clear");
}

#[test]
fn what_is_said_in_the_wrong_order_is_refused() {
    let secured = Secured::start();
    let mut client = secured.served.stranger();
    client.expect("PBSZ 0", 503);
    client.expect("PROT P", 503);
    client.expect("AUTH SSL", 504);
    client.expect("AUTH", 504);
    client.expect("AUTH TLS", 234);
    let mut client = client.secure(&secured.config());
    client.expect("PROT P", 503);
    client.expect("AUTH TLS", 503);
    client.expect("PBSZ much", 501);
    client.expect("PBSZ 0", 200);
    client.expect("PROT S", 536);
    client.expect("PROT E", 536);
    client.expect("PROT X", 504);
    client.expect("PROT P", 200);
    client.expect("QUIT", 221);
    client.expect_closed();
}

#[test]
fn features_tell_of_tls_where_there_is_some() {
    let features = |client: &mut Client| {
        let lines = client.command("FEAT").inner;
        let names = [&b" AUTH TLS"[..], b" PBSZ", b" PROT"];
        names.map(|name| lines.iter().any(|line| line == name))
    };
    let secured = Secured::start();
    assert_eq!(features(&mut secured.served.stranger()), [true; 3]);
    let plain = crate::client::Served::start();
    let mut client = plain.stranger();
    assert_eq!(features(&mut client), [false; 3]);
    client.expect("AUTH TLS", 502);
}

#[test]
fn a_login_is_forgotten_when_tls_begins() {
    let secured = Secured::with(|tls| tls.mode = TlsMode::Offered);
    let mut client = secured.served.client();
    client.expect("AUTH TLS", 234);
    let mut client = client.secure(&secured.config());
    client.expect("PWD", 530);
}

#[test]
fn commands_in_the_clear_behind_auth_are_never_obeyed() {
    let secured = Secured::start();
    let mut client = secured.served.stranger();
    client.send(b"AUTH TLS\r\nMKD made\r\n");
    assert_eq!(client.reply().code, 234);
    client.expect_closed();
    assert!(!secured.served.path("made").exists());
}

#[test]
fn an_upload_that_ends_without_a_close_notify_has_failed() {
    let secured = Secured::start();
    let config = secured.config();
    let mut client = secured.client(&config);
    for (is_ended, code) in [(false, 426), (true, 226)] {
        let socket = client.extended_passive();
        client.expect("STOR file", 150);
        let mut data = Connection::secure(socket, &config);
        data.write_all(b"half of it").unwrap();
        data.flush().unwrap();
        if is_ended {
            data.end();
        }
        data.socket().shutdown(Shutdown::Write).unwrap();
        // Wait for the server's close, so that closing first discards nothing.
        let _ = data.read_to_end(&mut Vec::new());
        assert_eq!(client.reply().code, code);
    }
    assert_eq!(secured.served.read("file"), b"half of it");
}

#[test]
fn an_upload_that_comes_with_the_handshake_is_taken() {
    let secured = Secured::start();
    let config = secured.config();
    let mut client = secured.client(&config);
    let socket = client.extended_passive();
    client.expect("STOR file", 150);
    let mut data = Connection::secure(socket, &config);
    // Written immediately after the client's last handshake message, together with the end.
    data.write_all(b"short").unwrap();
    data.end();
    assert_eq!(client.reply().code, 226);
    assert_eq!(secured.served.read("file"), b"short");
}

#[test]
fn a_transfer_over_tls_is_aborted_and_one_ends_with_its_session() {
    let secured = Secured::start();
    let file = std::fs::File::create(secured.served.path("file")).unwrap();
    file.set_len(1 << 30).unwrap();
    let config = secured.config();
    let mut client = secured.client(&config);
    let socket = client.extended_passive();
    client.expect("RETR file", 150);
    let mut data = Connection::secure(socket, &config);
    data.read_exact(&mut [0; 1000]).unwrap();
    client.send(b"ABOR\r\n");
    assert_eq!(client.reply().code, 426);
    assert_eq!(client.reply().code, 226);
    drop(data);

    let socket = client.extended_passive();
    client.expect("RETR file", 150);
    let mut data = Connection::secure(socket, &config);
    data.read_exact(&mut [0; 1000]).unwrap();
    secured.served.server.drop_sessions();
    assert_eq!(secured.served.server.sessions(), 0);
    assert!(data.read_to_end(&mut Vec::new()).is_err(), "it is cut off");
}

#[test]
fn a_server_with_unfinished_handshakes_stops_at_once() {
    let secured = Secured::start();
    let mut waiting = secured.served.stranger();
    waiting.expect("AUTH TLS", 234);
    let mut client = secured.client(&secured.config());
    let _data = client.extended_passive();
    client.expect("LIST", 150);
    secured.served.server.stop();
    assert_eq!(secured.served.server.sessions(), 0);
    waiting.expect_closed();
}

#[test]
fn only_clients_with_a_certificate_of_the_authority_are_let_in_where_that_is_asked_for() {
    let files = tempfile::tempdir().unwrap();
    let made = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/ftpd"))
        .arg("certificates")
        .arg(files.path())
        .status();
    assert!(made.unwrap().success());
    let file = |name: &str| files.path().join(name);
    let shown = |name: &str| file(name).to_str().unwrap().to_owned();
    let secured = Secured::with(|tls| tls.client_ca = Some(file("ca.pem")));
    let (certificate, key) = (shown("client.pem"), shown("client.key"));
    curl(
        &secured,
        "ftp",
        "",
        &["--cert", &certificate, "--key", &key],
    );
    assert!(!run(&secured, "ftp", "", &[]).status.success());
    let (certificate, key) = (shown("server.pem"), shown("server.key"));
    let wrong = run(
        &secured,
        "ftp",
        "",
        &["--cert", &certificate, "--key", &key],
    );
    assert!(!wrong.status.success(), "it is a server's");
}

#[test]
fn bytes_are_slipped_in_behind_the_answer_to_auth() {
    let secured = Secured::start();
    let slipped = Misdeed::Inject(b"220 Slipped in\r\n".to_vec());
    secured
        .served
        .server
        .faults()
        .add(Fault::on("AUTH", slipped));
    let mut client = secured.served.stranger();
    client.expect("AUTH TLS", 234);
    assert_eq!(client.reply().text, "Slipped in");
    let mut client = client.secure(&secured.config());
    client.expect("USER anonymous", 331);
}

#[test]
fn a_handshake_is_answered_by_something_else_or_not_at_all() {
    let secured = Secured::start();
    let faults = secured.served.server.faults();
    let config = secured.config();
    let refusal = || Misdeed::InsteadOfHandshake(HANDSHAKE_FAILURE.to_vec());

    faults.add(Fault::on("AUTH", refusal()));
    let mut client = secured.served.stranger();
    client.expect("AUTH TLS", 234);
    client.send(&[0x16, 3, 1]);
    let mut answer = Vec::new();
    client.socket().read_to_end(&mut answer).unwrap();
    assert_eq!(answer, HANDSHAKE_FAILURE);
    drop(client);

    faults.add(Fault::on("AUTH", Misdeed::StallHandshake));
    let mut client = secured.served.stranger();
    client.expect("AUTH TLS", 234);
    client.send(&[0x16, 3, 1]);
    client
        .socket()
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(client.socket().read(&mut [0]).is_err(), "nothing comes");
    drop(client);
    wait_until("the sessions are gone", || {
        secured.served.server.sessions() == 0
    });

    let mut client = secured.client(&config);
    for misdeed in [refusal(), Misdeed::StallHandshake] {
        faults.add(Fault::on("LIST", misdeed));
        let socket = client.extended_passive();
        client.expect("LIST", 150);
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let mut data = Connection::secure(socket, &config);
        assert!(data.read(&mut [0]).is_err());
        drop(data);
        assert_eq!(client.reply().code, 522);
    }
    let (_, ended, code) = client.receive_secure(&config, "LIST");
    assert!(ended.is_ok());
    assert_eq!(code, 226);
}

#[test]
fn an_implicit_handshake_is_disturbed_at_connecting() {
    let secured = Secured::with(|tls| tls.mode = TlsMode::Implicit);
    let garbage = Misdeed::InsteadOfHandshake(b"220 In the clear\r\n".to_vec());
    secured
        .served
        .server
        .faults()
        .add(Fault::on(CONNECT, garbage));
    let mut client = Client::connect(secured.served.server.address());
    client.send(&[0x16, 3, 1]);
    assert_eq!(client.reply().text, "In the clear");
    client.expect_closed();
    drop(client);
    let mut client = Client::connect(secured.served.server.address()).secure(&secured.config());
    assert_eq!(client.reply().code, 220);
}

#[test]
fn a_download_ends_without_its_close_notify() {
    let secured = Secured::start();
    let contents = pattern(100_000);
    secured.served.write("file", &contents);
    let config = secured.config();
    let mut client = secured.client(&config);
    for (after, length) in [(10, 10), (u64::MAX, 100_000)] {
        let fault = Fault::on("RETR", Misdeed::Unclosed { after });
        secured.served.server.faults().add(fault);
        let (bytes, ended, code) = client.receive_secure(&config, "RETR file");
        assert!(bytes == contents[..length], "{}", bytes.len());
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(code, 226);
    }
    let fault = Fault::on("RETR", Misdeed::ShortThen226 { after: 10 });
    secured.served.server.faults().add(fault);
    let (bytes, ended, code) = client.receive_secure(&config, "RETR file");
    assert_eq!((bytes.len(), ended.is_ok(), code), (10, true, 226));
}
