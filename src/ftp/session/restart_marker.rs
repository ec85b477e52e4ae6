//! Restart markers: the part of a file that a transfer covers, from an offset by REST (RFC 3659
//! §5), or a range by RANG (draft-bryan-ftp-range; ProFTPD supports it and lists `RANG STREAM` in
//! FEAT).

use std::ops::Range;

use crate::ftp::error::Error;
use crate::ftp::reply::Reply;

/// The restart marker of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ftp) enum RestartMarker {
    /// The whole file, without a marker.
    None,
    /// From this offset, by REST.
    From(u64),
    /// This non-empty range of bytes, by RANG.
    Within(Range<u64>),
}

impl RestartMarker {
    /// Returns the marker for a transfer from `offset` on.
    pub(in crate::ftp) fn at(offset: u64) -> Self {
        if offset == 0 {
            Self::None
        } else {
            Self::From(offset)
        }
    }

    /// Verb and line of the marker command, if needed.
    pub(in crate::ftp) fn command(&self) -> Option<(&'static str, String)> {
        match self {
            Self::None => None,
            Self::From(offset) => Some(("REST", format!("REST {offset}"))),
            // The end is inclusive.
            Self::Within(range) => Some((
                "RANG",
                format!("RANG {} {}", range.start, range.end.saturating_sub(1)),
            )),
        }
    }

    /// Verb and line that reset the marker, if needed.
    pub(in crate::ftp) fn reset(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::None => None,
            Self::From(_) => Some(("REST", "REST 0")),
            Self::Within(_) => Some(("RANG", "RANG 1 0")),
        }
    }

    /// Whether the server may still hold the marker for another transfer after `error`. It applies
    /// until a transfer begins, and not all servers reset it when one is refused.
    pub(in crate::ftp) fn may_persist_after(&self, error: &Error) -> bool {
        let Some((word, _)) = self.command() else {
            return false;
        };
        let is_unknown = |reply: &Reply| reply.code().means_unsupported() || reply.code().0 == 501;
        !matches!(error, Error::Refused { command, reply } if *command == word && is_unknown(reply))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::ReplyCode;

    #[test]
    fn a_mark_is_left_to_the_next_transfer_unless_the_server_knows_none() {
        let refused = |command, code| Error::Refused {
            command,
            reply: Reply::new(ReplyCode(code), Vec::new()),
        };
        let marker = RestartMarker::at(7);
        for (command, code, left) in [
            ("REST", 502, false),
            ("REST", 451, true),
            ("RETR", 502, true),
            ("RETR", 550, true),
        ] {
            let error = refused(command, code);
            assert_eq!(marker.may_persist_after(&error), left, "{command} {code}");
            assert!(!RestartMarker::None.may_persist_after(&error));
        }
    }

    #[test]
    fn a_transfer_of_the_whole_file_needs_no_mark() {
        assert_eq!(RestartMarker::at(0).command(), None);
        assert_eq!(
            RestartMarker::at(7).command(),
            Some(("REST", "REST 7".into()))
        );
        let within = RestartMarker::Within(0..4096).command();
        assert_eq!(within, Some(("RANG", "RANG 0 4095".into())));
    }
}
