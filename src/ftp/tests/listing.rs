//! Directory listings by all three commands.

use std::io::Write;
use std::ops::ControlFlow;

use crate::ftp::testing::{Peer, Stage, path, reset};
use crate::ftp::{Completeness, Entry, Error, ListWith, ListingBudget, Session};

const TWO_LINES: &str = "-rw-r--r-- 1 a b 3 Jan  1  2020 one\r\n\
                         -rw-r--r-- 1 a b 4 Jan  1  2020 two\r\n";

/// Returns the listed names.
fn names(session: &mut Session, with: ListWith, directory: &str) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    session.list(with, &path(directory), &mut |entry| {
        names.push(String::from_utf8_lossy(&entry.name).into_owned());
        ControlFlow::Continue(())
    })?;
    Ok(names)
}

/// Answers `command` with `listing` over a data connection.
#[track_caller]
fn lists(stage: &mut Stage, command: &str, listing: &str) {
    let mut data = stage.extended_passive();
    stage.answer(command, "150 here it comes");
    data.write_all(listing.as_bytes()).unwrap();
    drop(data);
    stage.reply("226 all");
}

/// Refuses `command` after opening its data connection.
#[track_caller]
fn refuses(stage: &mut Stage, command: &str, reply: &str) {
    let data = stage.extended_passive();
    stage.answer(command, reply);
    drop(data);
}

#[test]
fn names_that_could_leave_the_directory_are_passed_over() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        lists(
            stage,
            "MLSD /d",
            "type=cdir; /d\r\ntype=pdir; /\r\ntype=file; a\r\ntype=file; x/y\r\ntype=file; ..\r\n\
             nonsense\r\ntype=file;size=7; b c\r\n",
        );
        stage.noop();
    });
    let mut session = peer.session();
    assert_eq!(
        names(&mut session, ListWith::Mlsd, "/d").unwrap(),
        ["a", "b c"]
    );
    session.noop().unwrap();
    peer.join();
}

#[test]
fn a_name_of_many_kilobytes_is_passed_over_and_the_next_one_is_not() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let long = "x".repeat(200_000);
        lists(
            stage,
            "MLSD /d",
            &format!("type=file; a\r\ntype=file; {long}\r\ntype=file; b\r\n"),
        );
    });
    let listed = names(&mut peer.session(), ListWith::Mlsd, "/d");
    assert_eq!(listed.unwrap(), ["a", "b"]);
    peer.join();
}

#[test]
fn a_listing_that_ends_with_a_refusal_is_an_error() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let mut data = stage.extended_passive();
        stage.answer("MLSD /d", "150 here it comes");
        data.write_all(b"type=file; a\r\n").unwrap();
        drop(data);
        stage.reply("451 disk error");
        stage.noop();
    });
    let mut session = peer.session();
    let error = names(&mut session, ListWith::Mlsd, "/d").unwrap_err();
    assert_eq!(error.to_string(), "MLSD: 451 disk error");
    session.noop().unwrap();
    peer.join();
}

#[test]
fn who_has_seen_enough_ends_the_listing_in_step() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let mut data = stage.extended_passive();
        stage.answer("MLSD /d", "150 here it comes");
        data.write_all(b"type=file; a\r\ntype=file; b\r\n").unwrap();
        stage.reply("426 you hung up");
        stage.noop();
    });
    let mut session = peer.session();
    let mut seen = 0;
    session
        .list(ListWith::Mlsd, &path("/d"), &mut |_| {
            seen += 1;
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(seen, 1);
    session.noop().unwrap();
    peer.join();
}

#[test]
fn a_path_with_blanks_is_entered_to_be_listed() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.answer("CWD /my files", "250 there");
        lists(stage, "LIST -a", TWO_LINES);
    });
    let listed = names(&mut peer.session(), ListWith::List, "/my files");
    assert_eq!(listed.unwrap(), ["one", "two"]);
    peer.join();
}

#[test]
fn a_server_that_takes_dash_a_for_a_name_is_asked_without_from_then_on() {
    for refusal in ["501 bad argument", "550 no such directory", "450 no files"] {
        let peer = Peer::plays(move |stage| {
            stage.log_in();
            refuses(stage, "LIST -a /d", refusal);
            if refusal.starts_with('4') {
                // A transient refusal counts when it is repeated.
                refuses(stage, "LIST -a /d", refusal);
            }
            lists(stage, "LIST /d", TWO_LINES);
            lists(stage, "LIST /e", TWO_LINES);
        });
        let mut session = peer.session();
        for directory in ["/d", "/e"] {
            let listed = names(&mut session, ListWith::List, directory);
            assert_eq!(listed.unwrap(), ["one", "two"]);
        }
        peer.join();
    }
}

