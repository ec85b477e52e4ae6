//! Server features that other tests rely on: disabled verbs, a delay, the command log.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::client::Served;

fn without(names: &[&str]) -> Served {
    let disabled: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Served::with(|options| options.disabled = disabled)
}

fn features(served: &Served) -> Vec<String> {
    let lines = served.client().command("FEAT").inner;
    lines
        .into_iter()
        .map(|line| String::from_utf8(line).unwrap().trim().to_owned())
        .collect()
}

#[test]
fn everything_is_on_unless_it_is_switched_off() {
    let features = features(&Served::start());
    for name in [
        "EPSV",
        "EPRT",
        "MDTM",
        "MFMT",
        "REST STREAM",
        "RANG STREAM",
        "SIZE",
        "TVFS",
        "UTF8",
        "SITE CHMOD",
    ] {
        assert!(
            features.iter().any(|line| line == name),
            "{name}: {features:?}"
        );
    }
    let facts = "MLST type*;size*;modify*;perm*;unique*;UNIX.mode*;UNIX.owner*;UNIX.group*;";
    assert!(features.iter().any(|line| line == facts), "{features:?}");
}

#[test]
fn a_verb_switched_off_is_refused_and_not_in_feat() {
    let served = without(&["MLSD", "MLST", "EPSV", "SITE CHMOD", "REST", "SIZE", "UTF8"]);
    served.write("file", "x");
    let features = features(&served);
    for name in ["MLST", "EPSV", "SITE CHMOD", "REST", "SIZE", "UTF8"] {
        assert!(
            !features.iter().any(|line| line.starts_with(name)),
            "{name}: {features:?}"
        );
    }
    let mut client = served.client();
    for line in [
        "MLSD",
        "MLST file",
        "EPSV",
        "site chmod 644 file",
        "REST 1",
        "SIZE file",
        "OPTS UTF8 ON",
    ] {
        client.expect(line, 502);
    }
    let data = client.passive();
    assert_eq!(client.receive_over(data, "RETR file").0, b"x");
    assert!(
        !client
            .command("HELP")
            .inner
            .concat()
            .windows(4)
            .any(|word| word == b"MLSD")
    );
}

#[test]
fn without_mlsd_feat_does_not_offer_mlst() {
    assert!(
        !features(&without(&["MLSD"]))
            .iter()
            .any(|line| line.starts_with("MLST"))
    );
}

#[test]
fn every_command_is_in_the_log_and_no_password() {
    let served = Served::start();
    let mut client = served.client();
    client.lines("NLST");
    client.expect("SIZE mis sing", 550);
    client.expect("site chmod 644 x", 550);
    client.expect(b"SIZE \xe9", 550);
    assert_eq!(
        served.server.commands(),
        [
            "USER anonymous",
            "PASS ***",
            "EPSV",
            "NLST",
            "SIZE mis sing",
            "SITE CHMOD 644 x",
            "SIZE \u{fffd}"
        ]
    );
    served.server.clear_commands();
    served.client();
    client.expect("NOOP", 200);
    assert_eq!(
        served.server.commands(),
        ["USER anonymous", "PASS ***", "NOOP"]
    );
}

/// Long enough that a busy machine does not add another one.
const DELAY: Duration = Duration::from_secs(2);

fn distant() -> Served {
    let served = Served::with(|options| options.delay = DELAY);
    served.write("file", "from afar");
    served
}

/// Asserts that `took` is at least `trips` round trips, and less than one more.
#[track_caller]
fn assert_trips(took: Duration, trips: u32) {
    assert!(
        took >= DELAY * trips && took < DELAY * (trips + 1),
        "{took:?} is not {trips} × {DELAY:?}"
    );
}

#[test]
fn each_command_costs_a_round_trip() {
    let served = distant();
    let mut client = served.client();
    let start = Instant::now();
    client.expect("NOOP", 200);
    client.expect("SIZE file", 213);
    client.expect("SIZE missing", 550);
    assert_trips(start.elapsed(), 3);
}

#[test]
fn commands_sent_together_cost_one_round_trip_together() {
    let served = distant();
    let mut client = served.client();
    let start = Instant::now();
    client.send("SIZE file\r\n".repeat(50).as_bytes());
    for _ in 0..50 {
        assert_eq!(client.reply().code, 213);
    }
    assert_trips(start.elapsed(), 1);
}

#[test]
fn a_download_costs_three_round_trips_and_an_armed_one_one() {
    let served = distant();
    let mut client = served.client();
    let start = Instant::now();
    assert_eq!(client.receive("RETR file").0, b"from afar");
    assert_trips(start.elapsed(), 3);
    let armed = client.extended_passive();
    client.expect("NOOP", 200);
    client.expect("NOOP", 200);
    let start = Instant::now();
    assert_eq!(client.receive_over(armed, "RETR file").0, b"from afar");
    assert_trips(start.elapsed(), 1);
}

#[test]
fn a_distant_server_stops_at_once() {
    let served = Served::with(|options| options.delay = Duration::from_secs(60));
    let client = crate::client::Client::connect(served.server.address());
    crate::client::wait_until("the session begins", || served.server.sessions() == 1);
    let start = Instant::now();
    drop(served);
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    drop(client);
}
