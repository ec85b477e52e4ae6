//! The control connection: it receives lines, sends replies, and is watched while the session waits
//! for something else.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustls::ServerConfig;
use socket2::SockRef;

use super::command_line::{Line, LineQueue};
use super::reply::{Gone, Reply};
use super::tls::Stream;

/// Time limit of a client's TLS handshake.
pub(super) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(30);

/// Time limit for a client to take a reply.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);

/// Length of one wait of a stalled session. It also ends immediately when the client disconnects.
#[cfg(feature = "faults")]
const HANG: Duration = Duration::from_secs(60);

/// Maximum number of bytes per read.
const READ_SIZE: usize = 8 << 10;

/// The control connection of one session.
pub(super) struct Control {
    stream: Stream,
    queue: LineQueue,
    /// The client has closed its side. Commands received before are still answered.
    ended: bool,
    delay: Duration,
    /// Time of the event that the next reply answers. The artificial delay counts from here.
    cause: Instant,
    /// Time of the last reply.
    replied: Instant,
    /// The last line arrived after a reply, for which the client may have waited.
    is_new_flight: bool,
}

/// The reason why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The other descriptor is ready.
    Other,
    /// The client sent something on the control connection.
    Input,
    /// The deadline passed.
    Deadline,
}

impl Control {
    /// Wraps an accepted connection.
    pub(super) fn new(stream: TcpStream, delay: Duration) -> Result<Self, Gone> {
        let prepare = || {
            let socket = SockRef::from(&stream);
            socket.set_keepalive(true)?;
            // ABOR may arrive as TELNET urgent data. Out of band, its last byte would be lost.
            socket.set_out_of_band_inline(true)
        };
        prepare().map_err(|_| Gone)?;
        Ok(Self {
            stream: Stream::new(stream).map_err(|_| Gone)?,
            queue: LineQueue::default(),
            ended: false,
            delay,
            cause: Instant::now() + delay,
            replied: Instant::now(),
            is_new_flight: true,
        })
    }

    /// Takes the next command line if one has arrived. The next reply answers it.
    pub(super) fn take_line(&mut self) -> Result<Option<Line>, Gone> {
        match self.queue.pop() {
            Some((line, arrived)) => {
                self.cause = arrived;
                self.is_new_flight = arrived > self.replied;
                Ok(Some(line))
            }
            None if self.ended => Err(Gone),
            None => Ok(None),
        }
    }

    /// Whether the last line began a new flight, that is, arrived after the replies to the lines
    /// before it.
    pub(super) fn is_new_flight(&self) -> bool {
        self.is_new_flight
    }

    /// Whether the client has closed its side.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Makes the delay of the next reply count from now.
    pub(super) fn restart_delay(&mut self) {
        self.cause = Instant::now();
    }

    /// Whether the client asked to abort the current command.
    pub(super) fn wants_abort(&self) -> bool {
        self.queue.has_abort()
    }

    /// Returns the time at which a connection opened now can carry its first byte.
    pub(super) fn handshake_done(&self) -> Instant {
        // On loopback the client's connect returns immediately. One delay stands for the round trip
        // of the TCP handshake, the other for the round trip of the first byte and its answer.
        Instant::now() + 2 * self.delay
    }

    /// Returns the time at which data that the client sends now would arrive from a distant host.
    pub(super) fn one_way_done(&self) -> Instant {
        Instant::now() + self.delay
    }

    /// Sends a reply after the artificial delay.
    pub(super) fn reply(&mut self, reply: &Reply) -> Result<(), Gone> {
        self.send(&reply.to_bytes())
    }

