//! The ledger of outstanding replies: which command each reply answers, and whether it can.
//!
//! Replies come in the order of the commands (RFC 959 §5.4), and some codes belong to few commands:
//! 227 to PASV, 257 to PWD and MKD, 3yz to a login, REST, RNFR and SITE CPFR. A reply that cannot
//! answer its command shows that client and server are out of step. Some servers send a completion
//! twice, after an aborted transfer or always. Such a [stray](Fit::Stray) reply is recognised by
//! the reply before it.

use std::collections::VecDeque;

use crate::ftp::reply::ReplyCode;

/// Kinds of commands with distinguishable replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ftp) enum Verb {
    /// USER, PASS, ACCT.
    Login,
    Auth,
    Feat,
    Syst,
    Pwd,
    Mkd,
    Cwd,
    Epsv,
    Pasv,
    /// REST and RANG.
    Restart,
    /// RNFR and SITE CPFR.
    Rnfr,
    /// RNTO and SITE CPTO.
    Rnto,
    /// SIZE, MDTM and others that return a value.
    Value,
    /// RETR, STOR, APPE, LIST, MLSD, NLST.
    Transfer,
    Abor,
    Stat,
    Other,
}

impl Verb {
    fn of(line: &[u8]) -> Self {
        if let Some(copy) = Self::of_copy(line) {
            return copy;
        }
        let end = line.iter().position(|byte| *byte == b' ');
        let word = line.get(..end.unwrap_or(line.len())).unwrap_or_default();
        match word.to_ascii_uppercase().as_slice() {
            b"USER" | b"PASS" | b"ACCT" => Self::Login,
            b"AUTH" | b"ADAT" => Self::Auth,
            b"FEAT" => Self::Feat,
            b"SYST" => Self::Syst,
            b"PWD" | b"XPWD" => Self::Pwd,
            b"MKD" | b"XMKD" => Self::Mkd,
            b"CWD" | b"CDUP" => Self::Cwd,
            b"EPSV" => Self::Epsv,
            b"PASV" => Self::Pasv,
            b"REST" | b"RANG" => Self::Restart,
            b"RNFR" => Self::Rnfr,
            b"RNTO" => Self::Rnto,
            b"RETR" | b"STOR" | b"APPE" | b"LIST" | b"MLSD" | b"NLST" => Self::Transfer,
            b"ABOR" => Self::Abor,
            b"STAT" | b"HELP" => Self::Stat,
            b"SIZE" | b"MDTM" | b"MLST" | b"MFMT" | b"MFF" | b"AVBL" | b"HASH" | b"XSHA256"
            | b"XSHA1" | b"XMD5" | b"XCRC" | b"SITE" | b"OPTS" => Self::Value,
            _ => Self::Other,
        }
    }

    /// Returns the verb of the two commands of mod_copy, which are answered like those of a rename.
    fn of_copy(line: &[u8]) -> Option<Self> {
        let command = line.get(..10)?.to_ascii_uppercase();
        match command.as_slice() {
            b"SITE CPFR " => Some(Self::Rnfr),
            b"SITE CPTO " => Some(Self::Rnto),
            _ => None,
        }
    }

    /// Whether `code` can answer this command. `None` if it can but is unusual.
    fn takes(self, code: u16) -> Option<bool> {
        let belongs = |to: bool| Some(to);
        match code {
            // RFC 959 §4.2.1: refusals can answer any command.
            400..=425 | 427..=599 => Some(true),
            426 => belongs(matches!(self, Self::Transfer | Self::Abor)),
            300..=399 => belongs(matches!(
                self,
                Self::Login | Self::Auth | Self::Restart | Self::Rnfr
            )),
            211 | 212 => match self {
                Self::Feat | Self::Stat | Self::Syst | Self::Value => Some(true),
                Self::Other => None,
                _ => Some(false),
            },
            213 => match self {
                Self::Value | Self::Stat => Some(true),
                Self::Other | Self::Feat => None,
                _ => Some(false),
            },
            215 => belongs(matches!(self, Self::Syst | Self::Stat)),
            225 => belongs(matches!(self, Self::Transfer | Self::Abor)),
            226 => match self {
                Self::Transfer | Self::Abor => Some(true),
                Self::Mkd | Self::Cwd | Self::Rnto | Self::Value | Self::Other => None,
                _ => Some(false),
            },
            227 => belongs(matches!(self, Self::Pasv)),
            229 => belongs(matches!(self, Self::Epsv)),
            230 | 232 => belongs(matches!(self, Self::Login | Self::Auth)),
            257 => match self {
                Self::Pwd | Self::Mkd => Some(true),
                Self::Cwd => None,
                _ => Some(false),
            },
            // Other completions are usual for some commands, and unusual for commands that have a
            // specific code.
            _ => match self {
                Self::Other
                | Self::Login
                | Self::Auth
                | Self::Mkd
                | Self::Cwd
                // Some servers send 250 instead of 350. RNTO usually follows, so a following reply
                // does not make this one a stray.
                | Self::Rnfr
                | Self::Rnto
                | Self::Value
                | Self::Transfer
                | Self::Abor
                | Self::Stat => Some(true),
                Self::Feat
                | Self::Syst
                | Self::Pwd
                | Self::Epsv
                | Self::Pasv
                | Self::Restart => None,
            },
        }
    }
}

