//! Replies (RFC 959 §4.2), and the mapping of file system errors to replies.

use std::io;

use rustix::io::Errno;

use super::command_line::with_telnet;

/// Outcome of a verb: its final reply, or the reason for the lack of a positive one.
pub(super) type Answer = Result<Reply, Stop>;

/// A reply code with one or more lines of text.
#[derive(Debug)]
pub(super) struct Reply {
    code: u16,
    first: Vec<u8>,
    /// The lines after the first. The last one repeats the code.
    more: Vec<Vec<u8>>,
}

/// Reason why a verb failed.
#[derive(Debug)]
pub(super) enum Stop {
    /// The client gets this reply and the session continues.
    Refused(Reply),
    /// The control connection is gone, so there is no reply.
    Gone,
}

/// The control connection is closed or broken.
#[derive(Debug)]
pub(super) struct Gone;

impl Reply {
    pub(super) fn new(code: u16, text: impl Into<Vec<u8>>) -> Self {
        Self {
            code,
            first: text.into(),
            more: Vec::new(),
        }
    }

    /// Builds a multi-line reply: `first`, each line of `inner` after a blank, `last`.
    pub(super) fn of_lines(code: u16, first: &str, inner: Vec<Vec<u8>>, last: &str) -> Self {
        let mut more = inner;
        more.push(last.into());
        Self {
            code,
            first: first.into(),
            more,
        }
    }

    /// Whether the connection is closed after this reply (221 and 421).
    pub(super) fn closes(&self) -> bool {
        matches!(self.code, 221 | 421)
    }

    /// Whether TLS begins after this reply (234).
    pub(super) fn begins_tls(&self) -> bool {
        self.code == 234
    }

    /// Formats the reply for the wire.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let code = self.code.to_string();
        let mut bytes = Vec::new();
        let mut line = |start: &str, separator: u8, text: &[u8]| {
            bytes.extend_from_slice(start.as_bytes());
            bytes.push(separator);
            bytes.extend(with_telnet(text));
            bytes.extend_from_slice(b"\r\n");
        };
        let Some((last, inner)) = self.more.split_last() else {
            line(&code, b' ', &self.first);
            return bytes;
        };
        line(&code, b'-', &self.first);
        for text in inner {
            line("", b' ', text);
        }
        line(&code, b' ', last);
        bytes
    }
}

/// Builds a refusal.
pub(super) fn refused(code: u16, text: impl Into<Vec<u8>>) -> Stop {
    Stop::Refused(Reply::new(code, text))
}

/// Returns the system's text for the error: `No such file or directory`.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
}

/// Whether the error means that the disk or the quota is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOSPC | Errno::DQUOT)
    )
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        let code = match Errno::from_io_error(&error) {
            Some(Errno::NOSPC | Errno::DQUOT) => 552,
            Some(Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ) => 553,
            _ => 550,
        };
        refused(code, reason(&error))
    }
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(errno: Errno) -> String {
        match Stop::from(io::Error::from(errno)) {
            Stop::Refused(reply) => String::from_utf8(reply.to_bytes()).unwrap(),
            Stop::Gone => panic!("a file error ended the session"),
        }
    }

    #[test]
    fn a_client_is_told_the_reason() {
        assert_eq!(text_of(Errno::NOENT), "550 No such file or directory\r\n");
        assert_eq!(text_of(Errno::NOTEMPTY), "550 Directory not empty\r\n");
        assert_eq!(text_of(Errno::NOSPC), "552 No space left on device\r\n");
        assert_eq!(text_of(Errno::DQUOT), "552 Disk quota exceeded\r\n");
        assert_eq!(text_of(Errno::NAMETOOLONG), "553 File name too long\r\n");
    }

    #[test]
    fn several_lines_begin_and_end_with_the_code() {
        let reply = Reply::of_lines(211, "Features:", vec![b"SIZE".to_vec()], "End");
        assert_eq!(reply.to_bytes(), b"211-Features:\r\n SIZE\r\n211 End\r\n");
    }

    #[test]
    fn the_telnet_escape_is_doubled() {
        assert_eq!(
            Reply::new(257, b"\"/\xff\"").to_bytes(),
            b"257 \"/\xff\xff\"\r\n"
        );
    }
}
