//! Opening of data connections in all modes.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::ftp::testing::{Peer, SHORT, Stage, path, proven, taken};
use crate::ftp::{Bind, ConnectOptions, Error, LocalOptions, Phase, Session};

/// Formats a PASV reply with `host` and a port of this test.
fn passive_reply(stage: &Stage, host: &str) -> (TcpListener, String) {
    let listener = TcpListener::bind((stage.local().ip(), 0)).unwrap();
    let [high, low] = listener.local_addr().unwrap().port().to_be_bytes();
    let reply = format!("227 Entering Passive Mode ({host},{high},{low}).");
    (listener, reply)
}

/// Answers a RETR without sending data.
fn empty_file(stage: &mut Stage, data: TcpStream) {
    stage.answer("RETR /f", "150 here it comes");
    drop(data);
    stage.reply("226 all");
}

/// Downloads the empty file.
fn download(session: Session) -> Session {
    let mut download = session.retrieve(&path("/f"), 0).unwrap();
    assert_eq!(download.read(&mut [0; 10]).unwrap(), 0);
    download.finish().unwrap()
}

#[test]
fn a_refused_epsv_is_not_asked_again() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.answer("EPSV", "502 what?");
        for _ in 0..2 {
            stage.expect_command("PASV");
            let (listener, reply) = passive_reply(stage, "127,0,0,1");
            stage.reply(&reply);
            let data = taken(&listener);
            empty_file(stage, data);
        }
    });
    download(download(peer.session()));
    peer.join();
}

#[test]
fn an_epsv_port_nobody_listens_at_is_replaced_by_pasv() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.expect_command("EPSV");
        let closed = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        stage.reply(&format!("229 Entering (|||{}|)", closed.port()));
        stage.expect_command("PASV");
        let (listener, reply) = passive_reply(stage, "127,0,0,1");
        stage.reply(&reply);
        let data = taken(&listener);
        empty_file(stage, data);
    });
    download(peer.session());
    peer.join();
}

#[test]
fn somebody_elses_address_in_a_227_is_not_called() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.answer("EPSV", "500 what?");
        stage.expect_command("PASV");
        let (listener, reply) = passive_reply(stage, "127,0,0,9");
        stage.reply(&reply);
        let data = taken(&listener);
        empty_file(stage, data);
    });
    download(peer.session());
    peer.join();
}

#[test]
fn the_address_in_a_227_is_called_where_it_is_trusted() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        // EPSV does not report an address.
        stage.expect_command("PASV");
        let listener = TcpListener::bind("127.0.0.9:0").unwrap();
        let [high, low] = listener.local_addr().unwrap().port().to_be_bytes();
        stage.reply(&format!(
            "227 Entering Passive Mode (127,0,0,9,{high},{low})"
        ));
        let data = taken(&listener);
        empty_file(stage, data);
    });
    let options = ConnectOptions {
        trust_pasv_address: true,
        ..peer.options()
    };
    download(Session::connect(&options).unwrap());
    peer.join();
}

#[test]
fn over_ipv6_there_is_no_pasv_to_fall_back_to() {
    let peer = Peer::plays_at("[::1]:0", |stage| {
        stage.log_in();
        stage.answer("EPSV", "502 what?");
        stage.noop();
        let data = stage.extended_passive();
        empty_file(stage, data);
    });
    let failed = peer.session().retrieve(&path("/f"), 0).unwrap_err();
    assert_eq!(failed.error.to_string(), "EPSV: 502 what?");
    let mut session = failed.session.unwrap();
    session.noop().unwrap();
    download(session);
    peer.join();
}

/// Parses the address of the client's listener from its EPRT.
fn extended_port(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line).into_owned();
    let fields: Vec<&str> = line.strip_prefix("EPRT ").unwrap().split('|').collect();
    let [_, family, address, port, _] = fields.as_slice() else {
        panic!("not an EPRT: {line}");
    };
    assert_eq!(*family, if address.contains(':') { "2" } else { "1" });
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

#[test]
fn in_active_mode_the_server_calls() {
    for home in ["127.0.0.1:0", "[::1]:0"] {
        let peer = Peer::plays_at(home, |stage| {
            stage.log_in();
            let address = extended_port(&stage.next_command());
            stage.reply("200 noted");
            stage.answer("RETR /f", "150 calling you");
            drop(TcpStream::connect(address).unwrap());
            stage.reply("226 all");
        });
        let options = ConnectOptions {
            active: true,
            ..peer.options()
        };
        download(Session::connect(&options).unwrap());
        peer.join();
    }
}

