//! A peer that plays a server's part line by line, as a story tells it: for what no real server
//! can be made to say.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{
    Capability, CommandCounts, ConnectOptions, ListingBudget, LocalOptions, Password, RemotePath,
    ServerProfile, Session, Tls,
};

/// Longer than any step of a story: it ends a story that hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// The client's deadline in stories about silence; long enough for what is said in them on a busy
/// machine.
pub(super) const SHORT: Duration = Duration::from_secs(1);

/// A server that waits for one control connection.
pub(super) struct Peer {
    address: SocketAddr,
    story: JoinHandle<()>,
}

/// The control connection, from the server's side.
pub(super) struct Stage {
    control: BufReader<Channel>,
}

/// A connection, from the server's side.
pub(super) enum Channel {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Channel {
    /// The TCP socket below.
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Clear(socket) => socket,
            Self::Tls(stream) => stream.get_ref(),
        }
    }

    /// The TLS connection.
    pub(super) fn tls(&mut self) -> &mut StreamOwned<ServerConnection, TcpStream> {
        match self {
            Self::Clear(_) => panic!("in the clear"),
            Self::Tls(stream) => stream,
        }
    }
}

/// Resets the connection: closed without a linger it sends RST.
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

impl Peer {
    /// Plays `story` to the first client on 127.0.0.1.
    pub(super) fn plays(story: impl FnOnce(&mut Stage) + Send + 'static) -> Self {
        Self::plays_at("127.0.0.1:0", story)
    }

    /// Plays `story` to the first client at `address`.
    pub(super) fn plays_at(address: &str, story: impl FnOnce(&mut Stage) + Send + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let story = std::thread::spawn(move || story(&mut Stage::next(&listener)));
        Self { address, story }
    }

    /// Plays the one story to the first client, then the other to the second.
    pub(super) fn plays_two(
        one: impl FnOnce(&mut Stage) + Send + 'static,
        other: impl FnOnce(&mut Stage) + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let story = std::thread::spawn(move || {
            one(&mut Stage::next(&listener));
            other(&mut Stage::next(&listener));
        });
        Self { address, story }
    }

    /// One that plays no story: another program serves at `address`.
    pub(super) fn elsewhere(address: SocketAddr) -> Self {
        let story = std::thread::spawn(|| {});
        Self { address, story }
    }

    /// Options that lead here, with a deadline no healthy story meets.
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
            listings: ListingBudget::default(),
            timezone: None,
            profile: ServerProfile::without(&[Capability::Pipelining]),
            login_commands: Vec::new(),
        }
    }

    /// The same, with a deadline for stories about silence.
    pub(super) fn impatient(&self) -> ConnectOptions {
        ConnectOptions {
            timeout: SHORT,
            ..self.options()
        }
    }

    /// A session here; the story begins with [`Stage::log_in`].
    pub(super) fn session(&self) -> Session {
        Session::connect(&self.options()).unwrap()
    }

    /// A session that sends commands together, and opens no data connection ahead: it is an active
    /// one.
    pub(super) fn queueing_session(&self) -> Session {
        let options = ConnectOptions {
            profile: proven(),
            active: true,
            ..self.options()
        };
        Session::connect(&options).unwrap()
    }

    /// A session that sends ahead all it can; the story begins with [`Stage::log_in`].
    pub(super) fn armed_session(&self) -> Session {
        let options = ConnectOptions {
            profile: proven(),
            ..self.options()
        };
        Session::connect(&options).unwrap()
    }

    /// The story was played to its end, and each line of it came true.
    pub(super) fn ends(self) {
        self.story.join().unwrap();
    }
}

impl Stage {
    /// With the next client at `listener`.
    fn next(listener: &TcpListener) -> Self {
        let (control, _) = listener.accept().unwrap();
        control.set_read_timeout(Some(PATIENCE)).unwrap();
        control.set_nodelay(true).unwrap();
        Self {
            control: BufReader::new(Channel::Clear(control)),
        }
    }

