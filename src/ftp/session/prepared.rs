//! The next transfer's data connection, opened ahead of it: EPSV or PASV is sent when a transfer
//! has ended, and the connection made while nobody waits, so that the next transfer begins with its
//! verb (RFC 959 §3.2, RFC 2428).
//!
//! Nothing here waits but [`Session::take_prepared`]. The connection belongs to its session: servers
//! keep it across other commands until a transfer takes it or another EPSV replaces it. One that
//! the server closed meanwhile is noticed before it is used, and one that it forgot by its 425.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::Session;
use crate::ftp::bind::Origin;
use crate::ftp::connect::prepare;
use crate::ftp::control::socket_error;
use crate::ftp::data::{
    extended_passive_target, give_up_extended, is_v4, may_fall_back, passive_target,
};
use crate::ftp::error::{Error, Phase};
use crate::ftp::profile::Capability;
use crate::ftp::reply::Reply;

/// An older connection is not trusted: address translators and servers forget silent ones,
/// pyftpdlib after 300 s.
const OLDEST: Duration = Duration::from_secs(45);
/// Connections in a row that were dead when they were needed, after which none is opened ahead any
/// more.
const MOST_DEAD: u8 = 3;

/// How near a session is to a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readiness {
    /// A transfer has to ask for its data connection first.
    Cold,
    /// The data connection is being made.
    Coming,
    /// A transfer begins with its verb.
    Armed,
}

/// What a session opens ahead.
#[derive(Debug)]
pub(in crate::ftp) struct PreparedData {
    state: State,
    /// False in active mode, where it is not wanted, and where the server does not bear it.
    enabled: bool,
    /// A transfer used the last connection up.
    due: bool,
    promise: Promise,
    dead: u8,
    /// [`OLDEST`], which tests do not wait for.
    pub(in crate::ftp) oldest: Duration,
}

/// What is known of the transfers to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// Nothing; nor whether connections opened ahead are of use here.
    Unproven,
    /// Nothing, but one opened ahead has carried a transfer.
    Proven,
    /// Another transfer will follow the next one at once.
    More,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    None,
    /// The reply to EPSV or PASV is owed.
    Asked(PassiveCommand),
    /// TCP connects by itself.
    Connecting(PreparedSocket),
    Connected(PreparedSocket),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ftp) enum PassiveCommand {
    Extended,
    Passive,
}

/// A data connection ahead of its use; its socket does not block.
#[derive(Debug)]
struct PreparedSocket {
    socket: TcpStream,
    way: PassiveCommand,
    since: Instant,
}

/// What a session's data connection needs next, to be waited for without the session.
#[derive(Debug)]
pub struct Watch {
    socket: TcpStream,
    sign: PollFlags,
}

impl Watch {
    /// Waits until one of the sessions can [`advance`](Session::advance) or `bell` is readable, for
    /// `patience` at the longest.
    pub fn wait_for_any(watches: &[Self], bell: &UnixStream, patience: Duration) {
        let mut polled: Vec<_> = watches
            .iter()
            .map(|watch| PollFd::new(&watch.socket, watch.sign))
            .collect();
        polled.push(PollFd::new(bell, PollFlags::IN));
        // Whatever comes of it: a look at the sessions tells.
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
            oldest: OLDEST,
        }
    }

    /// A transfer begins: whatever was opened ahead is used up.
    pub(in crate::ftp) fn used_up(&mut self) {
        self.due = true;
    }

    /// The reply to EPSV or PASV is owed from now on.
    pub(in crate::ftp) fn asked(&mut self, way: PassiveCommand) {
        self.due = false;
        self.state = State::Asked(way);
    }

    /// The server forgot a connection that was open, or closed it.
    pub(in crate::ftp) fn was_dead(&mut self) {
        self.dead += 1;
        if self.dead >= MOST_DEAD {
            self.stop("the server closes data connections that are idle");
        }
    }

    /// The connection carried a transfer.
    pub(in crate::ftp) fn was_alive(&mut self) {
        self.dead = 0;
        if self.promise == Promise::Unproven {
            self.promise = Promise::Proven;
        }
    }

    /// Whether another transfer follows the one that begins at once, as
    /// [told](Session::expect_more).
    pub(in crate::ftp) fn expects_more(&mut self) -> bool {
        let expected = self.promise == Promise::More;
        if expected {
            self.promise = Promise::Proven;
        }
        expected
    }

    /// Without waiting: whether bytes came over a data connection that no transfer has used.
    pub(in crate::ftp) fn has_unexpected_data(&self) -> bool {
        match &self.state {
            State::Connecting(arm) | State::Connected(arm) => {
                matches!(arm.socket.peek(&mut [0]), Ok(count) if count > 0)
            }
            State::None | State::Asked(_) => false,
        }
    }

    fn stop(&mut self, why: &str) {
        log::info!("no more data connections ahead of their transfers: {why}");
        self.enabled = false;
    }
}

