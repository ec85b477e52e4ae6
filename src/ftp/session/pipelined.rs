//! Commands sent behind a transfer, before its completion reply: the next transfer's EPSV or PASV,
//! with the command itself where downloads follow one another, and behind a small upload the look
//! at what arrived. Their replies come with the 226, or right behind it, in the order of sending:
//! first that to EPSV, whose code no transfer ends with, then the look's. A look that nobody asks
//! for is thrown away by the next command (`control.rs`).

use super::Session;
use super::prepared::PassiveCommand;
use crate::ftp::control::escaped;
use crate::ftp::error::Error;
use crate::ftp::path::RemotePath;
use crate::ftp::profile::Capability;
use crate::ftp::reply::Reply;

/// What was sent behind the transfer under way.
#[derive(Debug)]
pub(in crate::ftp) struct PipelinedCommands {
    way: PassiveCommand,
    look: Option<PipelinedQuestion>,
}

/// A question about a file whose answer was not taken yet.
#[derive(Debug)]
pub(in crate::ftp) struct PipelinedQuestion {
    path: RemotePath,
    with: FactsCommand,
}

/// How a file is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ftp) enum FactsCommand {
    /// MLST.
    Mlst,
    /// SIZE and MDTM.
    SizeAndTime,
}

impl FactsCommand {
    fn replies(self) -> usize {
        match self {
            Self::Mlst => 1,
            Self::SizeAndTime => 2,
        }
    }
}

impl Session {
    /// The data has ended: asks for the next transfer's data connection, before the completion
    /// reply has come. Servers answer when they have sent that.
    pub(in crate::ftp) fn prepare_behind(&mut self) {
        // One that cannot be sent shows in the completion reply.
        let _ = self.send_behind(None);
    }

    /// Behind an upload whose bytes were all sent: asks for the next data connection, and for what
    /// will have arrived where `look` says so.
    pub(in crate::ftp) fn send_behind(&mut self, look: Option<&RemotePath>) -> Result<(), Error> {
        if self.has_sent_behind() {
            return Ok(());
        }
        // Without EPSV the look would come first, and could be taken for the completion reply.
        let Some(way) = self.next_passive_command() else {
            return Ok(());
        };
        // A server may still take part in the end of the data connection's TLS.
        if self.tls.is_some() {
            return Ok(());
        }
        let mut lines = vec![way.verb().as_bytes().to_vec()];
        let look = match look.zip(self.facts_command()) {
            Some((path, with)) => {
                lines.extend(self.facts_lines(path, with)?);
                let path = path.clone();
                Some(PipelinedQuestion { path, with })
            }
            None => None,
        };
        for line in &lines {
            log::debug!("> {} (behind)", escaped(line));
        }
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        self.control.send_batch(&lines)?;
        self.pipelined = Some(PipelinedCommands { way, look });
        Ok(())
    }

    /// Sends a download's command, and behind it at once the EPSV or PASV of the next, where
    /// another is [expected](Session::expect_more) and the server takes commands in turn; whether
    /// it did.
    pub(in crate::ftp) fn send_with_next(&mut self, line: &[u8]) -> Result<bool, Error> {
        let is_borne = self.profile.has(Capability::EarlyUpload) && self.tls.is_none();
        if !self.prepared.expects_more() || !is_borne {
            return Ok(false);
        }
        let Some(way) = self.next_passive_command() else {
            return Ok(false);
        };
        log::debug!("> {}", escaped(line));
        log::debug!("> {} (behind)", way.verb());
        self.control.send_batch(&[line, way.verb().as_bytes()])?;
        self.pipelined = Some(PipelinedCommands { way, look: None });
        Ok(true)
    }

    /// The transfer's last reply has come: those to what was sent behind it are the next.
    pub(in crate::ftp) fn transfer_ended(&mut self) {
        let Some(pipelined) = self.pipelined.take() else {
            return;
        };
        self.control.expect_passive_reply();
        self.prepared.asked(pipelined.way);
        if let Some(question) = pipelined.look {
            self.control.expect_facts(question.with.replies());
            self.question = Some(question);
        }
    }

    /// Whether something was sent behind the transfer under way, so that the order of replies is
    /// not the usual one.
    pub(in crate::ftp) fn has_sent_behind(&self) -> bool {
        self.pipelined.is_some()
    }

    /// Whether `reply`, the first after the data, is already that to EPSV or PASV: the completion
    /// reply is missing.
    pub(in crate::ftp) fn is_skipped_by(&self, reply: &Reply) -> bool {
        self.has_sent_behind() && matches!(reply.code().0, 227 | 229)
    }

    /// Whether just this question was sent already, and its answers are the next to come.
    pub(in crate::ftp) fn is_already_asked(
        &mut self,
        path: &RemotePath,
        with: FactsCommand,
    ) -> bool {
        let question = self.question.take();
        question.is_some_and(|question| question.path == *path && question.with == with)
            && self.control.take_facts()
    }

    fn facts_command(&self) -> Option<FactsCommand> {
        let features = self.features();
        if features.has("MLST") {
            Some(FactsCommand::Mlst)
        } else if features.has("SIZE") && features.has("MDTM") {
            Some(FactsCommand::SizeAndTime)
        } else {
            None
        }
    }

    /// The command lines of a look.
    pub(in crate::ftp) fn facts_lines(
        &self,
        path: &RemotePath,
        with: FactsCommand,
    ) -> Result<Vec<Vec<u8>>, Error> {
        match with {
            FactsCommand::Mlst => Ok(vec![self.line(b"MLST ", path, b"")?]),
            FactsCommand::SizeAndTime => Ok(vec![
                self.line(b"SIZE ", path, b"")?,
                self.line(b"MDTM ", path, b"")?,
            ]),
        }
    }
}
