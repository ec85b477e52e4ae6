//! Splitting of received bytes into the lines of replies.

use std::io::Read;
use std::time::{Duration, Instant};

use super::{Control, MAX_LINE};
use crate::ftp::error::socket_error;
use crate::ftp::error::{Error, Phase};
use crate::ftp::other_service;
use crate::ftp::reply::{ReplyCode, first_line, inner_line, last_line};
use crate::ftp::text::escaped;

/// Maximum number of bytes per read.
const CHUNK: usize = 16 * 1024;
/// Limits for text before the greeting: its number of lines, and the time for the greeting after
/// the first line.
const MAX_BANNER_LINES: usize = 100;
const BANNER_PATIENCE: Duration = Duration::from_secs(5);
/// Maximum number of TLS records without data on an idle connection. Session tickets come a few at
/// a time.
const MAX_TICKETS: usize = 16;

/// The error for a service whose greeting `line` is not FTP.
fn no_greeting(line: String) -> Error {
    Error::Malformed {
        expected: "a greeting of FTP",
        line,
    }
}

impl Control {
    pub(super) fn each_line(
        &mut self,
        phase: Phase,
        deadline: &mut dyn FnMut() -> Instant,
        keep: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<ReplyCode, Error> {
        // One buffer for all lines: a listing by STAT can have a million.
        let mut line = Vec::new();
        self.line(phase, deadline, &mut line)?;
        let Some(first) = first_line(&line) else {
            return Err(Error::Malformed {
                expected: "a reply",
                line: escaped(&self.secrets.conceal_in(&line)),
            });
        };
        keep(&self.secrets.conceal_in(first.text))?;
        let (code, mut more) = (first.code, first.more);
        while more {
            self.line(phase, deadline, &mut line)?;
            let text = last_line(&line, code);
            more = text.is_none();
            let text = text.unwrap_or_else(|| inner_line(&line, code));
            keep(&self.secrets.conceal_in(text))?;
        }
        Ok(code)
    }

    /// Waits up to `patience` for the first byte of the greeting. Returns false if none arrived.
    pub(in crate::ftp) fn hears_greeting(&mut self, patience: Duration) -> Result<bool, Error> {
        self.has_more(Phase::Greeting, Instant::now() + patience)
    }

    /// Waits until `deadline` for the first line of the greeting. Skips lines before it that are
    /// not replies, which wrappers and inetd send.
    ///
    /// # Errors
    /// No greeting arrives before the deadline, or soon after such a line.
    pub(in crate::ftp) fn skip_banner(&mut self, deadline: Instant) -> Result<(), Error> {
        let skipped = self.skip_to_reply(deadline);
        self.poison(skipped)
    }

    fn skip_to_reply(&mut self, mut deadline: Instant) -> Result<(), Error> {
        let mut banner = None;
        for _ in 0..MAX_BANNER_LINES {
            while !self.unread.contains(&b'\n') && self.unread.len() <= MAX_LINE {
                let received = self.receive(Phase::Greeting, deadline);
                // Once text has arrived, the text is the problem, not the silence after it.
                received.map_err(|error| banner.take().map_or(error, no_greeting))?;
            }
            let end = self.unread.iter().position(|byte| *byte == b'\n');
            let line = end.and_then(|end| self.unread.get(..end));
            let Some(line) = line.map(<[u8]>::trim_ascii_end) else {
                // The line is too long, which the reader of the greeting reports.
                return Ok(());
            };
            if first_line(line).is_some() {
                return Ok(());
            }
            let text = escaped(line);
            if let Some(error) = other_service::by_greeting(line) {
                return Err(error);
            }
            log::info!("skipping a line before the greeting: {text}");
            self.unread.remove(end.unwrap_or_default() + 1);
            if banner.is_none() {
                deadline = deadline.min(Instant::now() + BANNER_PATIENCE);
                banner = Some(text);
            }
        }
        Err(no_greeting(banner.unwrap_or_default()))
    }

    /// Reads one line into `line`, without its end. A bare LF also ends a line. `deadline` returns
    /// the end of the wait, if there is one.
    fn line(
        &mut self,
        phase: Phase,
        deadline: &mut dyn FnMut() -> Instant,
        line: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let (mut searched, mut until) = (0, None);
        loop {
            let rest = self.unread.get(searched..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let end = searched + end;
                let received = self.unread.get(..end).unwrap_or_default();
                line.clear();
                line.extend_from_slice(received.strip_suffix(b"\r").unwrap_or(received));
                self.unread.remove(end + 1);
                return Ok(());
            }
            searched = self.unread.len();
            if searched > MAX_LINE {
                return Err(Error::TooLong {
                    what: "bytes in a line",
                    limit: MAX_LINE,
                });
            }
            self.receive(phase, *until.get_or_insert_with(&mut *deadline))?;
        }
    }

    pub(super) fn receive(&mut self, phase: Phase, deadline: Instant) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout(phase));
        }
        if self.handshake.is_some() {
            return self.receive_beside(phase, deadline);
        }
        let mut chunk = [0; CHUNK];
        let set = self.stream.socket().set_read_timeout(Some(left));
        match set.and_then(|()| self.stream.read(&mut chunk)) {
            Ok(0) => Err(Error::Closed(phase)),
            Ok(count) => {
                self.profile.record_heard();
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

    /// As `receive`, while also continuing the TLS handshake of a data connection.
    fn receive_beside(&mut self, phase: Phase, deadline: Instant) -> Result<(), Error> {
        loop {
            let before = self.unread.len();
            self.receive_now()?;
            if self.unread.len() > before {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout(phase));
            }
            let Some(handshake) = &mut self.handshake else {
                return Ok(());
            };
            let readable = handshake.wait(self.stream.socket(), left);
            let readable = readable.map_err(|error| socket_error(phase, error))?;
            if readable.handshake {
                handshake.advance();
            }
        }
    }

    /// Receives available bytes without waiting.
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

    /// Receives available data. TLS records without data (tickets) do not count.
    pub(super) fn receive_wordless(&mut self) -> std::io::Result<usize> {
        let mut chunk = [0; CHUNK];
        for _ in 0..MAX_TICKETS {
            match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                received => {
                    let count = received?;
                    if count > 0 {
                        self.profile.record_heard();
                    }
                    self.unread
                        .extend_from_slice(chunk.get(..count).unwrap_or_default());
                    return Ok(count);
                }
            }
        }
        Ok(0)
    }
}