    /// Sends reply lines verbatim.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.pause_until(self.cause + self.delay)?;
        let deadline = Instant::now() + WRITE_DEADLINE;
        let mut left = bytes;
        while !left.is_empty() {
            let taken = self.stream.write(left);
            let count = self.or_wait(taken, deadline)?.unwrap_or(0);
            left = left.get(count..).unwrap_or_default();
        }
        self.flush(deadline)?;
        self.replied = Instant::now();
        Ok(())
    }

    /// Whether the connection is encrypted.
    pub(super) fn is_secure(&self) -> bool {
        self.stream.is_secure()
    }

    /// Starts TLS as the server. Plaintext that follows the AUTH command may be injected, so it
    /// ends the session, as does a failed handshake.
    pub(super) fn secure(&mut self, config: Arc<ServerConfig>) -> Result<(), Gone> {
        if !self.queue.is_empty() {
            log::warn!("server: plaintext follows AUTH TLS; closing the session");
            return Err(Gone);
        }
        self.rest_until(Instant::now() + self.delay)?;
        self.stream.begin_tls(config).map_err(|_| Gone)?;
        let deadline = Instant::now() + HANDSHAKE_DEADLINE;
        loop {
            match self.stream.handshake() {
                Ok(None) => break,
                Ok(Some(awaited)) => self.wait_for(awaited, deadline)?,
                Err(error) => {
                    log::info!("server: no TLS on a control connection: {error}");
                    return Err(Gone);
                }
            }
        }
        self.restart_delay();
        Ok(())
    }

    /// Announces the end of the connection, which distinguishes it from one that was cut.
    pub(super) fn end(&mut self) {
        self.stream.end();
        // The client may have disconnected after the last reply.
        let _ = self.flush(Instant::now() + WRITE_DEADLINE);
    }

    fn flush(&mut self, deadline: Instant) -> Result<(), Gone> {
        loop {
            let flushed = self.stream.flush();
            if self.or_wait(flushed, deadline)?.is_some() {
                return Ok(());
            }
        }
    }

    /// Returns the result of an operation. If it would block, waits for the client to take what was
    /// sent and returns `None`.
    fn or_wait<T>(&self, done: io::Result<T>, deadline: Instant) -> Result<Option<T>, Gone> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.wait_for(PollFlags::OUT, deadline)?;
                Ok(None)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(None),
            Err(_) => Err(Gone),
        }
    }

    /// Waits for the control connection alone.
    fn wait_for(&self, readiness: PollFlags, deadline: Instant) -> Result<(), Gone> {
        let (_, ready) = self.poll(false, Some((self.stream.as_fd(), readiness)), deadline)?;
        if ready.is_empty() || ready.intersects(PollFlags::ERR | PollFlags::NVAL) {
            return Err(Gone);
        }
        Ok(())
    }

    /// Waits without reading from the client.
    fn rest_until(&self, moment: Instant) -> Result<(), Gone> {
        while Instant::now() < moment {
            let (control, _) = self.poll(false, None, moment)?;
            if !control.is_empty() {
                return Err(Gone);
            }
        }
        Ok(())
    }

    /// Waits while reading from the client.
    pub(super) fn pause_until(&mut self, moment: Instant) -> Result<(), Gone> {
        while Instant::now() < moment {
            self.watch(None, moment)?;
        }
        Ok(())
    }

    /// Waits until the client has closed its side, ignoring its commands.
    #[cfg(feature = "faults")]
    pub(super) fn hang(&mut self) -> Gone {
        while !self.ended && self.watch(None, Instant::now() + HANG).is_ok() {}
        Gone
    }

    /// Waits for new input from the client.
    #[cfg(feature = "faults")]
    pub(super) fn await_input(&mut self) -> Result<(), Gone> {
        let deadline = Instant::now() + HANDSHAKE_DEADLINE;
        match self.watch(None, deadline)? {
            Event::Input => Ok(()),
            Event::Other | Event::Deadline => Err(Gone),
        }
    }

    /// Stops sending and waits until the client has closed its side, so that everything sent
    /// arrives.
    #[cfg(feature = "faults")]
    pub(super) fn hang_up(&mut self) -> Gone {
        // Nothing to do if the client has disconnected already.
        let _ = self.stream.socket().shutdown(std::net::Shutdown::Write);
        self.hang()
    }

    /// Waits until `other` is ready, the client sends something or the deadline passes, and queues
    /// what was sent.
    pub(super) fn watch(
        &mut self,
        other: Option<(BorrowedFd<'_>, PollFlags)>,
        deadline: Instant,
    ) -> Result<Event, Gone> {
        if self.take_queued()? {
            return Ok(Event::Input);
        }
        let reading = !self.ended && !self.queue.is_full();
        let (control, awaited) = self.poll(reading, other, deadline)?;
        if control.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            return Err(Gone);
        }
        let heard = control.contains(PollFlags::IN);
        if heard {
            self.fill()?;
        }
        if !awaited.is_empty() {
            return Ok(Event::Other);
        }
        Ok(if heard { Event::Input } else { Event::Deadline })
    }

    /// Queues data that TLS has already received, which poll(2) does not report. Returns whether
    /// there was any.
    fn take_queued(&mut self) -> Result<bool, Gone> {
        let mut came = false;
        while self.stream.holds_input() && !self.ended && !self.queue.is_full() {
            came |= self.fill()?;
        }
        Ok(came)
    }

    /// Polls the control connection and the other descriptor. Both results are empty when the
    /// deadline has passed.
    fn poll(
        &self,
        reading: bool,
        other: Option<(BorrowedFd<'_>, PollFlags)>,
        deadline: Instant,
    ) -> Result<(PollFlags, PollFlags), Gone> {
        let wanted = if reading {
            PollFlags::IN
        } else {
            PollFlags::empty()
        };
        let control = self.stream.as_fd();
        let (other, events) = other.unwrap_or((control, PollFlags::empty()));
        let mut both = [
            PollFd::from_borrowed_fd(control, wanted),
            PollFd::from_borrowed_fd(other, events),
        ];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            match poll(&mut both, timeout.as_ref()) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(_) => return Err(Gone),
            }
        }
        let [control, other] = both;
        Ok((control.revents(), other.revents()))
    }

    /// Reads once. Returns whether anything arrived, including the end.
    fn fill(&mut self) -> Result<bool, Gone> {
        let mut bytes = [0; READ_SIZE];
        match self.stream.read(&mut bytes) {
            // Clients often disconnect without QUIT or close_notify. Complete lines received before
            // are valid.
            Ok(0) => self.ended = true,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => self.ended = true,
            Ok(count) => self
                .queue
                .push(bytes.get(..count).unwrap_or_default(), Instant::now()),
            Err(error) if is_passing(&error) => return Ok(false),
            Err(_) => return Err(Gone),
        }
        Ok(true)
    }
}

/// Whether the error only means to try again.
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
