//! The reply to a request that changes something or takes long: lines, each with a first word that
//! says what follows.
//!
//! | word | meaning |
//! |---|---|
//! | `progress` | how far the work is, at least every second |
//! | `note` | something that the user should know |
//! | `done` | the work succeeded; the last line |
//! | `error` | the work failed; the last line |

use std::io::{self, BufRead, Read, Write};
use std::os::unix::net::UnixStream;

/// Maximum size of a line in bytes.
const MAX_LINE: u64 = 64 << 10;

/// A line of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReplyLine {
    Progress(String),
    Note(String),
    Done(String),
    Error(String),
}

/// Sends the lines of a reply.
#[derive(Debug)]
pub(super) struct Replies(UnixStream);

impl Replies {
    /// Replies over `connection`.
    pub(super) fn new(connection: UnixStream) -> Self {
        Self(connection)
    }

    /// Sends a line.
    ///
    /// # Errors
    /// The client has hung up or does not read.
    pub(super) fn send(&mut self, line: &ReplyLine) -> io::Result<()> {
        self.0.write_all(line.format().as_bytes())
    }

    /// Sends how far the work is. Returns whether the client still waits for it.
    pub(super) fn progress(&mut self, text: String) -> bool {
        self.send(&ReplyLine::Progress(text)).is_ok()
    }
}

impl ReplyLine {
    fn format(&self) -> String {
        let (word, text) = match self {
            Self::Progress(text) => ("progress", text),
            Self::Note(text) => ("note", text),
            Self::Done(text) => ("done", text),
            Self::Error(text) => ("error", text),
        };
        let fit = |character: char| {
            if character.is_control() {
                '?'
            } else {
                character
            }
        };
        let mut line = format!("{word} ");
        for character in text.chars().map(fit) {
            // Room for the line feed.
            if line.len() + character.len_utf8() >= MAX_LINE as usize {
                break;
            }
            line.push(character);
        }
        line.push('\n');
        line
    }

    /// Reads a line. Returns `None` at the end of the reply.
    ///
    /// # Errors
    /// The connection failed, or this is no line of a reply.
    pub(super) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = Vec::new();
        from.take(MAX_LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        let parsed = line.strip_suffix(b"\n").and_then(Self::parse);
        parsed
            .map(Some)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let (word, text) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        let text = text.to_owned();
        Some(match word {
            "progress" => Self::Progress(text),
            "note" => Self::Note(text),
            "done" => Self::Done(text),
            "error" => Self::Error(text),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_sent() {
        let (mine, theirs) = UnixStream::pair().unwrap();
        let mut replies = Replies::new(mine);
        assert!(replies.progress("1 of 2".to_owned()));
        let long = "é".repeat(MAX_LINE as usize);
        for line in [
            ReplyLine::Note("a\nb".to_owned()),
            ReplyLine::Done(String::new()),
        ] {
            replies.send(&line).unwrap();
        }
        let sent = std::thread::spawn(move || replies.send(&ReplyLine::Error(long)));
        let mut reader = io::BufReader::new(theirs);
        let mut next = || ReplyLine::read(&mut reader).unwrap();
        assert_eq!(next(), Some(ReplyLine::Progress("1 of 2".to_owned())));
        assert_eq!(next(), Some(ReplyLine::Note("a?b".to_owned())));
        assert_eq!(next(), Some(ReplyLine::Done(String::new())));
        assert!(matches!(next(), Some(ReplyLine::Error(text)) if text.len() > 1000));
        assert_eq!(next(), None);
        sent.join().unwrap().unwrap();
        for nonsense in ["done", "x y\n", "done \u{0}", "\n"] {
            assert!(
                ReplyLine::read(&mut nonsense.as_bytes()).is_err(),
                "{nonsense:?}"
            );
        }
    }
}
