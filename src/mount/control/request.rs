//! The requests that clients send: one line, whose first word is the verb.

use super::super::status::StatusForm;

/// Maximum size of a request in bytes.
pub(super) const MAX_REQUEST: u64 = 64;

/// A request to a running mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ControlRequest {
    /// Report the status.
    Status(StatusForm),
}

impl ControlRequest {
    /// The verb, as in the name of the command.
    pub(super) fn verb(&self) -> &'static str {
        match self {
            Self::Status(StatusForm::Text) => "text",
            Self::Status(StatusForm::Json) => "json",
            Self::Status(StatusForm::Prometheus) => "prometheus",
            Self::Status(StatusForm::Bars(_)) => "bars",
        }
    }

    /// Returns the line, with a line feed.
    pub(super) fn format(&self) -> String {
        let verb = self.verb();
        match self {
            Self::Status(StatusForm::Bars(width)) => format!("{verb} {width}\n"),
            Self::Status(_) => format!("{verb}\n"),
        }
    }

    /// Parses a line. Returns `None` if it is incomplete or no request.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
        let words: Vec<_> = line.split(' ').collect();
        Some(match words.as_slice() {
            ["text"] => Self::Status(StatusForm::Text),
            ["json"] => Self::Status(StatusForm::Json),
            ["prometheus"] => Self::Status(StatusForm::Prometheus),
            ["bars", width] => Self::Status(StatusForm::Bars(width.parse().ok()?)),
            _ => return None,
        })
    }
}
