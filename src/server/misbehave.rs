//! Execution of injected faults. Without the feature `faults`, `honest` takes the place of this
//! file.

use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::command_line::Command;
use super::data::DataConnection;
use super::reply::{Gone, Reply, Stop, refused};
use super::session::{Ended, Session};
use super::transfer::{Cut, CutHow, Transfer, outcome};
use super::tree::LastLink;

pub(super) use super::fault::{Faults, Misdeed};

/// The line that an endless reply repeats.
const ENDLESS_LINE: &[u8] = b"211-and so on\r\n";

/// How often a frozen session checks whether it may go on.
const FROZEN: Duration = Duration::from_millis(10);

impl Misdeed {
    /// Returns the effect of this fault on a transfer.
    fn cut(&self) -> Option<Cut> {
        let (after, how) = match *self {
            Self::DropData { after } => (after, CutHow::Drop),
            Self::StallData { after } => (after, CutHow::Stall),
            Self::BreakData { after, code } => (after, CutHow::Break(code)),
            Self::ShortThen226 { after } => (after, CutHow::Short),
            Self::Unclosed { after } => (after, CutHow::Unclosed),
            _ => return None,
        };
        Some(Cut { after, how })
    }
}

impl Session {
    /// Overwrites the first byte of a file.
    fn spoil(&self, argument: &[u8]) {
        let Ok(place) = self.place(argument, LastLink::Followed) else {
            return;
        };
        let opened = place.open_to_write();
        if let Err(error) = opened.and_then(|opened| opened.file.write_at(&[0xFF], 0)) {
            log::warn!("server: no file to corrupt: {error}");
        }
    }

    /// Executes `command` with the fault `misdeed`.
    pub(super) fn misbehave(
        &mut self,
        command: &Command,
        misdeed: &Misdeed,
    ) -> Result<Ended, Gone> {
        match misdeed {
            Misdeed::DropControl => Err(Gone),
            Misdeed::StallControl => Err(self.control.hang()),
            Misdeed::Freeze => {
                while self.serving.faults.freezes(command) {
                    self.control.pause_until(Instant::now() + FROZEN)?;
                }
                let reply = self.execute(command)?;
                self.send_reply(&reply)
            }
            Misdeed::Refuse { code, text } => self.send_reply(&Reply::new(*code, text.as_bytes())),
            Misdeed::EndlessReply => loop {
                self.control.send(ENDLESS_LINE)?;
            },
            Misdeed::DoneThenDrop => {
                self.execute(command)?;
                Err(Gone)
            }
            Misdeed::DoneThenRefuse { code, text } => {
                self.execute(command)?;
                self.send_reply(&Reply::new(*code, text.as_bytes()))
            }
            Misdeed::Corrupt => {
                let reply = self.execute(command)?;
                self.spoil(&command.argument);
                self.send_reply(&reply)
            }
            Misdeed::NoReply => {
                self.execute(command)?;
                Ok(Ended::No)
            }
            Misdeed::LateReply(delay) => {
                let reply = self.execute(command)?;
                self.control.pause_until(Instant::now() + *delay)?;
                self.send_reply(&reply)
            }
            Misdeed::CutReply(count) => {
                let bytes = self.execute(command)?.to_bytes();
                self.control.send(bytes.get(..*count).unwrap_or(&bytes))?;
                Err(Gone)
            }
            Misdeed::RefuseData
            | Misdeed::DropData { .. }
            | Misdeed::StallData { .. }
            | Misdeed::BreakData { .. }
            | Misdeed::ShortThen226 { .. }
            | Misdeed::Unclosed { .. }
            | Misdeed::Inject(_)
            | Misdeed::StallHandshake
            | Misdeed::InsteadOfHandshake(_)
            | Misdeed::WrongSize(_)
            | Misdeed::EndlessListing
            | Misdeed::NoReplace
            | Misdeed::AppendReplaces => {
                self.misdeed = Some(misdeed.clone());
                let sent = self
                    .execute(command)
                    .and_then(|reply| self.send_reply(&reply));
                self.misdeed = None;
                sent
            }
        }
    }

    /// Formats the reply after which TLS begins, followed by the injected plaintext.
    pub(super) fn with_injected(&self, reply: &Reply) -> Vec<u8> {
        let mut bytes = reply.to_bytes();
        if let Some(Misdeed::Inject(more)) = &self.misdeed {
            bytes.extend(more);
        }
        bytes
    }

    /// Applies the fault that replaces the TLS handshake of the control connection.
    pub(super) fn disturb_control(&mut self) -> Result<(), Gone> {
        match &self.misdeed {
            Some(Misdeed::StallHandshake) => Err(self.control.hang()),
            Some(Misdeed::InsteadOfHandshake(bytes)) => {
                self.control.await_input()?;
                self.control.send(bytes)?;
                Err(self.control.hang_up())
            }
            _ => Ok(()),
        }
    }

    /// Applies the fault that replaces the TLS handshake of a data connection. Returns the
    /// connection if there is none.
    pub(super) fn disturb(&mut self, connection: DataConnection) -> Result<DataConnection, Stop> {
        let bytes = match &self.misdeed {
            Some(Misdeed::StallHandshake) => &[],
            Some(Misdeed::InsteadOfHandshake(bytes)) => bytes.as_slice(),
            _ => return Ok(connection),
        };
        let patience = self.patience();
        let mut transfer = Transfer::new(&mut self.control, connection, patience, None)?;
        let spoilt = if bytes.is_empty() {
            transfer.wait_for_end()
        } else {
            let sent = transfer.await_input().and_then(|()| transfer.send(bytes));
            sent.err().unwrap_or_else(|| transfer.hang_up())
        };
        drop(transfer);
        match outcome(Err(spoilt)) {
            Err(Stop::Gone) => Err(Stop::Gone),
            Ok(_) | Err(Stop::Refused(_)) => Err(refused(522, "No TLS on the data connection")),
        }
    }

    /// Whether the current command gets no data connection.
    pub(super) fn refuses_data(&self) -> bool {
        self.misdeed == Some(Misdeed::RefuseData)
    }

    /// Whether the current RNTO must not replace a file.
    pub(super) fn replaces_nothing(&self) -> bool {
        self.misdeed == Some(Misdeed::NoReplace)
    }

    /// Whether the current APPE replaces the file.
    pub(super) fn append_replaces(&self) -> bool {
        self.misdeed == Some(Misdeed::AppendReplaces)
    }

    /// Whether the current listing never ends.
    pub(super) fn lists_forever(&self) -> bool {
        self.misdeed == Some(Misdeed::EndlessListing)
    }

    /// Returns how the transfer of the current command is cut short.
    pub(super) fn cut(&self) -> Option<Cut> {
        self.misdeed.as_ref().and_then(Misdeed::cut)
    }

    /// Number of bytes by which reported sizes are too large.
    pub(super) fn skew(&self) -> i64 {
        match self.misdeed {
            Some(Misdeed::WrongSize(by)) => by,
            _ => 0,
        }
    }
}
