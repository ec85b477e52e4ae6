//! Downloads and uploads: complete, refused and aborted.

use std::io::{Read, Write};

use crate::ftp::testing::{Peer, path};
use crate::ftp::{Error, Session};

/// Reads to the end of the data.
fn read_all(download: &mut crate::ftp::Download) -> Vec<u8> {
    let (mut all, mut chunk) = (Vec::new(), [0; 1000]);
    loop {
        let count = download.read(&mut chunk).unwrap();
        if count == 0 {
            return all;
        }
        all.extend_from_slice(&chunk[..count]);
    }
}

/// Checks that the session is in step.
fn in_step(mut session: Session) {
    session.noop().unwrap();
}

#[test]
fn data_may_come_before_the_150() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let mut data = stage.extended_passive();
        stage.expect_command("RETR /f");
        data.write_all(b"early").unwrap();
        drop(data);
        stage.reply("150 here it comes");
        stage.reply("226 all");
        stage.noop();
    });
    let mut download = peer.session().retrieve(&path("/f"), 0).unwrap();
    assert_eq!(read_all(&mut download), b"early");
    in_step(download.finish().unwrap());
    peer.join();
}

#[test]
fn the_226_may_come_before_the_last_bytes() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let mut data = stage.extended_passive();
        stage.answer("RETR /f", "150 here it comes");
        stage.reply("226 all");
        data.write_all(b"late").unwrap();
        drop(data);
        stage.noop();
    });
    let mut download = peer.session().retrieve(&path("/f"), 0).unwrap();
    assert_eq!(read_all(&mut download), b"late");
    in_step(download.finish().unwrap());
    peer.join();
}

#[test]
fn data_that_ended_with_a_refusal_is_not_whole() {
    for reply in ["426 broken", "451 disk error"] {
        let peer = Peer::plays(move |stage| {
            stage.log_in();
            let mut data = stage.extended_passive();
            stage.answer("RETR /f", "150 here it comes");
            data.write_all(b"half").unwrap();
            drop(data);
            stage.reply(reply);
            stage.noop();
        });
        let mut download = peer.session().retrieve(&path("/f"), 0).unwrap();
        assert_eq!(read_all(&mut download), b"half");
        let failed = download.finish().unwrap_err();
        assert_eq!(failed.error.to_string(), format!("RETR: {reply}"));
        in_step(failed.session.unwrap());
        peer.join();
    }
}

#[test]
fn a_refused_file_costs_nothing_but_its_refusal() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let data = stage.extended_passive();
        stage.answer("RETR /f", "550 no such file");
        drop(data);
        stage.noop();
    });
    let failed = peer.session().retrieve(&path("/f"), 0).unwrap_err();
    assert_eq!(failed.error.to_string(), "RETR: 550 no such file");
    in_step(failed.session.unwrap());
    peer.join();
}

#[test]
fn a_download_begins_beyond_four_gibibytes_where_asked_to() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let data = stage.extended_passive();
        stage.answer("REST 5000000000", "350 from there");
        stage.answer("RETR /f", "150 here it comes");
        drop(data);
        stage.reply("226 all");
    });
    let mut download = peer.session().retrieve(&path("/f"), 5_000_000_000).unwrap();
    assert_eq!(read_all(&mut download), b"");
    download.finish().unwrap();
    peer.join();
}

#[test]
fn an_upload_is_stored_when_the_server_says_so() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let mut data = stage.extended_passive();
        stage.answer("STOR /f", "150 send");
        let mut stored = Vec::new();
        data.read_to_end(&mut stored).unwrap();
        assert_eq!(stored, b"words");
        stage.reply("226 stored");
        stage.noop();
    });
    let mut upload = peer.session().store(&path("/f"), 0).unwrap();
    upload.write_all(b"words").unwrap();
    let (session, reply) = upload.finish().unwrap();
    assert_eq!(reply.to_string(), "226 stored");
    in_step(session);
    peer.join();
}

