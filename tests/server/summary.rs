//! The line in the log at the end of each session.

use std::net::SocketAddr;
use std::sync::{Mutex, Once};
use std::time::Duration;

use ftpfs::server::{Access, SESSION_LOG};

use crate::client::{Client, Served, wait_until};
use crate::secure::Secured;

/// A log that keeps the summaries of all sessions in this process.
struct Summaries(Mutex<Vec<String>>);

static SUMMARIES: Summaries = Summaries(Mutex::new(Vec::new()));

impl log::Log for Summaries {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() == SESSION_LOG
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            assert_eq!(record.level(), log::Level::Info);
            self.0.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

impl Summaries {
    fn start() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            log::set_logger(&SUMMARIES).unwrap();
            log::set_max_level(log::LevelFilter::Info);
        });
    }

    fn find(&self, of: SocketAddr) -> Option<String> {
        let from = format!(" from {of}, ");
        let lines = self.0.lock().unwrap();
        lines.iter().find(|line| line.contains(&from)).cloned()
    }
}

/// Returns the summary of the session from `client`, without the duration, and asserts that it is
/// one line.
fn summary_of(client: SocketAddr) -> String {
    wait_until("the summary is logged", || SUMMARIES.find(client).is_some());
    let line = SUMMARIES.find(client).unwrap();
    assert!(!line.contains(char::is_control), "{line}");
    let (start, rest) = line.split_once(&format!(" from {client}, ")).unwrap();
    let (seconds, rest) = rest.split_once(" s: ").unwrap();
    let seconds: f64 = seconds.parse().unwrap();
    assert!((0.0..60.0).contains(&seconds), "{line}");
    format!("{start}: {rest}")
}

fn address(client: &Client) -> SocketAddr {
    client.socket().local_addr().unwrap()
}

fn joes() -> Served {
    Summaries::start();
    Served::with(|options| {
        options.access = Access::Account {
            user: "joe\u{7}".into(),
            password: "s3cret".into(),
        };
        options.idle = Duration::from_secs(5);
    })
}

#[test]
fn a_session_is_summed_up_with_its_user_files_and_end() {
    let served = joes();
    served.write("file", "hello");
    let mut client = served.stranger();
    client.expect("USER joe\u{7}", 331);
    client.expect("PASS s3cret", 230);
    assert_eq!(client.receive("RETR file").0, b"hello");
    assert_eq!(client.receive("RETR file").0, b"hello");
    assert_eq!(client.upload("STOR new", b"0123456789a").code, 226);
    // Listings and refused transfers are not files.
    client.lines("MLSD");
    assert_eq!(client.receive("RETR none").1.code, 550);
    client.expect("QUIT", 221);
    assert_eq!(
        summary_of(address(&client)),
        "server: session of \"joe\\u{7}\": received 1 file (11 bytes), sent 2 files (10 bytes), \
         ended by QUIT"
    );
}

#[test]
fn an_incomplete_transfer_counts_its_bytes_and_no_file() {
    Summaries::start();
    let served = Served::with(|options| options.idle = Duration::from_secs(1));
    let mut client = served.client();
    let mut data = client.extended_passive();
    client.expect("STOR file", 150);
    std::io::Write::write_all(&mut data, b"half").unwrap();
    assert_eq!(client.reply().code, 426);
    let from = address(&client);
    assert_eq!(client.reply().code, 421);
    assert_eq!(
        summary_of(from),
        "server: session of \"anonymous\": received 0 files (4 bytes), sent 0 files (0 bytes), \
         ended by idle timeout"
    );
}

#[test]
fn a_refused_login_is_named_without_what_was_typed() {
    let served = joes();
    let mut client = served.stranger();
    for expected in [530, 530, 421] {
        client.expect("USER s3cret", 331);
        client.expect("PASS gu3ss", expected);
    }
    let line = summary_of(address(&client));
    assert_eq!(
        line,
        "server: session without login: received 0 files (0 bytes), sent 0 files (0 bytes), \
         3 logins refused, ended by refused login"
    );
}

#[test]
fn bytes_over_tls_are_those_of_the_files() {
    Summaries::start();
    let secured = Secured::start();
    secured.served.write("file", "12345");
    let config = secured.config();
    let mut client = secured.client(&config);
    assert_eq!(client.receive_secure(&config, "RETR file").0, b"12345");
    client.expect("QUIT", 221);
    let line = summary_of(address(&client));
    assert!(
        line.contains("sent 1 file (5 bytes), ended by QUIT"),
        "{line}"
    );

    let mut stranger = secured.served.stranger();
    stranger.expect("AUTH TLS", 234);
    stranger.send(b"no handshake\r\n");
    let line = summary_of(address(&stranger));
    assert!(line.ends_with("ended by failed TLS handshake"), "{line}");
}

#[test]
fn every_other_end_is_named() {
    Summaries::start();
    let impatient = Served::with(|options| options.login_timeout = Duration::from_secs(2));
    let mut silent = impatient.stranger();
    assert_eq!(silent.reply().code, 421);
    let line = summary_of(address(&silent));
    assert!(line.ends_with("ended by login timeout"), "{line}");

    let served = Served::with(|options| options.login_timeout = Duration::MAX);
    let closing = served.client();
    let from = address(&closing);
    drop(closing);
    let line = summary_of(from);
    assert!(
        line.ends_with("ended by the client closing the connection"),
        "{line}"
    );

    let staying = served.client();
    served.server.stop();
    let line = summary_of(address(&staying));
    assert!(line.ends_with("ended by server stop"), "{line}");
}
