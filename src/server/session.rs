//! The session of one client: its state and the execution of its commands.

use std::mem::take;
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::command_line::{Command, Line};
use super::command_log::Flight;
use super::commands;
use super::control::{Control, Event};
use super::data::DataSetup;
use super::facts::{Facts, Identity};
use super::misbehave::Misdeed;
use super::open_sessions::Slot;
use super::path::VirtualPath;
use super::place::Place;
use super::reply::{Gone, Reply, Stop, refused};
use super::security::Security;
use super::serving::Serving;
use super::transfer::Transfer;
use super::tree::LastLink;

/// The part of a file that a transfer covers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RestartMarker {
    /// Offset of the first byte (REST, RANG).
    pub(super) start: u64,
    /// Offset after the last byte (RANG).
    pub(super) end: Option<u64>,
}

/// The state of a session.
pub(super) struct Session {
    pub(super) serving: Arc<Serving>,
    pub(super) control: Control,
    /// Address of the client, with IPv4-mapped IPv6 addresses converted to IPv4.
    pub(super) peer: IpAddr,
    /// Local address of the control connection.
    pub(super) local: IpAddr,
    pub(super) login: Login,
    pub(super) security: Security,
    /// The working directory.
    pub(super) directory: VirtualPath,
    pub(super) data: DataSetup,
    /// EPSV ALL was received: all other ways to open a data connection are refused (RFC 2428 §4).
    pub(super) epsv_only: bool,
    /// The part of the file that the next transfer covers.
    pub(super) marker: RestartMarker,
    /// Argument of RNFR, which RNTO must follow immediately.
    pub(super) rename_from: Option<VirtualPath>,
    pub(super) facts: Facts,
    pub(super) identity: Identity,
    /// Fault to inject into the current command.
    pub(super) misdeed: Option<Misdeed>,
    /// The flight of the current command.
    flight: Flight,
    /// Number of the session in the log.
    number: u64,
    /// Slot in the table of open sessions. Freed before the last reply, so that a client that has
    /// read it can reconnect.
    slot: Option<Slot>,
}

/// Progress of the login.
pub(super) enum Login {
    /// Not logged in, after this many wrong passwords.
    Nobody { failures: u32 },
    /// USER was received; PASS must follow.
    Named { user: Vec<u8>, failures: u32 },
    /// Logged in.
    Done,
}

/// Whether the session ends after a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Yes,
    No,
}

/// Serves a client until it disconnects, is idle for too long or the server stops.
pub(super) fn serve(serving: Arc<Serving>, stream: TcpStream, slot: Slot) {
    // An error only means that the control connection is closed, which is how a session ends.
    if let Ok(mut session) = Session::new(serving, stream, slot)
        && session.run().is_ok()
    {
        session.control.end();
    }
}

impl Session {
    fn new(serving: Arc<Serving>, stream: TcpStream, slot: Slot) -> Result<Self, Gone> {
        let peer = stream.peer_addr().map_err(|_| Gone)?.ip().to_canonical();
        let local = stream.local_addr().map_err(|_| Gone)?.ip().to_canonical();
        Ok(Self {
            control: Control::new(stream, serving.options.delay)?,
            security: Security::of(serving.tls.as_ref()).map_err(|error| {
                log::warn!("server: no TLS for {peer}: {error}");
                Gone
            })?,
            identity: Identity::current(serving.options.read_only),
            number: serving.log.begin_session(),
            serving,
            peer,
            local,
            login: Login::Nobody { failures: 0 },
            directory: VirtualPath::default(),
            data: DataSetup::Unset,
            epsv_only: false,
            marker: RestartMarker::default(),
            rename_from: None,
            facts: Facts::default(),
            misdeed: None,
            flight: Flight::default(),
            slot: Some(slot),
        })
    }

    fn run(&mut self) -> Result<(), Gone> {
        let mut ended = self.greet()?;
        while ended == Ended::No {
            ended = match self.next_line()? {
                Some(Line::Complete(line)) => self.handle_command(&Command::parse(&line))?,
                Some(Line::TooLong) => {
                    self.send_reply(&Reply::new(500, "Command line too long"))?
                }
                None => self.send_reply(&Reply::new(
                    421,
                    "Idle for too long, closing the connection",
                ))?,
            };
        }
        Ok(())
    }

