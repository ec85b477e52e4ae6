//! A data connection from its agreement to its first byte: connected or accepted, over TLS where
//! that is required.

use std::io;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::bind::{LocalOptions, Origin};
use super::connect::Route;
use super::error::{Error, Phase, socket_error};
use super::open_sockets::OpenSockets;
use super::profile::ServerProfile;
use super::stream::MaybeTlsStream;
use super::tcp::prepare;
use super::tls::{Connector, TlsStream};
use super::traffic::Traffic;

/// How this session opens data connections. Commands that the server refused are not tried again.
#[derive(Debug, Clone)]
pub(super) struct DataOptions {
    pub(super) route: Route,
    /// Source of data connections.
    pub(super) origin: Origin,
    pub(super) local: LocalOptions,
    pub(super) active: bool,
    pub(super) trust_pasv_address: bool,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
    /// Time limit for the reply that ends an upload.
    pub(super) completion_timeout: Duration,
    /// EPRT was refused.
    pub(super) extended_port_refused: bool,
    pub(super) profile: ServerProfile,
    pub(super) traffic: Traffic,
    /// All open connections to the server.
    pub(super) sockets: OpenSockets,
}

/// A data connection that is open, or that the server is about to open.
#[derive(Debug)]
pub(super) enum PendingConnection {
    Connected(TcpStream),
    /// Connected, with the TLS handshake in progress.
    Handshaking(Box<TlsStream>),
    /// Active mode: the server connects after it has received the transfer command.
    Listening(TcpListener),
}

impl PendingConnection {
    /// Starts the TLS handshake after the transfer command was sent. That saves a round trip, and
    /// some servers wait for it before they reply.
    pub(super) fn start_tls(self, tls: Option<&Connector>) -> Result<Self, Error> {
        match (self, tls) {
            (Self::Connected(socket), Some(tls)) => {
                begin_handshake(socket, tls).map(Self::Handshaking)
            }
            (pending, _) => Ok(pending),
        }
    }

    /// Returns the open connection, over TLS if required. In active mode, waits for the server to
    /// connect. Call this after sending the transfer command.
    pub(super) fn accept(
        self,
        peer: IpAddr,
        options: &DataOptions,
        tls: Option<&Connector>,
    ) -> Result<MaybeTlsStream, Error> {
        let mut wire = match (self, tls) {
            (Self::Handshaking(stream), _) => MaybeTlsStream::Tls(stream),
            (Self::Connected(socket), tls) => wrap(socket, tls)?,
            (Self::Listening(listener), tls) => {
                wrap(accept_from(&listener, peer, options.connect_timeout)?, tls)?
            }
        };
        let failed = |error| socket_error(Phase::DataConnect, error);
        let socket = wire.socket();
        options.sockets.add(socket);
        socket
            .set_write_timeout(Some(options.timeout))
            .map_err(failed)?;
        if let MaybeTlsStream::Tls(stream) = &mut wire {
            let deadline = Instant::now() + options.connect_timeout;
            let shaken = stream.handshake(deadline);
            shaken.map_err(|error| error.into_error(Phase::DataConnect))?;
        }
        let socket = wire.socket();
        socket
            .set_read_timeout(Some(options.timeout))
            .map_err(failed)?;
        Ok(wire)
    }
}

/// Starts TLS on a data connection and sends the client's hello.
pub(super) fn begin_handshake(socket: TcpStream, tls: &Connector) -> Result<Box<TlsStream>, Error> {
    let mut stream = tls.over_data(Arc::new(socket))?;
    // If the server closed the connection, it reports why on the control connection.
    let _ = stream.hello();
    Ok(Box::new(stream))
}

fn wrap(socket: TcpStream, tls: Option<&Connector>) -> Result<MaybeTlsStream, Error> {
    let socket = Arc::new(socket);
    Ok(match tls {
        None => MaybeTlsStream::Clear(socket),
        Some(tls) => MaybeTlsStream::Tls(Box::new(tls.over_data(socket)?)),
    })
}

/// Accepts a pending connection from the server. Closes connections from other hosts.
pub(super) fn accept_one(listener: &TcpListener, peer: IpAddr) -> io::Result<Option<TcpStream>> {
    let (stream, from) = listener.accept()?;
    if from.ip().to_canonical() != peer.to_canonical() {
        log::warn!("refused a data connection from {from}, which is not the server");
        return Ok(None);
    }
    prepare(&stream)?;
    Ok(Some(stream))
}

/// Waits for the server's connection.
fn accept_from(
    listener: &TcpListener,
    peer: IpAddr,
    timeout: Duration,
) -> Result<TcpStream, Error> {
    let failed = |error| socket_error(Phase::DataConnect, error);
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout(Phase::DataConnect));
        }
        // The receive timeout also limits accept(2) (socket(7)).
        SockRef::from(listener)
            .set_read_timeout(Some(left))
            .map_err(failed)?;
        if let Some(stream) = accept_one(listener, peer).map_err(failed)? {
            return Ok(stream);
        }
    }
}
