//! Prepared data connections. EPSV or PASV is sent after the end of a transfer, and the connection
//! is made in the meantime, so that the next transfer starts with its command (RFC 959 §3.2, RFC
//! 2428).
//!
//! Only [`Session::take_prepared`] waits. The connection belongs to its session: servers keep it
//! across other commands until a transfer uses it or another EPSV replaces it. A connection closed
//! by the server is detected before its use, and one that the server has forgotten by its 425.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::Session;
use crate::ftp::bind::Origin;
use crate::ftp::cause::Cause;
use crate::ftp::data::{
    extended_passive_target, give_up_extended, is_v4, may_fall_back, passive_target,
};
use crate::ftp::error::socket_error;
use crate::ftp::error::{Error, Phase};
use crate::ftp::profile::Capability;
use crate::ftp::reply::Reply;
use crate::ftp::tcp::prepare;

/// Maximum age of a prepared connection: address translators and servers drop idle ones, pyftpdlib
/// after 300 s.
const MAX_AGE: Duration = Duration::from_secs(45);
/// Number of successive dead connections after which no more are prepared.
const MAX_DEAD: u8 = 3;

/// How far the next data connection is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readiness {
    /// The next transfer first has to request its data connection.
    Cold,
    /// The data connection is being made.
    Coming,
    /// The next transfer can start with its command.
    Armed,
}

/// State of a session's prepared data connection.
#[derive(Debug)]
pub(in crate::ftp) struct PreparedData {
    state: State,
    /// False in active mode, if not wanted, and if the server does not support it.
    enabled: bool,
    /// A transfer has used the last connection.
    due: bool,
    promise: Promise,
    dead: u8,
    /// Maximum age, [`MAX_AGE`] except in tests.
    pub(in crate::ftp) max_age: Duration,
}

/// What is known about transfers to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// Nothing, and it is unknown whether prepared connections work in this session.
    Unproven,
    /// Nothing, but a prepared connection has been used successfully.
    Proven,
    /// Another transfer will immediately follow the next one.
    More,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    None,
    /// The reply to EPSV or PASV is outstanding.
    Asked(PassiveCommand),
    /// The TCP connection is in progress.
    Connecting(PreparedSocket),
    Connected(PreparedSocket),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ftp) enum PassiveCommand {
    Extended,
    Passive,
}

/// A prepared data connection. Its socket is non-blocking.
#[derive(Debug)]
struct PreparedSocket {
    socket: TcpStream,
    command: PassiveCommand,
    since: Instant,
}

/// A handle for waiting until a session's data connection can make progress, without holding the
/// session.
#[derive(Debug)]
pub struct Watch {
    socket: TcpStream,
    sign: PollFlags,
}

impl Watch {
    /// Waits until one of the sessions can [`advance`](Session::advance), `bell` is readable or
    /// `patience` is over.
    pub fn wait_for_any(watches: &[Self], bell: &UnixStream, patience: Duration) {
        let mut polled: Vec<_> = watches
            .iter()
            .map(|watch| PollFd::new(&watch.socket, watch.sign))
            .collect();
        polled.push(PollFd::new(bell, PollFlags::IN));
        // The caller checks the sessions, whatever the result is.
        let _ = poll(&mut polled, Timespec::try_from(patience).ok().as_ref());
    }
}

impl PreparedData {
    pub(in crate::ftp) fn new(enabled: bool) -> Self {
        Self {
            state: State::None,
            enabled,
            due: true,
            promise: Promise::Unproven,
            dead: 0,
            max_age: MAX_AGE,
        }
    }

    /// Records that a transfer begins, which uses up the prepared connection.
    pub(in crate::ftp) fn used_up(&mut self) {
        self.due = true;
    }

    /// Records that EPSV or PASV was sent.
    pub(in crate::ftp) fn command_sent(&mut self, command: PassiveCommand) {
        self.due = false;
        self.state = State::Asked(command);
    }

    /// Records that the server closed or forgot a prepared connection.
    pub(in crate::ftp) fn was_dead(&mut self) {
        self.dead += 1;
        if self.dead >= MAX_DEAD {
            self.stop(&"the server closes data connections that are idle");
        }
    }

    /// Records that the prepared connection was used successfully.
    pub(in crate::ftp) fn was_alive(&mut self) {
        self.dead = 0;
        if self.promise == Promise::Unproven {
            self.promise = Promise::Proven;
        }
    }

    /// Whether another transfer immediately follows the one that begins, as announced by
    /// [`Session::expect_more`].
    pub(in crate::ftp) fn expects_more(&mut self) -> bool {
        let expected = self.promise == Promise::More;
        if expected {
            self.promise = Promise::Proven;
        }
        expected
    }

