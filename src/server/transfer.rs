//! Moving bytes over a data connection while the control connection is watched for ABOR.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::sendfile;
use rustix::io::Errno;
use socket2::SockRef;

use super::control::{Control, Event, is_passing};
use super::data::DataConnection;
use super::misbehave::{Cut, CutHow};
use super::reply::{Answer, Gone, Reply, Stop, is_full, reason, refused};
use super::tls::Stream;

/// Bytes handed to sendfile(2) at once.
const SEND_SIZE: usize = 4 << 20;

/// Bytes read from a file at once to be encrypted: four records of TLS.
const ENCRYPT_SIZE: usize = 64 << 10;

/// Bytes read from an upload at once: large enough that system calls do not show, small enough for
/// the cache.
const RECEIVE_SIZE: usize = 128 << 10;

/// Bytes of an upload that never runs dry between two looks at the control connection: a poll for
/// each read would cost a third of the rate.
const WATCH_BYTES: usize = 4 << 20;

/// A transfer under way.
pub(super) struct Transfer<'a> {
    control: &'a mut Control,
    stream: Stream,
    /// A data connection that moves nothing for this long is broken off.
    patience: Duration,
    cut: Option<Cut>,
}

/// Why a transfer did not come to its end.
pub(super) enum Broken {
    /// ABOR arrived.
    Aborted,
    /// The control connection is gone.
    Gone,
    /// The client neither sent nor took anything for too long.
    Stalled,
    /// The data connection failed.
    Connection(io::Error),
    /// The file could not be read or written.
    File(io::Error),
    /// It was to be cut and called complete.
    Short,
    /// It was to be refused with this code.
    Refused(u16),
}

impl<'a> Transfer<'a> {
    /// Begins once the connection may carry bytes.
    pub(super) fn new(
        control: &'a mut Control,
        connection: DataConnection,
        patience: Duration,
        cut: Option<Cut>,
    ) -> Result<Self, Gone> {
        control.pause_until(connection.usable_from)?;
        Ok(Self {
            control,
            stream: connection.stream,
            patience,
            cut,
        })
    }