#[test]
fn a_server_without_eprt_is_told_by_port() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        assert!(stage.next_command().starts_with(b"EPRT |1|127.0.0.1|"));
        stage.reply("500 what?");
        let line = String::from_utf8(stage.next_command()).unwrap();
        let numbers: Vec<u16> = line
            .strip_prefix("PORT 127,0,0,1,")
            .unwrap()
            .split(',')
            .map(|number| number.parse().unwrap())
            .collect();
        stage.reply("200 noted");
        stage.answer("RETR /f", "150 calling you");
        let port = numbers[0] * 256 + numbers[1];
        drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
        stage.reply("226 all");
    });
    let options = ConnectOptions {
        active: true,
        ..peer.options()
    };
    download(Session::connect(&options).unwrap());
    peer.join();
}

#[test]
fn a_stranger_who_calls_first_is_hung_up_on() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let address: std::net::SocketAddr = extended_port(&stage.next_command()).parse().unwrap();
        stage.reply("200 noted");
        let stranger = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let stranger = stranger.unwrap();
        let home: std::net::SocketAddr = "127.0.0.7:0".parse().unwrap();
        stranger.bind(&home.into()).unwrap();
        stranger.connect(&address.into()).unwrap();
        stage.answer("RETR /f", "150 calling you");
        drop(TcpStream::connect(address).unwrap());
        stage.reply("226 all");
        let mut stranger = TcpStream::from(stranger);
        let heard = std::io::Read::read(&mut stranger, &mut [0; 10]);
        assert!(matches!(heard, Ok(0) | Err(_)), "the stranger was served");
    });
    let options = ConnectOptions {
        active: true,
        ..peer.options()
    };
    download(Session::connect(&options).unwrap());
    peer.join();
}

#[test]
fn a_server_that_never_calls_is_not_waited_for_longer_than_agreed() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        stage.next_command();
        stage.reply("200 noted");
        stage.answer("RETR /f", "150 calling you");
        stage.expect_disconnect();
    });
    let options = ConnectOptions {
        active: true,
        connect_timeout: SHORT,
        ..peer.options()
    };
    let failed = Session::connect(&options)
        .unwrap()
        .retrieve(&path("/f"), 0)
        .unwrap_err();
    let error = &failed.error;
    assert!(
        matches!(error, Error::Timeout(Phase::DataConnect)),
        "{error}"
    );
    assert!(failed.session.is_none());
    peer.join();
}

#[test]
fn silent_data_times_out() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let data = stage.extended_passive();
        stage.answer("RETR /f", "150 here it comes");
        stage.expect_disconnect();
        drop(data);
    });
    let session = Session::connect(&peer.impatient()).unwrap();
    let mut download = session.retrieve(&path("/f"), 0).unwrap();
    let start = std::time::Instant::now();
    let error = download.read(&mut [0; 10]).unwrap_err();
    assert!(matches!(error, Error::Timeout(Phase::DataRead)), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2));
    drop(download);
    peer.join();
}

#[test]
fn all_connections_come_from_the_address_that_they_are_bound_to() {
    let own: std::net::IpAddr = "127.0.0.2".parse().unwrap();
    for (pipelining, bind) in [(false, true), (true, true), (true, false)] {
        let peer = Peer::plays(move |stage| {
            stage.log_in();
            let control = stage.channel().socket().peer_addr().unwrap().ip();
            assert_eq!(control == own, bind);
            let data = stage.extended_passive();
            assert_eq!(data.peer_addr().unwrap().ip(), control);
            empty_file(stage, data);
            stage.drain();
        });
        let bind = bind.then_some(Bind::Address(own));
        let options = ConnectOptions {
            local: LocalOptions {
                bind,
                ..LocalOptions::default()
            },
            profile: if pipelining {
                proven()
            } else {
                peer.options().profile
            },
            ..peer.options()
        };
        drop(download(Session::connect(&options).unwrap()));
        peer.join();
    }
}

#[test]
fn the_server_is_told_the_address_and_one_of_the_ports_that_the_user_names() {
    let ports = 42_000..=42_099;
    for has_eprt in [true, false] {
        let expected = ports.clone();
        let peer = Peer::plays(move |stage| {
            stage.log_in();
            let line = stage.next_command();
            let address = extended_port(&line);
            if !has_eprt {
                stage.reply("502 what?");
                assert!(stage.next_command().starts_with(b"PORT 192,0,2,7,"));
            }
            stage.reply("200 noted");
            let port: u16 = address.strip_prefix("192.0.2.7:").unwrap().parse().unwrap();
            assert!(expected.contains(&port));
            stage.answer("RETR /f", "150 calling you");
            drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
            stage.reply("226 all");
        });
        let options = ConnectOptions {
            active: true,
            local: LocalOptions {
                active_ports: Some(ports.clone()),
                active_address: Some("192.0.2.7".parse().unwrap()),
                bind: None,
            },
            ..peer.options()
        };
        download(Session::connect(&options).unwrap());
        peer.join();
    }
}

