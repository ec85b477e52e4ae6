//! Which bytes of a file a transfer is of: from an offset on by REST (RFC 3659 §5), from one to another by RANG
//! (draft-bryan-ftp-range; ProFTPD has it, and says `RANG STREAM` in FEAT).

use std::ops::Range;

/// What is said before a transfer's command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nothing: all of the file.
    None,
    /// REST: from this byte on.
    From(u64),
    /// RANG: these bytes, of which there is at least one.
    Within(Range<u64>),
}

impl Mark {
    /// From `offset` on.
    pub(super) fn at(offset: u64) -> Self {
        if offset == 0 {
            Self::None
        } else {
            Self::From(offset)
        }
    }

    /// Its verb and its line, where there is one.
    pub(super) fn command(&self) -> Option<(&'static str, String)> {
        match self {
            Self::None => None,
            Self::From(offset) => Some(("REST", format!("REST {offset}"))),
            // The last byte is in it.
            Self::Within(range) => Some((
                "RANG",
                format!("RANG {} {}", range.start, range.end.saturating_sub(1)),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_of_the_whole_file_needs_no_mark() {
        assert_eq!(Mark::at(0).command(), None);
        assert_eq!(Mark::at(7).command(), Some(("REST", "REST 7".into())));
        let within = Mark::Within(0..4096).command();
        assert_eq!(within, Some(("RANG", "RANG 0 4095".into())));
    }
}
