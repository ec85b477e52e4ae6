//! The server's limits on sessions, silence and line length; and its shutdown.

use std::time::{Duration, Instant};

use crate::client::{Client, Served, Unanswering, wait_until};

/// The idle limit. On a busy machine, a client may take a while between two commands.
const IDLE: Duration = Duration::from_secs(2);

#[test]
fn one_session_too_many_is_told_421() {
    let served = Served::with(|options| options.max_sessions = Some(2));
    let _first = served.client();
    let mut second = served.client();
    let mut third = Client::connect(served.server.address());
    assert_eq!(third.reply().code, 421);
    third.expect_closed();
    assert_eq!(served.server.sessions(), 2);
    second.expect("QUIT", 221);
    served.client().expect("NOOP", 200);
}

#[test]
fn a_silent_session_is_told_421_and_closed() {
    let served = Served::with(|options| options.idle = IDLE);
    let mut client = served.client();
    let start = Instant::now();
    assert_eq!(client.reply().code, 421);
    assert!(
        start.elapsed() + Duration::from_millis(10) >= IDLE,
        "{:?}",
        start.elapsed()
    );
    client.expect_closed();
    wait_until("the session ends", || served.server.sessions() == 0);
}

#[test]
fn a_silent_data_connection_is_broken_off_with_426() {
    let served = Served::with(|options| options.idle = IDLE);
    let mut client = served.client();
    let _data = client.extended_passive();
    client.expect("STOR file", 150);
    assert_eq!(client.reply().code, 426);
    client.expect("NOOP", 200);
}

#[test]
fn a_data_connection_that_never_comes_is_given_up_with_425() {
    let served = Served::with(|options| options.idle = IDLE);
    let mut client = served.client();
    client.expect("EPSV", 229);
    client.expect("STOR file", 150);
    assert_eq!(client.reply().code, 425);
    assert!(!served.path("file").exists());
    client.expect("NOOP", 200);
}

#[test]
fn a_line_beyond_8_kib_is_refused_and_the_next_one_heard() {
    let served = Served::start();
    let mut client = served.client();
    client.expect(format!("CWD {}", "x".repeat(8 << 10)), 500);
    client.expect(format!("CWD {}", "x".repeat(1 << 20)), 500);
    client.expect("NOOP", 200);
}

#[test]
fn a_dropped_server_closes_its_sessions_at_once() {
    let served = Served::start();
    let mut client = served.client();
    let _armed = client.extended_passive();
    let address = served.server.address();
    let start = Instant::now();
    drop(served);
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    client.expect_closed();
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_dropped_server_gives_up_a_connection_it_is_opening() {
    let served = Served::start();
    let unanswering = Unanswering::new();
    let mut client = served.client();
    client.expect(unanswering.eprt(), 200);
    client.expect("MLSD", 150);
    let start = Instant::now();
    drop(served);
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    client.expect_closed();
}

#[test]
fn a_client_that_never_takes_its_connection_is_told_425() {
    let served = Served::with(|options| options.idle = IDLE);
    let unanswering = Unanswering::new();
    let mut client = served.client();
    client.expect(unanswering.eprt(), 200);
    client.expect("MLSD", 150);
    assert_eq!(client.reply().code, 425);
}

#[test]
fn a_client_that_refuses_its_connection_is_told_425() {
    let served = Served::start();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut client = served.client();
    client.expect(format!("EPRT |1|127.0.0.1|{port}|"), 200);
    client.expect("MLSD", 150);
    let reply = client.reply();
    assert_eq!(reply.code, 425, "{reply:?}");
    assert!(reply.text.contains("refused"), "{reply:?}");
}

#[test]
fn dropped_sessions_can_come_back() {
    let served = Served::start();
    std::fs::File::create(served.path("huge"))
        .unwrap()
        .set_len(1 << 32)
        .unwrap();
    let mut idle = served.client();
    let mut busy = served.client();
    let mut data = busy.extended_passive();
    busy.expect("RETR huge", 150);
    served.server.drop_sessions();
    assert_eq!(served.server.sessions(), 0);
    idle.expect_closed();
    busy.expect_closed();
    let read = std::io::copy(&mut data, &mut std::io::sink()).unwrap_or(0);
    assert!(read < 1 << 32, "all of the file came");
    served.client().expect("NOOP", 200);
}

#[test]
fn waiting_for_the_server_ends_when_it_is_stopped() {
    let served = Served::start();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| served.server.wait());
        served.client().expect("NOOP", 200);
        assert!(!waiting.is_finished());
        served.server.stop();
        waiting.join().unwrap();
    });
}

#[test]
fn a_root_that_is_no_directory_is_refused_at_the_start() {
    use ftpfs::server::{Access, Server, ServerOptions};

    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "x").unwrap();
    for name in ["file", "missing"] {
        let options = ServerOptions::new(directory.path().join(name), Access::Anonymous);
        assert!(Server::start(options).is_err(), "{name}");
    }
}

#[test]
fn a_taken_port_is_refused_at_the_start() {
    use ftpfs::server::{Access, Server, ServerOptions};

    let served = Served::start();
    let mut options = ServerOptions::new(served.path(""), Access::Anonymous);
    options.listen = served.server.address();
    let error = Server::start(options).err().expect("the port is taken");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
fn many_clients_at_once_each_get_their_own_file() {
    let served = Served::start();
    std::thread::scope(|scope| {
        for number in 0..16 {
            let served = &served;
            scope.spawn(move || {
                let mut client = served.client();
                let contents = vec![number; 100_000 + usize::from(number)];
                assert_eq!(
                    client.upload(format!("STOR file{number}"), &contents).code,
                    226
                );
                assert!(client.receive(format!("RETR file{number}")).0 == contents);
            });
        }
    });
}
