//! Prepared data connections and batches of commands.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::ftp::testing::{Peer, Stage, path, taken};
use crate::ftp::{Download, Readiness, Session, Watch};

/// Downloads everything. Also returns the session.
pub(super) fn all(mut download: Download) -> (Vec<u8>, Session) {
    let mut content = Vec::new();
    let mut buffer = [0; 100];
    loop {
        match download.read(&mut buffer).unwrap() {
            0 => return (content, download.finish().unwrap()),
            count => content.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Advances the session without waiting until it is `wanted`.
pub(super) fn become_ready(session: &mut Session, wanted: Readiness) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while session.readiness() != wanted {
        assert!(Instant::now() < deadline, "{:?}", session.readiness());
        // What it waits for may have arrived with an earlier reply.
        session.advance();
        let (_quiet, bell) = UnixStream::pair().unwrap();
        let watches: Vec<_> = session.watch().into_iter().collect();
        if session.readiness() != wanted && !watches.is_empty() {
            Watch::wait_for_any(&watches, &bell, Duration::from_secs(10));
        }
    }
}

/// Sends a file with these bytes.
pub(super) fn send(stage: &mut Stage, mut data: TcpStream, bytes: &[u8]) {
    stage.reply("150 here it comes");
    data.write_all(bytes).unwrap();
    drop(data);
    stage.reply("226 all");
}

#[test]
fn a_transfer_begins_with_its_verb_on_the_connection_opened_before() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        for name in ["/a", "/b"] {
            let data = stage.extended_passive();
            stage.expect_command(&format!("RETR {name}"));
            send(stage, data, name.as_bytes());
        }
        drop(stage.extended_passive());
    });
    let mut session = peer.preparing_session();
    for name in ["/a", "/b"] {
        become_ready(&mut session, Readiness::Armed);
        assert!(session.is_quiet());
        let (content, mut back) = all(session.retrieve(&path(name), 0).unwrap());
        assert_eq!(content, name.as_bytes());
        back.prepare_data();
        session = back;
    }
    become_ready(&mut session, Readiness::Armed);
    peer.join();
}

#[test]
fn the_next_data_connection_is_made_while_the_server_executes_a_command() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        stage.expect_command("EPSV");
        stage.expect_command("NOOP");
        stage.reply(&format!("229 Entering (|||{port}|)"));
        let _data = taken(&listener);
        stage.reply("200 so");
        stage.noop();
    });
    let mut session = peer.preparing_session();
    session.noop().unwrap();
    session.noop().unwrap();
    peer.join();
}

#[test]
fn commands_go_out_behind_an_epsv_that_is_not_answered_yet() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        stage.expect_command("EPSV");
        stage.expect_command("MLST /a");
        stage.reply(&format!("229 Entering (|||{port}|)"));
        stage.reply("250-Listing\n type=file;size=7; /a\n250 End");
        let data = taken(&listener);
        stage.expect_command("RETR /a");
        send(stage, data, b"content");
    });
    let mut session = peer.preparing_session();
    assert!(session.is_quiet(), "a reply is owed, not unasked for");
    assert_eq!(session.mlst(&path("/a")).unwrap().size, Some(7));
    let (content, _) = all(session.retrieve(&path("/a"), 0).unwrap());
    assert_eq!(content, b"content");
    peer.join();
}

#[test]
fn where_epsv_is_refused_pasv_is_asked_for_ahead() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.answer("EPSV", "502 what?");
        stage.expect_command("PASV");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let [high, low] = listener.local_addr().unwrap().port().to_be_bytes();
        stage.reply(&format!("227 Passive (127,0,0,1,{high},{low})"));
        let data = taken(&listener);
        stage.expect_command("RETR /a");
        send(stage, data, b"content");
    });
    let mut session = peer.preparing_session();
    become_ready(&mut session, Readiness::Armed);
    let (content, _) = all(session.retrieve(&path("/a"), 0).unwrap());
    assert_eq!(content, b"content");
    peer.join();
}

#[test]
fn a_server_with_neither_is_asked_for_nothing_ahead() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.answer("EPSV", "502 what?");
        stage.answer("PASV", "502 what?");
        stage.noop();
    });
    let mut session = peer.preparing_session();
    become_ready(&mut session, Readiness::Cold);
    session.prepare_data();
    session.noop().unwrap();
    peer.join();
}

#[test]
fn a_server_out_of_ports_is_asked_again_after_the_next_transfer() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.answer("EPSV", "425 no port is free");
        stage.noop();
        let data = stage.extended_passive();
        stage.expect_command("RETR /a");
        send(stage, data, b"content");
        drop(stage.extended_passive());
    });
    let mut session = peer.preparing_session();
    become_ready(&mut session, Readiness::Cold);
    session.prepare_data();
    session.noop().unwrap();
    let (content, mut session) = all(session.retrieve(&path("/a"), 0).unwrap());
    assert_eq!(content, b"content");
    session.prepare_data();
    become_ready(&mut session, Readiness::Armed);
    peer.join();
}