    fn greet(&mut self) -> Result<Ended, Gone> {
        let connecting = Command::connecting();
        let misdeed = self.serving.faults.strike(&connecting);
        if self.security.is_implicit() {
            self.misdeed.clone_from(&misdeed);
            self.secure()?;
            self.misdeed = None;
        }
        match misdeed {
            Some(misdeed) => self.misbehave(&connecting, &misdeed),
            None => self
                .execute(&connecting)
                .and_then(|reply| self.send_reply(&reply)),
        }
    }

    /// Returns the next command line, or `None` after the idle time.
    fn next_line(&mut self) -> Result<Option<Line>, Gone> {
        let deadline = Instant::now() + self.patience();
        loop {
            if let Some(line) = self.control.take_line()? {
                return Ok(Some(line));
            }
            if self.data.watch(&mut self.control, deadline)? == Event::Deadline {
                self.control.restart_delay();
                return Ok(None);
            }
        }
    }

    fn handle_command(&mut self, command: &Command) -> Result<Ended, Gone> {
        if self.control.is_new_flight() {
            self.flight = self.serving.log.begin_flight(self.number);
        }
        self.serving.log.record(command, self.flight);
        match self.serving.faults.strike(command) {
            Some(misdeed) => self.misbehave(command, &misdeed),
            None => self
                .execute(command)
                .and_then(|reply| self.send_reply(&reply)),
        }
    }

    /// Executes `command` and returns its final reply, which the caller sends.
    pub(super) fn execute(&mut self, command: &Command) -> Result<Reply, Gone> {
        match commands::run(self, command) {
            Ok(reply) | Err(Stop::Refused(reply)) => Ok(reply),
            Err(Stop::Gone) => Err(Gone),
        }
    }

    /// Sends a reply.
    pub(super) fn send_reply(&mut self, reply: &Reply) -> Result<Ended, Gone> {
        if reply.begins_tls() {
            self.control.send(&self.with_injected(reply))?;
            return self.secure().map(|()| Ended::No);
        }
        if !reply.closes() {
            return self.control.reply(reply).map(|()| Ended::No);
        }
        self.slot = None;
        self.control.reply(reply).map(|()| Ended::Yes)
    }

    /// Starts TLS on the control connection and resets the login (RFC 4217 §4).
    fn secure(&mut self) -> Result<(), Gone> {
        let Some(config) = self.security.for_control() else {
            return Ok(());
        };
        self.disturb_control()?;
        self.control.secure(config)?;
        self.security.begin();
        self.login = Login::Nobody { failures: 0 };
        Ok(())
    }

    /// Announces a transfer and opens its data connection.
    pub(super) fn begin_transfer(&mut self, text: &str) -> Result<Transfer<'_>, Stop> {
        let setup = take(&mut self.data);
        let patience = self.patience();
        self.security.check_data()?;
        if self.refuses_data() {
            return Err(refused(425, "Cannot open the data connection"));
        }
        let mut connection = setup.open(&mut self.control, patience, text)?;
        if let Some((config, reuse)) = self.security.for_data() {
            connection = self.disturb(connection)?;
            connection.secure(&mut self.control, config, reuse)?;
        }
        let cut = self.cut();
        Ok(Transfer::new(&mut self.control, connection, patience, cut)?)
    }

    /// Maximum idle time on either connection.
    pub(super) fn patience(&self) -> Duration {
        self.serving.options.idle
    }

    pub(super) fn logged_in(&self) -> bool {
        matches!(self.login, Login::Done)
    }

    /// Resolves an argument to a path. An empty one means the working directory.
    pub(super) fn path(&self, argument: &[u8]) -> Result<VirtualPath, Stop> {
        self.directory
            .join(argument)
            .ok_or_else(|| refused(553, "Invalid file name"))
    }

    /// Resolves an argument to a place in the tree.
    pub(super) fn place(&self, argument: &[u8], last: LastLink) -> Result<Place, Stop> {
        Ok(self.serving.tree.find(&self.path(argument)?, last)?)
    }
}
