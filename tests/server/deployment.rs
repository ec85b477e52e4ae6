//! Firewalls and NAT: the ports and the address of passive data connections, and slots for
//! sessions.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use ftpfs::server::{Access, Server, ServerOptions};

use crate::client::{Client, Served, wait_until};

/// Returns `count` consecutive ports that are free on `host` now.
///
/// Ranges of concurrent tests do not overlap, because each has a `base` of its own, and another run
/// of the tests starts elsewhere. All are below the ports that the kernel gives out.
fn free_ports(host: &str, base: u16, count: u16) -> RangeInclusive<u16> {
    let start = base + (std::process::id() % 40) as u16 * 20;
    (start..start + 200)
        .step_by(usize::from(count))
        .map(|first| first..=first + count - 1)
        .find(|ports| {
            ports
                .clone()
                .all(|port| TcpListener::bind((host, port)).is_ok())
        })
        .expect("free ports")
}

fn served_on(host: &str, ports: &RangeInclusive<u16>) -> Served {
    Served::with(|options| {
        options.listen = SocketAddr::new(host.parse().unwrap(), 0);
        options.passive_ports = Some(ports.clone());
    })
}

fn epsv_port(client: &mut Client) -> u16 {
    let text = client.expect("EPSV", 229);
    text.split('|').nth(3).unwrap().parse().unwrap()
}

/// Returns the address in the reply to PASV.
fn pasv(client: &mut Client) -> (Ipv4Addr, u16) {
    let text = client.expect("PASV", 227);
    let numbers: Vec<u8> = text
        .split(['(', ')'])
        .nth(1)
        .unwrap()
        .split(',')
        .map(|number| number.parse().unwrap())
        .collect();
    let [a, b, c, d, high, low] = numbers[..] else {
        panic!("{text}");
    };
    (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]))
}

#[test]
fn data_connections_stay_in_the_range_and_do_not_always_start_at_the_same_port() {
    for (host, base) in [("127.0.0.1", 20_000), ("::1", 21_000)] {
        let ports = free_ports(host, base, 10);
        let served = served_on(host, &ports);
        served.write("file", "through the firewall");
        let mut client = served.client();
        let mut used = BTreeSet::new();
        for _ in 0..40 {
            used.insert(epsv_port(&mut client));
            if host == "127.0.0.1" {
                used.insert(pasv(&mut client).1);
            }
        }
        assert!(used.iter().all(|port| ports.contains(port)), "{used:?}");
        assert!(used.len() > 1, "{used:?}");
        for _ in 0..20 {
            assert_eq!(client.receive("RETR file").0, b"through the firewall");
        }
    }
}

#[test]
fn a_single_port_serves_one_transfer_after_the_other() {
    for (host, base) in [("127.0.0.1", 22_000), ("::1", 26_000)] {
        let ports = free_ports(host, base, 1);
        let served = served_on(host, &ports);
        served.write("file", "again");
        let (mut one, mut other) = (served.client(), served.client());
        for _ in 0..10 {
            assert_eq!(one.receive("RETR file").0, b"again");
            assert_eq!(other.receive("RETR file").0, b"again");
        }
        // The second request replaces the first, which held the only port.
        epsv_port(&mut one);
        assert_eq!(epsv_port(&mut one), *ports.start());
        other.expect("EPSV", 425);
    }
}

#[test]
fn a_used_up_range_is_a_refusal_until_a_port_is_free() {
    let ports = free_ports("127.0.0.1", 23_000, 2);
    let served = served_on("127.0.0.1", &ports);
    served.write("file", "later");
    let (mut one, mut two, mut three) = (served.client(), served.client(), served.client());
    let used = BTreeSet::from([epsv_port(&mut one), epsv_port(&mut two)]);
    assert_eq!(used, ports.clone().collect());
    for verb in ["EPSV", "PASV"] {
        let words = three.expect(verb, 425);
        assert_eq!(
            words,
            format!(
                "All passive ports ({}-{}) are in use, try again later",
                ports.start(),
                ports.end()
            )
        );
    }
    three.expect("NOOP", 200);
    // ABOR, the transfer's data connection and the end of a session each free a port.
    one.expect("ABOR", 226);
    assert_eq!(three.receive("RETR file").0, b"later");
    epsv_port(&mut one);
    three.expect("EPSV", 425);
    drop(two);
    wait_until("the session ends", || served.server.sessions() == 2);
    assert_eq!(three.receive("RETR file").0, b"later");
}

#[test]
fn a_data_connection_opened_ahead_frees_its_port() {
    let ports = free_ports("127.0.0.1", 24_000, 1);
    let served = served_on("127.0.0.1", &ports);
    served.write("file", "ahead");
    let (mut one, mut other) = (served.client(), served.client());
    let ahead = one.extended_passive();
    wait_until("the port is free", || other.command("EPSV").code == 229);
    assert_eq!(one.receive_over(ahead, "RETR file").0, b"ahead");
}

#[test]
fn only_pasv_announces_the_public_address_and_data_still_works() {
    let public = Ipv4Addr::new(203, 0, 113, 7);
    let served = Served::with(|options| options.public_address = Some(public));
    served.write("file", "behind NAT");
    let mut client = served.client();
    let (address, port) = pasv(&mut client);
    assert_eq!(address, public);
    let data = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(client.receive_over(data, "RETR file").0, b"behind NAT");
    let words = client.expect("EPSV", 229);
    assert!(words.contains("(|||") && !words.contains("203"), "{words}");
}

#[test]
fn options_that_cannot_work_are_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let error = |change: fn(&mut ServerOptions)| {
        let mut options = ServerOptions::new(directory.path(), Access::Anonymous);
        change(&mut options);
        Server::start(options).err().unwrap().to_string()
    };
    let words = error(|options| options.passive_ports = Some(0..=10));
    assert!(words.contains("0-10 is not a range of ports"), "{words}");
    let words = error(|options| options.public_address = Some(Ipv4Addr::UNSPECIFIED));
    assert!(words.contains("public address 0.0.0.0"), "{words}");
}

#[test]
fn a_client_that_never_logs_in_frees_its_slot() {
    let served = Served::with(|options| {
        options.max_sessions = Some(1);
        options.login_timeout = Duration::from_secs(3);
    });
    // Neither commands nor wrong passwords extend the time.
    let mut stranger = served.stranger();
    let start = Instant::now();
    let last = loop {
        let reply = stranger.command("NOOP");
        if reply.code != 200 {
            break reply;
        }
    };
    assert_eq!(last.code, 421);
    assert!(last.text.contains("No login in time"), "{last:?}");
    assert!(start.elapsed() >= Duration::from_millis(2990));
    stranger.expect_closed();
    let mut silent = served.stranger();
    assert_eq!(silent.reply().code, 421);
    silent.expect_closed();
    // A login stays, as long as it is one.
    let mut client = served.client();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1200) {
        client.expect("PWD", 257);
    }
    client.expect("USER anonymous", 331);
    assert_eq!(client.reply().code, 421);
}
