//! Misdeeds that a test asks for: at which command, how often, and what goes wrong there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::command_line::Command;

/// Stands for the moment of connecting, where the greeting is due, in [`Fault::on`]: in lower case,
/// as no verb is.
pub const CONNECT: &str = "connect";
/// Stands for every command in [`Fault::on`].
pub const ANY: &str = "*";

/// A fatal alert of TLS, handshake_failure (RFC 8446 §6), for [`Misdeed::InsteadOfHandshake`].
pub const HANDSHAKE_FAILURE: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

/// One thing that is to go wrong.
#[derive(Debug, Clone)]
pub struct Fault {
    verb: String,
    /// What the argument must end with.
    named: Vec<u8>,
    skip: u32,
    /// How often it still happens; for ever where there is none.
    times: Option<u32>,
    misdeed: Misdeed,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misdeed {
    /// The control connection is closed instead of the command done.
    DropControl,
    /// The command is done, and the control connection closed instead of its reply sent.
    DoneThenDrop,
    /// Nothing is done or said any more on this control connection.
    StallControl,
    /// The command is refused.
    Refuse {
        /// The reply's code; 421 closes the connection.
        code: u16,
        /// Its text.
        text: String,
    },
    /// The command is done and said to be refused.
    DoneThenRefuse {
        /// The reply's code.
        code: u16,
        /// Its text.
        text: String,
    },
    /// The command is done and its last reply not sent: of a transfer the 226.
    NoReply,
    /// … and sent so much later.
    LateReply(Duration),
    /// … and its connection closed after so many bytes of it.
    CutReply(usize),
    /// A reply without an end.
    EndlessReply,
    /// No data connection can be opened (425); a file that STOR had made for it stays.
    RefuseData,
    /// The data connection is reset.
    DropData {
        /// After so many bytes.
        after: u64,
    },
    /// The data connection stays open, and nothing moves any more.
    StallData {
        /// After so many bytes.
        after: u64,
    },
    /// The transfer is ended with a refusal.
    BreakData {
        /// After so many bytes.
        after: u64,
        /// The reply's code: 426, 451, 452, 552 …
        code: u16,
    },
    /// The transfer ends early, and is said to be complete.
    ShortThen226 {
        /// After so many bytes.
        after: u64,
    },
    /// The transfer's TLS connection ends without its close_notify, and is said to be complete.
    Unclosed {
        /// After so many bytes, or at the end of the file where that comes first.
        after: u64,
    },
    /// At AUTH: these bytes follow the 234 in the clear, before the handshake.
    Inject(Vec<u8>),
    /// At AUTH (where TLS is implicit at [`CONNECT`]) or at the command of a transfer: the client
    /// waits in vain for the TLS handshake on the control or the data connection.
    StallHandshake,
    /// There: these bytes answer the client's handshake, and the connection is closed.
    InsteadOfHandshake(Vec<u8>),
    /// Sizes are told (SIZE, MLST, MLSD, LIST, STAT) so many bytes too large.
    WrongSize(i64),
    /// A listing without an end.
    EndlessListing,
    /// The first byte of what was stored is another one: 0xFF.
    Corrupt,
    /// RNTO does not replace a file.
    NoReplace,
}

/// The faults that are still to happen, over all sessions.
#[derive(Debug, Default)]
pub struct Faults {
    waiting: Mutex<Vec<Fault>>,
    happened: AtomicU64,
}

impl Fault {
    /// `misdeed` at the next command `verb`: as sent, upper case, `SITE` with its sub-command;
    /// [`CONNECT`] or [`ANY`].
    pub fn on(verb: &str, misdeed: Misdeed) -> Self {
        Self {
            verb: verb.to_owned(),
            named: Vec::new(),
            skip: 0,
            times: Some(1),
            misdeed,
        }
    }

    /// Only where the argument ends so.
    #[must_use]
    pub fn named(mut self, end: impl AsRef<[u8]>) -> Self {
        end.as_ref().clone_into(&mut self.named);
        self
    }

    /// Lets so many such commands pass before.
    #[must_use]
    pub fn skip(mut self, count: u32) -> Self {
        self.skip = count;
        self
    }

    /// So many times, not once.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.times = Some(count);
        self
    }

    /// For ever, not once.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    fn is_about(&self, command: &Command) -> bool {
        let any = self.verb == ANY && command.verb != CONNECT;
        (any || self.verb == command.verb) && command.argument.ends_with(&self.named)
    }

    /// Whether it happens at a command it is about.
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
    /// One more; where several are about a command, the first added happens.
    pub fn add(&self, fault: Fault) {
        self.lock().push(fault);
    }

    /// None from now on. What stalls goes on doing so.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// How many took place since the start.
    pub fn happened(&self) -> u64 {
        self.happened.load(Ordering::Relaxed)
    }

    /// What goes wrong with this command.
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