#[test]
fn a_directory_that_is_not_there_says_nothing_about_dash_a() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        refuses(stage, "LIST -a /gone", "550 no such directory");
        refuses(stage, "LIST /gone", "550 no such directory");
        lists(stage, "LIST -a /d", TWO_LINES);
    });
    let mut session = peer.session();
    let error = names(&mut session, ListWith::List, "/gone").unwrap_err();
    assert_eq!(error.to_string(), "LIST: 550 no such directory");
    let listed = names(&mut session, ListWith::List, "/d");
    assert_eq!(listed.unwrap(), ["one", "two"]);
    peer.join();
}

#[test]
fn a_listing_that_broke_is_not_begun_again() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let mut data = stage.extended_passive();
        stage.answer("LIST -a /d", "150 here it comes");
        data.write_all(TWO_LINES.as_bytes()).unwrap();
        drop(data);
        stage.reply("550 disk error");
        stage.noop();
    });
    let mut session = peer.session();
    let mut seen = 0;
    let error = session
        .list(ListWith::List, &path("/d"), &mut |_| {
            seen += 1;
            ControlFlow::Continue(())
        })
        .unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), seen),
        ("LIST: 550 disk error", 2)
    );
    session.noop().unwrap();
    peer.join();
}

#[test]
fn a_listing_without_a_transfer_is_no_empty_directory() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        refuses(stage, "MLSD /closed", "226 nothing there");
        let data = stage.extended_passive();
        stage.answer("MLSD /silent", "226 nothing there either");
        stage.noop();
        drop(data);
    });
    let mut session = Session::connect(&peer.impatient()).unwrap();
    for directory in ["/closed", "/silent"] {
        let error = names(&mut session, ListWith::Mlsd, directory).unwrap_err();
        assert!(matches!(error, Error::NoTransfer { .. }), "{error}");
    }
    session.noop().unwrap();
    peer.join();
}

#[test]
fn a_listing_whose_data_connection_was_reset_is_an_error() {
    for before in ["", "type=file; a\r\n"] {
        let peer = Peer::plays(move |stage| {
            stage.log_in();
            let mut data = stage.extended_passive();
            stage.answer("MLSD /d", "150 here it comes");
            data.write_all(before.as_bytes()).unwrap();
            reset(data);
            stage.reply("226 all");
        });
        let mut session = peer.session();
        let error = names(&mut session, ListWith::Mlsd, "/d").unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        assert!(!session.is_usable());
    }
}

#[test]
fn the_outcome_tells_what_gave_no_entry() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let long = "x".repeat(200_000);
        let lines = format!(
            "type=cdir; /d\r\n\r\ntype=file; a\r\nnonsense\r\n{long}\r\ntype=file; x/y\r\n"
        );
        lists(stage, "MLSD /d", &lines);
        lists(stage, "MLSD /odd", "nonsense\r\n");
        lists(stage, "MLSD /empty", "type=cdir; /empty\r\n");
        lists(stage, "MLSD /bare", "");
    });
    let mut session = peer.session();
    let mut outcome = |directory| {
        let sink = &mut |_| ControlFlow::Continue(());
        session
            .list(ListWith::Mlsd, &path(directory), sink)
            .unwrap()
    };
    let mixed = outcome("/d");
    assert_eq!((mixed.lines, mixed.entries), (5, 1));
    assert_eq!((mixed.unreadable, mixed.dropped), (2, 1));
    assert_eq!(mixed.sample.as_ref().unwrap().text, b"nonsense");
    assert!(mixed.names_itself && mixed.bytes > 200_000);
    assert_eq!(mixed.completeness(), Completeness::Incomplete);
    assert_eq!(outcome("/odd").completeness(), Completeness::Unreadable);
    let empty = outcome("/empty");
    assert_eq!(empty.completeness(), Completeness::Complete);
    assert!(empty.names_itself && !empty.is_empty());
    assert!(outcome("/bare").is_empty());
    peer.join();
}

