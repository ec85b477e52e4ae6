//! Conversations with proxies, byte for byte, and their outcome.

use std::net::TcpListener;
use std::thread::JoinHandle;

use super::*;
use crate::ftp::bind::Origin;

const PATIENCE: Duration = Duration::from_secs(10);
const SECRET: &str = "hunter2";

/// A proxy that runs a script for one client.
fn plays(
    kind: ProxyKind,
    login: bool,
    story: impl FnOnce(&mut TcpStream) + Send + 'static,
) -> (Proxy, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy {
        kind,
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().unwrap().port(),
        login: login.then(|| ("me".to_owned(), Password::new(SECRET))),
    };
    let story = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        story(&mut client);
    });
    (proxy, story)
}

#[track_caller]
fn hears(client: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, expected);
}

fn name() -> ProxyTarget {
    ProxyTarget::Name("ftp.example".to_owned())
}

/// The error of a connection through this proxy.
#[track_caller]
fn fails(proxy: &Proxy, patience: Duration) -> String {
    let message = proxy
        .connect(&name(), 21, &Origin::default(), patience)
        .unwrap_err();
    let message = format!("{message} {message:?}");
    assert!(!message.contains(SECRET), "{message}");
    assert!(message.contains(&proxy.to_string()), "{message}");
    message
}

#[test]
fn socks5_logs_in_names_the_host_and_leaves_the_servers_first_bytes_alone() {
    let (proxy, story) = plays(ProxyKind::Socks5h, true, |client| {
        hears(client, &[5, 2, 0, 2]);
        client.write_all(&[5, 2]).unwrap();
        hears(client, b"\x01\x02me\x07hunter2");
        client.write_all(&[1, 0]).unwrap();
        hears(client, b"\x05\x01\x00\x03\x0bftp.example\x00\x15");
        client
            .write_all(b"\x05\x00\x00\x03\x04here\x12\x34220 hello")
            .unwrap();
    });
    let mut stream = proxy
        .connect(&name(), 21, &Origin::default(), PATIENCE)
        .unwrap();
    let mut greeting = String::new();
    stream.read_to_string(&mut greeting).unwrap();
    assert_eq!(greeting, "220 hello");
    story.join().unwrap();
}

#[test]
fn socks5_asks_for_addresses_as_addresses() {
    for (address, request) in [
        ("10.0.0.1", &b"\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x15"[..]),
        (
            "::1",
            b"\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x15",
        ),
    ] {
        let (proxy, story) = plays(ProxyKind::Socks5, false, move |client| {
            hears(client, &[5, 1, 0]);
            client.write_all(&[5, 0]).unwrap();
            hears(client, request);
            client.write_all(&[5, 0, 0, 4]).unwrap();
            client.write_all(&[0; 18]).unwrap();
        });
        let target = ProxyTarget::Address(address.parse().unwrap());
        proxy
            .connect(&target, 21, &Origin::default(), PATIENCE)
            .unwrap();
        story.join().unwrap();
    }
}

#[test]
fn http_connect_logs_in_and_leaves_the_servers_first_bytes_alone() {
    let (proxy, story) = plays(ProxyKind::Http, true, |client| {
        hears(
            client,
            b"CONNECT ftp.example:21 HTTP/1.1\r\nHost: ftp.example:21\r\n\
              Proxy-Authorization: Basic bWU6aHVudGVyMg==\r\n\r\n",
        );
        client
            .write_all(b"HTTP/1.0 200 yes\r\nContent-Length: 9\r\n\r\n220 hello")
            .unwrap();
    });
    let mut stream = proxy
        .connect(&name(), 21, &Origin::default(), PATIENCE)
        .unwrap();
    let mut greeting = String::new();
    stream.read_to_string(&mut greeting).unwrap();
    assert_eq!(greeting, "220 hello");
    story.join().unwrap();
}

#[test]
fn http_writes_an_ipv6_address_in_brackets() {
    let (proxy, story) = plays(ProxyKind::Http, false, |client| {
        hears(
            client,
            b"CONNECT [::1]:21 HTTP/1.1\r\nHost: [::1]:21\r\n\r\n",
        );
        client.write_all(b"HTTP/1.1 200\r\n\r\n").unwrap();
    });
    let target = ProxyTarget::Address("::1".parse().unwrap());
    proxy
        .connect(&target, 21, &Origin::default(), PATIENCE)
        .unwrap();
    story.join().unwrap();
}