#[test]
fn a_goodbye_in_the_place_of_an_answer_to_epsv_ends_the_session() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.answer("EPSV", "421 idle for too long");
    });
    let mut session = peer.preparing_session();
    peer.join();
    let deadline = Instant::now() + Duration::from_secs(10);
    while session.is_quiet() {
        assert!(Instant::now() < deadline, "the end was never noticed");
        std::thread::yield_now();
    }
}

#[test]
fn a_goodbye_instead_of_two_answers_is_the_answer() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.expect_command("EPSV");
        stage.expect_command("NOOP");
        stage.reply("421 closing down");
        // The connection stays open.
        stage.expect_disconnect();
    });
    let mut session = peer.preparing_session();
    let refused = session.noop().unwrap_err();
    assert_eq!(refused.reply().map(|reply| reply.code().0), Some(421));
    drop(session);
    peer.join();
}

#[test]
fn in_active_mode_nothing_is_opened_ahead() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.noop();
    });
    let mut session = peer.pipelining_session();
    session.prepare_data();
    assert!(session.pipelines() && session.readiness() == Readiness::Cold);
    session.noop().unwrap();
    peer.join();
}

#[test]
fn a_connection_that_the_server_closed_is_not_used() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        drop(stage.extended_passive());
        stage.reply("200 closed");
        let data = stage.extended_passive();
        stage.expect_command("RETR /a");
        send(stage, data, b"content");
    });
    let mut session = peer.preparing_session();
    become_ready(&mut session, Readiness::Armed);
    // The end of the data connection has arrived before this reply.
    session.control.reply(crate::ftp::Phase::Reply).unwrap();
    let (content, _) = all(session.retrieve(&path("/a"), 0).unwrap());
    assert_eq!(content, b"content");
    peer.join();
}

#[test]
fn after_some_that_were_closed_no_more_are_opened_ahead() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        for _ in 0..3 {
            drop(stage.extended_passive());
            stage.reply("200 closed");
            let data = stage.extended_passive();
            stage.expect_command("RETR /a");
            send(stage, data, b"content");
        }
        stage.noop();
    });
    let mut session = peer.preparing_session();
    for _ in 0..3 {
        become_ready(&mut session, Readiness::Armed);
        session.control.reply(crate::ftp::Phase::Reply).unwrap();
        let (content, mut back) = all(session.retrieve(&path("/a"), 0).unwrap());
        assert_eq!(content, b"content");
        back.prepare_data();
        session = back;
    }
    assert_eq!(session.readiness(), Readiness::Cold);
    session.noop().unwrap();
    peer.join();
}

#[test]
fn an_old_connection_is_not_trusted() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let _old = stage.extended_passive();
        let data = stage.extended_passive();
        stage.expect_command("RETR /a");
        send(stage, data, b"content");
    });
    let mut session = peer.preparing_session();
    become_ready(&mut session, Readiness::Armed);
    assert!(!session.has_old_prepared());
    session.prepared.max_age = Duration::ZERO;
    assert!(session.has_old_prepared());
    let (content, _) = all(session.retrieve(&path("/a"), 0).unwrap());
    assert_eq!(content, b"content");
    peer.join();
}

#[test]
fn an_old_connection_is_renewed_or_closed() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let mut old = stage.extended_passive();
        let mut new = stage.extended_passive();
        assert_eq!(old.read(&mut [0]).unwrap(), 0, "the old one is closed");
        assert_eq!(new.read(&mut [0]).unwrap(), 0, "and the new one at last");
        stage.noop();
    });
    let mut session = peer.preparing_session();
    become_ready(&mut session, Readiness::Armed);
    session.renew_prepared();
    become_ready(&mut session, Readiness::Armed);
    session.drop_prepared();
    assert_eq!(session.readiness(), Readiness::Cold);
    session.noop().unwrap();
    peer.join();
}

#[test]
fn a_download_whose_connection_was_forgotten_is_asked_for_again() {
    for code in [425, 426] {
        let peer = Peer::plays(move |stage| {
            stage.log_in();
            let _forgotten = stage.extended_passive();
            stage.answer("REST 3", "350 noted");
            stage.answer("RETR /a", &format!("{code} which connection?"));
            let data = stage.extended_passive();
            stage.answer("REST 3", "350 noted");
            stage.expect_command("RETR /a");
            send(stage, data, b"tent");
        });
        let mut session = peer.preparing_session();
        become_ready(&mut session, Readiness::Armed);
        let (content, _) = all(session.retrieve(&path("/a"), 3).unwrap());
        assert_eq!(content, b"tent");
        peer.join();
    }
}

#[test]
fn an_upload_whose_connection_was_forgotten_is_its_callers_matter() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let _forgotten = stage.extended_passive();
        stage.answer("STOR /a", "425 which connection?");
        stage.noop();
    });
    let mut session = peer.preparing_session();
    become_ready(&mut session, Readiness::Armed);
    let failed = session.store(&path("/a"), 0).unwrap_err();
    assert_eq!(failed.error.to_string(), "STOR: 425 which connection?");
    failed.session.unwrap().noop().unwrap();
    peer.join();
}
