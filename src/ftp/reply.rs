//! Replies: three digits and text, on one line or several (RFC 959 §4.2).

use std::fmt;

/// The three digits of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplyCode(pub u16);

/// Meaning of a reply's first digit (RFC 959 §4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyClass {
    /// 1yz: started; another reply follows.
    Preliminary,
    /// 2yz: completed.
    Completion,
    /// 3yz: the server waits for more.
    Intermediate,
    /// 4yz: refused for now.
    Transient,
    /// 5yz: refused.
    Permanent,
}

impl ReplyCode {
    /// Returns the meaning of the first digit.
    pub fn class(self) -> ReplyClass {
        match self.0 / 100 {
            1 => ReplyClass::Preliminary,
            2 => ReplyClass::Completion,
            3 => ReplyClass::Intermediate,
            4 => ReplyClass::Transient,
            _ => ReplyClass::Permanent,
        }
    }

    /// Whether the server does not support the command, or not in this form: refusals with a second
    /// digit of 0 are about syntax (RFC 959 §4.2.1; servers use 402 and others not listed in the
    /// RFC). Excludes 501, which is about the argument, and 202, which means that the command did
    /// nothing.
    pub(crate) fn means_unsupported(self) -> bool {
        self.0 == 202 || self.0 >= 400 && (self.0 / 10).is_multiple_of(10) && self.0 != 501
    }
}

/// A complete reply: its code and the text of its lines, without code, separator and line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: ReplyCode,
    lines: Vec<Vec<u8>>,
}

impl Reply {
    /// Creates a reply.
    pub fn new(code: ReplyCode, lines: Vec<Vec<u8>>) -> Self {
        Self { code, lines }
    }

    /// Returns the code.
    pub fn code(&self) -> ReplyCode {
        self.code
    }

    /// Returns the text of each line as bytes in the server's charset.
    pub fn lines(&self) -> &[Vec<u8>] {
        &self.lines
    }

    /// Whether the first digit is 2.
    pub fn is_completion(&self) -> bool {
        self.code.class() == ReplyClass::Completion
    }

    /// Whether the first digit is 4 or 5.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(
            self.code.class(),
            ReplyClass::Transient | ReplyClass::Permanent
        )
    }

    /// Whether the server's session ends here because of an internal error: vsftpd's `500 OOPS: …`.
    /// It answers no command.
    pub(crate) fn is_fatal_oops(&self) -> bool {
        let text = self.lines.first();
        self.code.0 == 500 && text.is_some_and(|text| text.starts_with(b"OOPS:"))
    }

    /// Whether the server was killed during the login: vsftpd's `500 OOPS: priv_sock_get_result` is
    /// from a process that has lost the one above it. Another login may succeed. The one above says
    /// `priv_sock_get_cmd` after a limit or a sandbox has ended this one, which happens each time.
    pub(crate) fn is_of_killed_server(&self) -> bool {
        let text = self.words();
        self.is_fatal_oops() && text.contains("priv_sock_") && !text.contains("priv_sock_get_cmd")
    }

    /// Returns the text in lower case, for searching.
    pub(crate) fn words(&self) -> String {
        String::from_utf8_lossy(&self.lines.join(&b' ')).to_lowercase()
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code.0)?;
        for line in &self.lines {
            f.write_str(" ")?;
            super::path::escape(line, f)?;
        }
        Ok(())
    }
}

/// The parts of a reply's first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FirstLine<'a> {
    pub(super) code: ReplyCode,
    /// Whether more lines follow.
    pub(super) more: bool,
    pub(super) text: &'a [u8],
}

/// Parses a first line: `ddd text`, `ddd-text` or, as some servers send it, only `ddd`.
pub(super) fn first_line(line: &[u8]) -> Option<FirstLine<'_>> {
    let [a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] = line else {
        return None;
    };
    let digit = |byte: &u8| u16::from(byte - b'0');
    let code = ReplyCode(digit(a) * 100 + digit(b) * 10 + digit(c));
    match rest {
        [b'-', text @ ..] => Some(FirstLine {
            code,
            more: true,
            text,
        }),
        [] => Some(FirstLine {
            code,
            more: false,
            text: rest,
        }),
        [b' ', text @ ..] => Some(FirstLine {
            code,
            more: false,
            text,
        }),
        _ => None,
    }
}

/// Returns the text of `line` if it ends the reply that began with `code`. Only the same code
/// followed by a blank or nothing does; inner lines may begin with any digits.
pub(super) fn last_line(line: &[u8], code: ReplyCode) -> Option<&[u8]> {
    let last = first_line(line).filter(|last| last.code == code && !last.more)?;
    Some(last.text)
}

/// Returns the text of an inner line. A repeated `ddd-` is removed; other prefixes belong to the
/// text.
pub(super) fn inner_line(line: &[u8], code: ReplyCode) -> &[u8] {
    match first_line(line) {
        Some(inner) if inner.code == code && inner.more => inner.text,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_line_is_a_code_and_what_follows() {
        let taken = |line: &'static [u8]| first_line(line).map(|l| (l.code.0, l.more, l.text));
        assert_eq!(taken(b"220 hello"), Some((220, false, b"hello".as_slice())));
        assert_eq!(taken(b"220-hello"), Some((220, true, b"hello".as_slice())));
        assert_eq!(taken(b"220"), Some((220, false, b"".as_slice())));
        assert_eq!(taken(b"2200 hello"), None);
        assert_eq!(taken(b"620 hello"), None);
        assert_eq!(taken(b"22"), None);
    }

    #[test]
    fn codes_about_syntax_mean_that_there_is_no_such_command() {
        for code in [202, 400, 402, 500, 502, 503, 504, 506] {
            assert!(ReplyCode(code).means_unsupported(), "{code}");
        }
        for code in [200, 226, 350, 421, 425, 450, 501, 522, 530, 550, 553] {
            assert!(!ReplyCode(code).means_unsupported(), "{code}");
        }
    }

    #[test]
    fn only_the_same_code_and_a_blank_end_a_reply() {
        let code = ReplyCode(211);
        assert_eq!(last_line(b"211 End", code), Some(b"End".as_slice()));
        for inner in [
            b"211-End".as_slice(),
            b"226 End",
            b" 211 End",
            b"211End",
            b"",
        ] {
            assert_eq!(last_line(inner, code), None);
        }
    }

    #[test]
    fn an_inner_line_keeps_all_but_the_repeated_code() {
        let code = ReplyCode(220);
        assert_eq!(inner_line(b"220-welcome", code), b"welcome");
        assert_eq!(inner_line(b" MLST type*;", code), b" MLST type*;");
        assert_eq!(inner_line(b"230-other", code), b"230-other");
    }

    #[test]
    fn a_shown_reply_is_one_line() {
        let reply = Reply::new(ReplyCode(550), vec![b"no\x07".to_vec(), b"way".to_vec()]);
        assert_eq!(reply.to_string(), "550 no\\u{7} way");
    }
}
