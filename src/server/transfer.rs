//! Transfers over a data connection, while watching the control connection for ABOR.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::sendfile;
use rustix::io::Errno;
use socket2::SockRef;

use super::control::{Control, Event, is_passing};
use super::data::DataConnection;
use super::reply::{Answer, Gone, Reply, Stop, is_full, reason, refused};
use super::tls::Stream;

/// A fault in a transfer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// Number of bytes transferred before it.
    pub(super) after: u64,
    pub(super) how: CutHow,
}

/// How a transfer is cut.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    not(feature = "faults"),
    expect(dead_code, reason = "only an injected fault cuts a transfer")
)]
pub(super) enum CutHow {
    /// The connection is reset.
    Drop,
    /// The connection stalls.
    Stall,
    /// The transfer ends with this reply code.
    Break(u16),
    /// The transfer ends and is reported as complete.
    Short,
    /// As `Short`, but without the close_notify that ends a TLS connection.
    Unclosed,
}

/// Maximum number of bytes per sendfile(2).
const SEND_SIZE: usize = 4 << 20;

/// Number of file bytes to encrypt at a time: four TLS records.
const ENCRYPT_SIZE: usize = 64 << 10;

/// Number of bytes per read of an upload: enough to hide the cost of system calls, and few enough
/// for the CPU cache.
const RECEIVE_SIZE: usize = 128 << 10;

/// Number of upload bytes between two polls of the control connection while data is available. A
/// poll per read would cost a third of the throughput.
const WATCH_BYTES: usize = 4 << 20;

/// A transfer in progress.
pub(super) struct Transfer<'a> {
    control: &'a mut Control,
    stream: Stream,
    /// Maximum time without progress on the data connection.
    patience: Duration,
    cut: Option<Cut>,
    /// Bytes sent or received so far.
    bytes: u64,
}

/// Reason why a transfer failed.
pub(super) enum Broken {
    /// ABOR arrived.
    Aborted,
    /// The control connection is gone.
    Gone,
    /// The client neither sent nor received anything for too long.
    Stalled,
    /// The data connection failed.
    Connection(io::Error),
    /// The file could not be read or written.
    File(io::Error),
    /// An injected fault ends the transfer and reports success.
    Short,
    /// An injected fault ends the transfer with this code.
    Refused(u16),
}

impl<'a> Transfer<'a> {
    /// Starts the transfer once the connection is usable.
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
            bytes: 0,
        })
    }

    /// Closes the data connection and returns the number of bytes that it carried, without TLS.
    pub(super) fn close(self) -> u64 {
        self.bytes
    }

    /// Sends the file from its current position to its end, or `most` bytes of it.
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

    /// As `send_file`, through memory, for connections that encrypt.
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

    /// Announces the end of the data. TLS data without it counts as truncated (RFC 8446 §6.1).
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

    /// Sends bytes from memory.
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

    /// Writes received data to the file, starting at its current position.
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
        // The client's close_notify is answered with one, for which it need not wait.
        let _ = self.finish();
        self.control.restart_delay();
        Ok(())
    }

    /// Returns how many of `length` bytes may be transferred before an injected cut. Cuts the
    /// transfer if there are none.
    fn allowed(&mut self, length: usize) -> Result<usize, Broken> {
        match self.cut {
            None => Ok(length),
            Some(Cut { after: 0, how }) => Err(self.cut_now(how)),
            Some(Cut { after, .. }) => Ok(length.min(usize::try_from(after).unwrap_or(usize::MAX))),
        }
    }

    fn moved(&mut self, count: usize) {
        self.bytes = self.bytes.saturating_add(count as u64);
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
                // Closing without linger resets the connection. An error here means that the socket
                // is broken already, which is the purpose.
                let _ = SockRef::from(self.stream.socket()).set_linger(Some(Duration::ZERO));
                Broken::Connection(ErrorKind::ConnectionReset.into())
            }
            CutHow::Stall => self.stall(PollFlags::empty()),
        }
    }

    /// Waits until the client gives up, which is visible as a connection error or as one of the
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
    #[cfg(feature = "faults")]
    pub(super) fn await_input(&mut self) -> Result<(), Broken> {
        self.wait(PollFlags::IN)
    }

    /// Stops sending and waits until the client gives up, so that everything sent arrives.
    #[cfg(feature = "faults")]
    pub(super) fn hang_up(&mut self) -> Broken {
        // Nothing to do if the client has disconnected already.
        let _ = self.stream.socket().shutdown(std::net::Shutdown::Write);
        self.wait_for_end()
    }

    /// Waits until the client closes its side.
    #[cfg(feature = "faults")]
    pub(super) fn wait_for_end(&mut self) -> Broken {
        self.stall(PollFlags::RDHUP)
    }

    fn wait(&mut self, readiness: PollFlags) -> Result<(), Broken> {
        // TLS may hold data that poll(2) does not report, so read it first.
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

/// Returns the reply that ends a transfer, after its data connection is closed.
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

/// Returns the usual text for these codes.
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
