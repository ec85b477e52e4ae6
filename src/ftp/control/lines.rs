//! The lines of replies, out of the bytes that come.

use std::io::Read;
use std::time::Instant;

use super::super::error::{Error, Phase};
use super::super::reply::{ReplyCode, first_line, inner_line, last_line};
use super::{Control, MAX_LINE, shown, socket_error};

/// Most bytes read at a time.
const CHUNK: usize = 16 * 1024;
/// Most TLS records without data that an idle connection may have received: tickets, a few at a time.
const MOST_WORDLESS: usize = 16;

impl Control {
    pub(super) fn each_line(
        &mut self,
        phase: Phase,
        deadline: &mut dyn FnMut() -> Instant,
        keep: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<ReplyCode, Error> {
        let line = self.line(phase, deadline())?;
        let Some(first) = first_line(&line) else {
            return Err(Error::Malformed {
                expected: "a reply",
                line: shown(&self.secrets.conceal_in(&line)),
            });
        };
        keep(&self.secrets.conceal_in(first.text))?;
        let mut more = first.more;
        while more {
            let line = self.line(phase, deadline())?;
            let text = last_line(&line, first.code);
            more = text.is_none();
            let text = text.unwrap_or_else(|| inner_line(&line, first.code));
            keep(&self.secrets.conceal_in(text))?;
        }
        Ok(first.code)
    }

    /// One line, without its end; a bare LF ends one, too.
    fn line(&mut self, phase: Phase, deadline: Instant) -> Result<Vec<u8>, Error> {
        let mut searched = 0;
        loop {
            let rest = self.unread.get(searched..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.unread.drain(..=searched + end).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            searched = self.unread.len();
            if searched > MAX_LINE {
                return Err(Error::TooLong {
                    what: "bytes in a line",
                    limit: MAX_LINE,
                });
            }
            self.receive(phase, deadline)?;
        }
    }

    pub(super) fn receive(&mut self, phase: Phase, deadline: Instant) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout(phase));
        }
        let mut chunk = [0; CHUNK];
        let set = self.stream.socket().set_read_timeout(Some(left));
        match set.and_then(|()| self.stream.read(&mut chunk)) {
            Ok(0) => Err(Error::Closed(phase)),
            Ok(count) => {
                self.unread
                    .extend_from_slice(chunk.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(Error::Closed(phase))
            }
            Err(error) => Err(self.broken(phase, error)),
        }
    }

    /// Takes what has come, without waiting.
    pub(super) fn receive_now(&mut self) -> Result<(), Error> {
        let failed = |error| socket_error(Phase::Reply, error);
        self.stream.socket().set_nonblocking(true).map_err(failed)?;
        let received = self.receive_wordless();
        self.stream
            .socket()
            .set_nonblocking(false)
            .map_err(failed)?;
        match received {
            Ok(0) => Err(Error::Closed(Phase::Reply)),
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                std::io::ErrorKind::WouldBlock => Ok(()),
                std::io::ErrorKind::UnexpectedEof => Err(Error::Closed(Phase::Reply)),
                _ => Err(failed(error)),
            },
        }
    }

    /// What there is to receive; what TLS has to say between data (tickets) is none.
    pub(super) fn receive_wordless(&mut self) -> std::io::Result<usize> {
        let mut chunk = [0; CHUNK];
        for _ in 0..MOST_WORDLESS {
            match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                received => {
                    let count = received?;
                    self.unread
                        .extend_from_slice(chunk.get(..count).unwrap_or_default());
                    return Ok(count);
                }
            }
        }
        Ok(0)
    }
}
