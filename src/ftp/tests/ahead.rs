//! Data connections opened ahead, and commands sent together.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::ftp::testing::{Peer, Stage, path, taken};
use crate::ftp::{ConnectOptions, Download, Error, Readiness, Session, Watch};

/// The greeting of a server that leaves alone what comes early: data before its command, commands during an upload.
const PATIENT: &str = "ftpfs server";

/// All of a download, and its session.
fn all(mut download: Download) -> (Vec<u8>, Session) {
    let mut content = Vec::new();
    let mut buffer = [0; 100];
    loop {
        match download.read(&mut buffer).unwrap() {
            0 => return (content, download.finish().unwrap()),
            count => content.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Lets the session do what it can without waiting until it is `wanted`.
fn become_ready(session: &mut Session, wanted: Readiness) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while session.readiness() != wanted {
        assert!(Instant::now() < deadline, "{:?}", session.readiness());
        let (_quiet, bell) = UnixStream::pair().unwrap();
        let watches: Vec<_> = session.watch().into_iter().collect();
        if !watches.is_empty() {
            Watch::wait_for_any(&watches, &bell, Duration::from_secs(10));
        }
        session.advance();
    }
}

/// Sends a file of these bytes.
fn send(stage: &mut Stage, mut data: TcpStream, bytes: &[u8]) {
    stage.say("150 here it comes");
    data.write_all(bytes).unwrap();
    drop(data);
    stage.say("226 all");
}

fn spool(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn a_transfer_begins_with_its_verb_on_the_connection_opened_before() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        for name in ["/a", "/b"] {
            let data = stage.extended_passive();
            stage.hear(&format!("RETR {name}"));
            send(stage, data, name.as_bytes());
        }
        drop(stage.extended_passive());
    });
    let mut session = peer.armed_session();
    for name in ["/a", "/b"] {
        become_ready(&mut session, Readiness::Armed);
        assert!(session.is_quiet());
        let (content, mut back) = all(session.retrieve(&path(name), 0).unwrap());
        assert_eq!(content, name.as_bytes());
        back.arm();
        session = back;
    }
    become_ready(&mut session, Readiness::Armed);
    peer.ends();
}

#[test]
fn commands_go_out_behind_an_epsv_that_is_not_answered_yet() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        stage.hear("EPSV");
        stage.hear("MLST /a");
        stage.say(&format!("229 Entering (|||{port}|)"));
        stage.say("250-Listing\n size=7; /a\n250 End");
        let data = taken(&listener);
        stage.hear("RETR /a");
        send(stage, data, b"content");
    });
    let mut session = peer.armed_session();
    assert!(session.is_quiet(), "a reply is owed, not unasked for");
    assert_eq!(session.mlst(&path("/a")).unwrap().size, Some(7));
    let (content, _) = all(session.retrieve(&path("/a"), 0).unwrap());
    assert_eq!(content, b"content");
    peer.ends();
}

#[test]
fn where_epsv_is_refused_pasv_is_asked_for_ahead() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.answer("EPSV", "502 what?");
        stage.hear("PASV");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let [high, low] = listener.local_addr().unwrap().port().to_be_bytes();
        stage.say(&format!("227 Passive (127,0,0,1,{high},{low})"));
        let data = taken(&listener);
        stage.hear("RETR /a");
        send(stage, data, b"content");
    });
    let mut session = peer.armed_session();
    become_ready(&mut session, Readiness::Armed);
    let (content, _) = all(session.retrieve(&path("/a"), 0).unwrap());
    assert_eq!(content, b"content");
    peer.ends();
}

#[test]
fn a_server_with_neither_is_asked_for_nothing_ahead() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.answer("EPSV", "502 what?");
        stage.answer("PASV", "502 what?");
        stage.noop();
    });
    let mut session = peer.armed_session();
    become_ready(&mut session, Readiness::Cold);
    session.arm();
    session.noop().unwrap();
    peer.ends();
}

#[test]
fn a_server_out_of_ports_is_asked_again_after_the_next_transfer() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.answer("EPSV", "425 no port is free");
        stage.noop();
        let data = stage.extended_passive();
        stage.hear("RETR /a");
        send(stage, data, b"content");
        drop(stage.extended_passive());
    });
    let mut session = peer.armed_session();
    become_ready(&mut session, Readiness::Cold);
    session.arm();
    session.noop().unwrap();
    let (content, mut session) = all(session.retrieve(&path("/a"), 0).unwrap());
    assert_eq!(content, b"content");
    session.arm();
    become_ready(&mut session, Readiness::Armed);
    peer.ends();
}

