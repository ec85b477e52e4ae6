//! An FTP client over std sockets (RFC 959, 2389, 2428, 2640, 3659).
//!
//! It knows replies, commands, control and data connections and listing dialects; nothing of
//! inodes, caches or pools.

pub mod error;
pub mod features;
pub mod listing;
pub mod path;
pub mod reply;
pub mod session;

pub use error::{Error, Phase};
pub use features::Features;
pub use listing::{Entry, Kind, Modified, Precision};
pub use path::{PathError, RemotePath};
pub use reply::{Reply, ReplyCode};
pub use session::{ConnectOptions, Download, Failed, ListWith, Password, Session, Upload};
