//! The control connection: lines in, replies out, and the watch over it while something else is waited for.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::SockRef;

use super::command_line::{Line, LineQueue};
use super::reply::{Gone, Reply};

/// A client that does not take a reply for this long is given up.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);

/// How long one of the waits of a stalled session is; a client that goes is noticed at once.
const HANG: Duration = Duration::from_secs(60);

/// Bytes read from the control connection at once.
const READ_SIZE: usize = 8 << 10;

/// The control connection of one session.
pub(super) struct Control {
    stream: TcpStream,
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
            stream.set_nodelay(true)?;
            stream.set_write_timeout(Some(WRITE_DEADLINE))?;
            let socket = SockRef::from(&stream);
            socket.set_keepalive(true)?;
            // ABOR may come as TELNET urgent data; out of line its last byte would be lost.
            socket.set_out_of_band_inline(true)
        };
        prepare().map_err(|_| Gone)?;
        Ok(Self {
            stream,
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

    /// Whether the line taken last began another flight: it did not arrive before the replies to those ahead of it.
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
        // On loopback the client's connect returns at once: one delay stands for the round trip it would have waited
        // there, the other for the one until the first byte answers it.
        Instant::now() + 2 * self.delay
    }

    /// Sends a reply once its time has come.
    pub(super) fn reply(&mut self, reply: &Reply) -> Result<(), Gone> {
        self.send(&reply.to_bytes())
    }

    /// Sends reply lines as they stand.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.pause_until(self.cause + self.delay)?;
        self.stream.write_all(bytes).map_err(|_| Gone)?;
        self.replied = Instant::now();
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

    /// Waits until `other` is ready, the client has sent something or the deadline is over, and queues what was sent.
    pub(super) fn watch(
        &mut self,
        other: Option<(BorrowedFd<'_>, PollFlags)>,
        deadline: Instant,
    ) -> Result<Event, Gone> {
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

    /// poll(2) over the control connection and the other descriptor; both empty when the deadline passed.
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

    fn fill(&mut self) -> Result<(), Gone> {
        let mut bytes = [0; READ_SIZE];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.ended = true,
            Ok(count) => self
                .queue
                .push(bytes.get(..count).unwrap_or_default(), Instant::now()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Gone),
        }
        Ok(())
    }
}
