//! The control connection: lines in, replies out, and the watch over it while something else is
//! waited for.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpStream};
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

/// A client whose TLS handshake takes longer is given up.
pub(super) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(30);

/// A client that does not take a reply for this long is given up.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);

/// How long one of the waits of a stalled session is; a client that goes is noticed at once.
const HANG: Duration = Duration::from_secs(60);

/// Bytes read from the control connection at once.
const READ_SIZE: usize = 8 << 10;

/// The control connection of one session.
pub(super) struct Control {
    stream: Stream,
    queue: LineQueue,
    /// The client sends nothing more; what it sent is still answered.
    ended: bool,
    delay: Duration,
    /// When the event happened that the next reply answers: the delay counts from it.
    cause: Instant,
    /// When the last reply was sent.
    replied: Instant,
    /// The line taken last arrived after a reply: the client may have waited for that.
    is_new_flight: bool,
}

/// What a wait ended with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The other descriptor is ready.
    Other,
    /// The client sent something on the control connection.
    Input,
    /// Nothing happened until the deadline.
    Deadline,
}

impl Control {
    /// Takes over a connection accepted just now.
    pub(super) fn new(stream: TcpStream, delay: Duration) -> Result<Self, Gone> {
        let prepare = || {
            let socket = SockRef::from(&stream);
            socket.set_keepalive(true)?;
            // ABOR may come as TELNET urgent data; out of line its last byte would be lost.
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

    /// The next command line in order if one has arrived; the next reply is taken as its answer.
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

    /// Whether the line taken last began another flight: it did not arrive before the replies to
    /// those ahead of it.
    pub(super) fn is_new_flight(&self) -> bool {
        self.is_new_flight
    }

    /// Whether the client sends nothing more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Lets the delay of the next reply count from now.
    pub(super) fn restart_delay(&mut self) {
        self.cause = Instant::now();
    }

    /// Whether the client asked to abort what is under way.
    pub(super) fn wants_abort(&self) -> bool {
        self.queue.has_abort()
    }

    /// When a connection opened now can carry its first byte.
    pub(super) fn handshake_done(&self) -> Instant {
        // On loopback the client's connect returns at once: one delay stands for the round trip it
        // would have waited there, the other for the one until the first byte answers it.
        Instant::now() + 2 * self.delay
    }

    /// When what the client sends now has crossed a distant line.
    pub(super) fn one_way_done(&self) -> Instant {
        Instant::now() + self.delay
    }

    /// Sends a reply once its time has come.
    pub(super) fn reply(&mut self, reply: &Reply) -> Result<(), Gone> {
        self.send(&reply.to_bytes())
    }

    /// Sends reply lines as they stand.
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

    /// Whether what is said here can be read by nobody else.
    pub(super) fn is_secure(&self) -> bool {
        self.stream.is_secure()
    }

    /// Begins TLS, as its server. What came in the clear behind the command that asked for it was
    /// said by anybody: it ends the session, and so does a handshake that fails.
    pub(super) fn secure(&mut self, config: Arc<ServerConfig>) -> Result<(), Gone> {
        if !self.queue.is_empty() {
            log::warn!("server: commands in the clear behind AUTH TLS: the session is closed");
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

    /// Ends what the server says, so that the client can tell it from a connection that was cut.
    pub(super) fn end(&mut self) {
        self.stream.end();
        // The client may have gone with the last reply.
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

    /// What was done; where it could not be done yet, waits for the client to take what was sent.
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

    /// Waits, and leaves what the client sends where it is.
    fn rest_until(&self, moment: Instant) -> Result<(), Gone> {
        while Instant::now() < moment {
            let (control, _) = self.poll(false, None, moment)?;
            if !control.is_empty() {
                return Err(Gone);
            }
        }
        Ok(())
    }

    /// Waits, still reading what the client sends.
    pub(super) fn pause_until(&mut self, moment: Instant) -> Result<(), Gone> {
        while Instant::now() < moment {
            self.watch(None, moment)?;
        }
        Ok(())
    }

    /// Waits until the client has closed its side, deaf to what it sends.
    pub(super) fn hang(&mut self) -> Gone {
        while !self.ended && self.watch(None, Instant::now() + HANG).is_ok() {}
        Gone
    }

    /// Waits until the client says something that it has not said yet.
    pub(super) fn await_input(&mut self) -> Result<(), Gone> {
        let deadline = Instant::now() + HANDSHAKE_DEADLINE;
        match self.watch(None, deadline)? {
            Event::Input => Ok(()),
            Event::Other | Event::Deadline => Err(Gone),
        }
    }

    /// Says nothing more, and waits until the client has closed its side: what was said reaches it.
    pub(super) fn hang_up(&mut self) -> Gone {
        // A client that has gone already need not be told.
        let _ = self.stream.socket().shutdown(Shutdown::Write);
        self.hang()
    }

    /// Waits until `other` is ready, the client has sent something or the deadline is over, and
    /// queues what was sent.
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

    /// Queues what TLS had received already, which poll(2) does not show; whether there was
    /// anything.
    fn take_queued(&mut self) -> Result<bool, Gone> {
        let mut came = false;
        while self.stream.holds_input() && !self.ended && !self.queue.is_full() {
            came |= self.fill()?;
        }
        Ok(came)
    }

    /// poll(2) over the control connection and the other descriptor; both empty when the deadline
    /// passed.
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

    /// Reads once; whether anything came, were it the end.
    fn fill(&mut self) -> Result<bool, Gone> {
        let mut bytes = [0; READ_SIZE];
        match self.stream.read(&mut bytes) {
            // Clients leave without a word, in TLS too: what they said before is whole lines or
            // nothing.
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

/// Whether it is no error, but a reason to try again.
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