impl Session {
    /// Says whether another transfer will follow the next one at once: then its data connection is
    /// asked for in one write with the next one's command, where the server is known to answer that
    /// after the transfer. It spares a round trip between the two.
    pub fn expect_more(&mut self, more: bool) {
        self.prepared.promise = match (self.prepared.promise, more) {
            (Promise::Unproven, _) => Promise::Unproven,
            (Promise::Proven | Promise::More, true) => Promise::More,
            (Promise::Proven | Promise::More, false) => Promise::Proven,
        };
    }

    /// Asks for the next transfer's data connection, where one has used up the last and none is
    /// coming. Does not wait.
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

    /// Asks for another data connection in the place of one that grows old. Does not wait.
    pub fn renew_prepared(&mut self) {
        if !self.prepared.enabled || self.control.awaits_replies() || !self.supports_early_data() {
            return;
        }
        let way = self.passive_command();
        log::debug!("> {} (ahead)", way.verb());
        // One that cannot be sent leaves the session unusable, which shows.
        if self.control.send(way.verb().as_bytes()).is_ok() {
            self.control.expect_passive_reply();
            self.prepared.asked(way);
        }
    }

    /// How the next data connection would be asked for as things are; none where it should not.
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

    /// Closes a data connection opened ahead.
    pub fn drop_prepared(&mut self) {
        if !self.control.awaits_passive_reply() {
            self.prepared.state = State::None;
            self.control.set_holds_data(false);
        }
    }

    /// Whether a data connection opened ahead is so old that it should be
    /// [renewed](Self::renew_prepared) or [closed](Self::drop_prepared).
    pub fn has_old_prepared(&self) -> bool {
        match &self.prepared.state {
            State::Connecting(arm) | State::Connected(arm) => {
                arm.since.elapsed() >= self.prepared.oldest / 2
            }
            State::None | State::Asked(_) => false,
        }
    }

    /// How near the session is to a transfer, as of its last [`advance`](Self::advance).
    pub fn readiness(&self) -> Readiness {
        match &self.prepared.state {
            State::None => Readiness::Cold,
            State::Asked(_) | State::Connecting(_) => Readiness::Coming,
            State::Connected(_) => Readiness::Armed,
        }
    }

    /// What [`advance`](Self::advance) waits for; none where there is nothing to wait for.
    pub fn watch(&self) -> Option<Watch> {
        let (socket, sign) = match &self.prepared.state {
            State::Asked(_) => (self.control.try_clone(), PollFlags::IN),
            State::Connecting(arm) => (arm.socket.try_clone(), PollFlags::OUT),
            State::None | State::Connected(_) => return None,
        };
        let socket = socket.ok()?;
        Some(Watch { socket, sign })
    }