    /// Sends the file from its position to its end, or `most` octets of it.
    pub(super) fn send_file(&mut self, file: &File, most: u64) -> Result<(), Broken> {
        if self.stream.is_secure() {
            return self.send_read(file, most);
        }
        let mut left = most;
        while left > 0 {
            self.wait(PollFlags::OUT)?;
            let length = self.allowed(SEND_SIZE)?;
            let length = usize::try_from(left).map_or(length, |left| left.min(length));
            match sendfile(self.stream.socket(), file, None, length) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    left -= count as u64;
                    self.moved(count);
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error @ (Errno::PIPE | Errno::CONNRESET)) => {
                    return Err(Broken::Connection(error.into()));
                }
                Err(error) => return Err(Broken::File(error.into())),
            }
        }
        Ok(())
    }

    /// The same by way of memory, where the bytes are encrypted.
    fn send_read(&mut self, file: &File, most: u64) -> Result<(), Broken> {
        let mut file = file.take(most);
        let mut buffer = vec![0; ENCRYPT_SIZE];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => self.send(buffer.get(..count).unwrap_or_default())?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Broken::File(error)),
            }
        }
    }

    /// Says that everything was sent: in TLS without this it counts as cut off (RFC 8446 §6.1).
    pub(super) fn finish(&mut self) -> Result<(), Broken> {
        let is_left_open = matches!(
            self.cut,
            Some(Cut {
                how: CutHow::Unclosed,
                ..
            })
        );
        if !is_left_open {
            self.stream.end();
        }
        loop {
            match self.stream.flush() {
                Ok(()) => return Ok(()),
                Err(error) if is_passing(&error) => self.wait(PollFlags::OUT)?,
                Err(error) => return Err(Broken::Connection(error)),
            }
        }
    }

    /// Sends bytes at hand.
    pub(super) fn send(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() {
            self.wait(PollFlags::OUT)?;
            let length = self.allowed(bytes.len())?;
            match self.stream.write(bytes.get(..length).unwrap_or_default()) {
                Ok(count) => {
                    bytes = bytes.get(count..).unwrap_or_default();
                    self.moved(count);
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(Broken::Connection(error)),
            }
        }
        Ok(())
    }

    /// Writes what the client sends to the file, from the file's position on.
    pub(super) fn receive_file(&mut self, mut file: &File) -> Result<(), Broken> {
        let mut buffer = vec![0; RECEIVE_SIZE];
        let mut unwatched = WATCH_BYTES;
        loop {
            let length = self.allowed(RECEIVE_SIZE)?;
            if unwatched >= WATCH_BYTES {
                self.wait(PollFlags::IN)?;
                unwatched = 0;
            }
            let buffer = buffer.get_mut(..length).unwrap_or_default();
            match self.stream.read(buffer) {
                Ok(0) => break,
                Ok(count) => {
                    self.moved(count);
                    file.write_all(buffer.get(..count).unwrap_or_default())
                        .map_err(Broken::File)?;
                    unwatched += count;
                }
                Err(error) if is_passing(&error) => unwatched = WATCH_BYTES,
                Err(error) => return Err(Broken::Connection(error)),
            }
        }
        // The client's end is answered by one of our own, which it need not wait for.
        let _ = self.finish();
        self.control.restart_delay();
        Ok(())
    }

    /// How many of `length` bytes may be moved before the transfer is to be cut; cuts it where none
    /// may.
    fn allowed(&mut self, length: usize) -> Result<usize, Broken> {
        match self.cut {
            None => Ok(length),
            Some(Cut { after: 0, how }) => Err(self.cut_now(how)),
            Some(Cut { after, .. }) => Ok(length.min(usize::try_from(after).unwrap_or(usize::MAX))),
        }
    }

    fn moved(&mut self, count: usize) {
        if let Some(cut) = &mut self.cut {
            cut.after = cut.after.saturating_sub(count as u64);
        }
    }

    fn cut_now(&mut self, how: CutHow) -> Broken {
        match how {
            CutHow::Short | CutHow::Unclosed => match self.finish() {
                Ok(()) => Broken::Short,
                Err(broken) => broken,
            },
            CutHow::Break(code) => Broken::Refused(code),
            CutHow::Drop => {
                // Closed without a linger it is reset. A socket that does not take the option is
                // broken, as it should be.
                let _ = SockRef::from(self.stream.socket()).set_linger(Some(Duration::ZERO));
                Broken::Connection(ErrorKind::ConnectionReset.into())
            }
            CutHow::Stall => self.stall(PollFlags::empty()),
        }
    }

    /// Waits until the client gives up, which shows by an error of the connection or by one of the
    /// `signs`.
    fn stall(&mut self, signs: PollFlags) -> Broken {
        loop {
            if self.control.wants_abort() {
                return Broken::Aborted;
            }
            if self.control.has_ended() {
                return Broken::Gone;
            }
            let closed = (self.stream.as_fd(), signs);
            match self
                .control
                .watch(Some(closed), Instant::now() + self.patience)
            {
                Ok(Event::Other) => {
                    return Broken::Connection(ErrorKind::ConnectionAborted.into());
                }
                Ok(Event::Input) => {}
                Ok(Event::Deadline) => return Broken::Stalled,
                Err(Gone) => return Broken::Gone,
            }
        }
    }

    /// Waits until the client sends something.
    pub(super) fn await_input(&mut self) -> Result<(), Broken> {
        self.wait(PollFlags::IN)
    }

    /// Says nothing more, and waits until the client gives up: what was sent reaches it.
    pub(super) fn hang_up(&mut self) -> Broken {
        // A client that has gone already need not be told.
        let _ = self.stream.socket().shutdown(Shutdown::Write);
        self.wait_for_end()
    }

    /// Waits until the client closes its side.
    pub(super) fn wait_for_end(&mut self) -> Broken {
        self.stall(PollFlags::RDHUP)
    }

    fn wait(&mut self, readiness: PollFlags) -> Result<(), Broken> {
        // What TLS may hold already is to be read at once: nothing shows that it is there.
        let is_held = readiness == PollFlags::IN && self.stream.holds_input();
        let patience = if is_held {
            Duration::ZERO
        } else {
            self.patience
        };
        let deadline = Instant::now() + patience;
        loop {
            if self.control.wants_abort() {
                return Err(Broken::Aborted);
            }
            match self
                .control
                .watch(Some((self.stream.as_fd(), readiness)), deadline)?
            {
                Event::Other => return Ok(()),
                Event::Input => {}
                Event::Deadline if is_held => return Ok(()),
                Event::Deadline => return Err(Broken::Stalled),
            }
        }
    }
}

/// The reply that ends a transfer, once its data connection is closed.
pub(super) fn outcome(moved: Result<(), Broken>) -> Answer {
    let error = match moved {
        Ok(()) => return Ok(Reply::new(226, "Transfer complete")),
        Err(error) => error,
    };
    Err(match error {
        Broken::Short => return Ok(Reply::new(226, "Transfer complete")),
        Broken::Refused(code) => refused(code, refusal_text(code)),
        Broken::Aborted => refused(426, "Transfer aborted"),
        Broken::Stalled => refused(426, "Data connection idle for too long"),
        Broken::Connection(error) => {
            refused(426, format!("Data connection broken: {}", reason(&error)))
        }
        Broken::File(error) if is_full(&error) => refused(552, reason(&error)),
        Broken::File(error) => refused(451, format!("Local error: {}", reason(&error))),
        Broken::Gone => Stop::Gone,
    })
}

/// What servers say to these codes.
fn refusal_text(code: u16) -> &'static str {
    match code {
        452 => "No space left on device",
        552 => "Disk quota exceeded",
        426 => "Connection closed; transfer aborted",
        _ => "Requested action aborted",
    }
}

impl From<Gone> for Broken {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}
