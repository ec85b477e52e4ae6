//! Commands pipelined with a transfer command and behind it, before its completion reply.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::prepared::become_ready;
use crate::ftp::testing::{Peer, Stage, path, taken};
use crate::ftp::{Capability, Error, Readiness, Session, Upload};

/// Greeting of a server that tolerates data before its command and commands during an upload.
const PATIENT: &str = "ftpfs server";

fn spool(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Receives a small upload and the commands pipelined behind it, and answers all of them in one
/// write, with `end` as the completion reply.
fn small_upload(
    stage: &mut Stage,
    data: &TcpStream,
    behind: &[&str],
    end: &str,
) -> (Vec<u8>, TcpListener) {
    stage.expect_command("STOR /a");
    let stored = received(data);
    (stored, answer_small_upload(stage, behind, end))
}

fn received(mut data: &TcpStream) -> Vec<u8> {
    let mut stored = Vec::new();
    data.read_to_end(&mut stored).unwrap();
    stored
}

/// Uploads `content` to `/a` together with STOR.
fn upload_small(mut session: Session, content: &[u8]) -> Session {
    become_ready(&mut session, Readiness::Armed);
    let (file, length) = (spool(content), content.len() as u64);
    let upload = session.store_whole(&path("/a"), &file, length, true);
    let upload = upload.unwrap();
    assert_eq!(upload.sent_early(), length);
    upload.finish().unwrap().0
}

fn answer_small_upload(stage: &mut Stage, behind: &[&str], end: &str) -> TcpListener {
    stage.expect_command("EPSV");
    for line in behind {
        stage.expect_command(line);
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    stage.reply(end);
    stage.reply(&format!("229 Entering (|||{port}|)"));
    listener
}

/// Greeting of a server that is known to wait for the acknowledgement of the end of an upload.
const LINGERING: &str = "(vsFTPd 3.0.3)";

/// Waits until the client has reset the connection, whose end has been received.
fn wait_for_reset(data: &TcpStream) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while data.take_error().unwrap().is_none() {
        assert!(Instant::now() < deadline, "no reset");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_server_does_not_wait_for_the_end_of_the_connection_of_a_small_upload() {
    let peer = Peer::plays(|stage| {
        stage.log_in_as(LINGERING, "211-Features:\n SIZE\n MDTM\n211 End");
        let mut data = stage.extended_passive();
        for content in [b"content".as_slice(), b""] {
            stage.expect_command("STOR /a");
            assert_eq!(received(&data), content);
            wait_for_reset(&data);
            let lines = ["SIZE /a", "MDTM /a"];
            let listener = answer_small_upload(stage, &lines, "150 go on\n226 stored");
            stage.reply(&format!("213 {}\n213 20240229120000", content.len()));
            data = taken(&listener);
        }
        stage.noop();
    });
    let mut session = peer.preparing_session();
    for content in [b"content".as_slice(), b""] {
        session = upload_small(session, content);
        let (size, _) = session.size_and_modified(&path("/a")).unwrap();
        assert_eq!(size.unwrap(), content.len() as u64);
    }
    become_ready(&mut session, Readiness::Armed);
    session.noop().unwrap();
    assert!(session.profile().has(Capability::LingersAfterUpload));
    peer.join();
}

#[test]
fn the_connection_of_a_larger_upload_is_reset_once_all_is_sent() {
    const LENGTH: usize = 60_000;
    let peer = Peer::plays(|stage| {
        stage.log_in_as(LINGERING, "211-Features:\n SIZE\n MDTM\n211 End");
        stage.expect_command("EPSV");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // The network does not take all of it before some has been read.
        SockRef::from(&listener).set_recv_buffer_size(2048).unwrap();
        let port = listener.local_addr().unwrap().port();
        stage.reply(&format!("229 Entering (|||{port}|)"));
        let data = taken(&listener);
        for line in ["STOR /a", "EPSV", "SIZE /a", "MDTM /a"] {
            stage.expect_command(line);
        }
        assert_eq!(received(&data).len(), LENGTH);
        assert!(data.take_error().unwrap().is_none());
        stage.reply("150 go on");
        wait_for_reset(&data);
        let next = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = next.local_addr().unwrap().port();
        let facts = format!("213 {LENGTH}\n213 20240229120000");
        stage.reply(&format!("226 stored\n229 Entering (|||{port}|)\n{facts}"));
        let _next = taken(&next);
    });
    let mut session = upload_small(peer.preparing_session(), &vec![7; LENGTH]);
    become_ready(&mut session, Readiness::Armed);
    let (size, _) = session.size_and_modified(&path("/a")).unwrap();
    assert_eq!(size.unwrap(), LENGTH as u64);
    peer.join();
}

/// No data precedes the reply to APPE, and the facts are asked for behind the data.
#[test]
fn what_an_append_has_made_is_asked_for_behind_its_data() {
    let peer = Peer::plays(|stage| {
        stage.log_in_as(LINGERING, "211-Features:\n SIZE\n MDTM\n211 End");
        let data = stage.extended_passive();
        stage.expect_command("APPE /a");
        data.set_nonblocking(true).unwrap();
        let early = (&data).read(&mut [0]).unwrap_err();
        assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
        data.set_nonblocking(false).unwrap();
        stage.reply("150 go on");
        assert_eq!(received(&data), b"content");
        drop(data);
        let lines = ["SIZE /a", "MDTM /a"];
        let listener = answer_small_upload(stage, &lines, "226 stored");
        stage.reply("213 10\n213 20240229120000");
        let _next = taken(&listener);
        stage.noop();
    });
    let mut session = peer.preparing_session();
    become_ready(&mut session, Readiness::Armed);
    let mut upload = session.append_asking(&path("/a")).unwrap();
    let file = spool(b"old content");
    upload.send_file(&file, 4, 7).unwrap();
    let mut session = upload.finish().unwrap().0;
    let (size, _) = session.size_and_modified(&path("/a")).unwrap();
    assert_eq!(size.unwrap(), 10);
    session.noop().unwrap();
    peer.join();
}

#[test]
fn a_connection_whose_data_is_not_asked_about_is_not_reset() {
    let peer = Peer::plays(|stage| {
        stage.log_in_as(LINGERING, "502 no FEAT");
        let data = stage.extended_passive();
        stage.expect_command("STOR /a");
        assert_eq!(received(&data), b"content");
        // What is sent behind the data arrives after a reset of it.
        let listener = answer_small_upload(stage, &[], "150 go on\n226 stored");
        assert!(data.take_error().unwrap().is_none());
        let _next = taken(&listener);
    });
    let mut session = upload_small(peer.preparing_session(), b"content");
    become_ready(&mut session, Readiness::Armed);
    peer.join();
}

/// A lost packet, or one that overtakes another, makes the reset end the connection too early.
#[test]
fn after_a_reset_that_failed_an_upload_there_are_no_more() {
    for replies in [
        ["426 Failure reading.", ""],
        ["150 go on", "426 Failure reading."],
    ] {
        let peer = Peer::plays(move |stage| {
            stage.log_in_as(LINGERING, "211-Features:\n SIZE\n MDTM\n211 End");
            let data = stage.extended_passive();
            stage.expect_command("STOR /a");
            wait_for_reset(&data);
            let end = replies.join("\n");
            let listener = answer_small_upload(stage, &["SIZE /a", "MDTM /a"], end.trim());
            stage.reply("550 none\n550 none");
            let data = taken(&listener);
            stage.noop();
            stage.expect_command("STOR /a");
            assert_eq!(received(&data), b"content");
            let listener =
                answer_small_upload(stage, &["SIZE /a", "MDTM /a"], "150 go on\n226 stored");
            assert!(data.take_error().unwrap().is_none());
            stage.reply("213 7\n213 20240229120000");
            let _next = taken(&listener);
        });
        let mut session = peer.preparing_session();
        become_ready(&mut session, Readiness::Armed);
        let file = spool(b"content");
        let failed = session
            .store_whole(&path("/a"), &file, 7, true)
            .and_then(Upload::finish)
            .unwrap_err();
        assert_eq!(failed.error.to_string(), "STOR: 426 Failure reading.");
        let mut session = failed.session.unwrap();
        assert!(!session.profile().has(Capability::LingersAfterUpload));
        session.noop().unwrap();
        let mut session = upload_small(session, b"content");
        become_ready(&mut session, Readiness::Armed);
        peer.join();
    }
}

/// Where a packet and the reset are lost, the server waits for data that no one sends again.
#[test]
fn a_server_that_waits_for_the_rest_of_a_reset_connection_is_not_waited_for() {
    let peer = Peer::plays(|stage| {
        stage.log_in_as(LINGERING, "211-Features:\n SIZE\n MDTM\n211 End");
        let data = stage.extended_passive();
        stage.expect_command("STOR /a");
        wait_for_reset(&data);
        stage.reply("150 go on");
        for line in ["EPSV", "SIZE /a", "MDTM /a"] {
            stage.expect_command(line);
        }
        stage.expect_disconnect();
    });
    let mut session = peer.preparing_session();
    let profile = session.profile().clone();
    become_ready(&mut session, Readiness::Armed);
    let upload = session.store_whole(&path("/a"), &spool(b"content"), 7, true);
    // The server lives.
    let failed = upload.unwrap().finish_while(&|| true).unwrap_err();
    assert!(
        matches!(failed.error, Error::Timeout(_)),
        "{}",
        failed.error
    );
    assert!(failed.session.is_none());
    assert!(!profile.has(Capability::LingersAfterUpload));
    peer.join();
}

#[test]
fn a_small_upload_goes_with_its_command() {
    let peer = Peer::plays(|stage| {
        stage.log_in_as(PATIENT, "502 no FEAT");
        let mut data = stage.extended_passive();
        for content in [b"content".as_slice(), b""] {
            let (stored, listener) = small_upload(stage, &data, &[], "150 go on\n226 stored");
            assert_eq!(stored, content, "before a word was said");
            data = taken(&listener);
        }
        stage.noop();
    });
    let mut session = peer.preparing_session();
    for content in [b"content".as_slice(), b""] {
        session = upload_small(session, content);
    }
    become_ready(&mut session, Readiness::Armed);
    session.noop().unwrap();
    peer.join();
}

#[test]
fn what_arrived_is_asked_for_behind_a_small_upload() {
    for (features, lines, replies) in [
        (
            "MLST size*;",
            ["MLST /a"].as_slice(),
            "250-Listing\n type=file;size=7; /a\n250 End",
        ),
        (
            "SIZE\n MDTM",
            &["SIZE /a", "MDTM /a"],
            "213 7\n213 20240229120000",
        ),
    ] {
        let peer = Peer::plays(move |stage| {
            stage.log_in_as(PATIENT, &format!("211-Features:\n {features}\n211 End"));
            let data = stage.extended_passive();
            let (_, listener) = small_upload(stage, &data, lines, "150 go on\n226 stored");
            stage.reply(replies);
            let _next = taken(&listener);
            stage.noop();
        });
        let mut session = peer.preparing_session();
        become_ready(&mut session, Readiness::Armed);
        let file = spool(b"content");
        let upload = session.store_whole(&path("/a"), &file, 7, true).unwrap();
        let (mut session, reply) = upload.finish().unwrap();
        assert_eq!(reply.to_string(), "226 stored");
        let size = if lines.len() == 1 {
            session.mlst(&path("/a")).unwrap().size
        } else {
            session.size_and_modified(&path("/a")).unwrap().0.ok()
        };
        assert_eq!(size, Some(7));
        become_ready(&mut session, Readiness::Armed);
        session.noop().unwrap();
        peer.join();
    }
}

#[test]
fn an_answer_that_nobody_asks_for_any_more_is_not_taken_for_another() {
    for other in ["/b", "/a"] {
        let peer = Peer::plays(move |stage| {
            stage.log_in_as(PATIENT, "211-Features:\n MLST size*;\n211 End");
            let data = stage.extended_passive();
            let (_, listener) = small_upload(stage, &data, &["MLST /a"], "150 go on\n226 stored");
            stage.reply("250-Listing\n type=file;size=7; /a\n250 End");
            stage.noop();
            let _next = taken(&listener);
            stage.answer(
                &format!("MLST {other}"),
                "250-Listing\n type=file;size=8; /x\n250 End",
            );
        });
        let mut session = peer.preparing_session();
        become_ready(&mut session, Readiness::Armed);
        let file = spool(b"content");
        let upload = session.store_whole(&path("/a"), &file, 7, true).unwrap();
        let (mut session, _) = upload.finish().unwrap();
        assert!(session.is_quiet(), "replies are owed");
        session.noop().unwrap();
        assert_eq!(session.mlst(&path(other)).unwrap().size, Some(8));
        peer.join();
    }
}

#[test]
fn a_refused_small_upload_says_why_and_leaves_the_session() {
    let peer = Peer::plays(|stage| {
        stage.log_in_as(PATIENT, "211-Features:\n MLST size*;\n211 End");
        let data = stage.extended_passive();
        let (_, listener) = small_upload(stage, &data, &["MLST /a"], "553 no such name");
        stage.reply("550 nothing there");
        stage.noop();
        let _next = taken(&listener);
    });
    let mut session = peer.preparing_session();
    become_ready(&mut session, Readiness::Armed);
    let file = spool(b"content");
    let failed = session.store_whole(&path("/a"), &file, 7, true);
    let failed = failed.unwrap_err();
    assert_eq!(failed.error.to_string(), "STOR: 553 no such name");
    failed.session.unwrap().noop().unwrap();
    peer.join();
}

#[test]
fn the_next_answer_is_not_taken_for_a_missing_end_of_a_transfer() {
    let peer = Peer::plays(|stage| {
        stage.log_in_as(PATIENT, "502 no FEAT");
        let data = stage.extended_passive();
        small_upload(stage, &data, &[], "150 go on");
        stage.expect_disconnect();
    });
    let mut session = peer.preparing_session();
    become_ready(&mut session, Readiness::Armed);
    let file = spool(b"content");
    let upload = session.store_whole(&path("/a"), &file, 7, false).unwrap();
    let failed = upload.finish().unwrap_err();
    assert!(matches!(failed.error, Error::Closed(_)), "{}", failed.error);
    assert!(failed.session.is_none());
    peer.join();
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let data = stage.extended_passive();
        stage.answer("RETR /a", "150 here it comes");
        drop(data);
        stage.answer("EPSV", "229 Entering (|||1|)");
        stage.expect_disconnect();
    });
    let mut session = peer.preparing_session();
    become_ready(&mut session, Readiness::Armed);
    let failed = session.retrieve(&path("/a"), 0).unwrap().finish();
    assert!(failed.unwrap_err().session.is_none());
    peer.join();
}

#[test]
fn an_upload_waits_for_the_150_of_a_server_that_is_not_known_to_bear_it() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let mut data = stage.extended_passive();
        stage.answer("STOR /a", "150 go on");
        let mut stored = Vec::new();
        data.read_to_end(&mut stored).unwrap();
        assert_eq!(stored, b"content");
        stage.reply("226 stored");
        stage.expect_command("EPSV");
    });
    let mut session = peer.preparing_session();
    become_ready(&mut session, Readiness::Armed);
    let file = spool(b"content");
    let mut upload = session.store_whole(&path("/a"), &file, 7, false).unwrap();
    assert_eq!(upload.sent_early(), 0);
    upload.send_file(&file, 0, 7).unwrap();
    upload.finish().unwrap();
    peer.join();
}