#[test]
fn a_goodbye_in_the_place_of_an_answer_to_epsv_ends_the_session() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.answer("EPSV", "421 idle for too long");
    });
    let mut session = peer.armed_session();
    peer.ends();
    let deadline = Instant::now() + Duration::from_secs(10);
    while session.is_quiet() {
        assert!(Instant::now() < deadline, "the end was never noticed");
        std::thread::yield_now();
    }
}

#[test]
fn in_active_mode_nothing_is_opened_ahead() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.noop();
    });
    let mut session = peer.queueing_session();
    session.arm();
    assert!(session.queues() && session.readiness() == Readiness::Cold);
    session.noop().unwrap();
    peer.ends();
}

#[test]
fn a_connection_that_the_server_closed_is_not_used() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        drop(stage.extended_passive());
        stage.say("200 closed");
        let data = stage.extended_passive();
        stage.hear("RETR /a");
        send(stage, data, b"content");
    });
    let mut session = peer.armed_session();
    become_ready(&mut session, Readiness::Armed);
    // Its end has come before this reply.
    session.control.reply(crate::ftp::Phase::Reply).unwrap();
    let (content, _) = all(session.retrieve(&path("/a"), 0).unwrap());
    assert_eq!(content, b"content");
    peer.ends();
}

#[test]
fn after_some_that_were_closed_no_more_are_opened_ahead() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        for _ in 0..3 {
            drop(stage.extended_passive());
            stage.say("200 closed");
            let data = stage.extended_passive();
            stage.hear("RETR /a");
            send(stage, data, b"content");
        }
        stage.noop();
    });
    let mut session = peer.armed_session();
    for _ in 0..3 {
        become_ready(&mut session, Readiness::Armed);
        session.control.reply(crate::ftp::Phase::Reply).unwrap();
        let (content, mut back) = all(session.retrieve(&path("/a"), 0).unwrap());
        assert_eq!(content, b"content");
        back.arm();
        session = back;
    }
    assert_eq!(session.readiness(), Readiness::Cold);
    session.noop().unwrap();
    peer.ends();
}

#[test]
fn an_old_connection_is_not_trusted() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let _old = stage.extended_passive();
        let data = stage.extended_passive();
        stage.hear("RETR /a");
        send(stage, data, b"content");
    });
    let mut session = peer.armed_session();
    become_ready(&mut session, Readiness::Armed);
    assert!(!session.has_old_arm());
    session.ahead.oldest = Duration::ZERO;
    assert!(session.has_old_arm());
    let (content, _) = all(session.retrieve(&path("/a"), 0).unwrap());
    assert_eq!(content, b"content");
    peer.ends();
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
    let mut session = peer.armed_session();
    become_ready(&mut session, Readiness::Armed);
    session.renew_arm();
    become_ready(&mut session, Readiness::Armed);
    session.disarm();
    assert_eq!(session.readiness(), Readiness::Cold);
    session.noop().unwrap();
    peer.ends();
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
            stage.hear("RETR /a");
            send(stage, data, b"tent");
        });
        let mut session = peer.armed_session();
        become_ready(&mut session, Readiness::Armed);
        let (content, _) = all(session.retrieve(&path("/a"), 3).unwrap());
        assert_eq!(content, b"tent");
        peer.ends();
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
    let mut session = peer.armed_session();
    become_ready(&mut session, Readiness::Armed);
    let failed = session.store(&path("/a"), 0).unwrap_err();
    assert_eq!(failed.error.to_string(), "STOR: 425 which connection?");
    failed.session.unwrap().noop().unwrap();
    peer.ends();
}

