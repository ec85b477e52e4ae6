//! Every misdeed that a test can request, as seen by a client.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use ftpfs::server::{ANY, CONNECT, Fault, Misdeed};

use crate::client::{Client, Served, pattern, wait_until};

fn refuse(code: u16, text: &str) -> Misdeed {
    Misdeed::Refuse {
        code,
        text: text.to_owned(),
    }
}

fn served_with(fault: Fault) -> Served {
    let served = Served::start();
    served.write("file", pattern(100_000));
    served.server.faults().add(fault);
    served
}

#[test]
fn a_session_is_refused_before_at_and_after_its_login() {
    let served = served_with(Fault::on(CONNECT, refuse(421, "Busy")));
    let mut client = Client::connect(served.server.address());
    assert_eq!(client.reply().code, 421);
    client.expect_closed();

    for (verb, line) in [("USER", "USER anonymous"), ("PASS", "PASS me@")] {
        served
            .server
            .faults()
            .add(Fault::on(verb, refuse(421, "Too many users")));
        let mut client = served.stranger();
        if verb == "PASS" {
            client.expect("USER anonymous", 331);
        }
        client.expect(line, 421);
        client.expect_closed();
    }

    let mut client = served.client();
    served
        .server
        .faults()
        .add(Fault::on(ANY, refuse(421, "Going down")).skip(1));
    client.expect("NOOP", 200);
    client.expect("PWD", 421);
    client.expect_closed();
    served.client().expect("PWD", 257);
}

#[test]
fn commands_are_refused_in_any_words_and_nothing_is_done() {
    let served = served_with(Fault::on("DELE", refuse(450, "Busy")).times(2));
    let mut client = served.client();
    for _ in 0..2 {
        assert_eq!(client.expect("DELE file", 450), "Busy");
    }
    assert_eq!(served.read("file").len(), 100_000);
    client.expect("DELE file", 250);
}

#[test]
fn a_done_command_may_be_denied_or_its_reply_lost_late_or_cut() {
    let served = Served::start();
    let faults = served.server.faults();
    let mut client = served.client();

    let denied = Misdeed::DoneThenRefuse {
        code: 550,
        text: "No".to_owned(),
    };
    faults.add(Fault::on("MKD", denied));
    client.expect("MKD denied", 550);

    let before = Instant::now();
    let delay = Duration::from_millis(200);
    faults.add(Fault::on("MKD", Misdeed::LateReply(delay)));
    client.expect("MKD late", 257);
    assert!(before.elapsed() >= delay);

    faults.add(Fault::on("MKD", Misdeed::NoReply));
    client.send(b"MKD unsaid\r\n");
    client.expect("NOOP", 200);

    faults.add(Fault::on("MKD", Misdeed::DoneThenDrop));
    client.send(b"MKD dropped\r\n");
    client.expect_closed();

    let mut client = served.client();
    faults.add(Fault::on("MKD", Misdeed::CutReply(2)));
    client.send(b"MKD cut\r\n");
    let mut rest = Vec::new();
    client.socket().read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"25");

    for name in ["denied", "late", "unsaid", "dropped", "cut"] {
        assert!(served.path(name).is_dir(), "{name}");
    }
    assert_eq!(faults.happened(), 5);
}

#[test]
fn a_control_connection_drops_before_anything_is_done() {
    let served = served_with(Fault::on("DELE", Misdeed::DropControl));
    let mut client = served.client();
    client.send(b"DELE file\r\n");
    client.expect_closed();
    assert!(served.path("file").exists());
}

#[test]
fn a_stalled_session_says_nothing_and_ends_with_its_client() {
    let served = served_with(Fault::on("NOOP", Misdeed::StallControl));
    let mut client = served.client();
    client.send(b"NOOP\r\nNOOP\r\n");
    client
        .socket()
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(client.socket().read(&mut [0]).is_err(), "nothing comes");
    assert_eq!(served.server.sessions(), 1);
    drop(client);
    wait_until("the session is gone", || served.server.sessions() == 0);

    let mut client = served.client();
    served
        .server
        .faults()
        .add(Fault::on("NOOP", Misdeed::StallControl));
    client.send(b"NOOP\r\n");
    served.server.drop_sessions();
    client.expect_closed();
}

#[test]
fn a_frozen_session_executes_its_commands_when_the_faults_are_cleared() {
    let served = served_with(Fault::on("DELE", Misdeed::Freeze).always());
    let mut client = served.client();
    client.send(b"DELE file\r\nNOOP\r\n");
    let mut socket = client.socket();
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(socket.read(&mut [0]).is_err(), "nothing comes");
    assert!(served.path("file").exists());
    socket.set_read_timeout(None).unwrap();
    served.server.faults().clear();
    assert_eq!([client.reply().code, client.reply().code], [250, 200]);
    assert!(!served.path("file").exists());

    // Like a stopped process, it does not notice that the client leaves.
    let faults = served.server.faults();
    faults.add(Fault::on("MKD", Misdeed::Freeze).always());
    client.send(b"MKD made\r\n");
    drop(client);
    wait_until("it has struck", || faults.happened() == 2);
    assert!(!served.path("made").exists());
    faults.clear();
    wait_until("it goes on", || served.path("made").is_dir());
    wait_until("the session is gone", || served.server.sessions() == 0);
}

