//! TLS for the raw client, by rustls: the test chooses whether there is a session to resume.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use ftpfs::server::{Certificate, TlsOptions};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::client::{Client, Served};

/// A control or data connection of the client.
pub(crate) enum Connection {
    Clear(TcpStream),
    Secure(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Connection {
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Clear(socket) => socket,
            Self::Secure(stream) => &stream.sock,
        }
    }

    /// Starts TLS with a server on 127.0.0.1; the handshake takes place with the first byte.
    pub(crate) fn secure(socket: TcpStream, config: &Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let tls = ClientConnection::new(Arc::clone(config), name).unwrap();
        Self::Secure(Box::new(StreamOwned::new(tls, socket)))
    }

    /// Announces the end of the data (close_notify).
    pub(crate) fn end(&mut self) {
        let Self::Secure(stream) = self else { return };
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.read(buffer),
            Self::Secure(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.write(bytes),
            Self::Secure(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(socket) => socket.flush(),
            Self::Secure(stream) => stream.flush(),
        }
    }
}

/// A server that speaks TLS, and the file by which its certificate is verified.
pub(crate) struct Secured {
    pub(crate) served: Served,
    pub(crate) ca: PathBuf,
}

impl Secured {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut TlsOptions)) -> Self {
        let certificate = Certificate::made_for(std::net::Ipv4Addr::LOCALHOST.into()).unwrap();
        let pem = certificate.pem().to_owned();
        let mut tls = TlsOptions::new(certificate);
        change(&mut tls);
        let served = Served::with(|options| options.tls = Some(tls));
        let ca = served.outside("ca.pem");
        std::fs::write(&ca, pem).unwrap();
        Self { served, ca }
    }

    /// Returns a client configuration that trusts the server and remembers its TLS sessions.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(&self.ca).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    /// Returns a client that has started TLS, logged in and made its data connections private.
    pub(crate) fn client(&self, config: &Arc<ClientConfig>) -> Client {
        let mut client = self.served.stranger();
        client.expect("AUTH TLS", 234);
        let mut client = client.secure(config);
        client.expect("USER anonymous", 331);
        client.expect("PASS me@", 230);
        client.expect("PBSZ 0", 200);
        client.expect("PROT P", 200);
        client
    }
}

impl Client {
    /// Continues the connection in TLS.
    pub(crate) fn secure(self, config: &Arc<ClientConfig>) -> Self {
        Self::of(Connection::secure(self.into_socket(), config))
    }

    /// Returns the data sent over TLS for a command such as RETR, how it ended, and the last code.
    pub(crate) fn receive_secure(
        &mut self,
        config: &Arc<ClientConfig>,
        line: &str,
    ) -> (Vec<u8>, io::Result<()>, u16) {
        let socket = self.extended_passive();
        self.expect(line, 150);
        let mut data = Connection::secure(socket, config);
        let mut bytes = Vec::new();
        let ended = data.read_to_end(&mut bytes).map(|_| ());
        drop(data);
        (bytes, ended, self.reply().code)
    }
}