#[test]
fn a_file_shorter_than_was_said_is_no_upload() {
    let peer = Peer::plays(|stage| {
        stage.log_in_as(PATIENT, "502 no FEAT");
        let _data = stage.extended_passive();
        stage.answer("STOR /a", "150 go on");
        stage.expect_disconnect();
    });
    let mut session = peer.preparing_session();
    become_ready(&mut session, Readiness::Armed);
    let file = spool(b"half");
    let failed = session
        .store_whole(&path("/a"), &file, 8, false)
        .unwrap_err();
    assert!(matches!(failed.error, Error::LocalFile(_)));
    assert!(failed.session.is_none());
    peer.join();
}

/// Receives a download command with the next EPSV in one write, sends the data, and returns the
/// listener of the next connection.
fn download_with_next(stage: &mut Stage, command: &str, mut data: TcpStream) -> TcpListener {
    stage.expect_command(command);
    stage.expect_command("EPSV");
    stage.reply("150 here it comes");
    data.write_all(b"content").unwrap();
    drop(data);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    stage.reply(&format!("226 all\n229 Entering (|||{port}|)"));
    listener
}

#[test]
fn downloads_that_follow_one_another_ask_for_the_next_connection_with_their_command() {
    let peer = Peer::plays(|stage| {
        stage.log_in_as(PATIENT, "502 no FEAT");
        let mut data = stage.extended_passive();
        stage.answer("RETR /a", "150 here it comes");
        data.write_all(b"content").unwrap();
        drop(data);
        stage.expect_command("EPSV");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        stage.reply(&format!("226 all\n229 Entering (|||{port}|)"));
        let next = download_with_next(stage, "RETR /a", taken(&listener));
        // A refusal is also sent before the reply to the EPSV behind it.
        let data = taken(&next);
        stage.expect_command("RETR /a");
        stage.expect_command("EPSV");
        drop(data);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        stage.reply(&format!("550 gone\n229 Entering (|||{port}|)"));
        let _data = taken(&listener);
        stage.noop();
    });
    let mut session = peer.preparing_session();
    for _ in 0..2 {
        become_ready(&mut session, Readiness::Armed);
        session.expect_more(true);
        let mut download = session.retrieve(&path("/a"), 0).unwrap();
        let (mut content, mut buffer) = (Vec::new(), [0; 100]);
        loop {
            match download.read(&mut buffer).unwrap() {
                0 => break,
                count => content.extend_from_slice(&buffer[..count]),
            }
        }
        assert_eq!(content, b"content");
        session = download.finish().unwrap();
    }
    become_ready(&mut session, Readiness::Armed);
    session.expect_more(true);
    let failed = session.retrieve(&path("/a"), 0).unwrap_err();
    session = failed.session.expect("a refusal leaves it usable");
    become_ready(&mut session, Readiness::Armed);
    session.noop().unwrap();
    peer.join();
}