    /// Whether data arrived on a data connection that no transfer has used. Does not wait.
    pub(in crate::ftp) fn has_unexpected_data(&self) -> bool {
        match &self.state {
            State::Connecting(ahead) | State::Connected(ahead) => {
                matches!(ahead.socket.peek(&mut [0]), Ok(count) if count > 0)
            }
            State::None | State::Asked(_) => false,
        }
    }

    fn stop(&mut self, why: &dyn Cause) {
        log::info!(reply = why.quoted_reply(); "no longer preparing data connections: {why}");
        self.enabled = false;
    }
}

impl Session {
    /// Announces whether another transfer will immediately follow the next one. Then its data
    /// connection is requested in one write with the next command, if the server is known to answer
    /// that after the transfer. This saves a round trip between the two.
    pub fn expect_more(&mut self, more: bool) {
        let is_proven = self.profile.is_proven(Capability::EarlyDataConnection);
        self.prepared.promise = match (self.prepared.promise, more) {
            (Promise::Unproven, _) if !is_proven => Promise::Unproven,
            (_, true) => Promise::More,
            (_, false) => Promise::Proven,
        };
    }

    /// Requests the data connection of the next transfer, if the last one is used up and none is in
    /// progress. Does not wait.
    pub fn prepare_data(&mut self) {
        if !self.prepared.enabled
            || !self.prepared.due
            || !self.is_usable()
            || !self.supports_early_data()
        {
            return;
        }
        self.renew_prepared();
    }

    /// Requests a data connection to replace one that is getting old. Does not wait.
    pub fn renew_prepared(&mut self) {
        if !self.prepared.enabled || self.control.awaits_replies() || !self.supports_early_data() {
            return;
        }
        let command = self.passive_command();
        log::debug!("> {} (ahead)", command.verb());
        // A failure makes the session unusable, which is checked elsewhere.
        if self.control.send(command.verb().as_bytes()).is_ok() {
            self.control.expect_passive_reply();
            self.prepared.command_sent(command);
        }
    }

    /// The command for the next data connection, or `None` if none should be prepared now.
    pub(in crate::ftp) fn next_passive_command(&self) -> Option<PassiveCommand> {
        let is_wanted = self.prepared.enabled
            && self.prepared.due
            && !self.control.awaits_replies()
            && self.profile.is_proven(Capability::EarlyDataConnection);
        is_wanted.then(|| self.passive_command())
    }

    fn passive_command(&self) -> PassiveCommand {
        let skips_extended = self.data.trust_pasv_address && is_v4(&self.control).unwrap_or(false);
        if self.profile.has(Capability::Epsv) && !skips_extended {
            PassiveCommand::Extended
        } else {
            PassiveCommand::Passive
        }
    }

    fn supports_early_data(&self) -> bool {
        self.profile.has(Capability::EarlyDataConnection)
    }

    /// Closes the prepared data connection.
    pub fn drop_prepared(&mut self) {
        if !self.control.awaits_passive_reply() {
            self.prepared.state = State::None;
            self.control.set_holds_data(false);
        }
    }

    /// Whether the prepared data connection is so old that it should be
    /// [renewed](Self::renew_prepared) or [closed](Self::drop_prepared).
    pub fn has_old_prepared(&self) -> bool {
        match &self.prepared.state {
            State::Connecting(ahead) | State::Connected(ahead) => {
                ahead.since.elapsed() >= self.prepared.max_age / 2
            }
            State::None | State::Asked(_) => false,
        }
    }

    /// How far the next data connection is prepared, as of the last [`advance`](Self::advance).
    pub fn readiness(&self) -> Readiness {
        match &self.prepared.state {
            State::None => Readiness::Cold,
            State::Asked(_) | State::Connecting(_) => Readiness::Coming,
            State::Connected(_) => Readiness::Armed,
        }
    }

    /// What [`advance`](Self::advance) waits for, if anything.
    pub fn watch(&self) -> Option<Watch> {
        let (socket, sign) = match &self.prepared.state {
            State::Asked(_) => (self.control.try_clone(), PollFlags::IN),
            State::Connecting(ahead) => (ahead.socket.try_clone(), PollFlags::OUT),
            State::None | State::Connected(_) => return None,
        };
        let socket = socket.ok()?;
        Some(Watch { socket, sign })
    }

    /// Continues the preparation of the next data connection as far as possible without waiting.
    pub fn advance(&mut self) {
        // A failure makes the session unusable.
        if self.control.poll_passive_reply().is_ok() {
            self.act_on_passive_reply();
        }
        // After a refused EPSV, send PASV.
        self.prepare_data();
        if let State::Connecting(ahead) = &self.prepared.state
            && matches!(
                wait_for(&ahead.socket, PollFlags::OUT, Duration::ZERO),
                Ok(true)
            )
            && let State::Connecting(ahead) = std::mem::take(&mut self.prepared.state)
        {
            self.prepared.state = State::Connected(ahead);
        }
    }