#[test]
fn what_a_proxy_refuses_is_told_in_its_words() {
    for (kind, login, says, words) in [
        (
            ProxyKind::Socks5h,
            false,
            &b"\x05\xff"[..],
            "requires a user and password",
        ),
        (
            ProxyKind::Socks5h,
            true,
            b"\x05\xff",
            "refused the user or password",
        ),
        (
            ProxyKind::Socks5h,
            true,
            b"\x05\x02\x01\x01",
            "refused the user or password",
        ),
        (
            ProxyKind::Socks5h,
            false,
            b"\x05\x00\x05\x02\x00\x01",
            "did not connect to ftp.example:21: not allowed by its rules (SOCKS5 reply 2)",
        ),
        (
            ProxyKind::Socks5h,
            false,
            b"\x05\x00\x05\x63\x00\x01",
            "SOCKS5 reply 99",
        ),
        (
            ProxyKind::Socks5h,
            false,
            b"\x05\x00\x05\x00\x00\x07",
            "does not speak SOCKS5",
        ),
        (
            ProxyKind::Socks5h,
            false,
            b"\x05\x02",
            "does not speak SOCKS5",
        ),
        (
            ProxyKind::Socks5h,
            false,
            b"220 ready\r\n",
            "does not speak SOCKS5",
        ),
        (ProxyKind::Socks5h, false, b"", "closed the connection"),
        (
            ProxyKind::Http,
            false,
            b"HTTP/1.1 407 who?\r\n\r\n",
            "requires a user and password",
        ),
        (
            ProxyKind::Http,
            true,
            b"HTTP/1.1 407 no\r\n\r\n",
            "refused the user or password",
        ),
        (
            ProxyKind::Http,
            true,
            b"HTTP/1.1 403 me:hunter2 may \x1b not\r\nA: b\r\n\r\nbody",
            "did not connect to ftp.example:21: HTTP/1.1 403 me:**** may ",
        ),
        (
            ProxyKind::Http,
            false,
            b"HTTP/1.1 nonsense\r\n\r\n",
            "does not speak HTTP",
        ),
        (
            ProxyKind::Http,
            false,
            b"220 ready\r\n",
            "does not speak HTTP",
        ),
        (
            ProxyKind::Http,
            false,
            b"HTTP/1.1 200 half",
            "closed the connection",
        ),
    ] {
        let (proxy, story) = plays(kind, login, move |client| {
            client.write_all(says).unwrap();
            let _ = client.shutdown(std::net::Shutdown::Write);
            let _ = client.read_to_end(&mut Vec::new());
        });
        let message = fails(&proxy, PATIENCE);
        assert!(message.contains(words), "{words:?} is not in {message:?}");
        assert!(!message.contains('\u{1b}'), "{message:?}");
        story.join().unwrap();
    }
}

#[test]
fn a_head_without_an_end_is_bounded() {
    let (proxy, story) = plays(ProxyKind::Http, false, |client| {
        let _ = client.write_all(b"HTTP/1.1 200 OK\r\n");
        while client
            .write_all(b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n")
            .is_ok()
        {}
    });
    assert!(fails(&proxy, PATIENCE).contains("does not speak HTTP"));
    story.join().unwrap();
}

#[test]
fn a_proxy_that_says_nothing_or_drips_meets_the_deadline() {
    for kind in [ProxyKind::Socks5h, ProxyKind::Http] {
        let (silent, story) = plays(kind, false, |client| {
            let _ = client.read_to_end(&mut Vec::new());
        });
        let message = fails(&silent, Duration::from_millis(200));
        assert!(message.contains("took too long"), "{message}");
        story.join().unwrap();
    }
    let (dripping, story) = plays(ProxyKind::Http, false, |client| {
        // Each byte comes soon, but all of them together would take minutes.
        let mut head = b"HTTP/1.1 200 OK\r\nX: "
            .iter()
            .chain(std::iter::repeat(&b'x'));
        let pause = || std::thread::sleep(Duration::from_millis(20));
        while head
            .next()
            .is_some_and(|byte| client.write_all(&[*byte]).is_ok())
        {
            pause();
        }
    });
    let message = fails(&dripping, Duration::from_millis(400));
    assert!(message.contains("took too long"), "{message}");
    story.join().unwrap();
}

#[test]
fn what_a_protocol_cannot_write_is_not_sent() {
    let long = ProxyTarget::Name("x".repeat(256));
    let odd = ProxyTarget::Name("a b".to_owned());
    for (kind, target) in [(ProxyKind::Socks5h, long), (ProxyKind::Http, odd)] {
        let (proxy, story) = plays(kind, false, |client| {
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).unwrap();
            assert_eq!(heard, b"");
        });
        let error = proxy
            .connect(&target, 21, &Origin::default(), PATIENCE)
            .unwrap_err();
        assert!(error.to_string().contains("does not accept"), "{error}");
        story.join().unwrap();
    }
}

#[test]
fn a_proxy_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let proxy = Proxy {
        kind: ProxyKind::Http,
        host: "127.0.0.1".to_owned(),
        port,
        login: None,
    };
    assert!(fails(&proxy, PATIENCE).contains("cannot be reached"));
    let nowhere = Proxy {
        host: "nonexistent.invalid".to_owned(),
        ..proxy
    };
    assert!(fails(&nowhere, PATIENCE).contains("cannot be found"));
}
