//! FTP as file operations on paths.

pub mod error;

use std::fs::File;

use crate::ftp::{Entry, RemotePath};
use crate::pool::{PoolOptions, PoolStats};

pub use error::{Error, ErrorKind};

/// How to reach the server and how to treat it.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// The sessions.
    pub pool: PoolOptions,
    /// The server's zone for LIST times; `None` finds it out with one MDTM.
    pub timezone: Option<jiff::tz::TimeZone>,
}

/// What is to hold of a file when its upload is committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// The whole size that must have arrived.
    pub size: u64,
    /// Time of modification to set, seconds since the epoch.
    pub modified: Option<i64>,
    /// Mode to set, and whether failing to is an error.
    pub mode: Option<u32>,
}

/// Bytes on the server and for the user, by AVBL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Free bytes.
    pub available: u64,
}

/// A server, as files.
#[derive(Debug, Clone)]
pub struct Remote {}

#[allow(unused_variables)]
impl Remote {
    /// Makes the first session.
    pub fn connect(options: RemoteOptions) -> Result<Self, crate::ftp::Error> {
        todo!()
    }

    /// The directory a login starts in.
    pub fn home(&self) -> Result<RemotePath, Error> {
        todo!()
    }

    /// Whether [`Remote::stat`] costs one command; where not, a listing of the parent is the cheaper way.
    pub fn can_stat(&self) -> bool {
        todo!()
    }

    /// One path's entry (MLST; where the server has none: from its parent's listing; the root: by listing it).
    pub fn stat(&self, path: &RemotePath) -> Result<Entry, Error> {
        todo!()
    }

    /// A directory's complete listing: no `.`, no `..`, no name twice, times in UTC.
    pub fn list(&self, path: &RemotePath) -> Result<Vec<Entry>, Error> {
        todo!()
    }

    /// A symlink's target, where the listing did not give it.
    pub fn read_link(&self, path: &RemotePath) -> Result<Vec<u8>, Error> {
        todo!()
    }

    /// Starts reading `path` at `offset`.
    pub fn open_at(&self, path: &RemotePath, offset: u64) -> Result<Download, Error> {
        todo!()
    }

    /// Starts storing a whole file that will be at `path`: under a temporary name beside it.
    pub fn upload(&self, path: &RemotePath) -> Result<Upload, Error> {
        todo!()
    }

    /// MKD.
    pub fn make_directory(&self, path: &RemotePath) -> Result<(), Error> {
        todo!()
    }

    /// RMD.
    pub fn remove_directory(&self, path: &RemotePath) -> Result<(), Error> {
        todo!()
    }

    /// DELE.
    pub fn delete(&self, path: &RemotePath) -> Result<(), Error> {
        todo!()
    }

    /// RNFR, RNTO; a file already at `to` is replaced.
    pub fn rename(&self, from: &RemotePath, to: &RemotePath) -> Result<(), Error> {
        todo!()
    }

    /// Sets the time of modification, seconds since the epoch: MFMT, SITE UTIME or MDTM, whichever the server takes.
    pub fn set_modified(&self, path: &RemotePath, seconds: i64) -> Result<(), Error> {
        todo!()
    }

    /// SITE CHMOD or MFF.
    pub fn set_mode(&self, path: &RemotePath, mode: u32) -> Result<(), Error> {
        todo!()
    }

    /// Free space, where the server tells (AVBL).
    pub fn space(&self, path: &RemotePath) -> Option<Space> {
        todo!()
    }

    /// The connections, for `ftpfs status`.
    pub fn pool_stats(&self) -> PoolStats {
        todo!()
    }

    /// Ends all sessions.
    pub fn close(&self) {
        todo!()
    }
}

/// A file being read from an offset on.
#[derive(Debug)]
pub struct Download {}

#[allow(unused_variables)]
impl Download {
    /// Some bytes into `buffer`; 0 when the server ended the data and said so with its 226.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        todo!()
    }

    /// Ends the transfer early and gives the session back where it can be saved. Dropping does the same.
    pub fn abandon(self) {
        todo!()
    }
}

/// A file being stored under a temporary name.
#[derive(Debug)]
pub struct Upload {}

#[allow(unused_variables)]
impl Upload {
    /// Bytes handed to the connection so far.
    pub fn sent(&self) -> u64 {
        todo!()
    }

    /// Sends the next `length` bytes, found at `self.sent()` in `file`.
    pub fn send(&mut self, file: &File, length: u64) -> Result<(), Error> {
        todo!()
    }

    /// Takes the 226, checks the size, sets mode and time, renames over `target`. On an error the old file is whole.
    pub fn commit(self, target: &RemotePath, commit: &Commit) -> Result<(), Error> {
        todo!()
    }

    /// Gives up and removes the temporary file. Dropping does the same.
    pub fn abandon(self) {
        todo!()
    }
}
