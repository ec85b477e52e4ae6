//! Commands that travel with transfers over TLS.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use rustls::ServerConfig;

use super::prepared::become_ready;
use super::tls::{Identity, log_in_as, options};
use crate::ftp::testing::{Channel, Peer, Stage, path, proven, secured, taken};
use crate::ftp::{ConnectOptions, Readiness, Session};

/// Greeting of a server that tolerates commands during an upload.
const PATIENT: &str = "ftpfs server";
/// Greeting of a server that goes on after a close_notify.
const VSFTPD: &str = "(vsFTPd 3.0.5)";
const FEATURES: &str = "211-Features:\n MLST size*;\n211 End";

/// Opens a session that sends everything possible ahead.
fn session(peer: &Peer, identity: &Identity) -> Session {
    let options = ConnectOptions {
        profile: proven(),
        ..options(peer, identity.trust())
    };
    Session::connect(&options).unwrap()
}

/// Offers another data connection.
fn offer(stage: &mut Stage) -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    stage.reply(&format!("229 Entering (|||{port}|)"));
    listener
}

/// Performs the handshake of a data connection after its 150.
fn begin(stage: &mut Stage, data: std::net::TcpStream, config: &Arc<ServerConfig>) -> Channel {
    stage.reply("150 here it comes");
    let mut data = secured(data, config);
    let stream = data.tls();
    stream.conn.complete_io(&mut stream.sock).unwrap();
    data
}

#[test]
fn what_follows_an_upload_is_sent_before_its_completion() {
    let identity = Identity::new();
    let config = identity.server();
    let peer = Peer::plays(move |stage| {
        log_in_as(stage, &config, PATIENT, FEATURES);
        let data = stage.extended_passive();
        stage.expect_command("STOR /a");
        let mut data = begin(stage, data, &config);
        let mut stored = Vec::new();
        data.read_to_end(&mut stored).unwrap();
        assert_eq!(stored, b"content");
        stage.expect_command("EPSV");
        stage.expect_command("MLST /a");
        drop(data);
        stage.reply("226 stored");
        let listener = offer(stage);
        stage.reply("250-Listing\n type=file;size=7; /a\n250 End");
        let _next = taken(&listener);
        stage.noop();
    });
    let mut session = session(&peer, &identity);
    become_ready(&mut session, Readiness::Armed);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"content").unwrap();
    let mut upload = session.store_whole(&path("/a"), &file, 7, true).unwrap();
    assert_eq!(upload.sent_early(), 0, "the handshake comes first");
    upload.send_file(&file, 0, 7).unwrap();
    let (mut session, _) = upload.finish().unwrap();
    assert_eq!(session.mlst(&path("/a")).unwrap().size, Some(7));
    become_ready(&mut session, Readiness::Armed);
    session.noop().unwrap();
    peer.join();
}

/// Sends all of a download.
fn send(mut data: Channel) -> Channel {
    data.write_all(b"content").unwrap();
    data.tls().conn.send_close_notify();
    data.flush().unwrap();
    data
}

/// Downloads a file once the data connection is prepared.
fn download(mut session: Session) -> Session {
    become_ready(&mut session, Readiness::Armed);
    session.expect_more(true);
    let mut download = session.retrieve(&path("/a"), 0).unwrap();
    let mut content = Vec::new();
    Read::read_to_end(&mut download, &mut content).unwrap();
    assert_eq!(content, b"content");
    download.finish().unwrap()
}

#[test]
fn downloads_in_a_row_ask_for_the_next_connection_with_their_command() {
    let identity = Identity::new();
    let config = identity.server();
    let peer = Peer::plays(move |stage| {
        log_in_as(stage, &config, PATIENT, FEATURES);
        let data = stage.extended_passive();
        stage.expect_command("RETR /a");
        drop(send(begin(stage, data, &config)));
        stage.expect_command("EPSV");
        stage.reply("226 done");
        let data = taken(&offer(stage));
        stage.expect_command("RETR /a");
        stage.expect_command("EPSV");
        drop(send(begin(stage, data, &config)));
        stage.reply("226 done");
        let _next = taken(&offer(stage));
        stage.noop();
    });
    let session = download(download(session(&peer, &identity)));
    let mut session = session;
    become_ready(&mut session, Readiness::Armed);
    session.noop().unwrap();
    peer.join();
}

/// What was sent behind a download is received, too, if the server ends it in the handshake.
#[test]
fn a_refusal_in_the_handshake_is_followed_by_the_other_replies() {
    let identity = Identity::new();
    let config = identity.server();
    let peer = Peer::plays(move |stage| {
        log_in_as(stage, &config, PATIENT, FEATURES);
        let data = stage.extended_passive();
        stage.expect_command("RETR /a");
        drop(send(begin(stage, data, &config)));
        stage.expect_command("EPSV");
        stage.reply("226 done");
        let data = taken(&offer(stage));
        stage.expect_command("RETR /a");
        stage.expect_command("EPSV");
        stage.reply("150 here it comes");
        drop(data);
        stage.reply("522 the session was not resumed");
        let _next = taken(&offer(stage));
        stage.answer("DELE /a", "550 no");
    });
    let mut session = download(session(&peer, &identity));
    become_ready(&mut session, Readiness::Armed);
    session.expect_more(true);
    let failed = session.retrieve(&path("/a"), 0).unwrap_err();
    let (error, session) = (failed.error, failed.session);
    assert_eq!(error.reply().unwrap().code().0, 522);
    let mut session = session.unwrap();
    become_ready(&mut session, Readiness::Armed);
    let error = session.delete(&path("/a")).unwrap_err();
    assert_eq!(error.reply().unwrap().code().0, 550);
    peer.join();
}

/// The server waits for the end of the client's direction before it sends anything.
#[test]
fn the_direction_that_a_download_does_not_use_is_closed_early() {
    let identity = Identity::new();
    let config = identity.server_of(&[&rustls::version::TLS13]);
    let peer = Peer::plays(move |stage| {
        log_in_as(stage, &config, VSFTPD, FEATURES);
        let data = stage.extended_passive();
        stage.expect_command("RETR /a");
        let mut data = begin(stage, data, &config);
        assert_eq!(data.read(&mut [0]).unwrap(), 0, "close_notify");
        drop(send(data));
        stage.reply("226 done");
        stage.drain();
    });
    drop(download(session(&peer, &identity)));
    peer.join();
}

/// TLS 1.2 would stop sending after the client's close_notify.
#[test]
fn with_an_older_version_no_direction_is_closed_early() {
    let identity = Identity::new();
    let config = identity.server_of(&[&rustls::version::TLS12]);
    let peer = Peer::plays(move |stage| {
        log_in_as(stage, &config, VSFTPD, FEATURES);
        let data = stage.extended_passive();
        stage.expect_command("RETR /a");
        let mut data = begin(stage, data, &config);
        // A close_notify sent with the handshake would have arrived before this.
        data.socket().set_nonblocking(true).unwrap();
        let early = data.read(&mut [0]).unwrap_err();
        assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
        data.socket().set_nonblocking(false).unwrap();
        let mut data = send(data);
        assert_eq!(data.read(&mut [0]).unwrap(), 0, "close_notify");
        stage.reply("226 done");
        stage.drain();
    });
    drop(download(session(&peer, &identity)));
    peer.join();
}
