//! Batches of commands, and servers that do not support them.

use super::prepared::{all, send};
use crate::ftp::testing::{Peer, path};
use crate::ftp::{BatchStep, ChangeCommand, ConnectOptions, Placing, Session, Setting, StepAnswer};

#[test]
fn a_name_is_asked_for_and_given_in_one_write_and_both_answers_are_taken() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        for replies in [
            "350 and?\n250 done",
            "550 none\n503 RNFR first",
            "350 and?\n553 no",
        ] {
            stage.expect_command("RNFR /a");
            stage.expect_command("RNTO /b");
            stage.reply(replies);
            stage.noop();
        }
    });
    let mut session = peer.pipelining_session();
    let mut rename = || {
        let renamed = session.rename(&path("/a"), &path("/b"));
        session.noop().unwrap();
        renamed.map_err(|error| error.to_string())
    };
    assert_eq!(rename(), Ok(()));
    assert_eq!(rename(), Err("RNFR: 550 none".to_owned()));
    assert_eq!(rename(), Err("RNTO: 553 no".to_owned()));
    peer.join();
}

#[test]
fn what_is_set_goes_with_the_name_and_a_refusal_does_not_keep_it_from_its_file() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        for replies in [
            "200 mode\n213 time\n350 and?\n250 done",
            "500 what?\n213 time\n350 and?\n250 done",
            "200 mode\n550 no\n550 none\n503 RNFR first",
        ] {
            stage.expect_command("SITE CHMOD 600 /a");
            stage.expect_command("MFMT 20240302010203 /a");
            stage.expect_command("RNFR /a");
            stage.expect_command("RNTO /b");
            stage.reply(replies);
            stage.noop();
        }
        stage.expect_command("RNFR /a");
        stage.expect_command("RNTO /b");
        stage.reply("350 and?\n250 done");
        stage.noop();
    });
    let mut session = peer.pipelining_session();
    let mut place = |settings: &[Setting]| {
        let placed = session.set_and_rename(settings, &path("/a"), &path("/b"));
        session.noop().unwrap();
        let placed = placed.map(|made| made.iter().map(Result::is_ok).collect::<Vec<_>>());
        placed.map_err(|error| error.to_string())
    };
    let settings = [Setting::SiteChmod(0o600), Setting::Mfmt(1_709_341_323)];
    assert_eq!(place(&settings), Ok(vec![true, true]));
    assert_eq!(place(&settings), Ok(vec![false, true]));
    assert_eq!(place(&settings), Err("RNFR: 550 none".to_owned()));
    // An invalid time does not prevent the rename either.
    assert_eq!(place(&[Setting::Mfmt(i64::MAX)]), Ok(vec![false]));
    peer.join();
}

#[test]
fn a_restart_marker_goes_with_its_command() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let data = stage.extended_passive();
        stage.expect_command("REST 3");
        stage.expect_command("RETR /a");
        stage.reply("350 noted");
        send(stage, data, b"tent");
    });
    let session = peer.preparing_session();
    let (content, _) = all(session.retrieve(&path("/a"), 3).unwrap());
    assert_eq!(content, b"tent");
    peer.join();
}

#[test]
fn a_refused_restart_marker_is_told_and_the_whole_file_not_taken() {
    for (reply, is_in_step) in [("150 all of it", false), ("554 refused with it", true)] {
        let peer = Peer::plays(move |stage| {
            stage.log_in();
            let _data = stage.extended_passive();
            stage.expect_command("REST 3");
            stage.expect_command("RETR /a");
            stage.reply("502 what?");
            stage.reply(reply);
            stage.expect_disconnect();
        });
        let session = peer.preparing_session();
        let failed = session.retrieve(&path("/a"), 3).unwrap_err();
        assert_eq!(failed.error.to_string(), "REST: 502 what?");
        assert_eq!(failed.session.is_some(), is_in_step, "{reply}");
        drop(failed);
        peer.join();
    }
}

#[test]
fn a_server_that_swallows_commands_is_served_one_by_one() {
    let peer = Peer::plays_two(
        |stage| {
            stage.reply("220 ready");
            stage.answer("USER alice", "230 in");
            stage.answer("FEAT", "502 what?");
            stage.expect_command("TYPE I");
            stage.expect_command("EPSV");
            stage.expect_disconnect();
        },
        |stage| {
            stage.log_in();
            stage.answer("RNFR /a", "350 and?");
            stage.answer("RNTO /b", "250 done");
            stage.noop();
        },
    );
    let options = ConnectOptions {
        profile: crate::ftp::ServerProfile::default(),
        ..peer.impatient()
    };
    let mut session = Session::connect(&options).unwrap();
    assert!(!session.pipelines());
    session.rename(&path("/a"), &path("/b")).unwrap();
    session.noop().unwrap();
    peer.join();
}

#[test]
fn several_changes_go_in_one_write_and_a_refusal_does_not_end_them() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        for line in ["DELE /a", "RNFR /b", "RNTO /c", "MKD /d", "RMD /e"] {
            stage.expect_command(line);
        }
        stage.reply("250 gone\n550 none\n503 RNFR first\n257 \"/d\"\n550 not empty");
        stage.noop();
    });
    let mut session = peer.pipelining_session();
    let mut answers = Vec::new();
    let changes = [
        ChangeCommand::Delete(path("/a")),
        ChangeCommand::Rename(path("/b"), path("/c")),
        ChangeCommand::MakeDirectory(path("/d")),
        ChangeCommand::RemoveDirectory(path("/e")),
    ];
    session.change_batch(&changes, &mut answers).unwrap();
    session.noop().unwrap();
    let made: Vec<_> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(made, [true, false, true, false]);
    peer.join();
}

#[test]
fn several_uploads_get_their_attributes_and_names_in_one_write_with_other_changes() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        for line in [
            "SITE CHMOD 600 /p",
            "RNFR /p",
            "RNTO /a",
            "SITE CHMOD 755 /d",
            "RNFR /q",
            "RNTO /b",
        ] {
            stage.expect_command(line);
        }
        stage.reply("200 mode\n350 and?\n250 done\n200 mode\n350 and?\n553 no");
        stage.noop();
    });
    let mut session = peer.pipelining_session();
    let placing = |settings: &[Setting], from, to| {
        BatchStep::Place(Placing {
            settings: settings.to_vec(),
            from: path(from),
            to: path(to),
        })
    };
    let steps = [
        placing(&[Setting::SiteChmod(0o600)], "/p", "/a"),
        BatchStep::Change(ChangeCommand::Set(path("/d"), Setting::SiteChmod(0o755))),
        placing(&[], "/q", "/b"),
    ];
    let mut answers = Vec::new();
    session.place_batch(&steps, &mut answers).unwrap();
    session.noop().unwrap();
    let [
        StepAnswer::Placed(Ok(made)),
        StepAnswer::Changed(Ok(())),
        StepAnswer::Placed(Err(_)),
    ] = answers.as_slice()
    else {
        panic!("{answers:?}");
    };
    assert!(made.len() == 1 && made[0].is_ok());
    peer.join();
}
