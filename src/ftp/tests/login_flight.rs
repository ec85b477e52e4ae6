//! Logins of further sessions, which are sent in one write to servers that are known to support it.

use crate::ftp::testing::{Peer, Stage, proven};
use crate::ftp::{Capability, ConnectOptions, Error, ServerProfile, Session};

/// Greeting of a server that queues commands before the login.
const PATIENT: &str = "ftpfs server";
const FEATURES: &str = "211-Features:\n UTF8\n MLST type*;size;\n211 End";

/// Plays the first login, one step at a time.
fn first(stage: &mut Stage) {
    stage.log_in_as(PATIENT, FEATURES);
    stage.answer("OPTS UTF8 ON", "200 on");
    stage.answer("OPTS MLST type;size;", "200 so");
    stage.noop();
}

/// Greets, and receives all commands of a login before it answers one.
fn receive_flight(stage: &mut Stage) {
    stage.reply(&format!("220 {PATIENT}"));
    for line in [
        "USER alice",
        "PASS open sesame",
        "FEAT",
        "TYPE I",
        "OPTS UTF8 ON",
        "OPTS MLST type;size;",
    ] {
        stage.expect_command(line);
    }
}

/// Logs in twice with one profile. Returns it with the outcome of the second login.
fn second_of(
    other: impl FnOnce(&mut Stage) + Send + 'static,
) -> (Result<Session, Error>, ServerProfile, Peer) {
    let peer = Peer::plays_two(first, other);
    let profile = proven();
    let options = ConnectOptions {
        profile: profile.clone(),
        active: true,
        ..peer.options()
    };
    Session::connect(&options).unwrap().noop().unwrap();
    (Session::connect(&options), profile, peer)
}

/// Plays a login in one flight.
fn further(stage: &mut Stage) {
    receive_flight(stage);
    stage.reply("331 password?\n230 in");
    stage.reply(FEATURES);
    stage.reply("200 binary\n200 on\n200 so");
    stage.noop();
}

#[test]
fn a_further_login_is_one_flight() {
    let (second, _, peer) = second_of(further);
    second.unwrap().noop().unwrap();
    peer.join();
}

#[test]
fn a_refused_further_login_says_why_and_changes_nothing() {
    for (replies, is_about_room) in [
        ("331 password?\n530 Login incorrect.", false),
        ("530 too many users", true),
        ("421 too many connections", true),
    ] {
        let (second, profile, peer) = second_of(move |stage| {
            receive_flight(stage);
            stage.reply(replies);
        });
        match second.unwrap_err() {
            Error::TooManySessions(_) => assert!(is_about_room, "{replies}"),
            Error::Login(_) => assert!(!is_about_room, "{replies}"),
            other => panic!("{other}"),
        }
        assert!(profile.has(Capability::PipelinedLogin), "{replies}");
        peer.join();
    }
}

#[test]
fn a_server_that_wants_another_login_is_asked_step_by_step() {
    let (second, profile, peer) = second_of(|stage| {
        receive_flight(stage);
        stage.reply("331 password?\n332 account?");
    });
    // The attempt that follows finds that the peer's script has ended.
    assert!(second.is_err());
    assert!(!profile.has(Capability::PipelinedLogin));
    peer.join();
}

#[test]
fn a_login_without_a_password_is_not_sent_in_one_flight() {
    let login = |stage: &mut Stage| {
        stage.reply(&format!("220 {PATIENT}"));
        stage.answer("USER alice", "230 in");
        stage.answer("FEAT", "502 no");
        stage.answer("TYPE I", "200 binary");
        stage.noop();
    };
    let peer = Peer::plays_two(login, login);
    let options = ConnectOptions {
        profile: proven(),
        active: true,
        ..peer.options()
    };
    for _ in 0..2 {
        Session::connect(&options).unwrap().noop().unwrap();
    }
    peer.join();
}

#[test]
fn lost_logins_are_asked_again_and_count_only_without_one_that_succeeds_between_them() {
    let peer = Peer::plays_all(vec![
        Box::new(first),
        Box::new(receive_flight),
        Box::new(first),
        Box::new(further),
        Box::new(receive_flight),
        Box::new(first),
        Box::new(receive_flight),
        Box::new(first),
    ]);
    let profile = proven();
    let options = ConnectOptions {
        profile: profile.clone(),
        active: true,
        ..peer.options()
    };
    for is_in_one_flight in [true, true, true, true, false] {
        Session::connect(&options).unwrap().noop().unwrap();
        let is_given_up = !profile.has(Capability::PipelinedLogin);
        assert_eq!(is_given_up, !is_in_one_flight);
    }
    peer.join();
}

#[test]
fn a_refusal_that_is_lost_with_the_connection_is_asked_for_again() {
    let peer = Peer::plays_all(vec![
        Box::new(first),
        Box::new(receive_flight),
        Box::new(|stage| {
            stage.reply(&format!("220 {PATIENT}"));
            stage.answer("USER alice", "331 password?");
            stage.answer("PASS open sesame", "421 too many connections");
        }),
    ]);
    let options = ConnectOptions {
        profile: proven(),
        active: true,
        ..peer.options()
    };
    Session::connect(&options).unwrap().noop().unwrap();
    let second = Session::connect(&options);
    assert!(matches!(second, Err(Error::TooManySessions(_))));
    peer.join();
}
