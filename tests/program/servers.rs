//! The foreign servers that other tests run against: they start, accept the account, and end with
//! their test.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{Kind, PASSWORD, TestServer, USER, wait_for};

/// Maximum time that a server may be silent.
const SILENCE: Duration = Duration::from_secs(20);

/// The kinds that log every command.
const LOGGED: [Kind; 6] = [
    Kind::Vsftpd,
    Kind::Proftpd,
    Kind::Pyftpdlib,
    Kind::FtpSrv,
    Kind::Aioftp,
    Kind::Twisted,
];

/// The kinds that can limit the sessions per address.
const LIMITED: [Kind; 5] = [
    Kind::Vsftpd,
    Kind::Proftpd,
    Kind::PureFtpd,
    Kind::Pyftpdlib,
    Kind::Aioftp,
];

/// A hand-driven control connection, because other tests use these servers to test the ftpfs
/// client.
struct Control(BufReader<TcpStream>);

impl Control {
    fn open(port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        let mut control = Self(BufReader::new(socket));
        assert!(control.reply().starts_with("220"));
        control
    }

    fn say(&mut self, command: &str) -> String {
        self.0
            .get_mut()
            .write_all(format!("{command}\r\n").as_bytes())
            .unwrap();
        self.reply()
    }

    /// Returns the last line of a reply (RFC 959 §4.2).
    fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            if line.is_empty() || line.get(3..4) == Some(" ") {
                return line;
            }
        }
    }

    fn log_in(&mut self, password: &str) -> String {
        let reply = self.say(&format!("USER {USER}"));
        if reply.starts_with('5') {
            return reply;
        }
        self.say(&format!("PASS {password}"))
    }
}

#[test]
fn the_account_logs_in_to_each_with_its_password_alone() {
    for kind in Kind::FOREIGN {
        let server = TestServer::start(kind);
        let reply = Control::open(server.port()).log_in(PASSWORD);
        assert!(reply.starts_with("230"), "{kind:?}: {reply}");
        let reply = Control::open(server.port()).log_in("another");
        assert!(reply.starts_with("530"), "{kind:?}: {reply}");
    }
}

#[test]
fn what_the_account_makes_is_in_the_root() {
    for kind in Kind::FOREIGN {
        let server = TestServer::start(kind);
        let mut control = Control::open(server.port());
        control.log_in(PASSWORD);
        let reply = control.say("MKD /made");
        assert!(reply.starts_with("257"), "{kind:?}: {reply}");
        assert!(server.root().join("made").is_dir(), "{kind:?}");
    }
}

#[test]
fn commands_are_logged_in_order_and_without_passwords() {
    for kind in LOGGED {
        let server = TestServer::start(kind);
        let mut control = Control::open(server.port());
        control.log_in(PASSWORD);
        control.say("NOOP");
        control.say("DELE /no such file");
        // ProFTPD logs a command after it has answered.
        let logged = wait_for(SILENCE, || {
            let commands = server.commands();
            commands.ends_with(&["NOOP".to_owned(), "DELE /no such file".to_owned()])
        });
        assert!(logged, "{kind:?}: {:?}", server.commands());
        let log = server.commands().join("\n");
        assert!(log.contains(USER) && !log.contains(PASSWORD), "{log}");
    }
}

#[test]
fn a_limit_on_sessions_is_kept() {
    for kind in LIMITED {
        let server = TestServer::start_with_arguments(kind, &["--max-per-ip", "1"]);
        let mut first = Control::open(server.port());
        assert!(first.log_in(PASSWORD).starts_with("230"), "{kind:?}");
        let second = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        second.set_read_timeout(Some(SILENCE)).unwrap();
        let mut second = Control(BufReader::new(second));
        let mut reply = second.reply();
        if reply.starts_with("220") {
            // ProFTPD counts sessions at login.
            reply = second.log_in(PASSWORD);
        }
        assert!(
            reply.starts_with("421") || reply.starts_with("530"),
            "{kind:?}: {reply}"
        );
    }
}

#[test]
fn a_server_ends_with_its_test_also_while_sessions_are_open() {
    for kind in Kind::FOREIGN {
        let server = TestServer::start(kind);
        let port = server.port();
        let mut control = Control::open(port);
        assert!(control.log_in(PASSWORD).starts_with("230"), "{kind:?}");
        drop(server);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "{kind:?}");
        let mut rest = String::new();
        let ended = control.0.read_line(&mut rest);
        assert!(matches!(ended, Ok(0) | Err(_)), "{kind:?}: {rest}");
    }
}
