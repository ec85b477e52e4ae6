//! ftpfs mounts a remote FTP server as a local directory.
//!
//! The crate is organised in layers. A layer uses only those below it:
//!
//! | layer | contents |
//! |---|---|
//! | `cli`, `source`, `credentials` | the command line, the server's address, the password |
//! | `mount` | the life of a mount: start, background, signals, unmount |
//! | `fuse` | the callbacks and types of fuser |
//! | `vfs` | inodes, open files, streams, spools; the errno of each error |
//! | `cache` | directory listings with their attributes |
//! | `remote` | FTP as file operations on paths |
//! | `journal` | what the next mount must know if this one is killed |
//! | `disk_cache` | what was read, on the local disk, for the next mount and for others |
//! | `pool` | logged-in connections, leased |
//! | [`ftp`] | the protocol |
//! | `sys` | the few libc calls |
//!
//! Every layer starts its threads through `guarded`, so that a panic ends one piece of work and not
//! the mount. What may wait for the server takes a `cancel::Cancel`.
//!
//! [`server`] stands apart: a small FTP server that shares nothing with [`ftp`].

#[cfg(feature = "mount")]
mod cache;
#[cfg(feature = "mount")]
mod cancel;
#[cfg(feature = "mount")]
mod cli;
#[cfg(feature = "mount")]
mod credentials;
#[cfg(feature = "mount")]
mod disk_cache;
pub mod ftp;
#[cfg(feature = "mount")]
mod fuse;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "mount")]
mod guarded;
#[cfg(feature = "mount")]
mod journal;
#[cfg(feature = "mount")]
mod mount;
#[cfg(test)]
mod names_tests;
#[cfg(feature = "mount")]
mod pool;
#[cfg(feature = "mount")]
mod remote;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "mount")]
mod source;
#[cfg_attr(
    not(feature = "mount"),
    allow(
        dead_code,
        unused_imports,
        reason = "the client alone uses a part of it"
    )
)]
mod sys;
#[cfg(feature = "mount")]
mod vfs;

/// Runs the program `ftpfs` with these arguments, the first of which is its name.
#[cfg(feature = "mount")]
#[doc(hidden)]
pub fn run(arguments: impl Iterator<Item = std::ffi::OsString>) -> std::process::ExitCode {
    cli::run(arguments)
}

/// What the integration tests need of the inside. It may change at any time.
#[cfg(feature = "mount")]
#[doc(hidden)]
pub mod testing {
    pub use crate::cache::{Attributes, Cache, CacheOptions};
    pub use crate::journal::{Journal, StateDir};
    pub use crate::pool::{PoolOptions, RetryMode};

    /// File operations on a server.
    pub mod remote {
        pub use crate::remote::{
            Append, Atomic, CommitOptions, Error, ErrorKind, Links, Remote, RemoteDownload,
            RemoteOptions, Verify,
        };
    }
}