    /// Sends `lines`, each with its line end. They go in one write: a client may close at the first
    /// of them.
    pub(super) fn say(&mut self, lines: &str) {
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

    /// The client's next command is `line`.
    #[track_caller]
    pub(super) fn hear(&mut self, line: &str) {
        assert_eq!(String::from_utf8_lossy(&self.heard()), line);
    }

    /// The client's next command.
    pub(super) fn heard(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.control.read_until(b'\n', &mut line).unwrap();
        assert!(line.ends_with(b"\r\n"), "not a line: {line:?}");
        line.truncate(line.len() - 2);
        line
    }

    /// The client's next command is `line`, and is answered so.
    #[track_caller]
    pub(super) fn answer(&mut self, line: &str, reply: &str) {
        self.hear(line);
        self.say(reply);
    }

    /// Greets, lets in, has no features.
    #[track_caller]
    pub(super) fn log_in(&mut self) {
        self.log_in_with("502 no FEAT");
    }

    /// Greets, lets in, answers FEAT with `features`.
    #[track_caller]
    pub(super) fn log_in_with(&mut self, features: &str) {
        self.log_in_as("ready", features);
    }

    /// The same after this greeting.
    #[track_caller]
    pub(super) fn log_in_as(&mut self, greeting: &str, features: &str) {
        self.say(&format!("220 {greeting}"));
        self.answer("USER alice", "331 password?");
        self.answer("PASS open sesame", "230 in");
        self.answer("FEAT", features);
        self.answer("TYPE I", "200 binary");
    }

    /// Agrees on a data connection by EPSV and takes it.
    #[track_caller]
    pub(super) fn extended_passive(&mut self) -> TcpStream {
        self.hear("EPSV");
        let listener = TcpListener::bind((self.local().ip(), 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        self.say(&format!("229 Entering (|||{port}|)"));
        taken(&listener)
    }

    /// The end of the control connection on this side.
    pub(super) fn local(&self) -> SocketAddr {
        self.control.get_ref().socket().local_addr().unwrap()
    }

    /// The control connection goes on over TLS.
    pub(super) fn secure(&mut self, config: &Arc<ServerConfig>) {
        assert_eq!(self.control.buffer(), b"", "said before the handshake");
        let socket = self.control.get_ref().socket().try_clone().unwrap();
        self.control = BufReader::new(secured(socket, config));
    }

    /// The control connection itself.
    pub(super) fn channel(&mut self) -> &mut Channel {
        self.control.get_mut()
    }

    /// The client leaves without another word.
    pub(super) fn is_left(&mut self) {
        let mut rest = Vec::new();
        // A reset is leaving, too.
        let _ = self.control.read_to_end(&mut rest);
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    /// Reads what the client says until it leaves.
    pub(super) fn drain(&mut self) {
        // A reset is leaving, too.
        let _ = self.control.read_to_end(&mut Vec::new());
    }

    /// The client is still there and in step.
    #[track_caller]
    pub(super) fn noop(&mut self) {
        self.answer("NOOP", "200 here");
    }
}

/// A connection over TLS, whose handshake is done with the first byte read or written.
pub(super) fn secured(socket: TcpStream, config: &Arc<ServerConfig>) -> Channel {
    let connection = ServerConnection::new(Arc::clone(config)).unwrap();
    Channel::Tls(Box::new(StreamOwned::new(connection, socket)))
}

/// The next connection to `listener`.
pub(super) fn taken(listener: &TcpListener) -> TcpStream {
    let (data, _) = listener.accept().unwrap();
    data.set_read_timeout(Some(PATIENCE)).unwrap();
    data
}

/// The profile of a server that has proved to bear what is sent ahead.
pub(super) fn proven() -> ServerProfile {
    let profile = ServerProfile::default();
    profile.works(Capability::Pipelining);
    profile.works(Capability::EarlyDataConnection);
    profile
}

/// A path.
pub(super) fn path(bytes: &str) -> RemotePath {
    RemotePath::new(bytes.as_bytes()).unwrap()
}
