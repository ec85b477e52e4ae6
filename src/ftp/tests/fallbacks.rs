//! Servers that do not support commands or data connections sent ahead. Each costs exactly one more
//! login.

use std::io::Write;
use std::sync::mpsc::channel;

use super::prepared::become_ready;
use crate::ftp::testing::{Peer, Stage, path, proven};
use crate::ftp::{Capability, ConnectOptions, Readiness, ServerProfile, Session};

/// Plays a login whose commands come in one batch.
fn log_in_together(stage: &mut Stage) {
    stage.reply("220 ready");
    stage.answer("USER alice", "331 password?");
    stage.answer("PASS open sesame", "230 in");
    for line in ["FEAT", "TYPE I", "EPSV"] {
        stage.expect_command(line);
    }
}

/// Expects the commands that probe pipelining.
fn hear_probe(stage: &mut Stage) {
    stage.expect_command("PWD");
    stage.expect_command("XFTPFS");
    stage.expect_command("RNFR /.ftpfs-probe-from");
    stage.expect_command("RNTO /.ftpfs-probe-to");
    stage.expect_command("PWD");
}

/// Opens a session to an unknown server. `first` plays its first connection; the second expects
/// commands one at a time.
fn after(first: impl FnOnce(&mut Stage) + Send + 'static) -> ServerProfile {
    let peer = Peer::plays_two(first, |stage| {
        stage.log_in();
        stage.answer("RNFR /a", "350 and?");
        stage.answer("RNTO /b", "250 done");
        let _data = stage.extended_passive();
        stage.answer("RETR /f", "150 here");
        stage.reply("226 done");
    });
    let profile = ServerProfile::default();
    let options = ConnectOptions {
        profile: profile.clone(),
        ..peer.options()
    };
    let mut session = Session::connect(&options).unwrap();
    session.rename(&path("/a"), &path("/b")).unwrap();
    let mut download = session.retrieve(&path("/f"), 0).unwrap();
    while download.read(&mut [0; 8]).unwrap() > 0 {}
    download.finish().unwrap();
    peer.join();
    profile
}

fn is_careful(profile: &ServerProfile) -> bool {
    !profile.has(Capability::Pipelining) && !profile.has(Capability::EarlyDataConnection)
}

#[test]
fn a_server_that_closes_on_several_commands_gets_one_at_a_time() {
    assert!(is_careful(&after(log_in_together)));
}

#[test]
fn a_server_that_answers_several_commands_with_one_reply_gets_one_at_a_time() {
    let profile = after(|stage| {
        log_in_together(stage);
        stage.reply("500 what?");
        stage.expect_disconnect();
    });
    assert!(is_careful(&profile));
}

#[test]
fn a_server_whose_refusals_overtake_answers_gets_one_command_at_a_time() {
    let profile = after(|stage| {
        log_in_together(stage);
        stage.reply("502 no FEAT\n200 binary\n229 Entering (|||1|)");
        hear_probe(stage);
        stage.reply("502 unknown\n257 \"/\"\n550 no\n503 RNFR first\n257 \"/\"");
        stage.expect_disconnect();
    });
    assert!(is_careful(&profile));
}

#[test]
fn a_server_that_runs_commands_side_by_side_gets_one_at_a_time() {
    let profile = after(|stage| {
        log_in_together(stage);
        stage.reply("502 no FEAT\n200 binary\n229 Entering (|||1|)");
        hear_probe(stage);
        stage.reply("257 \"/\"\n502 unknown\n450 RNFR first\n350 and?\n257 \"/\"");
        stage.expect_disconnect();
    });
    assert!(is_careful(&profile));
}

#[test]
fn a_server_that_falls_silent_with_a_data_connection_ahead_gets_one_command_at_a_time() {
    let profile = after(|stage| {
        log_in_together(stage);
        stage.reply("502 no FEAT\n200 binary\n229 Entering (|||1|)");
        hear_probe(stage);
        stage.expect_disconnect();
    });
    assert!(is_careful(&profile));
}

#[test]
fn a_server_that_answers_in_order_has_proved_pipelining() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        hear_probe(stage);
        stage.reply("257 \"/\"\n500 unknown\n550 no\n503 RNFR first\n257 \"/\"");
        stage.noop();
    });
    let profile = ServerProfile::default();
    let options = ConnectOptions {
        profile: profile.clone(),
        // No data connection is prepared.
        active: true,
        ..peer.options()
    };
    let mut session = Session::connect(&options).unwrap();
    assert!(profile.is_proven(Capability::Pipelining));
    session.noop().unwrap();
    peer.join();
}

#[test]
fn a_server_out_of_step_later_on_is_sent_one_command_at_a_time_from_then_on() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.expect_command("RNFR /a");
        stage.expect_command("RNTO /b");
        stage.reply("250 done\n350 and?");
        stage.expect_disconnect();
    });
    let mut session = peer.pipelining_session();
    let demotions = session.profile().demotions();
    session.rename(&path("/a"), &path("/b")).unwrap_err();
    assert!(session.profile().demotions() > demotions && is_careful(session.profile()));
    assert!(!session.is_usable());
    drop(session);
    peer.join();
}

#[test]
fn an_interruption_says_nothing_about_a_data_connection_ahead() {
    let (sender, has_command) = channel();
    let peer = Peer::plays(move |stage| {
        stage.log_in();
        let data = stage.extended_passive();
        stage.expect_command("STOR /f");
        sender.send(()).unwrap();
        stage.expect_disconnect();
        drop(data);
    });
    let profile = ServerProfile::default();
    profile.works(Capability::Pipelining);
    let options = ConnectOptions {
        profile: profile.clone(),
        ..peer.options()
    };
    let mut session = Session::connect(&options).unwrap();
    become_ready(&mut session, Readiness::Armed);
    let interrupter = session.interrupter().unwrap();
    let other = std::thread::spawn(move || {
        has_command.recv().unwrap();
        interrupter.interrupt();
    });
    let failed = session.store(&path("/f"), 0).unwrap_err();
    other.join().unwrap();
    assert!(failed.session.is_none(), "{:?}", failed.error);
    assert!(!is_careful(&profile));
    peer.join();
}

#[test]
fn a_server_that_answers_on_the_data_connection_ahead_gets_none_from_then_on() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let mut data = stage.extended_passive();
        stage.expect_command("MLST /f");
        data.write_all(b"250-it\r\n type=file;size=1; /f\r\n250 is\r\n")
            .unwrap();
        stage.expect_disconnect();
    });
    let options = ConnectOptions {
        profile: proven(),
        ..peer.impatient()
    };
    let mut session = Session::connect(&options).unwrap();
    become_ready(&mut session, Readiness::Armed);
    session.mlst(&path("/f")).unwrap_err();
    assert!(is_careful(session.profile()));
    drop(session);
    peer.join();
}