#[test]
fn a_server_that_hangs_up_at_epsv_is_asked_by_pasv_in_the_next_session() {
    let peer = Peer::plays_two(
        |stage| {
            stage.log_in();
            stage.expect_command("EPSV");
        },
        |stage| {
            stage.log_in();
            stage.expect_command("PASV");
            let (listener, reply) = passive_reply(stage, "127,0,0,1");
            stage.reply(&reply);
            let data = taken(&listener);
            empty_file(stage, data);
        },
    );
    let options = peer.options();
    let session = Session::connect(&options).unwrap();
    let failed = session.retrieve(&path("/f"), 0).unwrap_err();
    assert!(matches!(failed.error, Error::Closed(_)), "{}", failed.error);
    download(Session::connect(&options).unwrap());
    peer.join();
}

#[test]
fn a_server_that_wants_to_know_the_transfer_first_is_told() {
    for early in [false, true] {
        let peer = Peer::plays(move |stage| {
            let features = "211-Features\n PRET\n211 End";
            if early {
                stage.reply("220 ready");
                stage.answer("USER alice", "331 password?");
                stage.answer("PASS open sesame", "230 in");
                stage.answer("FEAT", features);
                stage.answer("TYPE I", "200 binary");
                stage.answer("EPSV", "500 use PRET first");
            } else {
                stage.log_in_with(features);
            }
            for _ in 0..2 {
                stage.answer("PRET RETR /f", "200 go on");
                let data = stage.extended_passive();
                empty_file(stage, data);
            }
            stage.answer("PRET RETR /none", "550 no such file");
            stage.noop();
        });
        let session = if early {
            peer.preparing_session()
        } else {
            peer.session()
        };
        let session = download(download(session));
        let failed = session.retrieve(&path("/none"), 0).unwrap_err();
        assert!(failed.error.to_string().contains("550"), "{}", failed.error);
        failed.session.expect("in step").noop().unwrap();
        peer.join();
    }
}

#[test]
fn a_server_that_only_tolerates_pret_is_not_asked() {
    let peer = Peer::plays(|stage| {
        let greeting = "---------- Welcome to Pure-FTPd [privsep] ----------";
        stage.log_in_as(greeting, "211-Features\n PRET\n211 End");
        let data = stage.extended_passive();
        empty_file(stage, data);
        stage.drain();
    });
    drop(download(peer.preparing_session()));
    peer.join();
}

#[test]
fn the_end_of_an_upload_may_be_told_later_than_other_replies() {
    let peer = Peer::plays(|stage| {
        stage.log_in();
        let mut data = stage.extended_passive();
        stage.answer("STOR /f", "150 go on");
        std::io::copy(&mut data, &mut std::io::sink()).unwrap();
        drop(data);
        // The server works for longer than the limit for a reply.
        std::thread::sleep(SHORT * 2);
        stage.reply("226 all");
        stage.noop();
    });
    let session = Session::connect(&peer.impatient()).unwrap();
    let upload = session.store(&path("/f"), 0).unwrap();
    let (mut session, _) = upload.finish().unwrap();
    session.noop().unwrap();
    peer.join();
}

#[test]
fn epsv_that_leads_nowhere_is_tried_by_one_session_of_all() {
    // A listener with a full queue drops connections, like a firewall.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let home: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    full.bind(&home.into()).unwrap();
    full.listen(0).unwrap();
    let full = TcpListener::from(full);
    let address = full.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, SHORT) {
        queue.push(stream);
    }
    let passive = |stage: &mut Stage| {
        stage.expect_command("PASV");
        let (listener, reply) = passive_reply(stage, "127,0,0,1");
        stage.reply(&reply);
        let data = taken(&listener);
        empty_file(stage, data);
    };
    let peer = Peer::plays_two(
        move |stage| {
            stage.log_in();
            stage.answer("EPSV", &format!("229 ok (|||{}|)", address.port()));
            passive(stage);
        },
        move |stage| {
            stage.log_in();
            passive(stage);
        },
    );
    let options = ConnectOptions {
        connect_timeout: SHORT,
        ..peer.options()
    };
    download(Session::connect(&options).unwrap());
    download(Session::connect(&options).unwrap());
    peer.join();
    drop(queue);
}
