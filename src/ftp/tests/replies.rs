//! Replies of all forms, and silence between them.

use std::time::{Duration, Instant};

use crate::ftp::testing::{Peer, SHORT, Stage, path};
use crate::ftp::{ConnectOptions, Error, Phase, Session, Setting};

#[test]
fn inner_lines_may_look_like_replies() {
    let peer = Peer::plays(|stage| {
        stage.reply("220-Welcome\n226 files served\n 220 today\n220-bye\n220 ready");
        stage.answer("USER alice", "230-x\n230");
        stage.answer("FEAT", "502 no");
        stage.answer("TYPE I", "200");
        stage.noop();
    });
    peer.session().noop().unwrap();
    peer.join();
}

#[test]
fn a_refusal_leaves_the_session_in_step() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.answer("DELE /a", "550-No\n550 such file");
        stage.noop();
    });
    let mut session = peer.session();
    let error = session.delete(&path("/a")).unwrap_err();
    assert_eq!(error.to_string(), "DELE: 550 No such file");
    assert!(error.leaves_session_usable());
    session.noop().unwrap();
    peer.join();
}

#[test]
fn size_and_time_are_asked_for_in_one_write_and_answered_each_for_itself() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        for replies in [
            "213 12\n213 20240229120000",
            "213-12\n213 12\n550 no time",
            "500 what?\n213 20240229120000.5",
            "550 none\n550 none",
        ] {
            stage.expect_command("SIZE /a");
            stage.expect_command("MDTM /a");
            stage.reply(replies);
        }
        stage.noop();
    });
    let mut session = peer.pipelining_session();
    let mut sizes_and_times = || {
        let (size, modified) = session.size_and_modified(&path("/a")).unwrap();
        (size.ok(), modified.ok())
    };
    assert_eq!(sizes_and_times(), (Some(12), Some(1_709_208_000)));
    assert_eq!(sizes_and_times(), (Some(12), None));
    assert_eq!(sizes_and_times(), (None, Some(1_709_208_000)));
    assert_eq!(sizes_and_times(), (None, None));
    session.noop().unwrap();
    peer.join();
}

#[test]
fn a_session_that_breaks_between_two_answers_gives_neither() {
    for replies in ["213 12", "421 going down", "213 12\n421 going down"] {
        let peer = Peer::plays(move |stage| {
            stage.log_in();
            stage.expect_command("SIZE /a");
            stage.expect_command("MDTM /a");
            stage.reply(replies);
        });
        let mut session = peer.pipelining_session();
        session.size_and_modified(&path("/a")).unwrap_err();
        assert!(!session.is_usable(), "{replies}");
        peer.join();
    }
}

#[test]
fn a_superfluous_command_has_done_nothing() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.answer("DELE /a", "202 superfluous");
        stage.answer("MKD /a", "202 superfluous");
        stage.answer("SITE CHMOD 644 /a", "202 superfluous");
        stage.answer("MFMT 19700101000007 /a", "202 superfluous");
        stage.noop();
    });
    let (mut session, path) = (peer.session(), path("/a"));
    for outcome in [
        session.delete(&path),
        session.make_directory(&path),
        session.set(&path, Setting::SiteChmod(0o644)),
        session.set(&path, Setting::Mfmt(7)),
    ] {
        assert!(matches!(outcome, Err(Error::Refused { .. })), "{outcome:?}");
    }
    session.noop().unwrap();
    peer.join();
}

#[test]
fn any_reply_to_noop_shows_that_the_session_lives() {
    for reply in [
        "200 here",
        "502 what?",
        "500 what?",
        "402 what?",
        "250 so be it",
    ] {
        let peer = Peer::plays(move |stage| {
            stage.log_in();
            stage.answer("NOOP", reply);
            stage.answer("DELE /a", "250 gone");
        });
        let mut session = peer.session();
        session.noop().unwrap();
        session.delete(&path("/a")).unwrap();
        peer.join();
    }
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.answer("NOOP", "421 time is up");
    });
    let mut session = peer.session();
    session.noop().unwrap_err();
    assert!(!session.is_usable());
    peer.join();
}

#[test]
fn a_421_ends_the_session() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.answer("DELE /a", "421 going down");
    });
    let mut session = peer.session();
    let error = session.delete(&path("/a")).unwrap_err();
    assert!(!error.leaves_session_usable() && !session.is_usable());
    peer.join();
}

#[test]
fn a_session_is_quiet_until_the_server_speaks_unasked_or_leaves() {
    for last_word in ["421 idle for too long", ""] {
        let (go, gone) = std::sync::mpsc::channel();
        let peer = Peer::plays(move |stage| {
            stage.log_in();
            gone.recv().unwrap();
            stage.reply(last_word);
        });
        let mut session = peer.session();
        assert!(session.is_quiet());
        go.send(()).unwrap();
        peer.join();
        let deadline = Instant::now() + Duration::from_secs(5);
        while session.is_quiet() {
            assert!(Instant::now() < deadline, "the end was never noticed");
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_silent_greeting_times_out() {
    let peer = Peer::plays(Stage::expect_disconnect);
    let start = Instant::now();
    let error = Session::connect(&peer.impatient()).unwrap_err();
    assert!(matches!(error, Error::Timeout(Phase::Greeting)), "{error}");
    assert!(start.elapsed() >= SHORT && start.elapsed() < SHORT * 10);
    peer.join();
}

#[test]
fn a_silent_reply_times_out_and_the_session_with_it() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.expect_command("NOOP");
        stage.expect_disconnect();
    });
    let mut session = Session::connect(&peer.impatient()).unwrap();
    let error = session.noop().unwrap_err();
    assert!(matches!(error, Error::Timeout(Phase::Reply)), "{error}");
    assert!(!session.is_usable());
    drop(session);
    peer.join();
}