/// Classification of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ftp) enum Fit {
    /// Answers the first outstanding command. Unsolicited if there is none.
    Answer,
    /// The first of two replies.
    Preliminary,
    /// A preliminary reply to a command that should not have one. The answer follows.
    Passing,
    /// Possibly a second reply to the transfer or command before. If an answer follows shortly, it
    /// was.
    Stray,
    /// Cannot be the answer.
    OutOfStep,
}

/// The commands sent and not yet answered, in order.
#[derive(Debug, Default)]
pub(in crate::ftp) struct Ledger {
    owed: VecDeque<Verb>,
    /// Number of commands sent since none was outstanding.
    flight: usize,
    /// The server sends 226 where others send 250.
    completes_all: bool,
    /// Code of the last answer, and whether it ended or aborted a transfer.
    last: Option<(u16, bool)>,
}

impl Ledger {
    /// Records that `line` was sent.
    pub(in crate::ftp) fn sent(&mut self, line: &[u8]) {
        if self.owed.is_empty() {
            self.flight = 0;
        }
        self.flight += 1;
        self.owed.push_back(Verb::of(line));
    }

    /// Number of commands without a reply.
    pub(in crate::ftp) fn outstanding(&self) -> usize {
        self.owed.len()
    }

    /// Whether the next answer is to a command unrelated to the data connection.
    pub(in crate::ftp) fn is_next_unrelated_to_data(&self) -> bool {
        let verb = self.owed.front();
        verb.is_some_and(|verb| !matches!(verb, Verb::Epsv | Verb::Pasv | Verb::Transfer))
    }

    /// Whether the next answer is to EPSV.
    pub(in crate::ftp) fn is_next_extended(&self) -> bool {
        self.owed.front() == Some(&Verb::Epsv)
    }

    /// Number of commands in the current flight, that is, since the last moment without an
    /// outstanding one.
    pub(in crate::ftp) fn flight(&self) -> usize {
        self.flight
    }

    /// Records the end of an aborted transfer: nothing is outstanding, but one more completion may
    /// arrive.
    pub(in crate::ftp) fn resynchronised(&mut self) {
        self.owed.clear();
        self.last = Some((226, true));
    }

    /// Classifies a reply by its code. An answer is removed from the ledger; a stray is not, see
    /// [`Self::accept_stray`].
    pub(in crate::ftp) fn classify(&mut self, ReplyCode(code): ReplyCode) -> Fit {
        let Some(verb) = self.owed.front().copied() else {
            return Fit::Answer;
        };
        if (100..200).contains(&code) {
            return match verb {
                Verb::Transfer | Verb::Abor => Fit::Preliminary,
                _ => Fit::Passing,
            };
        }
        let is_completion = matches!(code, 225 | 226 | 426);
        let takes = verb.takes(code);
        let is_stray = self.last.is_some_and(|(last, ended_transfer)| {
            if is_completion {
                // A transfer begins with a 1yz, so this reply ends another.
                ended_transfer && (verb == Verb::Transfer || takes != Some(true))
            } else {
                code == last && takes != Some(true)
            }
        });
        if is_stray && !(self.completes_all && takes.is_none()) {
            // Skip one stray, not several.
            self.last = None;
            Fit::Stray
        } else if takes == Some(false) {
            Fit::OutOfStep
        } else {
            self.accept(code);
            Fit::Answer
        }
    }

    /// Accepts a [stray](Fit::Stray) reply as the answer because no other reply followed.
    pub(in crate::ftp) fn accept_stray(&mut self, ReplyCode(code): ReplyCode) {
        self.completes_all |= code == 226;
        self.accept(code);
    }

