//! Setup and opening of data connections (RFC 959 §3.2, RFC 2428, RFC 2577).

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};

use super::control::{Control, Event, HANDSHAKE_DEADLINE};
use super::passive_ports::{self, PassiveListenError};
use super::reply::{Gone, Reply, Stop, reason, refused};
use super::tls::Stream;

/// Time limit for the opening of an announced data connection.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);

/// What PASV, EPSV, PORT or EPRT set up for the next transfer.
#[derive(Default)]
pub(super) enum DataSetup {
    /// Nothing is set up.
    #[default]
    Unset,
    /// The client connects to this socket.
    Passive(Passive),
    /// The client has connected ahead of its command. The port is free again.
    Opened(DataConnection),
    /// The server connects to this address.
    Active(SocketAddr),
}

/// A listening socket for one data connection from the peer of the control connection.
pub(super) struct Passive {
    listener: TcpListener,
    peer: IpAddr,
}

/// An open data connection.
pub(super) struct DataConnection {
    pub(super) stream: Stream,
    /// No byte is transferred before this time.
    pub(super) usable_from: Instant,
}

impl Passive {
    /// Listens on the address of the control connection, on one of `ports` if there are any.
    pub(super) fn listen(
        local: IpAddr,
        peer: IpAddr,
        ports: Option<&RangeInclusive<u16>>,
    ) -> Result<Self, PassiveListenError> {
        let listener = passive_ports::listen(local, ports)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, peer })
    }

    pub(super) fn port(&self) -> io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// Accepts the client's connection if it has arrived. Closes a connection from any other
    /// address.
    fn accept(&self, control: &Control) -> io::Result<Option<DataConnection>> {
        loop {
            match self.listener.accept() {
                Ok((stream, from)) if from.ip() == self.peer => {
                    return DataConnection::new(stream, control).map(Some);
                }
                Ok((_, from)) => {
                    log::warn!(
                        "server: refused a data connection from {from}, which is not the client"
                    );
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn wait(self, control: &mut Control, deadline: Instant) -> Result<DataConnection, Stop> {
        loop {
            await_opening(control, self.listener.as_fd(), PollFlags::IN, deadline)?;
            let accepted = self.accept(control).map_err(|error| cannot_open(&error))?;
            if let Some(connection) = accepted {
                return Ok(connection);
            }
        }
    }
}

impl DataConnection {
    fn new(stream: TcpStream, control: &Control) -> io::Result<Self> {
        Ok(Self {
            stream: Stream::new(stream)?,
            usable_from: control.handshake_done(),
        })
    }

    /// Starts TLS. With `reuse`, requires that it resume a session of the control connection.
    pub(super) fn secure(
        &mut self,
        control: &mut Control,
        config: Arc<ServerConfig>,
        reuse: bool,
    ) -> Result<(), Stop> {
        control.pause_until(self.usable_from)?;
        self.stream
            .begin_tls(config)
            .map_err(|error| no_tls(&error))?;
        let deadline = Instant::now() + HANDSHAKE_DEADLINE;
        while let Some(awaited) = self.stream.handshake().map_err(|error| no_tls(&error))? {
            await_opening(control, self.stream.as_fd(), awaited, deadline)?;
        }
        if reuse && !self.stream.is_resumed() {
            return Err(refused(
                522,
                "The data connection must resume the TLS session of its control connection",
            ));
        }
        // The client's last handshake message is delayed like any reply.
        self.usable_from = control.one_way_done();
        Ok(())
    }

    /// Connects to the client, while watching for ABOR and the end of the session.
    fn connect(
        address: SocketAddr,
        control: &mut Control,
        deadline: Instant,
    ) -> Result<Self, Stop> {
        let socket = begin_connect(address).map_err(|error| cannot_open(&error))?;
        await_opening(control, socket.as_fd(), PollFlags::OUT, deadline)?;
        match socket.take_error() {
            Ok(None) => Self::new(socket.into(), control).map_err(|error| cannot_open(&error)),
            Ok(Some(error)) | Err(error) => Err(cannot_open(&error)),
        }
    }
}

impl DataSetup {
    /// Waits for input on the control connection, and accepts a data connection that is opened
    /// ahead of its command.
    pub(super) fn watch(
        &mut self,
        control: &mut Control,
        deadline: Instant,
    ) -> Result<Event, Gone> {
        let Self::Passive(passive) = self else {
            return control.watch(None, deadline);
        };
        let listener = passive.listener.as_fd();
        let event = control.watch(Some((listener, PollFlags::IN)), deadline)?;
        if event == Event::Other {
            match passive.accept(control) {
                Ok(Some(connection)) => *self = Self::Opened(connection),
                Ok(None) => {}
                Err(error) => {
                    log::warn!("server: cannot accept a data connection: {error}");
                    *self = Self::Unset;
                }
            }
        }
        Ok(event)
    }

    /// Announces the transfer with 150 and opens its data connection.
    pub(super) fn open(
        self,
        control: &mut Control,
        patience: Duration,
        text: &str,
    ) -> Result<DataConnection, Stop> {
        if matches!(self, Self::Unset) {
            return Err(no_setup());
        }
        control.reply(&Reply::new(150, text))?;
        let deadline = Instant::now() + patience.min(OPEN_DEADLINE);
        match self {
            Self::Unset => Err(no_setup()),
            Self::Passive(passive) => passive.wait(control, deadline),
            Self::Opened(connection) => Ok(connection),
            Self::Active(address) => DataConnection::connect(address, control, deadline),
        }
    }
}

/// Starts a non-blocking connect(2). The socket becomes writable when it completes or fails.
fn begin_connect(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => Err(error),
        Ok(()) | Err(_) => Ok(socket),
    }
}

/// Waits for an event on the socket from which the data connection will come.
fn await_opening(
    control: &mut Control,
    socket: BorrowedFd<'_>,
    readiness: PollFlags,
    deadline: Instant,
) -> Result<(), Stop> {
    loop {
        if control.wants_abort() {
            return Err(refused(426, "Transfer aborted"));
        }
        match control.watch(Some((socket, readiness)), deadline)? {
            Event::Other => return Ok(()),
            Event::Input => {}
            Event::Deadline => return Err(refused(425, "No data connection came in time")),
        }
    }
}

fn no_setup() -> Stop {
    refused(425, "Use EPSV, PASV, EPRT or PORT first")
}

fn no_tls(error: &io::Error) -> Stop {
    refused(
        522,
        format!("No TLS on the data connection: {}", reason(error)),
    )
}

fn cannot_open(error: &io::Error) -> Stop {
    refused(
        425,
        format!("Cannot open the data connection: {}", reason(error)),
    )
}
