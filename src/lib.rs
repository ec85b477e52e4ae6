//! ftpfs mounts a remote FTP server as a local directory.
//!
//! The crate is a house of floors; a floor uses only those below it:
//!
//! | floor | what it knows |
//! |---|---|
//! | [`cli`], [`source`], [`credentials`] | what was typed, where it leads, the password's origin |
//! | [`mount`] | the mount's life: start, background, signals, unmount |
//! | [`fuse`] | fuser's callbacks and types |
//! | [`vfs`] | inodes, open files, streams, spools; what an error means to a program |
//! | [`cache`] | directory listings with their attributes |
//! | [`remote`] | FTP as file operations on paths |
//! | [`journal`] | what the next mount must know should this one be killed |
//! | [`pool`] | logged-in connections, leased |
//! | [`ftp`] | the protocol |
//! | [`sys`] | the few libc calls |
//!
//! Every floor starts its threads through `guarded`, so that a panic ends one piece of work and not
//! the mount.
//!
//! [`server`] stands in the garden: a small FTP server of its own that shares nothing with [`ftp`].

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
