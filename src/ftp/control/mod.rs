//! The control connection: sends commands and receives replies, with a deadline for each wait (RFC
//! 959 §4, §5.3).

mod ledger;
mod lines;
mod owed;
mod unread;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::concurrent_handshake::ConcurrentHandshake;
use super::counts::CommandCounts;
use super::error::{Error, Phase, socket_error};
use super::open_sockets::OpenSockets;
use super::pace::Pace;
use super::profile::{Capability, ServerProfile, Suspicion};
use super::reply::Reply;
use super::secrets::Secrets;
use super::stream::MaybeTlsStream;
use super::tcp::acknowledge;
use super::tls::{self, Connector, Security};
use ledger::{Fit, Ledger};
use owed::PassiveReply;
use unread::Unread;

/// Maximum length of a reply line in bytes.
const MAX_LINE: usize = 8 * 1024;
/// Maximum number of lines of a stored reply.
const MAX_LINES: usize = 2_000;
/// Maximum number of bytes of a stored reply.
const MAX_BYTES: usize = 256 * 1024;

/// Upper limit of the wait for the first EPSV reply. Some servers and firewalls never answer it,
/// and a program's timeout must leave time for PASV.
const EXTENDED_PATIENCE: Duration = Duration::from_secs(5);

/// A control connection.
#[derive(Debug)]
pub(super) struct Control {
    stream: MaybeTlsStream,
    timeout: Duration,
    /// Bytes received and not yet split into lines.
    unread: Unread,
    usable: bool,
    /// Whether this side has shut the connection down, so that its end says nothing about the
    /// server.
    is_interrupted: Arc<AtomicBool>,
    /// Logged in: replies answer commands. Before that, they are about the session.
    logged_in: bool,
    /// Secrets that were sent and must not appear in logs and messages, even if the server repeats
    /// them.
    secrets: Secrets,
    counts: CommandCounts,
    ledger: Ledger,
    profile: ServerProfile,
    /// A data connection is prepared and no transfer has used it.
    holds_data: bool,
    sent_at: Instant,
    /// Shortest round trip of a single command so far.
    round_trip: Option<Duration>,
    passive_reply: PassiveReply,
    /// Number of replies to pipelined questions about a file. They come next, after the one in
    /// `passive_reply`.
    facts_due: usize,
    /// Number of such replies that are no longer needed.
    unwanted: usize,
    /// A data connection whose handshake continues while waiting for a reply.
    handshake: Option<ConcurrentHandshake>,
}

impl Control {
    /// Wraps `stream`. `timeout` limits the wait for a reply.
    pub(super) fn new(
        stream: TcpStream,
        timeout: Duration,
        profile: ServerProfile,
    ) -> Result<Self, Error> {
        let io = |source| Error::Io {
            phase: Phase::Connect,
            source,
        };
        stream.set_write_timeout(Some(timeout)).map_err(io)?;
        Ok(Self {
            stream: MaybeTlsStream::Clear(Arc::new(stream)),
            timeout,
            unread: Unread::default(),
            usable: true,
            is_interrupted: Arc::default(),
            logged_in: false,
            secrets: Secrets::default(),
            counts: CommandCounts::default(),
            ledger: Ledger::default(),
            profile,
            holds_data: false,
            sent_at: Instant::now(),
            round_trip: None,
            passive_reply: PassiveReply::None,
            facts_due: 0,
            unwanted: 0,
            handshake: None,
        })
    }

    /// Continues the TLS handshake of a data connection while waiting for replies.
    pub(super) fn run_handshake(&mut self, handshake: Option<ConcurrentHandshake>) {
        self.handshake = handshake;
    }

    /// Takes the connection passed to [`Self::run_handshake`], in its current state.
    pub(super) fn take_handshake(&mut self) -> Option<ConcurrentHandshake> {
        self.handshake.take()
    }

    /// Address of the server.
    pub(super) fn peer(&self) -> Result<SocketAddr, Error> {
        self.stream
            .socket()
            .peer_addr()
            .map_err(|source| Error::Io {
                phase: Phase::Connect,
                source,
            })
    }

    /// Local address, which the server sees if there is no address translation.
    pub(super) fn local(&self) -> Result<SocketAddr, Error> {
        self.stream
            .socket()
            .local_addr()
            .map_err(|source| Error::Io {
                phase: Phase::Connect,
                source,
            })
    }

    /// Includes the connection in `sockets`.
    pub(super) fn register(&self, sockets: &OpenSockets) {
        sockets.add(self.stream.socket());
    }

    /// Duplicates the socket handle, so that another thread can shut it down.
    pub(super) fn try_clone(&self) -> std::io::Result<TcpStream> {
        self.stream.socket().try_clone()
    }

