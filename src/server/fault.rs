//! Faults that tests inject: at which command, how often, and what goes wrong.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::command_line::{CONNECT, Command};

/// Stands for any command in [`Fault::on`].
pub const ANY: &str = "*";

/// The fatal TLS alert handshake_failure (RFC 8446 §6), for [`Misdeed::InsteadOfHandshake`].
pub const HANDSHAKE_FAILURE: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

/// One fault to inject.
#[derive(Debug, Clone)]
pub struct Fault {
    verb: String,
    /// Required suffix of the argument.
    named: Vec<u8>,
    skip: u32,
    /// Remaining number of times, or `None` for no limit.
    times: Option<u32>,
    misdeed: Misdeed,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misdeed {
    /// Closes the control connection instead of executing the command.
    DropControl,
    /// Executes the command and closes the control connection instead of replying.
    DoneThenDrop,
    /// Does and sends nothing more on this control connection.
    StallControl,
    /// Does nothing until [`Faults::clear`], and executes the command then. For faults that are
    /// repeated [`always`](Fault::always): others are over when they happen.
    Freeze,
    /// Refuses the command.
    Refuse {
        /// Reply code; 421 closes the connection.
        code: u16,
        /// Reply text.
        text: String,
    },
    /// Executes the command and reports a refusal.
    DoneThenRefuse {
        /// Reply code.
        code: u16,
        /// Reply text.
        text: String,
    },
    /// Executes the command without sending its final reply, which is the 226 of a transfer.
    NoReply,
    /// Executes the command and sends its final reply this much later.
    LateReply(Duration),
    /// Executes the command, sends this many bytes of the final reply, and closes the connection.
    CutReply(usize),
    /// Sends a reply that never ends.
    EndlessReply,
    /// Refuses the data connection (425). A file that STOR created for it remains.
    RefuseData,
    /// Resets the data connection.
    DropData {
        /// After this many bytes.
        after: u64,
    },
    /// Stalls the data connection and leaves it open.
    StallData {
        /// After this many bytes.
        after: u64,
    },
    /// Ends the transfer with a refusal.
    BreakData {
        /// After this many bytes.
        after: u64,
        /// Reply code: 426, 451, 452, 552, …
        code: u16,
    },
    /// Ends the transfer early and reports success.
    ShortThen226 {
        /// After this many bytes.
        after: u64,
    },
    /// Ends the TLS connection of a transfer without close_notify and reports success.
    Unclosed {
        /// After this many bytes, or at the end of the file if that comes first.
        after: u64,
    },
    /// At AUTH: sends these bytes in the clear after the 234, before the handshake.
    Inject(Vec<u8>),
    /// At AUTH (with implicit TLS at [`CONNECT`]) or at a transfer command: never performs the TLS
    /// handshake of the control or data connection.
    StallHandshake,
    /// At the same places: sends these bytes in reply to the client's hello and closes the
    /// connection.
    InsteadOfHandshake(Vec<u8>),
    /// Reports sizes (SIZE, MLST, MLSD, LIST, STAT) this many bytes too large, but none below 0.
    WrongSize(i64),
    /// Sends a listing that never ends.
    EndlessListing,
    /// Replaces the first byte of the uploaded file with 0xFF.
    Corrupt,
    /// Refuses an RNTO that would replace a file.
    NoReplace,
    /// Replaces the file with what APPE sends.
    AppendReplaces,
}

/// The injected faults of all sessions.
#[derive(Debug, Default)]
pub struct Faults {
    waiting: Mutex<Vec<Fault>>,
    happened: AtomicU64,
}

impl Fault {
    /// Injects `misdeed` at the next command `verb`, as sent and in upper case, including the
    /// sub-command of SITE; or [`CONNECT`] or [`ANY`].
    pub fn on(verb: &str, misdeed: Misdeed) -> Self {
        Self {
            verb: verb.to_owned(),
            named: Vec::new(),
            skip: 0,
            times: Some(1),
            misdeed,
        }
    }

    /// Restricts the fault to arguments that end with `end`.
    #[must_use]
    pub fn named(mut self, end: impl AsRef<[u8]>) -> Self {
        end.as_ref().clone_into(&mut self.named);
        self
    }

    /// Skips the first `count` matching commands.
    #[must_use]
    pub fn skip(mut self, count: u32) -> Self {
        self.skip = count;
        self
    }

    /// Repeats the fault `count` times.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.times = Some(count);
        self
    }

    /// Repeats the fault without limit.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    fn is_about(&self, command: &Command) -> bool {
        let any = self.verb == ANY && command.verb != CONNECT;
        (any || self.verb == command.verb) && command.argument.ends_with(&self.named)
    }

    /// Counts a matching command. Returns whether the fault happens at it.
    fn strikes(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        match &mut self.times {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

impl Faults {
    /// Adds a fault. If several match a command, the one added first happens.
    pub fn add(&self, fault: Fault) {
        self.lock().push(fault);
    }

    /// Replaces all faults by this one, without a moment in which there is none.
    pub fn replace(&self, fault: Fault) {
        *self.lock() = vec![fault];
    }

    /// Removes all faults. Connections that are stalled remain stalled; frozen ones go on.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Number of faults that happened since the start.
    pub fn happened(&self) -> u64 {
        self.happened.load(Ordering::Relaxed)
    }

    /// Returns what goes wrong with this command.
    pub(super) fn strike(&self, command: &Command) -> Option<Misdeed> {
        let mut waiting = self.lock();
        let struck = waiting.iter_mut().find_map(|fault| {
            (fault.is_about(command) && fault.strikes()).then(|| fault.misdeed.clone())
        });
        waiting.retain(|fault| fault.times != Some(0));
        drop(waiting);
        if struck.is_some() {
            self.happened.fetch_add(1, Ordering::Relaxed);
        }
        struck
    }

    /// Whether [`Misdeed::Freeze`] still holds back this command.
    pub(super) fn freezes(&self, command: &Command) -> bool {
        let waiting = self.lock();
        let mut matching = waiting.iter().filter(|fault| fault.is_about(command));
        matching.any(|fault| fault.misdeed == Misdeed::Freeze)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn struck(faults: &Faults, line: &str) -> bool {
        faults.strike(&Command::parse(line.as_bytes())).is_some()
    }

    #[test]
    fn a_fault_happens_at_its_commands_so_often_as_it_was_asked_for() {
        let faults = Faults::default();
        faults.add(
            Fault::on("RETR", Misdeed::DropControl)
                .named("b.txt")
                .skip(1)
                .times(2),
        );
        let lines = [
            "RETR a.txt",
            "STOR b.txt",
            "RETR b.txt",
            "RETR /d/b.txt",
            "RETR b.txt",
            "RETR b.txt",
        ];
        let happened = lines.map(|line| struck(&faults, line));
        assert_eq!(happened, [false, false, false, true, true, false]);
        assert_eq!(faults.happened(), 2);
    }

    #[test]
    fn faults_for_ever_end_when_they_are_cleared() {
        let faults = Faults::default();
        faults.add(Fault::on(ANY, Misdeed::NoReply).always());
        assert!((0..100).all(|_| struck(&faults, "NOOP")));
        let connecting = Command::connecting();
        assert!(faults.strike(&connecting).is_none(), "it is no command");
        faults.clear();
        assert!(!struck(&faults, "NOOP"));
    }
}
