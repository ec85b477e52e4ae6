//! Benchmarking: a link with a round-trip time, and what scripts/bench reports about a run.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Told, behind, link, run_with, script, wait_for, word};

const DEADLINE: Duration = Duration::from_secs(20);
const ROUND_TRIP: Duration = Duration::from_millis(40);

/// Starts a link, and a server at its far end that answers each connection with one byte.
fn link_with_a_server() -> (Told, Told, String) {
    let link = link(&[&format!("rtt={}", ROUND_TRIP.as_millis())]);
    let address = format!("{}:7000", word(&link.first, "address"));
    let serve = "import socket, sys\n\
        host, port = sys.argv[1].split(':')\n\
        listening = socket.create_server((host, int(port)))\n\
        print('ready', flush=True)\n\
        while True:\n    connection, _ = listening.accept()\n    connection.sendall(b'!')\n    connection.close()";
    let server = Told::start(behind(&link).args(["python3", "-c", serve, &address]));
    assert_eq!(server.first, "ready");
    (link, server, address)
}

fn answers(address: &str, limit: Duration) -> bool {
    let address = address.parse().expect("an address");
    let Ok(mut connection) = TcpStream::connect_timeout(&address, limit) else {
        return false;
    };
    connection.set_read_timeout(Some(limit)).expect("a limit");
    connection.read_exact(&mut [0]).is_ok()
}

fn has_device_with(address: &str) -> bool {
    let shown = run_with(
        "python3",
        &[
            "-c".as_ref(),
            "import socket, sys\n\
         one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         try: one.bind((sys.argv[1], 0)); print('there')\n\
         except OSError: print('gone')"
                .as_ref(),
            address.as_ref(),
        ],
    );
    shown.stdout.starts_with(b"there")
}

/// Two round trips, of the handshake and of the answer, cannot finish sooner, because the link
/// delays each packet.
#[test]
fn a_link_takes_its_round_trip_time_and_can_be_cut() {
    let (mut link, _server, address) = link_with_a_server();
    let began = Instant::now();
    assert!(answers(&address, DEADLINE));
    assert!(
        began.elapsed() >= ROUND_TRIP,
        "the handshake alone is a round trip"
    );

    link.say("cut");
    assert!(
        !answers(&address, ROUND_TRIP * 5),
        "every packet is swallowed"
    );
    link.say("heal");
    link.say("rtt=0");
    assert!(answers(&address, DEADLINE));
}

#[test]
fn a_link_that_is_killed_leaves_nothing_behind() {
    let (mut link, _server, _) = link_with_a_server();
    let near = word(&link.first, "near").to_owned();
    assert!(has_device_with(&near));
    link.process.kill().expect("SIGKILL");
    link.process.wait().expect("its end");
    assert!(wait_for(DEADLINE, || !has_device_with(&near)));
}

/// A run over a link with one peer: the tables, and the file from which the chart and page are
/// made.
#[test]
fn a_run_is_told_in_tables_a_picture_and_a_page() {
    let scratch = tempfile::tempdir().expect("a directory");
    let (json, page) = (
        scratch.path().join("run.json"),
        scratch.path().join("performance.md"),
    );
    let bench = script("bench");
    let ftpfs = env!("CARGO_BIN_EXE_ftpfs");
    let options = "--quick --rounds 1 --rtt 0,10 --work mount,deep,walk --peers curl";
    let mut words: Vec<&std::ffi::OsStr> = options.split(' ').map(AsRef::as_ref).collect();
    words.extend::<[&std::ffi::OsStr; 4]>([
        "--ftpfs".as_ref(),
        ftpfs.as_ref(),
        "--json".as_ref(),
        json.as_ref(),
    ]);
    let told = run_with(bench.to_str().expect("a path"), &words);
    let told = String::from_utf8_lossy(&told.stdout);
    let row_of = |part: &str| {
        let after = told.split(part).nth(1).expect(part);
        let row = after.lines().find(|line| line.starts_with("| walk"));
        row.expect("the walk's row").to_owned()
    };
    let far = row_of("Round-trip time 10 ms");
    assert!(
        far.contains(" per directory "),
        "round trips per item: {far}"
    );
    // From the server's log.
    let costs = row_of("Commands that ftpfs sent");
    assert!(costs.contains("USER:"), "{costs}");

    fs::write(
        &page,
        "before\n<!-- measured -->\nold\n<!-- /measured -->\nafter\n",
    )
    .expect("a page");
    let doc: [&std::ffi::OsStr; 4] = [
        "--page".as_ref(),
        json.as_ref(),
        "--doc".as_ref(),
        scratch.path().as_ref(),
    ];
    run_with(bench.to_str().expect("a path"), &doc);
    let filled = fs::read_to_string(&page).expect("the page");
    assert!(
        filled.starts_with("before\n") && filled.ends_with("after\n") && !filled.contains("old\n")
    );
    assert!(filled.contains("| walk a tree"), "{filled}");
    let picture = fs::read_to_string(scratch.path().join("performance.svg")).expect("the picture");
    assert!(
        picture.starts_with("<svg") && picture.contains("walk a tree"),
        "{picture}"
    );
}

/// Another mount does the same work at the far end of the link. The page shows seconds.
#[test]
fn a_days_work_is_compared_with_sshfs_on_a_page() {
    let scratch = tempfile::tempdir().expect("a directory");
    let (json, page) = (
        scratch.path().join("run.json"),
        scratch.path().join("comparison.md"),
    );
    let bench = script("bench");
    let bench = bench.to_str().expect("a path");
    let options = "--quick --rounds 1 --rtt 5 --work save --peers sshfs --ftpfs";
    let mut words: Vec<&std::ffi::OsStr> = options.split(' ').map(AsRef::as_ref).collect();
    words.extend::<[&std::ffi::OsStr; 3]>([
        env!("CARGO_BIN_EXE_ftpfs").as_ref(),
        "--json".as_ref(),
        json.as_ref(),
    ]);
    let told = run_with(bench, &words);
    let told = String::from_utf8_lossy(&told.stdout);
    assert!(
        told.contains("| vs sshfs |") && !told.contains("failed"),
        "{told}"
    );

    // One workload of the day is enough here.
    let run = fs::read_to_string(&json).expect("the run");
    let day = run.replace("\"is_day\": false", "\"is_day\": true");
    assert_ne!(day, run);
    fs::write(&json, day).expect("the run");
    fs::write(&page, "before\n<!-- day -->\nold\n<!-- /day -->\nafter\n").expect("a page");
    let doc: [&std::ffi::OsStr; 4] = [
        "--page".as_ref(),
        json.as_ref(),
        "--doc".as_ref(),
        scratch.path().as_ref(),
    ];
    run_with(bench, &doc);
    let filled = fs::read_to_string(&page).expect("the page");
    assert!(
        filled.starts_with("before\n") && filled.ends_with("after\n") && !filled.contains("old\n")
    );
    let row = filled
        .lines()
        .find(|line| line.starts_with("| save"))
        .expect("a row");
    let seconds: Vec<_> = row.split('|').skip(2).map(str::trim).collect();
    assert!(
        matches!(seconds[..], [ftpfs, writeback, sshfs, ""]
            if [ftpfs, writeback, sshfs].iter().all(|one| one.parse::<f64>().is_ok())),
        "{row}"
    );
}
