//! Connection options: where and how to connect, and with which login.

use std::time::Duration;

use super::bind::LocalOptions;
use super::password::Password;
use super::profile::{Capability, ServerProfile};
use super::proxy::Proxy;
use super::tls::Tls;
use super::{CommandCounts, ListingBudget};

/// Connection options, shared by all sessions.
#[derive(Debug, Clone)]
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
    /// Known properties of the server, shared and extended by all sessions. Commands and data
    /// connections are sent ahead only if the profile says that the server supports it.
    pub profile: ServerProfile,
    /// Memory limit for listings being received.
    pub listings: ListingBudget,
}

impl ConnectOptions {
    /// Whether data connections may be prepared ahead of their transfers. Not through a proxy,
    /// where a connect(2) without waiting reaches only the proxy.
    pub(super) fn may_prepare_data(&self) -> bool {
        !self.active
            && self.proxy.is_none()
            && self.profile.has(Capability::Pipelining)
            && self.profile.has(Capability::EarlyDataConnection)
    }
}
