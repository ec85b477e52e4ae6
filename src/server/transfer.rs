//! Moving bytes over a data connection while the control connection is watched for ABOR.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::sendfile;
use rustix::io::Errno;

use super::control::{Control, Event};
use super::data::DataConnection;
use super::reply::{Answer, Gone, Reply, Stop, is_full, reason, refused};

/// Bytes handed to sendfile(2) at once.
const SEND_SIZE: usize = 4 << 20;

/// Bytes read from an upload at once: large enough that system calls do not show, small enough for the cache.
const RECEIVE_SIZE: usize = 128 << 10;

/// Bytes of an upload that never runs dry between two looks at the control connection: a poll for each read would
/// cost a third of the rate.
const WATCH_BYTES: usize = 4 << 20;

/// A transfer under way.
pub(super) struct Transfer<'a> {
    control: &'a mut Control,
    stream: TcpStream,
    /// A data connection that moves nothing for this long is broken off.
    patience: Duration,
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
}

impl<'a> Transfer<'a> {
    /// Begins once the connection may carry bytes.
    pub(super) fn new(
        control: &'a mut Control,
        connection: DataConnection,
        patience: Duration,
    ) -> Result<Self, Gone> {
        control.pause_until(connection.usable_from)?;
        Ok(Self {
            control,
            stream: connection.stream,
            patience,
        })
    }

    /// Sends the file from its position to its end.
    pub(super) fn send_file(&mut self, file: &File) -> Result<(), Broken> {
        loop {
            self.wait(PollFlags::OUT)?;
            match sendfile(&self.stream, file, None, SEND_SIZE) {
                Ok(0) => return Ok(()),
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error @ (Errno::PIPE | Errno::CONNRESET)) => {
                    return Err(Broken::Connection(error.into()));
                }
                Err(error) => return Err(Broken::File(error.into())),
            }
        }
    }

    /// Sends bytes at hand.
    pub(super) fn send(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() {
            self.wait(PollFlags::OUT)?;
            match self.stream.write(bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
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
            if unwatched >= WATCH_BYTES {
                self.wait(PollFlags::IN)?;
                unwatched = 0;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    file.write_all(buffer.get(..count).unwrap_or_default())
                        .map_err(Broken::File)?;
                    unwatched += count;
                }
                Err(error) if is_passing(&error) => unwatched = WATCH_BYTES,
                Err(error) => return Err(Broken::Connection(error)),
            }
        }
        self.control.restart_delay();
        Ok(())
    }

    fn wait(&mut self, readiness: PollFlags) -> Result<(), Broken> {
        let deadline = Instant::now() + self.patience;
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

impl From<Gone> for Broken {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
