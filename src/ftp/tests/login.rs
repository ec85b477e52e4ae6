//! The login, from the greeting to TYPE I.

use crate::ftp::testing::{Peer, Stage, path, proven};
use crate::ftp::{Capability, ConnectOptions, Error, Password, Session};

/// Returns the error of a login with a server that plays this script.
fn refused(story: impl FnOnce(&mut crate::ftp::testing::Stage) + Send + 'static) -> Error {
    let peer = Peer::plays(story);
    let error = Session::connect(&peer.options()).unwrap_err();
    peer.join();
    error
}

#[test]
fn a_server_that_needs_a_moment_is_waited_for() {
    let peer = Peer::plays(|stage| {
        stage.reply("120 ready in 0 minutes");
        stage.log_in();
    });
    peer.session();
    peer.join();
}

#[test]
fn a_greeting_may_come_with_text_before_it_and_in_several_replies() {
    for greeting in [
        "Welcome to the wrapper\n\n220 ready",
        "tcpd: connection logged\n220-Hello\n220 ready",
        "220 Hello\n220 this is\n220 ready",
        "120 a moment\n220 Hello\n220 ready",
        "220-Hello\n220 one\n220-two\n220 ready",
    ] {
        let peer = Peer::plays(move |stage| {
            stage.reply(greeting);
            stage.answer("USER alice", "331 password?");
            stage.answer("PASS open sesame", "230 in");
            stage.answer("FEAT", "502 no");
            stage.answer("TYPE I", "200 binary");
            stage.noop();
        });
        peer.session().noop().unwrap();
        peer.join();
    }
}

#[test]
fn a_service_that_is_not_ftp_is_recognised_by_what_it_says() {
    for line in [
        "SSH-2.0-OpenSSH_9.2",
        "+OK POP3 ready",
        "* OK IMAP4rev1",
        "HTTP/1.1 408 Request Timeout",
    ] {
        let error = refused(|stage| {
            stage.reply(line);
            stage.expect_disconnect();
        });
        assert!(matches!(error, Error::OtherService { .. }), "{error}");
        assert!(error.to_string().contains(line), "{error}");
    }
    let error = refused(|stage| stage.reply("What do you want?"));
    assert!(error.to_string().contains("What do you want?"), "{error}");
}

#[test]
fn a_login_that_starts_nowhere_known_starts_at_the_root() {
    for (reply, home) in [
        ("257 \"/home/alice\" is current", "/home/alice"),
        ("257 /home/alice is current", "/home/alice"),
        ("257-it is\r\n257 \"/home\"", "/home"),
        ("257 \"C:\\Users\\alice\"", "/"),
        ("257 somewhere", "/"),
        ("550 not telling", "/"),
        ("502 what?", "/"),
    ] {
        let peer = Peer::plays(move |stage| {
            stage.log_in();
            stage.answer("SYST", "215 UNIX");
            stage.answer("PWD", reply);
            stage.noop();
        });
        let mut session = peer.session();
        assert_eq!(session.identify().unwrap(), path(home), "{reply}");
        session.noop().unwrap();
        peer.join();
    }
}

#[test]
fn a_server_that_always_needs_a_moment_is_given_up() {
    let error = refused(|stage| {
        for _ in 0..10 {
            stage.reply("120 ready in 0 minutes");
        }
        stage.expect_disconnect();
    });
    assert!(matches!(error, Error::Timeout(_)), "{error}");
}

#[test]
fn a_user_without_a_password_is_in_at_once() {
    let peer = Peer::plays(|stage| {
        stage.reply("220 ready");
        stage.answer("USER alice", "230 no password for you");
        stage.answer("FEAT", "500 what?");
        stage.answer("TYPE I", "200 binary");
        stage.noop();
    });
    peer.session().noop().unwrap();
    peer.join();
}

#[test]
fn a_superfluous_password_is_no_error() {
    let peer = Peer::plays(|stage| {
        stage.reply("220 ready");
        stage.answer("USER alice", "331 password?");
        stage.answer("PASS open sesame", "202 not needed");
        stage.answer("FEAT", "502 no");
        stage.answer("TYPE I", "200 binary");
    });
    peer.session();
    peer.join();
}

/// A login of which the user's name is answered when everything was sent.
fn log_in_together(stage: &mut Stage, to_user: &str) {
    stage.reply("220 ready");
    for line in ["USER alice", "PASS open sesame", "FEAT", "TYPE I"] {
        stage.expect_command(line);
    }
    stage.reply(to_user);
}

#[test]
fn a_further_login_is_sent_in_one_write() {
    let peer = Peer::plays_two(Stage::log_in, |stage| {
        log_in_together(stage, "331 password?\n230 in\n502 no\n200 binary");
        stage.noop();
    });
    let options = ConnectOptions {
        profile: proven(),
        active: true,
        ..peer.options()
    };
    options.profile.works(Capability::QueuesDuringLogin);
    drop(Session::connect(&options).unwrap());
    Session::connect(&options).unwrap().noop().unwrap();
    peer.join();
}

#[test]
fn a_login_that_is_answered_in_another_way_is_followed_by_one_step_by_step() {
    let peer = Peer::plays_two(
        |stage| {
            log_in_together(stage, "230 no password needed\n503 not now");
            stage.expect_disconnect();
        },
        Stage::log_in,
    );
    let options = ConnectOptions {
        profile: proven(),
        active: true,
        ..peer.options()
    };
    options.profile.works(Capability::QueuesDuringLogin);
    options.profile.record_login_steps(true);
    Session::connect(&options).unwrap_err();
    Session::connect(&options).unwrap();
    peer.join();
}

