//! Replies: three digits and text (RFC 959 §4.2).

use std::fmt;

/// A reply's three digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplyCode(pub u16);

/// A whole reply: its code and the text of its lines, without code, separator and line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: ReplyCode,
    lines: Vec<Vec<u8>>,
}

impl Reply {
    /// A reply of these lines.
    pub fn new(code: ReplyCode, lines: Vec<Vec<u8>>) -> Self {
        Self { code, lines }
    }

    /// The three digits.
    pub fn code(&self) -> ReplyCode {
        self.code
    }

    /// The text, line by line, as bytes: its charset is the server's.
    pub fn lines(&self) -> &[Vec<u8>] {
        &self.lines
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
