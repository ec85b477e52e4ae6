//! Connection options: where and how to connect, and with which login.

use std::time::Duration;

use super::bind::LocalOptions;
use super::password::Password;
use super::profile::{Capability, ServerProfile};
use super::proxy::Proxy;
use super::tls::Tls;
use super::{CommandCounts, ListingBudget, OpenSockets, Traffic};

/// Port of the control connection (RFC 959 §8).
const DEFAULT_PORT: u16 = 21;

/// Connection options, shared by all sessions.
///
/// [`ConnectOptions::new`] gives defaults, which single fields change:
///
/// ```
/// use std::time::Duration;
/// use ftpfs::ftp::ConnectOptions;
///
/// let mut options = ConnectOptions::new("ftp.example.org").login("user", "secret");
/// options.timeout = Duration::from_secs(60);
/// assert_eq!(options.port, 21);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// Host name or address (IPv6 addresses without brackets).
    pub host: String,
    /// Port of the control connection; the default of FTP is 21.
    pub port: u16,
    /// User name.
    pub user: String,
    /// Password of the user.
    pub password: Password,
    /// Account, sent if the server asks for one (332); may be empty.
    pub account: String,
    /// Whether and how connections are encrypted.
    pub tls: Tls,
    /// Time limit for the TCP connection of a control or data connection, and again for its TLS
    /// handshake.
    pub connect_timeout: Duration,
    /// Time limit for each wait for a reply or for data.
    pub timeout: Duration,
    /// Proxy to connect through; `None` connects directly.
    pub proxy: Option<Proxy>,
    /// Active mode: the server connects to the client (EPRT, PORT). Not available through a proxy.
    pub active: bool,
    /// Local end of the connections.
    pub local: LocalOptions,
    /// Use the address in a 227 reply instead of the control connection's peer.
    pub trust_pasv_address: bool,
    /// Charset of names on the wire; `None` passes names through byte for byte.
    pub charset: Option<&'static encoding_rs::Encoding>,
    /// Time zone of LIST, and of MDTM if the server uses local time there
    /// ([`Capability::MdtmUtc`]); `None` detects it.
    pub timezone: Option<jiff::tz::TimeZone>,
    /// Commands to send after each login, one at a time, for servers with special requirements.
    pub login_commands: Vec<String>,
    /// Counts the commands sent.
    pub counts: CommandCounts,
    /// Counts and limits the bytes on data connections.
    pub traffic: Traffic,
    /// Known properties of the server, shared and extended by all sessions. Commands and data
    /// connections are sent ahead only if the profile says that the server supports it.
    pub profile: ServerProfile,
    /// Memory limit for listings being received.
    pub listings: ListingBudget,
    /// The open connections of all sessions.
    pub sockets: OpenSockets,
}

impl ConnectOptions {
    /// Options for an anonymous login at the usual port of `host`, without encryption. Connecting
    /// may take 10 s, and each wait 30 s.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port: DEFAULT_PORT,
            user: "anonymous".to_owned(),
            password: Password::new("anonymous@"),
            account: String::new(),
            tls: Tls::Off,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            proxy: None,
            active: false,
            local: LocalOptions::default(),
            trust_pasv_address: false,
            charset: None,
            timezone: None,
            login_commands: Vec::new(),
            counts: CommandCounts::default(),
            traffic: Traffic::default(),
            profile: ServerProfile::default(),
            listings: ListingBudget::default(),
            sockets: OpenSockets::default(),
        }
    }

    /// Sets the user and the password.
    #[must_use]
    pub fn login(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = user.into();
        self.password = Password::new(password);
        self
    }

    /// Sets the port of the control connection.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets whether and how connections are encrypted.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// Whether data connections may be prepared ahead of their transfers. Not through a proxy,
    /// where a connect(2) without waiting reaches only the proxy.
    pub(super) fn may_prepare_data(&self) -> bool {
        !self.active
            && self.proxy.is_none()
            && self.profile.has(Capability::Pipelining)
            && self.profile.has(Capability::EarlyDataConnection)
    }
}
