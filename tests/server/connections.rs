//! Data connections opened in advance, replaced and guarded; many commands in one write.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::client::{Served, pattern};

#[test]
fn the_server_connects_to_nobody_but_the_client() {
    let [four, six] = Served::on_both_families();
    let mut client = four.client();
    for bad in [
        "PORT 127,0,0,2,200,10",
        "PORT 10,1,2,3,200,10",
        "PORT 127,0,0,1,0,22",
        "EPRT |1|10.1.2.3|5000|",
        "EPRT |2|::1|5000|",
    ] {
        client.expect(bad, 504);
    }
    for bad in [
        "PORT",
        "PORT 1,2,3",
        "EPRT",
        "EPRT |1|127.0.0.1|",
        "EPRT |1|localhost|5000|",
    ] {
        client.expect(bad, 501);
    }
    client.expect("EPRT |3|127.0.0.1|5000|", 522);
    client.expect("MLSD", 425);
    let mut client = six.client();
    client.expect("EPRT |2|::2|5000|", 504);
    client.expect("EPRT |2|::1|80|", 504);
    client.expect("PORT 127,0,0,1,200,10", 504);
}

#[test]
fn a_data_connection_from_elsewhere_is_not_used() {
    let served = Served::start();
    served.write("file", "for the client only");
    let mut client = served.client();
    let text = client.expect("EPSV", 229);
    let port: u16 = text.split('|').nth(3).unwrap().parse().unwrap();
    let mut thief = stranger_at("127.0.0.2:0", port);
    client.send(b"RETR file\r\n");
    assert_eq!(client.reply().code, 150);
    let mut stolen = Vec::new();
    // Whether closed or reset, it carried no data.
    let _ = thief.read_to_end(&mut stolen);
    assert!(stolen.is_empty());
    let mut data = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"for the client only");
    assert_eq!(client.reply().code, 226);
}

fn stranger_at(local: &str, port: u16) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&local.parse::<std::net::SocketAddr>().unwrap().into())
        .unwrap();
    socket
        .connect(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into())
        .unwrap();
    socket.into()
}

#[test]
fn after_epsv_all_nothing_else_is_taken() {
    let served = Served::start();
    let mut client = served.client();
    client.expect("EPSV ALL", 200);
    for line in ["PASV", "PORT 127,0,0,1,200,10", "EPRT |1|127.0.0.1|5000|"] {
        client.expect(line, 501);
    }
    assert!(client.lines("NLST").is_empty());
}

#[test]
fn epsv_takes_its_own_protocol_number_only() {
    let [four, six] = Served::on_both_families();
    let mut client = four.client();
    client.expect("EPSV 1", 229);
    assert!(client.expect("EPSV 2", 522).contains("(1)"));
    let mut client = six.client();
    client.expect("EPSV 2", 229);
    assert!(client.expect("EPSV 1", 522).contains("(2)"));
}

#[test]
fn an_armed_connection_waits_through_other_commands() {
    let served = Served::start();
    served.write("file", "armed");
    let mut client = served.client();
    let data = client.extended_passive();
    client.expect("NOOP", 200);
    client.expect("SIZE file", 213);
    client.expect("MDTM file", 213);
    assert_eq!(client.receive_over(data, "RETR file").0, b"armed");
}

#[test]
fn a_second_epsv_replaces_the_first() {
    let served = Served::start();
    served.write("file", "second");
    let mut client = served.client();
    let mut first = client.extended_passive();
    let second = client.extended_passive();
    assert_eq!(client.receive_over(second, "RETR file").0, b"second");
    let mut rest = Vec::new();
    let _ = first.read_to_end(&mut rest);
    assert!(rest.is_empty());
}

#[test]
fn a_transfer_uses_its_connection_up() {
    let served = Served::start();
    let mut client = served.client();
    client.lines("NLST");
    client.expect("NLST", 425);
}

#[test]
fn a_hundred_commands_in_one_write_are_answered_in_order() {
    let served = Served::start();
    for size in 0..100 {
        served.write(&format!("file{size}"), vec![b'x'; size]);
    }
    let mut client = served.client();
    let batch: Vec<String> = (0..100)
        .map(|size| format!("SIZE file{size}\r\n"))
        .collect();
    client.send(batch.concat().as_bytes());
    for size in 0..100 {
        let reply = client.reply();
        assert_eq!((reply.code, reply.text), (213, size.to_string()));
    }
}

#[test]
fn the_next_epsv_can_be_sent_with_the_retr() {
    let served = Served::start();
    let contents = pattern(5_000_000);
    served.write("large", &contents);
    let mut client = served.client();
    let mut data = client.extended_passive();
    client.send(b"REST 1000\r\nRETR large\r\nEPSV\r\nNOOP\r\n");
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).unwrap();
    assert!(bytes == contents[1000..]);
    let codes: Vec<u16> = (0..5).map(|_| client.reply().code).collect();
    assert_eq!(codes, [350, 150, 226, 229, 200]);
}

#[test]
fn the_retr_can_be_sent_with_the_epsv() {
    let served = Served::start();
    served.write("file", "early");
    let mut client = served.client();
    client.send(b"EPSV\r\nRETR file\r\n");
    let text = client.reply().text;
    let port: u16 = text.split('|').nth(3).unwrap().parse().unwrap();
    let mut data = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"early");
    assert_eq!([client.reply().code, client.reply().code], [150, 226]);
}

#[test]
fn far_more_commands_than_are_read_ahead_are_all_answered_after_an_upload() {
    let served = Served::start();
    let mut client = served.client();
    let mut data = client.extended_passive();
    let many = 5000;
    client.send(format!("STOR file\r\n{}", "NOOP\r\n".repeat(many)).as_bytes());
    data.write_all(b"stored").unwrap();
    data.shutdown(Shutdown::Write).unwrap();
    assert_eq!([client.reply().code, client.reply().code], [150, 226]);
    for _ in 0..many {
        assert_eq!(client.reply().code, 200);
    }
    assert_eq!(served.read("file"), b"stored");
}
