//! A scripted peer that plays the server line by line, for behaviour that real servers cannot be
//! made to show.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{
    Capability, CommandCounts, ConnectOptions, ListingBudget, LocalOptions, OpenSockets, Password,
    RemotePath, ServerProfile, Session, Tls, Traffic,
};

/// Longer than any step of a script; ends a script that hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// The client's timeout in tests about silence, long enough for the other steps on a busy machine.
pub(super) const SHORT: Duration = Duration::from_secs(1);

/// A server that waits for one control connection.
pub(super) struct Peer {
    address: SocketAddr,
    story: JoinHandle<()>,
}

/// The control connection from the server's side.
pub(super) struct Stage {
    control: BufReader<Channel>,
}

/// A connection from the server's side.
pub(super) enum Channel {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Channel {
    /// Returns the underlying TCP socket.
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Clear(socket) => socket,
            Self::Tls(stream) => stream.get_ref(),
        }
    }

    /// Returns the TLS connection.
    pub(super) fn tls(&mut self) -> &mut StreamOwned<ServerConnection, TcpStream> {
        match self {
            Self::Clear(_) => panic!("in the clear"),
            Self::Tls(stream) => stream,
        }
    }
}

/// Resets the connection: closing without linger sends RST.
pub(super) fn reset(socket: TcpStream) {
    let lingerless = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
    lingerless.unwrap();
    drop(socket);
}

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Channel {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Clear(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// What is played for one client.
pub(super) type Script = Box<dyn FnOnce(&mut Stage) + Send>;

impl Peer {
    /// Runs `story` for the first client on 127.0.0.1.
    pub(super) fn plays(story: impl FnOnce(&mut Stage) + Send + 'static) -> Self {
        Self::plays_at("127.0.0.1:0", story)
    }

    /// Runs `story` for the first client at `address`.
    pub(super) fn plays_at(address: &str, story: impl FnOnce(&mut Stage) + Send + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let story = std::thread::spawn(move || story(&mut Stage::next(&listener)));
        Self { address, story }
    }

    /// Runs one script for the first client and another for the second.
    pub(super) fn plays_two(
        one: impl FnOnce(&mut Stage) + Send + 'static,
        other: impl FnOnce(&mut Stage) + Send + 'static,
    ) -> Self {
        Self::plays_all(vec![Box::new(one), Box::new(other)])
    }

    /// Runs a script for each client.
    pub(super) fn plays_all(scripts: Vec<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let story = std::thread::spawn(move || {
            for script in scripts {
                script(&mut Stage::next(&listener));
            }
        });
        Self { address, story }
    }

    /// A peer without a script: another program serves `address`.
    pub(super) fn elsewhere(address: SocketAddr) -> Self {
        let story = std::thread::spawn(|| {});
        Self { address, story }
    }

    /// Returns options for this peer, with a timeout that no working script reaches.
    pub(super) fn options(&self) -> ConnectOptions {
        ConnectOptions {
            host: self.address.ip().to_string(),
            port: self.address.port(),
            user: "alice".to_owned(),
            password: Password::new("open sesame"),
            account: String::new(),
            tls: Tls::Off,
            connect_timeout: PATIENCE / 2,
            timeout: PATIENCE / 2,
            proxy: None,
            active: false,
            local: LocalOptions::default(),
            trust_pasv_address: false,
            charset: None,
            counts: CommandCounts::default(),
            traffic: Traffic::default(),
            listings: ListingBudget::default(),
            sockets: OpenSockets::default(),
            timezone: None,
            profile: ServerProfile::without(&[Capability::Pipelining]),
            login_commands: Vec::new(),
        }
    }

    /// The same with a short timeout, for tests about silence.
    pub(super) fn impatient(&self) -> ConnectOptions {
        ConnectOptions {
            timeout: SHORT,
            ..self.options()
        }
    }

    /// Opens a session with this peer. The script begins with [`Stage::log_in`].
    pub(super) fn session(&self) -> Session {
        Session::connect(&self.options()).unwrap()
    }

    /// Opens a session that sends batches of commands. It prepares no data connections because it
    /// uses active mode.
    pub(super) fn pipelining_session(&self) -> Session {
        let options = ConnectOptions {
            profile: proven(),
            active: true,
            ..self.options()
        };
        Session::connect(&options).unwrap()
    }

    /// Opens a session that sends everything possible ahead. The script begins with
    /// [`Stage::log_in`].
    pub(super) fn preparing_session(&self) -> Session {
        let options = ConnectOptions {
            profile: proven(),
            ..self.options()
        };
        Session::connect(&options).unwrap()
    }

    /// Waits for the end of the script and checks that it succeeded.
    pub(super) fn join(self) {
        self.story.join().unwrap();
    }
}

impl Stage {
    /// Accepts the next client at `listener`.
    fn next(listener: &TcpListener) -> Self {
        let (control, _) = listener.accept().unwrap();
        control.set_read_timeout(Some(PATIENCE)).unwrap();
        control.set_nodelay(true).unwrap();
        Self {
            control: BufReader::new(Channel::Clear(control)),
        }
    }

    /// Sends `lines`, each with a line end, in one write: a client may close after the first of
    /// them.
    pub(super) fn reply(&mut self, lines: &str) {
        let lines: Vec<u8> = lines
            .lines()
            .flat_map(|line| [line.as_bytes(), b"\r\n"].concat())
            .collect();
        self.send(&lines);
    }

    /// Sends bytes as they are.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.control.get_mut().write_all(bytes).unwrap();
    }

    /// Expects `line` as the client's next command.
    #[track_caller]
    pub(super) fn expect_command(&mut self, line: &str) {
        assert_eq!(String::from_utf8_lossy(&self.next_command()), line);
    }

    /// Receives the client's next command.
    pub(super) fn next_command(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.control.read_until(b'\n', &mut line).unwrap();
        assert!(line.ends_with(b"\r\n"), "not a line: {line:?}");
        line.truncate(line.len() - 2);
        line
    }

    /// Expects `line` as the next command and answers it with `reply`.
    #[track_caller]
    pub(super) fn answer(&mut self, line: &str, reply: &str) {
        self.expect_command(line);
        self.reply(reply);
    }

    /// Plays a login without features.
    #[track_caller]
    pub(super) fn log_in(&mut self) {
        self.log_in_with("502 no FEAT");
    }

    /// Plays a login and answers FEAT with `features`.
    #[track_caller]
    pub(super) fn log_in_with(&mut self, features: &str) {
        self.log_in_as("ready", features);
    }

    /// The same with another greeting.
    #[track_caller]
    pub(super) fn log_in_as(&mut self, greeting: &str, features: &str) {
        self.reply(&format!("220 {greeting}"));
        self.answer("USER alice", "331 password?");
        self.answer("PASS open sesame", "230 in");
        self.answer("FEAT", features);
        self.answer("TYPE I", "200 binary");
    }

    /// Sets up a data connection by EPSV and accepts it.
    #[track_caller]
    pub(super) fn extended_passive(&mut self) -> TcpStream {
        self.expect_command("EPSV");
        let listener = TcpListener::bind((self.local().ip(), 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        self.reply(&format!("229 Entering (|||{port}|)"));
        taken(&listener)
    }

    /// Local address of the control connection.
    pub(super) fn local(&self) -> SocketAddr {
        self.control.get_ref().socket().local_addr().unwrap()
    }

    /// Switches the control connection to TLS.
    pub(super) fn secure(&mut self, config: &Arc<ServerConfig>) {
        assert_eq!(self.control.buffer(), b"", "said before the handshake");
        let socket = self.control.get_ref().socket().try_clone().unwrap();
        self.control = BufReader::new(secured(socket, config));
    }

    /// Returns the control connection.
    pub(super) fn channel(&mut self) -> &mut Channel {
        self.control.get_mut()
    }

    /// Expects the client to disconnect without another command.
    pub(super) fn expect_disconnect(&mut self) {
        let mut rest = Vec::new();
        // A reset counts as a disconnect.
        let _ = self.control.read_to_end(&mut rest);
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    /// Reads from the client until it disconnects.
    pub(super) fn drain(&mut self) {
        // A reset counts as a disconnect.
        let _ = self.control.read_to_end(&mut Vec::new());
    }

    /// Checks that the client is connected and in step.
    #[track_caller]
    pub(super) fn noop(&mut self) {
        self.answer("NOOP", "200 here");
    }
}

/// Wraps a connection in TLS. The first read or write performs the handshake.
pub(super) fn secured(socket: TcpStream, config: &Arc<ServerConfig>) -> Channel {
    let connection = ServerConnection::new(Arc::clone(config)).unwrap();
    Channel::Tls(Box::new(StreamOwned::new(connection, socket)))
}

/// Accepts the next connection to `listener`.
pub(super) fn taken(listener: &TcpListener) -> TcpStream {
    let (data, _) = listener.accept().unwrap();
    data.set_read_timeout(Some(PATIENCE)).unwrap();
    data
}

/// Returns the profile of a server that has proved to support sending ahead.
pub(super) fn proven() -> ServerProfile {
    let profile = ServerProfile::default();
    profile.works(Capability::Pipelining);
    profile.works(Capability::EarlyDataConnection);
    profile
}

/// Parses a path.
pub(super) fn path(bytes: &str) -> RemotePath {
    RemotePath::new(bytes.as_bytes()).unwrap()
}
