//! Replies to pipelined commands, which come before the reply to the next command: to EPSV or PASV
//! sent ahead of its use, and to a question about a file sent behind its transfer.

use std::time::Instant;

use super::{Control, MAX_BYTES, MAX_LINE};
use crate::ftp::error::{Error, Phase};
use crate::ftp::reply::{Reply, first_line, last_line};

/// The reply to EPSV or PASV sent ahead of its use. It comes before all others.
#[derive(Debug, Default)]
pub(super) enum PassiveReply {
    #[default]
    None,
    Owed,
    Arrived(Reply),
}

impl Control {
    /// Records that the next reply answers a passive command sent ahead. It is stored when it
    /// arrives. There is at most one.
    pub(in crate::ftp) fn expect_passive_reply(&mut self) {
        self.passive_reply = PassiveReply::Owed;
        self.holds_data = true;
    }

    /// Records that the next `replies` answer a question about a file. They are
    /// [taken](Self::take_facts) before another command is sent, or skipped.
    pub(in crate::ftp) fn expect_facts(&mut self, replies: usize) {
        self.facts_due = replies;
    }

    /// Whether the next replies answer the pipelined question. The caller then receives them.
    pub(in crate::ftp) fn take_facts(&mut self) -> bool {
        std::mem::take(&mut self.facts_due) > 0
    }

    /// Whether replies are outstanding to anything sent ahead.
    pub(in crate::ftp) fn awaits_replies(&self) -> bool {
        self.awaits_passive_reply() || self.facts_due > 0 || self.unwanted > 0
    }

    /// Whether a passive command was sent ahead and its reply not yet taken.
    pub(in crate::ftp) fn holds_passive_reply(&self) -> bool {
        !matches!(self.passive_reply, PassiveReply::None)
    }

    /// Whether the reply to a passive command sent ahead is outstanding.
    pub(in crate::ftp) fn awaits_passive_reply(&self) -> bool {
        matches!(self.passive_reply, PassiveReply::Owed)
    }

    /// Takes the reply to the passive command, if it has arrived.
    pub(in crate::ftp) fn take_passive_reply(&mut self) -> Option<Reply> {
        match std::mem::take(&mut self.passive_reply) {
            PassiveReply::Arrived(reply) => Some(reply),
            other => {
                self.passive_reply = other;
                None
            }
        }
    }

    /// Waits for the reply to the passive command, if one is outstanding.
    pub(in crate::ftp) fn wait_for_passive_reply(&mut self) -> Result<(), Error> {
        if self.awaits_passive_reply() {
            let reply = self.next_reply(Phase::Reply, Instant::now() + self.patience())?;
            self.passive_reply = PassiveReply::Arrived(reply);
        }
        Ok(())
    }

    /// Like [`Self::wait_for_passive_reply`]. Returns the 421 with which the server has ended the
    /// session instead.
    pub(in crate::ftp) fn passive_reply_or_end(&mut self) -> Result<Option<Reply>, Error> {
        let is_owed = self.awaits_passive_reply();
        self.wait_for_passive_reply()?;
        if !is_owed || self.usable {
            return Ok(None);
        }
        Ok(self.take_passive_reply())
    }

    /// Stores the reply to the passive command if it has arrived completely. Does not wait.
    pub(in crate::ftp) fn poll_passive_reply(&mut self) -> Result<(), Error> {
        if !self.awaits_passive_reply() {
            return Ok(());
        }
        let received = self.receive_now();
        self.poison(received)?;
        if holds_reply(&self.unread) {
            self.wait_for_passive_reply()?;
        }
        Ok(())
    }
}

/// Whether `bytes` begin with a complete reply, or with something that will never be one.
fn holds_reply(bytes: &[u8]) -> bool {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let text = line.strip_suffix(b"\n")?;
        Some(text.strip_suffix(b"\r").unwrap_or(text))
    });
    let Some(line) = lines.next().flatten() else {
        return bytes.len() > MAX_LINE;
    };
    match first_line(line) {
        Some(first) if first.more => {
            bytes.len() > MAX_BYTES
                || lines
                    .flatten()
                    .any(|line| last_line(line, first.code).is_some())
        }
        Some(_) | None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::text::escaped;

    #[test]
    fn a_reply_is_whole_with_its_last_line() {
        for whole in [
            b"229 ok\r\n".as_slice(),
            b"229 ok\n",
            b"229-one\r\n220 two\r\n229 three\r\n",
            b"229 ok\r\n226",
            b"nonsense\r\n",
        ] {
            assert!(holds_reply(whole), "{}", escaped(whole));
        }
        for part in [
            b"".as_slice(),
            b"229 ok",
            b"229-one\r\n",
            b"229-one\r\n229 tw",
        ] {
            assert!(!holds_reply(part), "{}", escaped(part));
        }
    }
}