    /// Removes the first command, answered with `code`.
    fn accept(&mut self, code: u16) {
        let verb = self.owed.pop_front();
        let ended_transfer = matches!(verb, Some(Verb::Transfer | Verb::Abor));
        self.last = Some((code, ended_transfer));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ledger(lines: &[&str]) -> Ledger {
        let mut ledger = Ledger::default();
        for line in lines {
            ledger.sent(line.as_bytes());
        }
        ledger
    }

    fn fits(ledger: &mut Ledger, codes: &[u16]) -> Vec<Fit> {
        let judged = codes.iter().map(|code| ledger.classify(ReplyCode(*code)));
        judged.collect()
    }

    #[test]
    fn ordinary_conversations_are_in_step() {
        use Fit::{Answer, Preliminary};
        for (lines, codes, expected) in [
            (
                ["USER a", "PASS b"].as_slice(),
                [331, 230].as_slice(),
                [Answer, Answer].as_slice(),
            ),
            (&["FEAT", "TYPE I", "EPSV"], &[211, 200, 229], &[Answer; 3]),
            (&["FEAT", "TYPE I"], &[500, 200], &[Answer; 2]),
            (&["RNFR /a", "RNTO /b"], &[350, 250], &[Answer; 2]),
            (&["RNFR /a", "RNTO /b"], &[550, 503], &[Answer; 2]),
            (&["SITE CPFR /a", "SITE CPTO /b"], &[350, 250], &[Answer; 2]),
            (
                &["MLST /a", "RNFR /a", "RNTO /b"],
                &[250, 250, 250],
                &[Answer; 3],
            ),
            (
                &["REST 7", "RETR /a"],
                &[350, 150, 226],
                &[Answer, Preliminary, Answer],
            ),
            (
                &["STOR /a", "EPSV", "SIZE /a", "MDTM /a"],
                &[125, 250, 229, 213, 213],
                &[Preliminary, Answer, Answer, Answer, Answer],
            ),
            (
                &["MKD /a", "PWD", "MLST /a"],
                &[257, 257, 250],
                &[Answer; 3],
            ),
            (&["DELE /a", "RNTO /b"], &[226, 226], &[Answer; 2]),
        ] {
            let mut ledger = ledger(lines);
            assert_eq!(fits(&mut ledger, codes), expected, "{lines:?}");
            assert_eq!(ledger.outstanding(), 0);
        }
    }

    #[test]
    fn a_reply_that_belongs_to_another_command_is_out_of_step() {
        for (line, code) in [
            ("EPSV", 257),
            ("REST 7", 227),
            ("RNTO /b", 350),
            ("NOOP", 350),
            ("PWD", 213),
            ("PWD", 229),
            ("TYPE I", 257),
            ("SIZE /a", 229),
            ("RETR /a", 229),
        ] {
            let mut ledger = ledger(&[line]);
            assert_eq!(
                fits(&mut ledger, &[code]),
                [Fit::OutOfStep],
                "{line} {code}"
            );
        }
    }

    #[test]
    fn a_second_completion_is_passed_over_once() {
        let mut twice = ledger(&["STOR /a"]);
        assert_eq!(
            fits(&mut twice, &[150, 226]),
            [Fit::Preliminary, Fit::Answer]
        );
        twice.sent(b"PWD");
        assert_eq!(fits(&mut twice, &[226, 257]), [Fit::Stray, Fit::Answer]);
        twice.sent(b"PWD");
        assert_eq!(fits(&mut twice, &[226]), [Fit::OutOfStep]);

        let mut aborted = ledger(&["RETR /a"]);
        aborted.resynchronised();
        aborted.sent(b"RETR /b");
        assert_eq!(
            fits(&mut aborted, &[226, 150, 226]),
            [Fit::Stray, Fit::Preliminary, Fit::Answer]
        );

        for (lines, codes) in [
            (["PASS b", "FEAT"], [230, 230]),
            (["FEAT", "TYPE I"], [211, 211]),
            (["OPTS UTF8 ON", "PWD"], [200, 200]),
        ] {
            let mut doubled = ledger(&lines);
            assert_eq!(
                fits(&mut doubled, &codes),
                [Fit::Answer, Fit::Stray],
                "{lines:?}"
            );
        }
    }

    #[test]
    fn a_server_that_says_226_to_everything_is_asked_to_wait_once() {
        let mut ledger = ledger(&["STOR /a"]);
        fits(&mut ledger, &[150, 226]);
        ledger.sent(b"DELE /a");
        assert_eq!(fits(&mut ledger, &[226]), [Fit::Stray]);
        ledger.accept_stray(ReplyCode(226));
        for _ in 0..2 {
            ledger.sent(b"STOR /a");
            ledger.sent(b"DELE /a");
            let expected = [Fit::Preliminary, Fit::Answer, Fit::Answer];
            assert_eq!(fits(&mut ledger, &[150, 226, 226]), expected);
        }
    }

    #[test]
    fn a_preliminary_reply_to_a_plain_command_is_passed_over() {
        let mut plain = ledger(&["DELE /a"]);
        assert_eq!(fits(&mut plain, &[150, 250]), [Fit::Passing, Fit::Answer]);
    }

    proptest! {
        /// In-order replies are always classified as answers, whatever is refused.
        #[test]
        fn replies_in_order_are_never_out_of_step(refused in prop::collection::vec(any::<bool>(), 1..30)) {
            let commands = [("PWD", 257), ("RNFR /a", 350), ("RNTO /b", 250), ("SIZE /a", 213), ("EPSV", 229)];
            let mut ledger = Ledger::default();
            let chosen: Vec<_> = commands.iter().cycle().zip(&refused).collect();
            for ((line, _), _) in &chosen {
                ledger.sent(line.as_bytes());
            }
            for ((_, code), refused) in &chosen {
                let code = if **refused { 550 } else { *code };
                prop_assert_eq!(ledger.classify(ReplyCode(code)), Fit::Answer);
            }
            prop_assert_eq!(ledger.outstanding(), 0);
        }
    }
}