/// Hears a small upload and what is sent behind it; all is answered at once, the end of the upload so.
fn small_upload(
    stage: &mut Stage,
    mut data: TcpStream,
    behind: &[&str],
    end: &str,
) -> (Vec<u8>, TcpListener) {
    let mut stored = Vec::new();
    stage.hear("STOR /a");
    data.read_to_end(&mut stored).unwrap();
    stage.hear("EPSV");
    for line in behind {
        stage.hear(line);
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    stage.say(end);
    stage.say(&format!("229 Entering (|||{port}|)"));
    (stored, listener)
}

#[test]
fn a_small_upload_goes_with_its_command() {
    let peer = Peer::plays(|stage| {
        stage.log_in_as(PATIENT, "502 no FEAT");
        let mut data = stage.extended_passive();
        for content in [b"content".as_slice(), b""] {
            let (stored, listener) = small_upload(stage, data, &[], "150 go on\n226 stored");
            assert_eq!(stored, content, "before a word was said");
            data = taken(&listener);
        }
        stage.noop();
    });
    let mut session = peer.armed_session();
    for content in [b"content".as_slice(), b""] {
        become_ready(&mut session, Readiness::Armed);
        let (file, length) = (spool(content), content.len() as u64);
        let upload = session.store_whole(&path("/a"), &file, length, true);
        let upload = upload.unwrap();
        assert_eq!(upload.sent_early(), length);
        session = upload.finish().unwrap().0;
    }
    become_ready(&mut session, Readiness::Armed);
    session.noop().unwrap();
    peer.ends();
}

#[test]
fn what_arrived_is_asked_for_behind_a_small_upload() {
    for (features, lines, replies) in [
        (
            "MLST size*;",
            ["MLST /a"].as_slice(),
            "250-Listing\n size=7; /a\n250 End",
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
            let (_, listener) = small_upload(stage, data, lines, "150 go on\n226 stored");
            stage.say(replies);
            let _next = taken(&listener);
            stage.noop();
        });
        let mut session = peer.armed_session();
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
        peer.ends();
    }
}

#[test]
fn an_answer_that_nobody_asks_for_any_more_is_not_taken_for_another() {
    for other in ["/b", "/a"] {
        let peer = Peer::plays(move |stage| {
            stage.log_in_as(PATIENT, "211-Features:\n MLST size*;\n211 End");
            let data = stage.extended_passive();
            let (_, listener) = small_upload(stage, data, &["MLST /a"], "150 go on\n226 stored");
            stage.say("250-Listing\n size=7; /a\n250 End");
            stage.noop();
            let _next = taken(&listener);
            stage.answer(
                &format!("MLST {other}"),
                "250-Listing\n size=8; /x\n250 End",
            );
        });
        let mut session = peer.armed_session();
        become_ready(&mut session, Readiness::Armed);
        let file = spool(b"content");
        let upload = session.store_whole(&path("/a"), &file, 7, true).unwrap();
        let (mut session, _) = upload.finish().unwrap();
        assert!(session.is_quiet(), "replies are owed");
        session.noop().unwrap();
        assert_eq!(session.mlst(&path(other)).unwrap().size, Some(8));
        peer.ends();
    }
}

#[test]
fn a_refused_small_upload_says_why_and_leaves_the_session() {
    let peer = Peer::plays(|stage| {
        stage.log_in_as(PATIENT, "211-Features:\n MLST size*;\n211 End");
        let data = stage.extended_passive();
        let (_, listener) = small_upload(stage, data, &["MLST /a"], "553 no such name");
        stage.say("550 nothing there");
        stage.noop();
        let _next = taken(&listener);
    });
    let mut session = peer.armed_session();
    become_ready(&mut session, Readiness::Armed);
    let file = spool(b"content");
    let failed = session.store_whole(&path("/a"), &file, 7, true);
    let failed = failed.unwrap_err();
    assert_eq!(failed.error.to_string(), "STOR: 553 no such name");
    failed.session.unwrap().noop().unwrap();
    peer.ends();
}