#[test]
fn a_reply_and_a_listing_have_no_end() {
    let served = served_with(Fault::on("NOOP", Misdeed::EndlessReply));
    let mut client = served.client();
    client.send(b"NOOP\r\n");
    let mut much = vec![0; 1 << 20];
    client.socket().read_exact(&mut much).unwrap();
    assert!(much.starts_with(b"211-"));
    drop(client);

    for verb in ["LIST", "MLSD", "NLST"] {
        served
            .server
            .faults()
            .add(Fault::on(verb, Misdeed::EndlessListing));
        let mut client = served.client();
        let mut data = client.extended_passive();
        client.expect(verb, 150);
        data.read_exact(&mut much).unwrap();
        assert!(String::from_utf8_lossy(&much).contains("endless-999"));
    }
}

#[test]
fn data_is_refused_dropped_or_cut_after_so_many_bytes() {
    let cases = [
        (Misdeed::RefuseData, 0, 425),
        (
            Misdeed::BreakData {
                after: 1000,
                code: 426,
            },
            1000,
            426,
        ),
        (
            Misdeed::BreakData {
                after: 1000,
                code: 451,
            },
            1000,
            451,
        ),
        (Misdeed::ShortThen226 { after: 1000 }, 1000, 226),
        (Misdeed::ShortThen226 { after: 200_000 }, 100_000, 226),
    ];
    for (misdeed, moved, code) in cases {
        let served = served_with(Fault::on("RETR", misdeed.clone()));
        let mut client = served.client();
        let (bytes, reply) = client.receive("RETR file");
        assert_eq!((bytes.len(), reply.code), (moved, code), "{misdeed:?}");
        assert!(client.receive("RETR file").0 == pattern(100_000));
    }
    let served = served_with(Fault::on("RETR", Misdeed::DropData { after: 1000 }));
    let mut client = served.client();
    let mut data = client.extended_passive();
    client.expect("RETR file", 150);
    let mut bytes = Vec::new();
    assert!(data.read_to_end(&mut bytes).is_err(), "it is reset");
    assert_eq!(client.reply().code, 426);
}

#[test]
fn an_upload_breaks_and_leaves_a_part_behind() {
    let cases = [
        (
            Misdeed::BreakData {
                after: 1000,
                code: 552,
            },
            552,
        ),
        (
            Misdeed::BreakData {
                after: 1000,
                code: 452,
            },
            452,
        ),
        (Misdeed::DropData { after: 1000 }, 426),
        (Misdeed::ShortThen226 { after: 1000 }, 226),
    ];
    for (misdeed, code) in cases {
        let served = served_with(Fault::on("STOR", misdeed.clone()));
        let mut client = served.client();
        let mut data = client.extended_passive();
        client.expect("STOR new", 150);
        // The server closes the connection before it has received all data.
        let _ = data.write_all(&pattern(100_000));
        let _ = data.shutdown(Shutdown::Write);
        assert_eq!(client.reply().code, code, "{misdeed:?}");
        assert_eq!(served.read("new"), pattern(1000), "{misdeed:?}");
    }
}

#[test]
fn a_stalled_transfer_moves_no_more_until_it_is_aborted() {
    let served = served_with(Fault::on("RETR", Misdeed::StallData { after: 1000 }));
    let mut client = served.client();
    let mut data = client.extended_passive();
    client.expect("RETR file", 150);
    let mut bytes = vec![0; 1000];
    data.read_exact(&mut bytes).unwrap();
    data.set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(data.read(&mut [0]).is_err(), "nothing more comes");
    client.expect("ABOR", 426);
    assert_eq!(client.reply().code, 226);

    served
        .server
        .faults()
        .add(Fault::on("STOR", Misdeed::StallData { after: 0 }));
    let _data = client.extended_passive();
    client.expect("STOR new", 150);
    drop(client);
    wait_until("the session is gone", || served.server.sessions() == 0);
}

#[test]
fn sizes_are_told_wrong_everywhere() {
    let served = served_with(Fault::on(ANY, Misdeed::WrongSize(11)).always());
    let mut client = served.client();
    assert_eq!(client.expect("SIZE file", 213), "100011");
    let facts = client.command("MLST file");
    assert!(String::from_utf8_lossy(&facts.inner[0]).contains("size=100011;"));
    for verb in ["MLSD", "LIST"] {
        let lines = client.lines(verb);
        assert!(
            lines.iter().any(|line| line.contains("100011")),
            "{lines:?}"
        );
    }
}

#[test]
fn a_rename_does_not_replace() {
    let served = served_with(Fault::on("RNTO", Misdeed::NoReplace).always());
    served.write("other", "other");
    let mut client = served.client();
    client.expect("RNFR file", 350);
    client.expect("RNTO other", 550);
    assert_eq!(served.read("other"), b"other");
    client.expect("RNFR file", 350);
    client.expect("RNTO free", 250);
}