#[test]
fn entries_count_even_where_their_transfer_was_not_announced() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let mut data = stage.extended_passive();
        stage.answer("MLSD /d", "226 all of it");
        data.write_all(b"type=file; a\r\n").unwrap();
        drop(data);
        stage.noop();
    });
    let mut session = peer.session();
    assert_eq!(names(&mut session, ListWith::Mlsd, "/d").unwrap(), ["a"]);
    session.noop().unwrap();
    peer.join();
}

#[test]
fn stat_lists_over_the_control_connection() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let lines = TWO_LINES.replace("\r\n", "\n");
        stage.answer("STAT /d", &format!("213-Status:\n{lines}213 End"));
        stage.answer("STAT /gone", "550 no such directory");
        stage.noop();
    });
    let mut session = peer.session();
    let listed = names(&mut session, ListWith::Stat, "/d");
    assert_eq!(listed.unwrap(), ["one", "two"]);
    assert!(names(&mut session, ListWith::Stat, "/gone").is_err());
    session.noop().unwrap();
    peer.join();
}

#[test]
fn listings_are_counted_as_they_arrive_and_given_back_when_dropped() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        for directory in ["/small", "/large", "/held", "/small"] {
            stage.expect_command(&format!("STAT {directory}"));
        }
        let small = "-rw-r--r-- 1 u g 1 Jan  1  2020 x\n".repeat(3);
        // A name with a possible indicator and one that another version may replace are held.
        let held = "-rwxr-xr-x 1 u g 1 Jan  1  2020 x*\n".repeat(50);
        stage.reply(&format!("213-Status:\n{small}213 End"));
        stage.reply(&format!("213-Status:\n{}213 End", "+/,\tx\n".repeat(1000)));
        stage.reply(&format!("213-Status:\n{held}213 End"));
        stage.reply(&format!("213-Status:\n{small}213 End"));
        lists(stage, "MLSD /large", &"type=file; x\r\n".repeat(1000));
        stage.noop();
    });
    let mut options = peer.options();
    options.listings = ListingBudget::new(12_000);
    let mut session = Session::connect(&options).unwrap();
    let paths = ["/small", "/large", "/held", "/small"].map(path);
    let mut results = Vec::new();
    session
        .stat_batch(&paths, &mut |_, listing| {
            results.push(match listing {
                Ok(listing) => {
                    let held: usize = listing.entries.iter().map(Entry::memory).sum();
                    assert!(listing.outcome.memory.bytes() >= held);
                    Some(listing.entries.len())
                }
                Err(Error::ListingTooLarge(12_000)) => None,
                Err(error) => panic!("{error}"),
            });
            assert!(options.listings.taken() <= 12_000);
        })
        .unwrap();
    assert_eq!(results, [Some(3), None, None, Some(3)]);
    let error = names(&mut session, ListWith::Mlsd, "/large").unwrap_err();
    assert!(matches!(error, Error::ListingTooLarge(_)), "{error}");
    assert_eq!(options.listings.taken(), 0);
    session.noop().unwrap();
    peer.join();
}

#[test]
fn many_listings_come_of_one_write_and_a_refusal_stops_none() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        for directory in ["/a", "/none", "/gone", "/b"] {
            stage.expect_command(&format!("STAT {directory}"));
        }
        let itself = "drwxr-xr-x 2 a b 0 Jan  1  2020 .\n";
        let lines = TWO_LINES.replace("\r\n", "\n");
        stage.reply(&format!("213-Status:\n{itself}{lines}213 End"));
        stage.reply("213-Status:\n213 End");
        stage.reply("550 no such directory");
        stage.reply(&format!("212-Status:\n {itself}212 End"));
        stage.noop();
    });
    let mut session = peer.session();
    let paths = ["/a", "/none", "/gone", "/b"].map(path);
    let mut results = Vec::new();
    session
        .stat_batch(&paths, &mut |number, listing| {
            let listing = listing.map(|it| (it.entries.len(), it.outcome.names_itself));
            results.push((number, listing.ok()));
        })
        .unwrap();
    let expected = [
        (0, Some((2, true))),
        (1, Some((0, false))),
        (2, None),
        (3, Some((0, true))),
    ];
    assert_eq!(results, expected);
    session.noop().unwrap();
    peer.join();
}