#[test]
fn the_next_answer_is_not_taken_for_a_missing_end_of_a_transfer() {
    let peer = Peer::plays(|stage| {
        stage.log_in_as(PATIENT, "502 no FEAT");
        let data = stage.extended_passive();
        small_upload(stage, data, &[], "150 go on");
        stage.is_left();
    });
    let mut session = peer.armed_session();
    become_ready(&mut session, Readiness::Armed);
    let file = spool(b"content");
    let upload = session.store_whole(&path("/a"), &file, 7, false).unwrap();
    let failed = upload.finish().unwrap_err();
    assert!(matches!(failed.error, Error::Closed(_)), "{}", failed.error);
    assert!(failed.session.is_none());
    peer.ends();
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let data = stage.extended_passive();
        stage.answer("RETR /a", "150 here it comes");
        drop(data);
        stage.answer("EPSV", "229 Entering (|||1|)");
        stage.is_left();
    });
    let mut session = peer.armed_session();
    become_ready(&mut session, Readiness::Armed);
    let failed = session.retrieve(&path("/a"), 0).unwrap().finish();
    assert!(failed.unwrap_err().session.is_none());
    peer.ends();
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
        stage.say("226 stored");
        stage.hear("EPSV");
    });
    let mut session = peer.armed_session();
    become_ready(&mut session, Readiness::Armed);
    let file = spool(b"content");
    let mut upload = session.store_whole(&path("/a"), &file, 7, false).unwrap();
    assert_eq!(upload.sent_early(), 0);
    upload.send_file(&file, 0, 7).unwrap();
    upload.finish().unwrap();
    peer.ends();
}

#[test]
fn a_file_shorter_than_was_said_is_no_upload() {
    let peer = Peer::plays(|stage| {
        stage.log_in_as(PATIENT, "502 no FEAT");
        let _data = stage.extended_passive();
        stage.answer("STOR /a", "150 go on");
        stage.is_left();
    });
    let mut session = peer.armed_session();
    become_ready(&mut session, Readiness::Armed);
    let file = spool(b"half");
    let failed = session
        .store_whole(&path("/a"), &file, 8, false)
        .unwrap_err();
    assert!(matches!(failed.error, Error::LocalFile(_)));
    assert!(failed.session.is_none());
    peer.ends();
}

#[test]
fn a_name_is_asked_for_and_given_in_one_write_and_both_answers_are_taken() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        for replies in [
            "350 and?\n250 done",
            "550 none\n503 RNFR first",
            "350 and?\n553 no",
        ] {
            stage.hear("RNFR /a");
            stage.hear("RNTO /b");
            stage.say(replies);
            stage.noop();
        }
    });
    let mut session = peer.queueing_session();
    let mut rename = || {
        let renamed = session.rename(&path("/a"), &path("/b"));
        session.noop().unwrap();
        renamed.map_err(|error| error.to_string())
    };
    assert_eq!(rename(), Ok(()));
    assert_eq!(rename(), Err("RNFR: 550 none".to_owned()));
    assert_eq!(rename(), Err("RNTO: 553 no".to_owned()));
    peer.ends();
}

#[test]
fn a_restart_marker_goes_with_its_command() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let data = stage.extended_passive();
        stage.hear("REST 3");
        stage.hear("RETR /a");
        stage.say("350 noted");
        send(stage, data, b"tent");
    });
    let session = peer.armed_session();
    let (content, _) = all(session.retrieve(&path("/a"), 3).unwrap());
    assert_eq!(content, b"tent");
    peer.ends();
}

#[test]
fn a_refused_restart_marker_is_told_and_the_whole_file_not_taken() {
    for (reply, is_in_step) in [("150 all of it", false), ("554 refused with it", true)] {
        let peer = Peer::plays(move |stage| {
            stage.log_in();
            let _data = stage.extended_passive();
            stage.hear("REST 3");
            stage.hear("RETR /a");
            stage.say("502 what?");
            stage.say(reply);
            stage.is_left();
        });
        let session = peer.armed_session();
        let failed = session.retrieve(&path("/a"), 3).unwrap_err();
        assert_eq!(failed.error.to_string(), "REST: 502 what?");
        assert_eq!(failed.session.is_some(), is_in_step, "{reply}");
        drop(failed);
        peer.ends();
    }
}

#[test]
fn a_server_that_swallows_commands_is_served_one_by_one() {
    let peer = Peer::plays_two(
        |stage| {
            stage.say("220 ready");
            stage.answer("USER alice", "230 in");
            stage.answer("FEAT", "502 what?");
            stage.hear("TYPE I");
            stage.is_left();
        },
        |stage| {
            stage.log_in();
            stage.answer("RNFR /a", "350 and?");
            stage.answer("RNTO /b", "250 done");
            stage.noop();
        },
    );
    let options = ConnectOptions {
        pipelining: true,
        ..peer.impatient()
    };
    let mut session = Session::connect(&options).unwrap();
    assert!(!session.queues());
    session.rename(&path("/a"), &path("/b")).unwrap();
    session.noop().unwrap();
    peer.ends();
}