#[test]
fn an_account_is_given_whenever_it_is_asked_for() {
    for account_first in [true, false] {
        let peer = Peer::plays(move |stage| {
            stage.reply("220 ready");
            if account_first {
                stage.answer("USER alice", "332 account?");
                stage.answer("ACCT books", "331 password?");
                stage.answer("PASS open sesame", "230 in");
            } else {
                stage.answer("USER alice", "331 password?");
                stage.answer("PASS open sesame", "332 account?");
                stage.answer("ACCT books", "230 in");
            }
            stage.answer("FEAT", "502 no");
            stage.answer("TYPE I", "200 binary");
        });
        let options = ConnectOptions {
            account: "books".to_owned(),
            ..peer.options()
        };
        Session::connect(&options).unwrap();
        peer.join();
    }
}

#[test]
fn an_account_nobody_gave_is_a_refused_login() {
    let error = refused(|stage| {
        stage.reply("220 ready");
        stage.answer("USER alice", "332 account?");
        stage.expect_disconnect();
    });
    assert_eq!(error.to_string(), "login refused: 332 account?");
}

#[test]
fn a_wrong_password_is_a_refused_login() {
    let error = refused(|stage| {
        stage.reply("220 ready");
        stage.answer("USER alice", "331 password?");
        stage.answer("PASS open sesame", "530 Login incorrect.");
    });
    assert!(matches!(error, Error::Login(_)), "{error}");
}

#[test]
fn a_server_that_repeats_the_password_brings_it_into_no_message() {
    for words in [
        "530-no open sesame for alice\r\n530 (open sesame)",
        "nonsense: open sesame",
    ] {
        let error = refused(move |stage| {
            stage.reply("220 ready");
            stage.answer("USER alice", "331 password?");
            stage.answer("PASS open sesame", words);
        });
        let (shown, debugged) = (error.to_string(), format!("{error:?}"));
        assert!(shown.contains("****"), "{shown}");
        assert!(!shown.contains("sesame"), "{shown}");
        let bytes = format!("{:?}", b"open sesame");
        let bytes = bytes.trim_matches(['[', ']']);
        assert!(
            !debugged.contains("sesame") && !debugged.contains(bytes),
            "{debugged}"
        );
    }
}

#[test]
fn a_password_that_looks_like_a_reply_garbles_none() {
    for password in ["**", "MDTM"] {
        let peer = Peer::plays(move |stage| {
            stage.reply("220 ready");
            stage.answer("USER alice", "331 password?");
            stage.answer(&format!("PASS {password}"), "230 ***** MDTM");
            stage.answer("FEAT", "211-its\r\n MDTM\r\n211 end");
            stage.answer("TYPE I", "200 binary");
        });
        let options = ConnectOptions {
            password: Password::new(password),
            ..peer.options()
        };
        assert!(Session::connect(&options).unwrap().features().has("MDTM"));
        peer.join();
    }
}

#[test]
fn a_full_server_says_so_at_the_door_or_after_the_password() {
    let door = refused(|stage| stage.reply("421 Too many connections (2) from this IP"));
    assert!(matches!(door, Error::TooManySessions(_)), "{door}");
    let later = refused(|stage| {
        stage.reply("220 ready");
        stage.answer("USER alice", "331 password?");
        stage.answer("PASS open sesame", "530 Maximum number of clients reached");
    });
    assert!(matches!(later, Error::TooManySessions(_)), "{later}");
}

#[test]
fn a_server_that_asks_for_passwords_forever_is_given_up() {
    let error = refused(|stage| {
        stage.reply("220 ready");
        stage.answer("USER alice", "331 password?");
        for _ in 0..3 {
            stage.answer("PASS open sesame", "331 password?");
        }
        stage.expect_disconnect();
    });
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
}

#[test]
fn utf8_is_switched_on_where_it_is_listed_and_no_charset_is_set() {
    for charset in [None, Some(encoding_rs::WINDOWS_1252)] {
        let peer = Peer::plays(move |stage| {
            stage.reply("220 ready");
            stage.answer("USER alice", "230 in");
            stage.answer("FEAT", "211-Features:\n UTF8\n211 End");
            if charset.is_none() {
                stage.answer("OPTS UTF8 ON", "504 always");
            }
            stage.answer("TYPE I", "200 binary");
        });
        let options = ConnectOptions {
            charset,
            ..peer.options()
        };
        Session::connect(&options).unwrap();
        peer.join();
    }
}

#[test]
fn facts_that_are_off_are_switched_on() {
    let peer = Peer::plays(|stage| {
        stage.reply("220 ready");
        stage.answer("USER alice", "230 in");
        stage.answer("FEAT", "211-Features:\n MLST type*;size*;modify;\n211 End");
        stage.answer(
            "OPTS MLST type;size;modify;",
            "200 MLST OPTS type;size;modify;",
        );
        stage.answer("TYPE I", "200 binary");
    });
    assert!(peer.session().features().has("MLST"));
    peer.join();
}

#[test]
fn facts_that_are_on_are_left_alone() {
    let peer = Peer::plays(|stage| stage.log_in_with("211-F\n MLST type*;size*;\n211 End"));
    peer.session();
    peer.join();
}

#[test]
fn a_server_without_binary_transfers_is_refused() {
    let error = refused(|stage| {
        stage.reply("220 ready");
        stage.answer("USER alice", "230 in");
        stage.answer("FEAT", "502 no");
        stage.answer("TYPE I", "504 text only");
    });
    assert_eq!(error.to_string(), "TYPE: 504 text only");
}

#[test]
fn a_login_name_cannot_carry_a_second_command() {
    let peer = Peer::plays(|stage| {
        stage.reply("220 ready");
        stage.expect_disconnect();
    });
    let options = ConnectOptions {
        user: "alice\r\nDELE /x".to_owned(),
        ..peer.options()
    };
    assert!(Session::connect(&options).is_err());
    peer.join();
}