#[test]
fn a_drip_of_bytes_does_not_stretch_a_deadline() {
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let peer = Peer::plays(move |stage| {
        stage.log_in();
        stage.expect_command("NOOP");
        // One byte each 20 ms, until the client gives up.
        let pause = Duration::from_millis(20);
        while gone.recv_timeout(pause) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            stage.send(b"2");
        }
    });
    let mut session = Session::connect(&peer.impatient()).unwrap();
    let start = Instant::now();
    let error = session.noop().unwrap_err();
    assert!(matches!(error, Error::Timeout(Phase::Reply)), "{error}");
    assert!(start.elapsed() < SHORT * 10);
    drop(go);
    peer.join();
}

#[test]
fn a_server_cannot_fill_the_memory() {
    let line = [b'x'; 9000];
    let lines = "200-again\r\n".repeat(2100);
    for flood in [line.as_slice(), lines.as_bytes()] {
        let flood = flood.to_vec();
        let peer = Peer::plays(move |stage| {
            stage.log_in();
            stage.expect_command("NOOP");
            stage.send(&flood);
            stage.drain();
        });
        let mut session = peer.session();
        let error = session.noop().unwrap_err();
        assert!(matches!(error, Error::TooLong { .. }), "{error}");
        assert!(!session.is_usable());
        drop(session);
        peer.join();
    }
}

#[test]
fn words_that_are_no_reply_end_the_session() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.answer("NOOP", "HTTP/1.1 400 Bad Request");
    });
    let mut session = peer.session();
    let error = session.noop().unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
    assert!(!session.is_usable());
    peer.join();
}

#[test]
fn a_refused_target_is_rntos_refusal() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.answer("RNFR /a", "350 and to?");
        stage.answer("RNTO /b", "553 not there");
        stage.noop();
    });
    let mut session = peer.session();
    let error = session.rename(&path("/a"), &path("/b")).unwrap_err();
    assert_eq!(error.to_string(), "RNTO: 553 not there");
    session.noop().unwrap();
    peer.join();
}

#[test]
fn an_rnfr_answered_by_a_completion_waits_for_its_rnto() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.answer("RNFR /a", "250 ready");
        stage.answer("RNTO /b", "250 renamed");
        stage.noop();
    });
    let mut session = peer.session();
    session.rename(&path("/a"), &path("/b")).unwrap();
    session.noop().unwrap();
    peer.join();
}

#[test]
fn a_target_that_cannot_be_spelled_is_refused_before_anything_is_sent() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.noop();
    });
    let mut session = Session::connect(&ConnectOptions {
        charset: Some(encoding_rs::WINDOWS_1252),
        ..peer.options()
    })
    .unwrap();
    let error = session.rename(&path("/a"), &path("/日")).unwrap_err();
    assert!(matches!(error, Error::Path(_)), "{error}");
    session.noop().unwrap();
    peer.join();
}

#[test]
fn names_are_spelled_in_the_servers_charset_both_ways() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        assert_eq!(stage.next_command(), b"CWD /caf\xe9");
        stage.reply("250 there");
        stage.expect_command("PWD");
        stage.send(b"257 \"/caf\xe9\" is where you are\r\n");
    });
    let mut session = Session::connect(&ConnectOptions {
        charset: Some(encoding_rs::WINDOWS_1252),
        ..peer.options()
    })
    .unwrap();
    session.change_directory(&path("/café")).unwrap();
    assert_eq!(session.working_directory().unwrap(), path("/café"));
    peer.join();
}

#[test]
fn one_file_is_asked_for_by_mlst() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.answer(
            "MLST /d/f",
            "250-Listing\n type=file;size=5000000000; /d/f\n250 End",
        );
    });
    let entry = peer.session().mlst(&path("/d/f")).unwrap();
    assert_eq!(
        (entry.name.as_slice(), entry.size),
        (b"f".as_slice(), Some(5_000_000_000))
    );
    peer.join();
}

/// The server was killed between USER and PASS. That is no refusal of the login: another one may
/// succeed. What vsftpd says about its configuration is one.
#[test]
fn a_login_whose_session_dies_is_not_refused() {
    let login = |reply: &'static str| {
        let peer = Peer::plays(move |stage| {
            stage.reply("220 hello");
            stage.answer("USER alice", "331 password");
            stage.answer("PASS open sesame", reply);
        });
        let error = Session::connect(&peer.options()).unwrap_err();
        peer.join();
        error
    };
    let error = login("500 OOPS: priv_sock_get_result");
    assert!(matches!(error, Error::Closed(_)), "{error}");
    let error = login("500 OOPS: vsftpd: refusing to run with writable root inside chroot()");
    assert!(error.to_string().contains("writable root"), "{error}");
}

/// vsftpd sends this in place of any reply when one of its processes has died. It does not mean
/// that SIZE is unknown.
#[test]
fn the_last_word_of_a_dying_session_answers_no_command() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.answer("SIZE /a", "500 OOPS: priv_sock_get_result");
    });
    let mut session = peer.session();
    let error = session.size(&path("/a")).unwrap_err();
    assert!(matches!(error, Error::Closed(Phase::Reply)), "{error}");
    assert!(!session.is_usable());
    peer.join();
}