    /// Takes the prepared data connection if it is usable. Waits for its completion.
    pub(in crate::ftp) fn take_prepared(&mut self) -> Result<Option<TcpStream>, Error> {
        self.control.wait_for_passive_reply()?;
        self.act_on_passive_reply();
        self.control.set_holds_data(false);
        let ahead = match std::mem::take(&mut self.prepared.state) {
            State::Connecting(ahead) | State::Connected(ahead) => ahead,
            State::None | State::Asked(_) => return Ok(None),
        };
        if ahead.since.elapsed() >= self.prepared.max_age || !self.supports_early_data() {
            return Ok(None);
        }
        let left = self
            .data
            .connect_timeout
            .saturating_sub(ahead.since.elapsed());
        match connected(&ahead.socket, left) {
            Ok(()) if is_open(&ahead.socket) => {}
            Ok(()) => {
                log::debug!("the server closed a prepared data connection");
                self.prepared.was_dead();
                return Ok(None);
            }
            Err(error) => {
                self.prepare_failed(ahead.command, &error);
                return Ok(None);
            }
        }
        if ahead.command == PassiveCommand::Extended {
            self.profile.works(Capability::Epsv);
        }
        let failed = |error| socket_error(Phase::DataConnect, error);
        ahead.socket.set_nonblocking(false).map_err(failed)?;
        self.control.set_holds_data(true);
        Ok(Some(ahead.socket))
    }

    /// Acts on the reply to EPSV or PASV, if it has arrived.
    pub(in crate::ftp) fn act_on_passive_reply(&mut self) {
        let Some(reply) = self.control.take_passive_reply() else {
            return;
        };
        let State::Asked(command) = std::mem::take(&mut self.prepared.state) else {
            return;
        };
        match self.begin_connect(command, &reply) {
            Ok(socket) => {
                let since = Instant::now();
                self.prepared.state = State::Connecting(PreparedSocket {
                    socket,
                    command,
                    since,
                });
            }
            Err(error) => self.prepare_failed(command, &error),
        }
    }

    fn begin_connect(&self, command: PassiveCommand, reply: &Reply) -> Result<TcpStream, Error> {
        if !reply.is_completion() {
            let (command, reply) = (command.verb(), reply.clone());
            return Err(Error::Refused { command, reply });
        }
        let target = match command {
            PassiveCommand::Extended => extended_passive_target(reply, &self.control)?,
            PassiveCommand::Passive => passive_target(reply, &self.control, &self.data)?,
        };
        begin_connect(target, &self.data.origin)
            .map_err(|error| socket_error(Phase::DataConnect, error))
    }

    /// Handles a failed preparation: switches to the other command, or stops preparing.
    fn prepare_failed(&mut self, command: PassiveCommand, error: &Error) {
        self.control.set_holds_data(false);
        if !may_fall_back(error, &self.control) {
            log::debug!("cannot prepare a data connection this time: {error}");
        } else if command == PassiveCommand::Extended && is_v4(&self.control).unwrap_or(false) {
            if give_up_extended(&self.profile, error) {
                self.prepared.due = true;
            } else {
                self.prepared.was_dead();
            }
        } else {
            self.prepared.stop(&error);
        }
    }
}

impl PassiveCommand {
    pub(in crate::ftp) fn verb(self) -> &'static str {
        match self {
            Self::Extended => "EPSV",
            Self::Passive => "PASV",
        }
    }
}

/// Starts a non-blocking connect(2). The socket becomes writable when it completes or fails.
fn begin_connect(address: SocketAddr, origin: &Origin) -> std::io::Result<TcpStream> {
    let socket = origin.socket(address)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let stream = TcpStream::from(socket);
    prepare(&stream)?;
    Ok(stream)
}

/// Waits until the connection is established.
fn connected(socket: &TcpStream, patience: Duration) -> Result<(), Error> {
    let failed = |error| socket_error(Phase::DataConnect, error);
    if !wait_for(socket, PollFlags::OUT, patience).map_err(failed)? {
        return Err(Error::Timeout(Phase::DataConnect));
    }
    match socket.take_error() {
        Ok(None) => Ok(()),
        Ok(Some(error)) | Err(error) => Err(failed(error)),
    }
}

/// Whether the server has neither closed the connection nor sent anything over it. Does not wait.
fn is_open(socket: &TcpStream) -> bool {
    matches!(socket.peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// Waits until `socket` shows `sign` or fails. Returns whether it does.
fn wait_for(socket: &TcpStream, sign: PollFlags, patience: Duration) -> std::io::Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut polled = [PollFd::new(socket, sign)];
        match poll(&mut polled, Timespec::try_from(left).ok().as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