    /// Returns the flag to set before the socket is shut down on purpose.
    pub(super) fn interrupted_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_interrupted)
    }

    /// Whether this side has shut the connection down.
    pub(super) fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Ordering::Relaxed)
    }

    /// Switches to TLS, with a handshake within `patience`.
    ///
    /// # Errors
    /// [`Error::PlaintextInjected`] if bytes arrived before it, problems with the server's TLS or
    /// certificate, and socket errors.
    pub(super) fn secure(
        &mut self,
        connector: &Connector,
        patience: Duration,
    ) -> Result<(), Error> {
        if !self.unread.is_empty() {
            return Err(Error::PlaintextInjected);
        }
        let mut stream = connector.over_control(Arc::clone(self.stream.socket()))?;
        let shaken = stream.handshake(Instant::now() + patience);
        self.stream = MaybeTlsStream::Tls(Box::new(stream));
        shaken.map_err(|error| error.into_error(Phase::Handshake))
    }

    /// Properties of the TLS connection, if there is one.
    pub(super) fn security(&self, data_resumed: Option<bool>) -> Option<Security> {
        match &self.stream {
            MaybeTlsStream::Clear(_) => None,
            MaybeTlsStream::Tls(stream) => Some(stream.security(data_resumed)),
        }
    }

    /// Replaces `secret` with stars in replies until [`Control::reveal`].
    pub(super) fn conceal(&mut self, secret: &str) {
        self.secrets.add(secret);
    }

    /// Stops replacing secrets: later replies may contain text that only looks like one.
    pub(super) fn reveal(&mut self) {
        self.secrets = Secrets::default();
    }

    /// Counts commands in `counts` from now on.
    pub(super) fn set_counts(&mut self, counts: &CommandCounts) {
        self.counts = counts.clone();
    }

    /// Marks the login as done.
    pub(super) fn logged_in(&mut self) {
        self.logged_in = true;
    }

    /// Whether client and server are in step, so that the connection is usable.
    pub(super) fn is_usable(&self) -> bool {
        self.usable
    }

    /// Marks the connection as unusable.
    pub(super) fn give_up(&mut self) {
        self.usable = false;
    }

    /// Whether the connection is open and nothing unsolicited has arrived. Does not wait.
    pub(super) fn is_quiet(&mut self) -> bool {
        if self.poll_passive_reply().is_err() || !self.usable {
            return false;
        }
        if self.awaits_replies() {
            let received = self.receive_now();
            return self.poison(received).is_ok();
        }
        if !self.unread.is_empty() || self.stream.socket().set_nonblocking(true).is_err() {
            return false;
        }
        let received = self.receive_wordless();
        let restored = self.stream.socket().set_nonblocking(false).is_ok();
        restored && matches!(received, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Sends one command line; `line` has no line end.
    pub(super) fn send(&mut self, line: &[u8]) -> Result<(), Error> {
        self.send_batch(&[line])
    }

    /// Sends several command lines in one write. Each has its own reply.
    pub(super) fn send_batch(&mut self, lines: &[&[u8]]) -> Result<(), Error> {
        self.unwanted += std::mem::take(&mut self.facts_due);
        let mut bytes = Vec::with_capacity(lines.iter().map(|line| line.len() + 2).sum());
        for line in lines {
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(b"\r\n");
            self.counts.count(line);
            self.ledger.sent(line);
        }
        self.counts.count_round_trip();
        self.sent_at = Instant::now();
        self.stream
            .write_all(&bytes)
            .map_err(|error| self.broken(Phase::Command, error))
    }

    /// Sets whether a prepared data connection is held for a later transfer.
    pub(super) fn set_holds_data(&mut self, holds_data: bool) {
        self.holds_data = holds_data;
    }

    /// Records that an aborted transfer has ended and nothing else was sent.
    pub(super) fn resynchronised(&mut self) {
        self.ledger.resynchronised();
    }

    /// Receives the next reply within the timeout, or a shorter time while the server has not
    /// proved that it supports what was sent ahead.
    pub(super) fn reply(&mut self, phase: Phase) -> Result<Reply, Error> {
        self.reply_within(phase, self.patience())
    }

    /// Time limit for the next reply.
    fn patience(&self) -> Duration {
        if self.is_extended_unproven() {
            let shortened = EXTENDED_PATIENCE.min(self.timeout / 3);
            self.timeout.min(self.suspicious_patience().max(shortened))
        } else if self.is_at_risk() {
            self.timeout.min(self.suspicious_patience())
        } else {
            self.timeout
        }
    }

    /// Whether the next reply answers EPSV, the server has not proved to support EPSV, and PASV
    /// would be an alternative.
    fn is_extended_unproven(&self) -> bool {
        self.ledger.is_next_extended()
            && !self.profile.is_proven(Capability::Epsv)
            && self
                .peer()
                .is_ok_and(|peer| peer.ip().to_canonical().is_ipv4())
    }

    /// Whether something was sent ahead that the server has not proved to support.
    fn is_at_risk(&self) -> bool {
        let unproven =
            |capability| self.profile.has(capability) && !self.profile.is_proven(capability);
        self.ledger.flight() > 1 && unproven(Capability::Pipelining)
            || self.holds_data && unproven(Capability::EarlyDataConnection)
    }

    fn suspicious_patience(&self) -> Duration {
        ServerProfile::patience(self.round_trip.unwrap_or_default())
    }

    /// Receives the next reply within the timeout plus `longer`.
    pub(super) fn reply_after(&mut self, phase: Phase, longer: Duration) -> Result<Reply, Error> {
        self.reply_within(phase, self.timeout.saturating_add(longer))
    }

    /// Receives the next reply within `patience`.
    pub(super) fn reply_within(
        &mut self,
        phase: Phase,
        patience: Duration,
    ) -> Result<Reply, Error> {
        let deadline = Instant::now() + patience;
        if self.awaits_passive_reply() {
            let reply = self.next_reply(phase, deadline)?;
            if !self.usable {
                return Ok(reply);
            }
            self.passive_reply = PassiveReply::Arrived(reply);
        }
        self.skip_unwanted(phase, deadline)?;
        self.next_reply(phase, deadline)
    }

    fn skip_unwanted(&mut self, phase: Phase, deadline: Instant) -> Result<(), Error> {
        while self.unwanted > 0 && self.usable {
            self.unwanted -= 1;
            self.next_reply(phase, deadline)?;
        }
        Ok(())
    }

    /// Receives the next answer or preliminary reply. Logs and skips others.
    fn next_reply(&mut self, phase: Phase, deadline: Instant) -> Result<Reply, Error> {
        loop {
            let reply = self.any_reply(phase, deadline)?;
            match self.classify(&reply) {
                Fit::Answer => return Ok(reply),
                Fit::Preliminary => {
                    acknowledge(self.stream.socket());
                    return Ok(reply);
                }
                Fit::Passing => log::debug!("skipping a preliminary reply: {reply}"),
                Fit::OutOfStep => return Err(self.out_of_step(reply)),
                Fit::Stray => {
                    let soon = Instant::now() + self.suspicious_patience();
                    if !self.has_more(phase, deadline.min(soon))? {
                        self.ledger.accept_stray(reply.code());
                        return Ok(reply);
                    }
                    log::debug!("skipping a second reply to an earlier command: {reply}");
                }
            }
        }
    }

    fn classify(&mut self, reply: &Reply) -> Fit {
        if self.ledger.outstanding() == 1 && !self.logged_in {
            let elapsed = self.sent_at.elapsed();
            self.round_trip = Some(self.round_trip.map_or(elapsed, |it| it.min(elapsed)));
        }
        let is_unrelated = self.holds_data && self.ledger.is_next_unrelated_to_data();
        let fit = self.ledger.classify(reply.code());
        if fit == Fit::Answer && is_unrelated {
            self.profile.record_reply_while_held();
        }
        fit
    }

    /// Marks the connection as unusable because `reply` cannot answer its command.
    pub(super) fn out_of_step(&mut self, reply: Reply) -> Error {
        self.usable = false;
        self.suspect(Suspicion::OutOfStep);
        log::info!(reply; "the server's replies are out of step: {reply}");
        Error::OutOfStep(reply)
    }

    /// Reports that data arrived on the prepared data connection instead of a reply.
    pub(super) fn report_unexpected_data(&mut self) {
        self.suspect(Suspicion::OutOfStep);
    }

    /// Reports to the profile that the session failed with the current number of outstanding
    /// commands.
    fn suspect(&mut self, sign: Suspicion) {
        if self.is_interrupted() {
            return;
        }
        if sign == Suspicion::Silence && self.is_extended_unproven() {
            return self.profile.extended_is_unanswered();
        }
        self.profile
            .suspect(sign, self.ledger.flight(), self.holds_data);
    }

    /// Whether another reply begins before `deadline`.
    fn has_more(&mut self, phase: Phase, deadline: Instant) -> Result<bool, Error> {
        let before = self.usable;
        while self.unread.is_empty() {
            match self.receive(phase, deadline) {
                Ok(()) => {}
                Err(Error::Timeout(_)) => {
                    self.usable = before;
                    return Ok(false);
                }
                Err(error) => return self.poison(Err(error)),
            }
        }
        Ok(true)
    }

    fn any_reply(&mut self, phase: Phase, deadline: Instant) -> Result<Reply, Error> {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        let mut keep = |line: &[u8]| {
            bytes += line.len();
            if lines.len() >= MAX_LINES {
                return Err(Error::TooLong {
                    what: "lines in a reply",
                    limit: MAX_LINES,
                });
            }
            if bytes > MAX_BYTES {
                return Err(Error::TooLong {
                    what: "bytes in a reply",
                    limit: MAX_BYTES,
                });
            }
            lines.push(line.to_vec());
            Ok(())
        };
        let result = self.each_line(phase, &mut || deadline, &mut keep);
        let code = self.poison(result)?;
        let reply = Reply::new(code, lines);
        log::debug!("< {reply}");
        // RFC 959 §4.2.2: 421 can answer any command, and the server closes the connection.
        self.usable &= code.0 != 421;
        // Before the login, other words are about the configuration, and the user must see them.
        if reply.is_fatal_oops() && (self.logged_in || reply.is_of_killed_server()) {
            log::info!(reply; "the server's session ended with an internal error: {reply}");
            self.usable = false;
            return Err(Error::Closed(phase));
        }
        Ok(reply)
    }

    /// Receives the next reply if one begins within `patience`. Otherwise leaves the connection
    /// unchanged.
    pub(super) fn wait_for_reply(&mut self, patience: Duration) -> Option<Result<Reply, Error>> {
        match self.has_more(Phase::Reply, Instant::now() + patience) {
            Ok(false) => None,
            // A reply that has begun gets the full timeout, because its lines cannot be put back.
            Ok(true) => Some(self.reply_within(Phase::Reply, self.timeout)),
            Err(error) => Some(Err(error)),
        }
    }

    /// Receives a reply whose inner lines are passed to `visit` as they arrive: for listings by
    /// STAT, which are as long as the directory. Each line may take the timeout, all of them the
    /// pace of a listing. The returned reply has the first and the last line only.
    pub(super) fn long_reply(
        &mut self,
        limit: usize,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<Reply, Error> {
        let timeout = self.timeout;
        let pace = Pace::new(timeout);
        if let Some(end) = self.passive_reply_or_end()? {
            return Ok(end);
        }
        self.skip_unwanted(Phase::Reply, Instant::now() + timeout)?;
        let (mut count, mut bytes) = (0_usize, 0);
        let (mut first, mut last) = (Vec::new(), Vec::new());
        let mut keep = |line: &[u8]| {
            bytes += line.len();
            if bytes > limit {
                return Err(Error::TooLong {
                    what: "bytes in a listing",
                    limit,
                });
            }
            pace.check(bytes as u64)?;
            // Another line follows, so the previous one was not the last.
            if count > 1 {
                visit(&last);
            }
            if count == 0 {
                first = line.to_vec();
            }
            last.clear();
            last.extend_from_slice(line);
            count += 1;
            Ok(())
        };
        let result = self.each_line(Phase::Reply, &mut || Instant::now() + timeout, &mut keep);
        let code = self.poison(result)?;
        self.usable &= code.0 != 421;
        let lines = if count > 1 {
            vec![first, last]
        } else {
            vec![first]
        };
        let reply = Reply::new(code, lines);
        log::debug!("< {reply} ({count} lines)");
        match self.classify(&reply) {
            Fit::OutOfStep => Err(self.out_of_step(reply)),
            Fit::Answer | Fit::Preliminary | Fit::Passing | Fit::Stray => Ok(reply),
        }
    }

    fn broken(&mut self, phase: Phase, error: std::io::Error) -> Error {
        self.usable = false;
        // RFC 8446 §4.4.2.4: a server that requires a client certificate reports that only after
        // the handshake.
        let alert = error.get_ref().and_then(|error| error.downcast_ref());
        match alert {
            Some(alert @ rustls::Error::AlertReceived(_)) if !self.logged_in => {
                tls::to_error(alert)
            }
            _ => socket_error(phase, error),
        }
    }

    fn poison<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.usable &= result.is_ok();
        match &result {
            Err(Error::Timeout(_)) => self.suspect(Suspicion::Silence),
            Err(Error::Closed(_) | Error::Io { .. }) => self.suspect(Suspicion::Closed),
            Err(Error::Malformed { .. }) => self.suspect(Suspicion::Nonsense),
            Ok(_) | Err(_) => {}
        }
        result
    }
}

impl Drop for Control {
    /// Shuts the socket down, because a duplicated handle in a [`Watch`](super::Watch) would keep
    /// it open.
    fn drop(&mut self) {
        // An error means that it is already closed.
        let _ = self.stream.socket().shutdown(std::net::Shutdown::Both);
    }
}
