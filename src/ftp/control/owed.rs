//! Replies that come before those to what is asked next: to a command sent ahead of its use, to a
//! question about a file that was sent behind its transfer.

use std::time::Instant;

use super::{Control, MAX_BYTES, MAX_LINE};
use crate::ftp::error::{Error, Phase};
use crate::ftp::reply::{Reply, first_line, last_line};

/// The reply to a command that was sent ahead of its use: it comes before all others.
#[derive(Debug, Default)]
pub(super) enum PassiveReply {
    #[default]
    None,
    Owed,
    Arrived(Reply),
}

impl Control {
    /// The next reply is that to a command sent ahead of its use: it is set aside when it comes.
    /// One at a time.
    pub(in crate::ftp) fn expect_passive_reply(&mut self) {
        self.passive_reply = PassiveReply::Owed;
        self.holds_data = true;
    }

    /// The next `replies` are those to a question sent already, which [is taken](Self::take_facts)
    /// before another command is sent, or not at all.
    pub(in crate::ftp) fn expect_facts(&mut self, replies: usize) {
        self.facts_due = replies;
    }

    /// The question sent already is asked now: whether its replies are the next.
    pub(in crate::ftp) fn take_facts(&mut self) -> bool {
        std::mem::take(&mut self.facts_due) > 0
    }

    /// Whether replies are still to come to anything sent.
    pub(in crate::ftp) fn awaits_replies(&self) -> bool {
        self.awaits_passive_reply() || self.facts_due > 0 || self.unwanted > 0
    }

    /// Whether a command was sent ahead of its use, and its reply not yet taken.
    pub(in crate::ftp) fn holds_passive_reply(&self) -> bool {
        !matches!(self.passive_reply, PassiveReply::None)
    }

    /// Whether the reply to a command sent ahead is still to come.
    pub(in crate::ftp) fn awaits_passive_reply(&self) -> bool {
        matches!(self.passive_reply, PassiveReply::Owed)
    }

    /// The reply to the command sent ahead, where it has come.
    pub(in crate::ftp) fn take_passive_reply(&mut self) -> Option<Reply> {
        match std::mem::take(&mut self.passive_reply) {
            PassiveReply::Arrived(reply) => Some(reply),
            other => {
                self.passive_reply = other;
                None
            }
        }
    }

    /// Waits for the reply to the command sent ahead, where one is owed.
    pub(in crate::ftp) fn wait_for_passive_reply(&mut self) -> Result<(), Error> {
        if self.awaits_passive_reply() {
            let reply = self.next_reply(Phase::Reply, Instant::now() + self.patience())?;
            self.passive_reply = PassiveReply::Arrived(reply);
        }
        Ok(())
    }

    /// Without waiting: takes the reply to the command sent ahead, if all of it has come.
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

/// Whether `bytes` begin with a whole reply, or with what will never be one.
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
    use crate::ftp::control::escaped;

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
