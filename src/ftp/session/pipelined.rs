//! Commands pipelined behind a transfer, before its completion reply: the EPSV or PASV of the next
//! transfer, sent with the transfer command itself when downloads follow one another, and after a
//! small upload a question about the uploaded file. The replies come with the 226 or right after
//! it, in the order of sending: first the reply to EPSV, whose code ends no transfer, then that to
//! the question. The next command skips the reply to a question without a caller (`control`).

use super::Session;
use super::prepared::PassiveCommand;
use crate::ftp::error::Error;
use crate::ftp::path::RemotePath;
use crate::ftp::profile::Capability;
use crate::ftp::reply::Reply;
use crate::ftp::text::escaped;

/// The commands sent behind the current transfer.
#[derive(Debug)]
pub(in crate::ftp) struct PipelinedCommands {
    command: PassiveCommand,
    question: Option<PipelinedQuestion>,
}

/// A question about a file whose answer has not been taken yet.
#[derive(Debug)]
pub(in crate::ftp) struct PipelinedQuestion {
    path: RemotePath,
    with: FactsCommand,
}

/// Commands that return the facts of a file.
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
    /// Requests the next data connection after the end of the data, before the completion reply.
    /// Servers reply to it after that one.
    pub(in crate::ftp) fn pipeline_passive_command(&mut self) {
        // If sending fails, waiting for the completion reply fails, too.
        let _ = self.send_pipelined(None);
    }

    /// After all data of an upload was sent, requests the next data connection, and the facts of
    /// the file `question`.
    pub(in crate::ftp) fn send_pipelined(
        &mut self,
        question: Option<&RemotePath>,
    ) -> Result<(), Error> {
        if self.has_pipelined() {
            return Ok(());
        }
        // Without EPSV the reply to the question would come first and could be mistaken for the
        // completion reply.
        let Some(command) = self.next_passive_command() else {
            return Ok(());
        };
        let mut lines = vec![command.verb().as_bytes().to_vec()];
        let question = match question.zip(self.facts_command()) {
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
        self.pipelined = Some(PipelinedCommands { command, question });
        Ok(())
    }

    /// Sends a download command followed by the EPSV or PASV of the next one, if another is
    /// [expected](Session::expect_more) and the server executes commands in order. Returns whether
    /// it did.
    pub(in crate::ftp) fn send_with_next(&mut self, line: &[u8]) -> Result<bool, Error> {
        let is_supported = self.profile.has(Capability::EarlyUpload);
        if !self.prepared.expects_more() || !is_supported {
            return Ok(false);
        }
        let Some(command) = self.next_passive_command() else {
            return Ok(false);
        };
        log::debug!("> {}", escaped(line));
        log::debug!("> {} (behind)", command.verb());
        self.control
            .send_batch(&[line, command.verb().as_bytes()])?;
        self.pipelined = Some(PipelinedCommands {
            command,
            question: None,
        });
        Ok(true)
    }

    /// Records that the last reply of the transfer has arrived: those to the pipelined commands are
    /// next.
    pub(in crate::ftp) fn transfer_ended(&mut self) {
        let Some(pipelined) = self.pipelined.take() else {
            return;
        };
        self.control.expect_passive_reply();
        self.prepared.command_sent(pipelined.command);
        if let Some(question) = pipelined.question {
            self.control.expect_facts(question.with.replies());
            self.question = Some(question);
        }
    }

    /// Whether commands were sent behind the current transfer, so that more replies than usual
    /// follow.
    pub(in crate::ftp) fn has_pipelined(&self) -> bool {
        self.pipelined.is_some()
    }

    /// Whether `reply`, the first after the data, answers EPSV or PASV, so that the completion
    /// reply is missing.
    pub(in crate::ftp) fn is_skipped_by(&self, reply: &Reply) -> bool {
        self.has_pipelined() && matches!(reply.code().0, 227 | 229)
    }

    /// Whether exactly this question was sent ahead, and its replies are next.
    pub(in crate::ftp) fn is_already_asked(
        &mut self,
        path: &RemotePath,
        with: FactsCommand,
    ) -> bool {
        let question = self.question.take();
        question.is_some_and(|question| question.path == *path && question.with == with)
            && self.control.take_facts()
    }

    pub(in crate::ftp) fn facts_command(&self) -> Option<FactsCommand> {
        let features = self.features();
        if features.has("MLST") {
            Some(FactsCommand::Mlst)
        } else if features.has("SIZE") && features.has("MDTM") {
            Some(FactsCommand::SizeAndTime)
        } else {
            None
        }
    }

    /// Formats the command lines of a question.
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
