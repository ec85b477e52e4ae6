//! Timing of handshakes on data connections, and failing handshakes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::sync::Arc;

use rustls::ServerConfig;

use super::tls::{Identity, log_in, options};
use crate::ftp::testing::{Channel, Peer, Stage, path, secured};
use crate::ftp::{ConnectOptions, ListWith, Session};

/// Starts the transfer requested by `line`, like a server that sends its 150 only after the
/// handshake.
fn begin_after_handshake(stage: &mut Stage, config: &Arc<ServerConfig>, line: &str) -> Channel {
    let socket = stage.extended_passive();
    stage.expect_command(line);
    let data = shaken(socket, config);
    stage.reply("150 here it comes");
    data
}

/// Performs a TLS handshake.
fn shaken(socket: TcpStream, config: &Arc<ServerConfig>) -> Channel {
    let mut data = secured(socket, config);
    let stream = data.tls();
    stream.conn.complete_io(&mut stream.sock).unwrap();
    data
}

/// If the handshake waited for the 150, that would come a round trip later; here it would never
/// come.
#[test]
fn a_data_connection_shakes_hands_before_the_150() {
    for (version, tickets) in [
        (&rustls::version::TLS12, 2),
        (&rustls::version::TLS13, 2),
        (&rustls::version::TLS13, 1),
        (&rustls::version::TLS13, 0),
    ] {
        let identity = Identity::new();
        let mut config = ServerConfig::clone(&identity.server_of(&[version]));
        config.send_tls13_tickets = tickets;
        let config = Arc::new(config);
        let peer = Peer::plays(move |stage| {
            log_in(stage, &config);
            let send = |mut data: Channel| {
                data.write_all(b"type=file; a\r\n").unwrap();
                data.tls().conn.send_close_notify();
                data.flush().unwrap();
            };
            send(begin_after_handshake(stage, &config, "RETR /a"));
            stage.reply("226 done");
            let mut data = begin_after_handshake(stage, &config, "STOR /a");
            let mut stored = Vec::new();
            data.read_to_end(&mut stored).unwrap();
            drop(data);
            assert_eq!(stored, b"content");
            stage.reply("226 done");
            send(begin_after_handshake(stage, &config, "MLSD /"));
            stage.reply("226 done");
            let socket = stage.extended_passive();
            stage.answer("REST 7", "350 from there");
            stage.expect_command("RETR /a");
            let data = shaken(socket, &config);
            stage.reply("150 here it comes");
            send(data);
            stage.reply("226 done");
        });
        let read = |session: Session, offset| {
            let mut download = session.retrieve(&path("/a"), offset).unwrap();
            while download.read(&mut [0; 64]).unwrap() > 0 {}
            download.finish().unwrap()
        };
        let session = Session::connect(&options(&peer, identity.trust())).unwrap();
        let session = read(session, 0);
        let mut upload = session.store(&path("/a"), 0).unwrap();
        upload.write_all(b"content").unwrap();
        let mut session = upload.finish().unwrap().0;
        let mut names = 0;
        let mut count = |_| {
            names += 1;
            ControlFlow::Continue(())
        };
        session
            .list(ListWith::Mlsd, &path("/"), &mut count)
            .unwrap();
        assert_eq!(names, 1);
        read(session, 7);
        peer.join();
    }
}

#[test]
fn in_active_mode_the_handshake_comes_before_the_150_as_well() {
    let identity = Identity::new();
    let config = identity.server();
    let peer = Peer::plays(move |stage| {
        log_in(stage, &config);
        let line = String::from_utf8(stage.next_command()).unwrap();
        let port = line.trim_end_matches('|').rsplit('|').next().unwrap();
        let port: u16 = port.parse().unwrap();
        stage.reply("200 noted");
        stage.expect_command("RETR /a");
        let mut data = shaken(TcpStream::connect(("127.0.0.1", port)).unwrap(), &config);
        stage.reply("150 here it comes");
        data.write_all(b"x").unwrap();
        data.tls().conn.send_close_notify();
        data.flush().unwrap();
        stage.reply("226 done");
    });
    let session = Session::connect(&ConnectOptions {
        active: true,
        ..options(&peer, identity.trust())
    });
    let mut download = session.unwrap().retrieve(&path("/a"), 0).unwrap();
    assert_eq!(download.read(&mut [0; 64]).unwrap(), 1);
    assert_eq!(download.read(&mut [0; 64]).unwrap(), 0);
    download.finish().unwrap();
    peer.join();
}

#[test]
fn a_transfer_refused_during_the_handshake_leaves_the_session_in_step() {
    let identity = Identity::new();
    let mut config = ServerConfig::clone(&identity.server());
    // Each handshake that has begun uses a ticket.
    config.send_tls13_tickets = 4;
    let config = Arc::new(config);
    let peer = Peer::plays(move |stage| {
        log_in(stage, &config);
        for shakes in [false, true] {
            let socket = stage.extended_passive();
            stage.expect_command("RETR /a");
            let data = shakes.then(|| shaken(socket, &config));
            stage.reply("550 no such file");
            drop(data);
            stage.noop();
        }
    });
    let mut session = Session::connect(&options(&peer, identity.trust())).unwrap();
    for _ in 0..2 {
        let failed = session.retrieve(&path("/a"), 0).unwrap_err();
        assert!(failed.error.to_string().contains("550"), "{}", failed.error);
        session = failed.session.expect("in step");
        session.noop().unwrap();
    }
    peer.join();
}

/// Plays a server that breaks off the handshake with this alert. Returns the error.
fn alerting(alert: u8) -> String {
    let identity = Identity::new();
    let peer = Peer::plays(move |stage| {
        stage.reply("220 ready");
        stage.answer("AUTH TLS", "234 go on");
        let mut hello = [0; 1024];
        assert!(stage.channel().read(&mut hello).unwrap() > 0);
        stage.send(&[0x15, 3, 1, 0, 2, 2, alert]);
        stage.drain();
    });
    let error = Session::connect(&options(&peer, identity.trust())).unwrap_err();
    peer.join();
    error.to_string()
}

#[test]
fn a_server_of_old_tls_is_said_to_be_too_old() {
    for alert in [70, 40, 71] {
        let message = alerting(alert);
        for part in ["older than 1.2", "update the server", "ftp://"] {
            assert!(message.contains(part), "{alert}: {message}");
        }
    }
}
