//! ABOR, and transfers that end for other reasons.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::client::{Client, Served, Unanswering, wait_until};

/// Starts a download of a file far larger than the socket buffers, and reads nothing from it yet.
fn stalled_download(served: &Served) -> (Client, TcpStream) {
    std::fs::File::create(served.path("huge"))
        .unwrap()
        .set_len(1 << 32)
        .unwrap();
    let mut client = served.client();
    let data = client.extended_passive();
    client.expect("RETR huge", 150);
    (client, data)
}

#[test]
fn abor_ends_a_download_that_nobody_reads() {
    for served in Served::on_both_families() {
        let (mut client, mut data) = stalled_download(&served);
        client.expect("ABOR", 426);
        assert_eq!(client.reply().code, 226);
        let read = std::io::copy(&mut data, &mut std::io::sink()).unwrap_or(0);
        assert!(read < 1 << 32, "all of the file came");
        assert!(client.lines("NLST").contains(&"huge".to_owned()));
    }
}

#[test]
fn abor_ends_an_upload_that_has_gone_silent() {
    let served = Served::start();
    let mut client = served.client();
    let mut data = client.extended_passive();
    client.expect("STOR half", 150);
    data.write_all(b"half").unwrap();
    wait_until("the first half is stored", || {
        served.read("half") == b"half"
    });
    client.expect("ABOR", 426);
    assert_eq!(client.reply().code, 226);
    assert_eq!(served.read("half"), b"half");
}

#[test]
fn abor_may_come_as_telnet_urgent_data() {
    let served = Served::start();
    let (mut client, _data) = stalled_download(&served);
    client.send(b"\xff\xf4");
    socket2::SockRef::from(client.socket())
        .send_out_of_band(b"\xff")
        .unwrap();
    client.send(b"\xf2ABOR\r\n");
    assert_eq!([client.reply().code, client.reply().code], [426, 226]);
    client.expect("NOOP", 200);
}

#[test]
fn abor_ends_the_wait_for_a_data_connection() {
    let served = Served::start();
    let mut client = served.client();
    client.expect("EPSV", 229);
    client.expect("MLSD", 150);
    client.expect("ABOR", 426);
    assert_eq!(client.reply().code, 226);
    client.expect("NOOP", 200);
}

#[test]
fn abor_ends_the_wait_for_a_client_that_does_not_take_the_connection() {
    let served = Served::start();
    let unanswering = Unanswering::new();
    let mut client = served.client();
    client.expect(unanswering.eprt(), 200);
    client.expect("MLSD", 150);
    client.expect("ABOR", 426);
    assert_eq!(client.reply().code, 226);
    assert!(client.lines("NLST").is_empty());
}

#[test]
fn abor_with_nothing_under_way_forgets_the_armed_connection() {
    let served = Served::start();
    let mut client = served.client();
    client.expect("ABOR", 226);
    let _data = client.extended_passive();
    client.expect("ABOR", 226);
    client.expect("MLSD", 425);
}

#[test]
fn commands_sent_before_an_abor_are_answered_before_it() {
    let served = Served::start();
    let (mut client, _data) = stalled_download(&served);
    client.send(b"NOOP\r\nABOR\r\nPWD\r\n");
    let codes: Vec<u16> = (0..4).map(|_| client.reply().code).collect();
    assert_eq!(codes, [426, 200, 226, 257]);
}

#[test]
fn a_client_that_closes_the_data_connection_is_told_426() {
    let served = Served::start();
    let (mut client, mut data) = stalled_download(&served);
    data.read_exact(&mut [0; 1000]).unwrap();
    drop(data);
    assert_eq!(client.reply().code, 426);
    client.expect("NOOP", 200);
}

#[test]
fn a_client_that_vanishes_in_the_middle_leaves_no_session() {
    let served = Served::start();
    let (client, data) = stalled_download(&served);
    assert_eq!(served.server.sessions(), 1);
    drop((client, data));
    wait_until("the session ends", || served.server.sessions() == 0);
}

#[test]
fn a_client_that_sends_nothing_more_still_gets_its_answers() {
    let served = Served::start();
    let mut client = served.client();
    client.send(b"NOOP\r\nPWD\r\n");
    client.socket().shutdown(Shutdown::Write).unwrap();
    assert_eq!([client.reply().code, client.reply().code], [200, 257]);
    client.expect_closed();
}
