//! Where and how to connect, and as whom.

use std::time::Duration;

use super::bind::LocalOptions;
use super::profile::{Capability, ServerProfile};
use super::proxy::Proxy;
use super::tls::Tls;
use super::{CommandCounts, ListingBudget};

/// A password that cannot be logged: its `Debug` prints stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Takes the secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, to be sent.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("****")
    }
}

/// Where and how to connect; made once, used for every session.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Host name or address (an IPv6 address without brackets).
    pub host: String,
    /// The control connection's port; FTP's own is 21.
    pub port: u16,
    /// Login name.
    pub user: String,
    /// Its password.
    pub password: Password,
    /// Sent where the server asks for an account (332); empty for none.
    pub account: String,
    /// Whether and how the session is protected.
    pub tls: Tls,
    /// Longest wait for the TCP connection, of the control and of a data connection, and as long
    /// for TLS over it.
    pub connect_timeout: Duration,
    /// Longest silence of the server in a reply or a transfer.
    pub timeout: Duration,
    /// What makes the connections in our place; `None` connects straight.
    pub proxy: Option<Proxy>,
    /// Active mode: the server connects to us (EPRT, PORT) instead of us to it. Not by a proxy.
    pub active: bool,
    /// This machine's end of the connections.
    pub local: LocalOptions,
    /// Use the address in a 227 reply instead of the control connection's peer.
    pub trust_pasv_address: bool,
    /// The names' charset on the wire; `None` sends and takes names byte for byte.
    pub charset: Option<&'static encoding_rs::Encoding>,
    /// The zone of the times in LIST, and in MDTM where the server tells both alike
    /// ([`Capability::MdtmUtc`]); `None` where it is to be found out.
    pub timezone: Option<jiff::tz::TimeZone>,
    /// Sent one after the other after each login, for servers that need a command of their own.
    pub login_commands: Vec<String>,
    /// Counts what is sent.
    pub counts: CommandCounts,
    /// What the server can and does, as far as is known; all sessions share it and add to it.
    /// Commands and data connections are sent ahead where it says that the server bears that.
    pub profile: ServerProfile,
    /// Bounds the memory of listings being received.
    pub listings: ListingBudget,
}

impl ConnectOptions {
    /// Whether data connections may be opened ahead of their transfers, where the server queues
    /// commands. Begun without waiting, one by a proxy would be none.
    pub(super) fn may_prepare_data(&self) -> bool {
        !self.active
            && self.proxy.is_none()
            && self.profile.has(Capability::Pipelining)
            && self.profile.has(Capability::EarlyDataConnection)
    }
}