#[test]
fn a_full_disk_is_told_in_the_servers_words() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let mut data = stage.extended_passive();
        stage.answer("STOR /f", "150 send");
        data.read_exact(&mut [0; 1000]).unwrap();
        drop(data);
        stage.reply("552 disk full");
        stage.noop();
    });
    let mut upload = peer.session().store(&path("/f"), 0).unwrap();
    let error = loop {
        if let Err(error) = upload.write_all(&[0; 10_000]) {
            break error;
        }
    };
    assert_eq!(error.to_string(), "STOR: 552 disk full");
    let failed = upload.finish().unwrap_err();
    assert_eq!(failed.error.to_string(), "STOR: 552 disk full");
    in_step(failed.session.unwrap());
    peer.join();
}

#[test]
fn a_server_that_stops_reading_without_hanging_up_is_heard() {
    for (said, heard) in [
        ("552 disk full", "STOR: 552 disk full"),
        ("", "the server took too long: timed out sending data"),
    ] {
        let peer = Peer::plays(move |stage| {
            stage.log_in();
            let data = stage.extended_passive();
            stage.answer("STOR /f", "150 send");
            stage.reply(said);
            stage.expect_disconnect();
            drop(data);
        });
        let session = Session::connect(&peer.impatient()).unwrap();
        let mut upload = session.store(&path("/f"), 0).unwrap();
        let error = loop {
            if let Err(error) = upload.write_all(&[0; 10_000]) {
                break error;
            }
        };
        assert_eq!(error.to_string(), heard);
        drop(upload);
        peer.join();
    }
}

#[test]
fn a_full_disk_is_told_of_a_file_being_sent_too() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let mut data = stage.extended_passive();
        stage.answer("APPE /f", "150 send");
        data.read_exact(&mut [0; 1000]).unwrap();
        drop(data);
        stage.reply("552 disk full");
        stage.noop();
    });
    let file = tempfile::tempfile().unwrap();
    file.set_len(64 << 20).unwrap();
    let mut upload = peer.session().append(&path("/f")).unwrap();
    let error = upload.send_file(&file, 0, 64 << 20).unwrap_err();
    assert_eq!(error.to_string(), "APPE: 552 disk full");
    let failed = upload.finish().unwrap_err();
    assert_eq!(failed.error.to_string(), "APPE: 552 disk full");
    in_step(failed.session.unwrap());
    peer.join();
}

#[test]
fn a_file_that_is_too_short_is_a_local_failure() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let mut data = stage.extended_passive();
        stage.answer("STOR /f", "150 send");
        let mut stored = Vec::new();
        data.read_to_end(&mut stored).unwrap();
        assert_eq!(stored, b"ort");
        stage.reply("226 stored");
    });
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"short").unwrap();
    let mut upload = peer.session().store(&path("/f"), 0).unwrap();
    let error = upload.send_file(&file, 2, 10).unwrap_err();
    assert!(matches!(error, Error::LocalFile(_)), "{error}");
    assert!(upload.abort().is_some());
    peer.join();
}

#[test]
fn a_download_given_up_leaves_no_stray_reply() {
    // Replies of a server whose data goes nowhere, and those after ABOR if needed.
    for (unasked, to_abor) in [
        ("426 broken", ""),
        ("226 sent it all", ""),
        ("426-broken\n426 for good", ""),
        ("", "426 broken\n226 aborted"),
        ("", "226 sent\n225 nothing to abort"),
    ] {
        let peer = Peer::plays(move |stage| {
            stage.log_in();
            let data = stage.extended_passive();
            stage.answer("RETR /f", "150 here it comes");
            if to_abor.is_empty() {
                stage.reply(unasked);
            } else {
                stage.answer("ABOR", to_abor);
            }
            drop(data);
            stage.noop();
        });
        let download = peer.session().retrieve(&path("/f"), 0).unwrap();
        in_step(download.abort().unwrap());
        peer.join();
    }
}

