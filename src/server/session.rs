//! The state of one client's session, and its connections.

use std::mem::take;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::SESSION_LOG;
use super::command_log::Flight;
use super::control::Control;
use super::data::DataSetup;
use super::facts::{Facts, Identity};
use super::misbehave::Misdeed;
use super::open_sessions::Slot;
use super::path::VirtualPath;
use super::place::Place;
use super::reply::{Gone, Reply, Stop, refused};
use super::security::Security;
use super::serving::Serving;
use super::session_summary::{SessionEnd, SessionSummary};
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
    /// Time of the connection.
    start: Instant,
    /// Time of the connection, or of the end of the last login. The time for the login counts from
    /// here.
    login_start: Instant,
    /// What the log shows at the end.
    pub(super) summary: SessionSummary,
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
    /// Argument of SITE CPFR, for the next command.
    pub(super) copy_from: Option<VirtualPath>,
    pub(super) facts: Facts,
    pub(super) identity: Identity,
    /// Fault to inject into the current command.
    pub(super) misdeed: Option<Misdeed>,
    /// The flight of the current command.
    pub(super) flight: Flight,
    /// Number of the session in the log.
    pub(super) number: u64,
    /// Slot in the table of open sessions, until the summary is logged. Freed before the last
    /// reply, so that a client that has read it can reconnect.
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

impl Session {
    pub(super) fn new(serving: Arc<Serving>, stream: TcpStream, slot: Slot) -> Result<Self, Gone> {
        let client = stream.peer_addr().map_err(|_| Gone)?;
        let peer = client.ip().to_canonical();
        let local = stream.local_addr().map_err(|_| Gone)?.ip().to_canonical();
        Ok(Self {
            control: Control::new(stream, serving.options.delay)?,
            security: Security::of(serving.tls.as_ref()).map_err(|error| {
                log::warn!("server: no TLS for {peer}: {error}");
                Gone
            })?,
            identity: Identity::current(serving.options.read_only),
            number: serving.log.begin_session(),
            start: Instant::now(),
            login_start: Instant::now(),
            summary: SessionSummary::new(SocketAddr::new(peer, client.port())),
            serving,
            peer,
            local,
            login: Login::Nobody { failures: 0 },
            directory: VirtualPath::default(),
            data: DataSetup::Unset,
            epsv_only: false,
            marker: RestartMarker::default(),
            rename_from: None,
            copy_from: None,
            facts: Facts::default(),
            misdeed: None,
            flight: Flight::default(),
            slot: Some(slot),
        })
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
        self.leave();
        self.control.reply(reply).map(|()| Ended::Yes)
    }

    /// Logs the summary and frees the slot, once. A server that stops waits for all slots, and
    /// therefore for all summaries.
    pub(super) fn leave(&mut self) {
        let Some(slot) = self.slot.take() else {
            return;
        };
        self.summary.end(if self.serving.stopping() {
            SessionEnd::Stopped
        } else if self.control.has_ended() {
            SessionEnd::Closed
        } else {
            SessionEnd::Lost
        });
        let line = self.summary.line(self.start.elapsed());
        // Anyone can make sessions without a login: their number in the log is limited.
        if self.summary.has_user() {
            log::info!(target: SESSION_LOG, "server: {line}");
        } else {
            log::info!("server: {line}");
        }
        drop(slot);
    }

    /// Starts TLS on the control connection and resets the login (RFC 4217 §4).
    pub(super) fn secure(&mut self) -> Result<(), Gone> {
        let Some(config) = self.security.for_control() else {
            return Ok(());
        };
        self.disturb_control()?;
        if let Err(gone) = self.control.secure(config) {
            self.summary.end(SessionEnd::NoTls);
            return Err(gone);
        }
        self.security.begin();
        self.log_out();
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

    /// Restarts the time for the login if the client was logged in.
    pub(super) fn log_out(&mut self) {
        if self.logged_in() {
            self.login_start = Instant::now();
        }
    }

    /// Returns the time at which the session is closed unless it is logged in by then.
    pub(super) fn login_deadline(&self) -> Option<Instant> {
        if self.logged_in() {
            return None;
        }
        // A timeout beyond the range of the clock means none.
        self.login_start
            .checked_add(self.serving.options.login_timeout)
    }

    /// Whether the client had enough time to log in, and did not.
    pub(super) fn is_login_overdue(&self) -> bool {
        self.login_deadline()
            .is_some_and(|deadline| deadline <= Instant::now())
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
