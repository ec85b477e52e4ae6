//! ftpfs mounts a remote FTP server as a local directory.
//!
//! The crate is organised in layers. A layer uses only those below it:
//!
//! | layer | contents |
//! |---|---|
//! | [`cli`], [`source`], [`credentials`] | the command line, the server's address, the password |
//! | [`mount`] | the life of a mount: start, background, signals, unmount |
//! | [`fuse`] | the callbacks and types of fuser |
//! | [`vfs`] | inodes, open files, streams, spools; the errno of each error |
//! | [`cache`] | directory listings with their attributes |
//! | [`remote`] | FTP as file operations on paths |
//! | [`journal`] | what the next mount must know if this one is killed |
//! | [`pool`] | logged-in connections, leased |
//! | [`ftp`] | the protocol |
//! | [`sys`] | the few libc calls |
//!
//! Every layer starts its threads through `guarded`, so that a panic ends one piece of work and not
//! the mount.
//!
//! [`server`] stands apart: a small FTP server that shares nothing with [`ftp`].

#[cfg(feature = "mount")]
pub mod cache;
#[cfg(feature = "mount")]
pub mod cli;
#[cfg(feature = "mount")]
pub mod credentials;
pub mod ftp;
#[cfg(feature = "mount")]
pub mod fuse;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "mount")]
mod guarded;
#[cfg(feature = "mount")]
pub mod journal;
#[cfg(feature = "mount")]
pub mod mount;
#[cfg(feature = "mount")]
pub mod pool;
#[cfg(feature = "mount")]
pub mod remote;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "mount")]
pub mod source;
pub mod sys;
#[cfg(feature = "mount")]
pub mod vfs;