    /// Does what can be done for the next transfer's data connection without waiting.
    pub fn advance(&mut self) {
        // A failure shows in the session.
        if self.control.poll_passive_reply().is_ok() {
            self.act_on_passive_reply();
        }
        // Refused EPSV leaves PASV to be asked for.
        self.prepare_data();
        if let State::Connecting(arm) = &self.prepared.state
            && matches!(
                wait_for(&arm.socket, PollFlags::OUT, Duration::ZERO),
                Ok(true)
            )
            && let State::Connecting(arm) = std::mem::take(&mut self.prepared.state)
        {
            self.prepared.state = State::Connected(arm);
        }
    }

    /// The data connection opened ahead, if it is good: waits for as much of it as is still to
    /// come.
    pub(in crate::ftp) fn take_prepared(&mut self) -> Result<Option<TcpStream>, Error> {
        self.control.wait_for_passive_reply()?;
        self.act_on_passive_reply();
        self.control.set_holds_data(false);
        let arm = match std::mem::take(&mut self.prepared.state) {
            State::Connecting(arm) | State::Connected(arm) => arm,
            State::None | State::Asked(_) => return Ok(None),
        };
        if arm.since.elapsed() >= self.prepared.oldest || !self.supports_early_data() {
            return Ok(None);
        }
        let left = self
            .data
            .connect_timeout
            .saturating_sub(arm.since.elapsed());
        match connected(&arm.socket, left) {
            Ok(()) if is_open(&arm.socket) => {}
            Ok(()) => {
                log::debug!("the server closed a data connection opened ahead");
                self.prepared.was_dead();
                return Ok(None);
            }
            Err(error) => {
                self.prepare_failed(arm.way, &error);
                return Ok(None);
            }
        }
        if arm.way == PassiveCommand::Extended {
            self.profile.works(Capability::Epsv);
        }
        let failed = |error| socket_error(Phase::DataConnect, error);
        arm.socket.set_nonblocking(false).map_err(failed)?;
        self.control.set_holds_data(true);
        Ok(Some(arm.socket))
    }

    /// Acts on the reply to EPSV or PASV, where it has come.
    pub(in crate::ftp) fn act_on_passive_reply(&mut self) {
        let Some(reply) = self.control.take_passive_reply() else {
            return;
        };
        let State::Asked(way) = std::mem::take(&mut self.prepared.state) else {
            return;
        };
        match self.begin_connect(way, &reply) {
            Ok(socket) => {
                let since = Instant::now();
                self.prepared.state = State::Connecting(PreparedSocket { socket, way, since });
            }
            Err(error) => self.prepare_failed(way, &error),
        }
    }

    fn begin_connect(&self, way: PassiveCommand, reply: &Reply) -> Result<TcpStream, Error> {
        if !reply.is_completion() {
            let (command, reply) = (way.verb(), reply.clone());
            return Err(Error::Refused { command, reply });
        }
        let target = match way {
            PassiveCommand::Extended => extended_passive_target(reply, &self.control)?,
            PassiveCommand::Passive => passive_target(reply, &self.control, &self.data)?,
        };
        begin_connect(target, &self.data.origin)
            .map_err(|error| socket_error(Phase::DataConnect, error))
    }

    /// There is no data connection by `way`: another way is taken from now on, or none ahead.
    fn prepare_failed(&mut self, way: PassiveCommand, error: &Error) {
        self.control.set_holds_data(false);
        if !may_fall_back(error, &self.control) {
            log::debug!("no data connection ahead this time: {error}");
        } else if way == PassiveCommand::Extended && is_v4(&self.control).unwrap_or(false) {
            if give_up_extended(&self.profile, error) {
                self.prepared.due = true;
            } else {
                self.prepared.was_dead();
            }
        } else {
            self.prepared.stop(&error.to_string());
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

/// Starts a connect(2) that goes on by itself; writable, the socket has come to its end.
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

/// Waits until the connection is made.
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

/// Without waiting: whether the server has neither closed the connection nor sent anything over it
/// unasked.
fn is_open(socket: &TcpStream) -> bool {
    matches!(socket.peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// Waits until `socket` shows `sign` or fails; whether it does.
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
