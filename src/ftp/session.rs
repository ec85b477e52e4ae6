//! A logged-in control connection and what can be asked over it.

use std::fs::File;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::time::Duration;

use super::features::Features;
use super::{Entry, Error, RemotePath, Reply};

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
    /// Longest wait for the TCP connection, of the control and of a data connection.
    pub connect_timeout: Duration,
    /// Longest silence of the server in a reply or a transfer.
    pub timeout: Duration,
    /// Active mode: the server connects to us (EPRT/PORT) instead of us to it.
    pub active: bool,
    /// Use the address in a 227 reply instead of the control connection's peer.
    pub trust_pasv_address: bool,
    /// The names' charset on the wire; `None` sends and takes names byte for byte.
    pub charset: Option<&'static encoding_rs::Encoding>,
}

/// An operation that consumed the session failed; the session comes back where it survived.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub error: Error,
    /// The session, still good, where the failure was only a refusal.
    pub session: Option<Session>,
}

/// Which command lists a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListWith {
    /// MLSD (RFC 3659 §7).
    Mlsd,
    /// LIST -a, with CWD first where the path needs it.
    List,
    /// STAT path, on the control connection.
    Stat,
}

/// A logged-in session under TYPE I.
#[derive(Debug)]
pub struct Session {}

#[allow(unused_variables)]
impl Session {
    /// Connects, logs in, asks FEAT, sets OPTS and TYPE I.
    pub fn connect(options: &ConnectOptions) -> Result<Self, Error> {
        todo!()
    }

    /// What the server can do.
    pub fn features(&self) -> &Features {
        todo!()
    }

    /// The control connection's other end.
    pub fn peer(&self) -> IpAddr {
        todo!()
    }

    /// False after anything that broke the control connection.
    pub fn is_usable(&self) -> bool {
        todo!()
    }

    /// Without waiting: whether the idle control connection is still open and nothing unasked has come.
    pub fn is_quiet(&self) -> bool {
        todo!()
    }

    /// PWD.
    pub fn working_directory(&mut self) -> Result<RemotePath, Error> {
        todo!()
    }

    /// CWD.
    pub fn change_directory(&mut self, path: &RemotePath) -> Result<(), Error> {
        todo!()
    }

    /// NOOP.
    pub fn noop(&mut self) -> Result<(), Error> {
        todo!()
    }

    /// QUIT, with a short deadline.
    pub fn quit(self) {
        todo!()
    }

    /// SIZE.
    pub fn size(&mut self, path: &RemotePath) -> Result<u64, Error> {
        todo!()
    }

    /// MDTM, seconds since the epoch.
    pub fn modified(&mut self, path: &RemotePath) -> Result<i64, Error> {
        todo!()
    }

    /// MLST.
    pub fn mlst(&mut self, path: &RemotePath) -> Result<Entry, Error> {
        todo!()
    }

    /// MFMT.
    pub fn set_modified_mfmt(&mut self, path: &RemotePath, seconds: i64) -> Result<(), Error> {
        todo!()
    }

    /// SITE UTIME.
    pub fn set_modified_site_utime(
        &mut self,
        path: &RemotePath,
        seconds: i64,
    ) -> Result<(), Error> {
        todo!()
    }

    /// MDTM with a time.
    pub fn set_modified_mdtm(&mut self, path: &RemotePath, seconds: i64) -> Result<(), Error> {
        todo!()
    }

    /// SITE CHMOD.
    pub fn change_mode(&mut self, path: &RemotePath, mode: u32) -> Result<(), Error> {
        todo!()
    }

    /// MFF.
    pub fn change_facts(
        &mut self,
        path: &RemotePath,
        modified: Option<i64>,
        mode: Option<u32>,
    ) -> Result<(), Error> {
        todo!()
    }

    /// DELE.
    pub fn delete(&mut self, path: &RemotePath) -> Result<(), Error> {
        todo!()
    }

    /// MKD.
    pub fn make_directory(&mut self, path: &RemotePath) -> Result<(), Error> {
        todo!()
    }

    /// RMD.
    pub fn remove_directory(&mut self, path: &RemotePath) -> Result<(), Error> {
        todo!()
    }

    /// RNFR and RNTO.
    pub fn rename(&mut self, from: &RemotePath, to: &RemotePath) -> Result<(), Error> {
        todo!()
    }

    /// AVBL, bytes.
    pub fn available(&mut self, path: &RemotePath) -> Result<u64, Error> {
        todo!()
    }

    /// Streams a listing's entries to `sink`.
    pub fn list(
        &mut self,
        with: ListWith,
        path: &RemotePath,
        sink: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        todo!()
    }

    /// RETR, after REST where `offset` is not 0.
    pub fn retrieve(self, path: &RemotePath, offset: u64) -> Result<Download, Box<Failed>> {
        todo!()
    }

    /// STOR, after REST where `offset` is not 0.
    pub fn store(self, path: &RemotePath, offset: u64) -> Result<Upload, Box<Failed>> {
        todo!()
    }

    /// APPE.
    pub fn append(self, path: &RemotePath) -> Result<Upload, Box<Failed>> {
        todo!()
    }
}

/// A RETR under way; it owns its session. Dropped, it closes both connections.
#[derive(Debug)]
pub struct Download {}

#[allow(unused_variables)]
impl Download {
    /// Some bytes; 0 at the end of the data.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        todo!()
    }

    /// After the end of the data: closes the data connection, then takes the completion reply.
    pub fn finish(self) -> Result<Session, Box<Failed>> {
        todo!()
    }

    /// Before the end of the data: ends the transfer and brings the session back in step, or drops it in doubt.
    pub fn abort(self) -> Option<Session> {
        todo!()
    }
}

/// A STOR or APPE under way; it owns its session. Dropped, it closes both connections.
#[derive(Debug)]
pub struct Upload {}

#[allow(unused_variables)]
impl Upload {
    /// Sends these bytes.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), Error> {
        todo!()
    }

    /// Sends `length` bytes of `file` from `offset` on.
    pub fn send_file(&mut self, file: &File, offset: u64, length: u64) -> Result<(), Error> {
        todo!()
    }

    /// Ends the data and takes the 226 or 250: only then is it stored.
    pub fn finish(self) -> Result<(Session, Reply), Box<Failed>> {
        todo!()
    }

    /// Gives the upload up; what the server keeps of it is unknown.
    pub fn abort(self) -> Option<Session> {
        todo!()
    }
}
