//! A transfer that survives its connection: read on at the offset reached when it breaks or ends
//! before the file does (REST, RFC 3659 §5).

use std::sync::Arc;

use super::{Incoming, Source};
use crate::remote::{Error, ErrorKind};

/// Failures in a row, without a byte in between, that are made good by opening anew.
const RESUMES: u32 = 3;

/// What one step of a transfer brought.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::vfs) enum Step {
    /// So many bytes are in the buffer.
    Bytes(usize),
    /// The transfer broke; the next step opens it anew where it broke.
    Again,
    /// The server confirmed the end of the file.
    End,
}

/// A file read from an offset to its end, over as many transfers as that takes.
pub(in crate::vfs) struct Resuming {
    source: Arc<dyn Source>,
    incoming: Option<Box<dyn Incoming>>,
    position: u64,
    /// An end before this offset is not believed.
    size: Option<u64>,
    /// Failures since the last byte.
    failures: u32,
    /// Whether the server ever let the file be opened: only then can a failure be the connection's.
    opened: bool,
}

impl Resuming {
    /// Will read `source` from `position` on; nothing is opened before the first step.
    pub(in crate::vfs) fn new(source: Arc<dyn Source>, position: u64, size: Option<u64>) -> Self {
        Self {
            source,
            incoming: None,
            position,
            size,
            failures: 0,
            opened: false,
        }
    }

    /// Offset of the next byte.
    pub(in crate::vfs) fn position(&self) -> u64 {
        self.position
    }

    /// Waits for the network once. `buffer` must not be empty.
    ///
    /// # Errors
    /// What the server refused, at once; what broke, when opening anew did not help either;
    /// `Truncated` when the data keeps ending before the size.
    pub(in crate::vfs) fn step(&mut self, buffer: &mut [u8]) -> Result<Step, Error> {
        let mut incoming = match self.incoming.take() {
            Some(incoming) => incoming,
            None => match self.source.open_at(self.position) {
                Ok(incoming) => incoming,
                Err(error) => return self.failed(error),
            },
        };
        self.opened = true;
        match incoming.read(buffer) {
            Ok(0) if self.size.is_some_and(|size| self.position < size) => {
                drop(incoming);
                self.failed(self.truncated())
            }
            Ok(0) => Ok(Step::End),
            Ok(count) => {
                let count = count.min(buffer.len());
                self.position += count as u64;
                self.failures = 0;
                self.incoming = Some(incoming);
                Ok(Step::Bytes(count))
            }
            Err(error) => {
                drop(incoming);
                self.failed(error)
            }
        }
    }

    fn failed(&mut self, error: Error) -> Result<Step, Error> {
        self.failures += 1;
        if self.opened && self.failures <= RESUMES && is_worth_resuming(error.kind) {
            log::debug!("{error}; reading on at {}", self.position);
            return Ok(Step::Again);
        }
        Err(error)
    }

    fn truncated(&self) -> Error {
        Error {
            kind: ErrorKind::Truncated,
            operation: "read",
            path: self.source.path(),
            reason: format!(
                "the data ended at byte {} of {}",
                self.position,
                self.size.unwrap_or_default()
            ),
        }
    }
}

/// Whether the failure is the connection's, so that another one may do better.
fn is_worth_resuming(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::ConnectionLost | ErrorKind::TimedOut | ErrorKind::Truncated => true,
        ErrorKind::NotFound
        | ErrorKind::AlreadyExists
        | ErrorKind::NotEmpty
        | ErrorKind::IsDirectory
        | ErrorKind::NotDirectory
        | ErrorKind::PermissionDenied
        | ErrorKind::NoSpace
        | ErrorKind::QuotaExceeded
        | ErrorKind::InvalidName
        | ErrorKind::NameTooLong
        | ErrorKind::Busy
        | ErrorKind::Unsupported
        | ErrorKind::LoginRefused
        | ErrorKind::Unreachable
        | ErrorKind::Changed
        | ErrorKind::Protocol
        | ErrorKind::Local
        | ErrorKind::Other => false,
    }
}
