//! An FTP client over std sockets (RFC 959, 2389, 2428, 2640, 3659, 4217), usable by any program.
//!
//! It handles replies, commands, control and data connections, TLS and listing dialects. Every wait
//! has a deadline, every size chosen by a server has a limit, and paths are bytes that cannot end a
//! command.
//!
//! ```no_run
//! use std::io;
//! use ftpfs::ftp::{ConnectOptions, RemotePath, Session, Tls, TlsConfig, TlsOptions, Trust};
//!
//! let tls = TlsConfig::load(&TlsOptions { trust: Trust::System, identity: None })?;
//! let options = ConnectOptions::new("ftp.example.org")
//!     .login("user", "secret")
//!     .tls(Tls::Explicit(tls));
//! let mut session = Session::connect(&options)?;
//! for entry in session.directory(&RemotePath::root())? {
//!     println!("{}", String::from_utf8_lossy(&entry.name));
//! }
//!
//! let mut download = session.retrieve(&RemotePath::new(b"/README")?, 0).map_err(|f| f.error)?;
//! io::copy(&mut download, &mut io::stdout())?;
//! // The data is complete only if the server says so.
//! download.finish().map_err(|f| f.error)?.quit();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Two programs in `examples/` do more: `list_and_fetch`, and `upload`, which resumes.

mod address;
mod bind;
mod cause;
mod charset;
mod concurrent_handshake;
mod connect;
mod control;
mod counts;
mod data;
pub mod digest;
pub mod error;
pub mod features;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub mod listing;
mod open_sockets;
mod options;
mod other_service;
mod pace;
mod password;
pub mod path;
mod pending;
pub mod profile;
pub mod proxy;
mod rate_limit;
pub mod reply;
mod resolve;
mod secrets;
pub mod session;
mod stream;
mod tcp;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
pub(crate) mod time;
pub mod tls;
mod traffic;
mod transience;
mod version;

pub use bind::{Bind, LocalOptions};
pub use cause::Cause;
pub use counts::CommandCounts;
pub use digest::{Algorithm, Digest, DigestCommand};
pub use error::{Error, Phase, ProxyProblem};
pub use features::Features;
pub use listing::{
    Completeness, DirectoryListing, Entry, Kind, ListingBudget, ListingOutcome, ListingShare,
    Modified, Perm, Precision, Shortfall, UnusedLine,
};
pub use open_sockets::OpenSockets;
pub use options::ConnectOptions;
pub use password::Password;
pub use path::{PathError, RemotePath};
pub use profile::{Capability, Finding, HostIdentity, ServerProfile};
pub use proxy::{Proxy, ProxyKind};
pub use reply::{Reply, ReplyClass, ReplyCode};
pub use session::batch::StatListing;
pub use session::certificate::server_certificate;
pub use session::changes::{BatchStep, ChangeCommand, Placing, PlacingAnswer, StepAnswer};
pub use session::facts::SizeAndModified;
#[cfg(feature = "mount")]
pub(crate) use session::greet;
pub use session::list_form::{ListForm, ListWith};
pub use session::prepared::{Readiness, Watch};
pub use session::quota::QuotaUsage;
pub use session::set_facts::Setting;
pub use session::transfer::{Download, Interrupter};
pub use session::upload::Upload;
pub use session::{Failed, Session, probe};
pub use tls::{Tls, TlsConfig, TlsOptions, Trust};
pub use traffic::{RateLimits, Traffic};
pub use transience::Transience;
pub use version::Version;