#[test]
fn a_second_150_is_told_from_the_end_by_noop() {
    // Pure-FTPd sends nothing after it; another server might.
    for after in ["200 here", "226 sent\n200 here", "426 broken\n200 here"] {
        let peer = Peer::plays(move |stage| {
            stage.log_in();
            let data = stage.extended_passive();
            stage.answer("RETR /f", "150 here it comes");
            stage.reply("150 0.3 seconds (measured here)");
            stage.answer("NOOP", after);
            drop(data);
            stage.answer("PWD", "257 \"/\"");
        });
        let download = peer.session().retrieve(&path("/f"), 0).unwrap();
        let mut session = download.abort().unwrap();
        assert!(session.working_directory().unwrap().is_root());
        peer.join();
    }
}

#[test]
fn an_abort_with_one_reply_too_few_gives_the_session_up() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let data = stage.extended_passive();
        stage.answer("RETR /f", "150 here it comes");
        stage.answer("ABOR", "426 which of the two is this?");
        stage.expect_disconnect();
        drop(data);
    });
    let download = peer.session().retrieve(&path("/f"), 0).unwrap();
    assert!(download.abort().is_none());
    peer.join();
}

#[test]
fn a_421_instead_of_an_end_gives_the_session_up() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let data = stage.extended_passive();
        stage.answer("RETR /f", "150 here it comes");
        stage.reply("421 going down");
        drop(data);
    });
    let download = peer.session().retrieve(&path("/f"), 0).unwrap();
    assert!(download.abort().is_none());
    peer.join();
}

#[test]
fn a_wait_for_data_ends_when_it_is_interrupted() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let data = stage.extended_passive();
        stage.answer("RETR /f", "150 here it comes");
        stage.expect_disconnect();
        drop(data);
    });
    let mut download = peer.session().retrieve(&path("/f"), 0).unwrap();
    let interrupter = download.interrupter().unwrap();
    let other = std::thread::spawn(move || interrupter.interrupt());
    // The end of the data or an error, but never a complete file.
    let read = download.read(&mut [0; 10]);
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    other.join().unwrap();
    assert!(download.finish().is_err());
    peer.join();
}

#[test]
fn a_marker_that_the_server_may_keep_is_taken_back_before_the_next_transfer() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let data = stage.extended_passive();
        stage.answer("REST 7", "350 from there");
        stage.answer("RETR /f", "150 here");
        drop(data);
        stage.reply("426 broken");
        let data = stage.extended_passive();
        stage.answer("REST 0", "350 from the start");
        stage.answer("RETR /g", "150 here");
        drop(data);
        stage.reply("226 done");
        // That transfer succeeded, so there is nothing to reset.
        let data = stage.extended_passive();
        stage.answer("RETR /h", "150 here");
        drop(data);
        stage.reply("226 done");
    });
    let download = peer.session().retrieve(&path("/f"), 7).unwrap();
    let session = download.finish().unwrap_err().session.unwrap();
    let download = session.retrieve(&path("/g"), 0).unwrap();
    let session = download.finish().unwrap();
    let download = session.retrieve(&path("/h"), 0).unwrap();
    download.finish().unwrap();
    peer.join();
}

#[test]
fn a_session_whose_marker_cannot_be_taken_back_is_dropped() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let data = stage.extended_passive();
        stage.answer("REST 7", "350 from there");
        stage.answer("RETR /f", "150 here");
        drop(data);
        stage.reply("426 broken");
        let _data = stage.extended_passive();
        stage.answer("REST 0", "501 not at the start");
        stage.expect_disconnect();
    });
    let download = peer.session().retrieve(&path("/f"), 7).unwrap();
    let session = download.finish().unwrap_err().session.unwrap();
    let failed = session.retrieve(&path("/g"), 0).unwrap_err();
    assert!(failed.session.is_none());
    peer.join();
}
