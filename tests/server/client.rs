//! A minimal raw FTP client: the test controls every byte it sends, and every wait has a deadline.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use ftpfs::server::{Access, Server, ServerOptions};

use crate::secure::Connection;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A server on a temporary directory, which is removed along with it.
pub(crate) struct Served {
    pub(crate) server: Server,
    directory: tempfile::TempDir,
}

impl Served {
    /// Starts an anonymous server on IPv4.
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut ServerOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("root")).unwrap();
        let mut options = ServerOptions::new(directory.path().join("root"), Access::Anonymous);
        change(&mut options);
        Self {
            server: Server::start(options).unwrap(),
            directory,
        }
    }

    /// Starts one server on each loopback address.
    pub(crate) fn on_both_families() -> [Self; 2] {
        [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        ]
        .map(|address| Self::with(|options| options.listen = SocketAddr::new(address, 0)))
    }

    /// Returns a path in the served root.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join("root").join(name)
    }

    /// Returns a path next to the served root.
    pub(crate) fn outside(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), contents).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Returns a client that has logged in as anonymous.
    pub(crate) fn client(&self) -> Client {
        let mut client = self.stranger();
        client.expect("USER anonymous", 331);
        client.expect("PASS me@", 230);
        client
    }

    /// Returns a client that has only read the greeting.
    pub(crate) fn stranger(&self) -> Client {
        let mut client = Client::connect(self.server.address());
        assert_eq!(client.reply().code, 220);
        client
    }
}

/// A reply and its text, without codes and line ends.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) text: String,
    /// The lines between the first and the last one.
    pub(crate) inner: Vec<Vec<u8>>,
}

pub(crate) struct Client {
    stream: BufReader<Connection>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self::of(Connection::Clear(stream))
    }

    pub(crate) fn of(connection: Connection) -> Self {
        Self {
            stream: BufReader::new(connection),
        }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.stream.get_ref().socket()
    }

    /// Returns the socket alone; asserts that no received data is left unread.
    pub(crate) fn into_socket(self) -> TcpStream {
        assert!(self.stream.buffer().is_empty());
        self.socket().try_clone().unwrap()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// Reads a line without its CR LF; returns `None` at the end of the connection.
    fn line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).unwrap();
        line.strip_suffix(b"\r\n").map(<[u8]>::to_vec)
    }

    pub(crate) fn reply(&mut self) -> Reply {
        let first = self.line().expect("a reply, not the end of the connection");
        let (start, text) = first.split_at(4);
        let code: u16 = std::str::from_utf8(&start[..3]).unwrap().parse().unwrap();
        let mut last = text.to_vec();
        let mut inner = Vec::new();
        if start[3] == b'-' {
            let end = format!("{code} ").into_bytes();
            loop {
                let line = self.line().expect("the rest of the reply");
                if let Some(text) = line.strip_prefix(end.as_slice()) {
                    last = text.to_vec();
                    break;
                }
                inner.push(line);
            }
        }
        Reply {
            code,
            text: String::from_utf8_lossy(&last).into_owned(),
            inner,
        }
    }

    pub(crate) fn command(&mut self, line: impl AsRef<[u8]>) -> Reply {
        self.send(&[line.as_ref(), b"\r\n"].concat());
        self.reply()
    }

    /// Sends a command, asserts the reply's code and returns its text.
    #[track_caller]
    pub(crate) fn expect(&mut self, line: impl AsRef<[u8]>, code: u16) -> String {
        let shown = String::from_utf8_lossy(line.as_ref()).into_owned();
        let reply = self.command(line);
        assert_eq!(reply.code, code, "{shown}: {reply:?}");
        reply.text
    }

    /// Asserts that the server sends nothing more before the connection ends.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        let mut rest = Vec::new();
        // A reset counts as an end as well.
        let _ = self.stream.read_to_end(&mut rest);
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    /// Opens a data connection by EPSV.
    pub(crate) fn extended_passive(&mut self) -> TcpStream {
        let text = self.expect("EPSV", 229);
        let port = text.split('|').nth(3).unwrap().parse().unwrap();
        self.connect_data(port)
    }

    /// Opens a data connection by PASV.
    pub(crate) fn passive(&mut self) -> TcpStream {
        let text = self.expect("PASV", 227);
        let numbers = text.split(['(', ')']).nth(1).unwrap();
        let numbers: Vec<u16> = numbers
            .split(',')
            .map(|number| number.parse().unwrap())
            .collect();
        assert_eq!(numbers[..4], [127, 0, 0, 1]);
        self.connect_data(numbers[4] * 256 + numbers[5])
    }

    fn connect_data(&self, port: u16) -> TcpStream {
        let host = self.socket().peer_addr().unwrap().ip();
        let stream = TcpStream::connect_timeout(&(host, port).into(), DEADLINE).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Returns the data sent for a command such as RETR or MLSD, and the last reply.
    pub(crate) fn receive(&mut self, line: impl AsRef<[u8]>) -> (Vec<u8>, Reply) {
        let data = self.extended_passive();
        self.receive_over(data, line)
    }

    pub(crate) fn receive_over(
        &mut self,
        mut data: TcpStream,
        line: impl AsRef<[u8]>,
    ) -> (Vec<u8>, Reply) {
        let reply = self.command(line);
        if reply.code != 150 {
            return (Vec::new(), reply);
        }
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).unwrap();
        (bytes, self.reply())
    }

    /// Sends `bytes` with a command such as STOR; returns the last reply.
    pub(crate) fn upload(&mut self, line: impl AsRef<[u8]>, bytes: &[u8]) -> Reply {
        let mut data = self.extended_passive();
        let reply = self.command(line);
        if reply.code != 150 {
            return reply;
        }
        data.write_all(bytes).unwrap();
        data.shutdown(Shutdown::Write).unwrap();
        self.reply()
    }

    /// Returns the lines of a listing command.
    #[track_caller]
    pub(crate) fn lines(&mut self, line: impl AsRef<[u8]>) -> Vec<String> {
        let (bytes, reply) = self.receive(line);
        assert_eq!(reply.code, 226, "{reply:?}");
        let text = String::from_utf8(bytes).unwrap();
        text.split_terminator("\r\n").map(str::to_owned).collect()
    }
}

/// A client address that neither accepts nor refuses connections: its queue is full, and stays full
/// as long as this value lives.
pub(crate) struct Unanswering {
    listener: socket2::Socket,
    _queued: Vec<socket2::Socket>,
}

impl Unanswering {
    pub(crate) fn new() -> Self {
        let listener = tcp_socket();
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let queued = (0..4)
            .map(|_| {
                let socket = tcp_socket();
                socket.set_nonblocking(true).unwrap();
                // Connections that no longer fit into the queue stay pending.
                let _ = socket.connect(&address);
                socket
            })
            .collect();
        Self {
            listener,
            _queued: queued,
        }
    }

    /// Returns the command that requests a data connection to this address.
    pub(crate) fn eprt(&self) -> String {
        let address = self.listener.local_addr().unwrap().as_socket().unwrap();
        format!("EPRT |1|{}|{}|", address.ip(), address.port())
    }
}

fn tcp_socket() -> socket2::Socket {
    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap()
}

/// Waits until `holds` returns true, and fails after the deadline.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Returns bytes in which a shift or a loss is detectable.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| (index % 251) as u8 ^ (index / 65_536) as u8)
        .collect()
}

/// Returns the names in a directory on the server's side, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
