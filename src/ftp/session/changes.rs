//! Several changes of names in one write, for one round trip. Only for servers that support
//! pipelining.

use super::Session;
use super::set_facts::Setting;
use crate::ftp::error::Error;
use crate::ftp::path::RemotePath;
use crate::ftp::text::escaped;

/// Maximum number of bytes in one write. A server that replies while it receives more must not
/// block.
const MAX_BYTES: usize = 8 << 10;

/// A change of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeCommand {
    /// Deletes a file (DELE).
    Delete(RemotePath),
    /// Creates a directory (MKD).
    MakeDirectory(RemotePath),
    /// Removes a directory (RMD).
    RemoveDirectory(RemotePath),
    /// Renames a file from the first path to the second (RNFR, RNTO).
    Rename(RemotePath, RemotePath),
    /// Sets an attribute.
    Set(RemotePath, Setting),
}

/// A complete upload that gets its attributes and its name.
#[derive(Debug, Clone)]
pub struct Placing {
    /// The attributes to set first.
    pub settings: Vec<Setting>,
    /// Where the upload is.
    pub from: RemotePath,
    /// Its name.
    pub to: RemotePath,
}

/// The results of the settings, and that of the rename.
pub type PlacingAnswer = Result<Vec<Result<(), Error>>, Error>;

/// One of several steps that are sent together.
#[derive(Debug, Clone)]
pub enum BatchStep {
    /// A complete upload gets its name.
    Place(Placing),
    /// A change of names or attributes.
    Change(ChangeCommand),
}

/// The answer to a step.
#[derive(Debug)]
pub enum StepAnswer {
    /// To [`BatchStep::Place`].
    Placed(PlacingAnswer),
    /// To [`BatchStep::Change`].
    Changed(Result<(), Error>),
}

impl Session {
    /// Gives uploads their attributes and names, and makes changes, in order, each even if those
    /// before it were refused. Adds the result of each to `answers` as it arrives.
    ///
    /// # Errors
    /// The session failed, or a path cannot be sent. Steps without an answer may have been made.
    pub fn place_batch(
        &mut self,
        steps: &[BatchStep],
        answers: &mut Vec<StepAnswer>,
    ) -> Result<(), Error> {
        let lines = steps.iter().map(|step| match step {
            BatchStep::Place(placing) => self.placing_lines(placing),
            BatchStep::Change(change) => self.change_lines(change),
        });
        let lines = lines.collect::<Result<Vec<_>, _>>()?;
        let mut done = 0;
        while let Some(count) = self.send_some(&lines, done)? {
            for step in steps.iter().skip(done).take(count) {
                answers.push(match step {
                    BatchStep::Place(placing) => StepAnswer::Placed(self.placing_answer(placing)?),
                    BatchStep::Change(change) => {
                        let answer = self.change_answer(change);
                        StepAnswer::Changed(self.unless_broken(answer)?)
                    }
                });
            }
            done += count;
        }
        Ok(())
    }

    /// # Errors
    /// The session failed.
    fn placing_answer(&mut self, placing: &Placing) -> Result<PlacingAnswer, Error> {
        let mut made = Vec::with_capacity(placing.settings.len());
        for setting in &placing.settings {
            let answer = self.set_answer(*setting);
            made.push(self.unless_broken(answer)?);
        }
        let renamed = self.renamed();
        Ok(self.unless_broken(renamed)?.map(|()| made))
    }

    fn placing_lines(&self, placing: &Placing) -> Result<Vec<Vec<u8>>, Error> {
        let settings = placing.settings.iter();
        let mut lines = settings
            .map(|setting| self.setting_line(&placing.from, *setting))
            .collect::<Result<Vec<_>, _>>()?;
        lines.push(self.line(b"RNFR ", &placing.from, b"")?);
        lines.push(self.line(b"RNTO ", &placing.to, b"")?);
        Ok(lines)
    }

    /// Sends the lines from the one at `done` on, as many as fit in one write. Returns how many, or
    /// `None` at the end.
    fn send_some(&mut self, lines: &[Vec<Vec<u8>>], done: usize) -> Result<Option<usize>, Error> {
        let Some(rest) = lines.get(done..).filter(|rest| !rest.is_empty()) else {
            return Ok(None);
        };
        let mut bytes = 0;
        let fits = |of_one: &&Vec<Vec<u8>>| {
            bytes += of_one.iter().map(Vec::len).sum::<usize>();
            bytes <= MAX_BYTES
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let together = rest.iter().take(count).flatten().map(Vec::as_slice);
        let together: Vec<&[u8]> = together.collect();
        for line in &together {
            log::debug!("> {}", escaped(line));
        }
        self.control.send_batch(&together)?;
        Ok(Some(count))
    }

    /// Makes the changes in order. Each is made even if the server refuses those before it. Adds
    /// the result of each to `answers` as it arrives.
    ///
    /// # Errors
    /// The session failed, or a path cannot be sent. The changes without an answer may have been
    /// made.
    pub fn change_batch(
        &mut self,
        changes: &[ChangeCommand],
        answers: &mut Vec<Result<(), Error>>,
    ) -> Result<(), Error> {
        let lines = changes.iter().map(|change| self.change_lines(change));
        let lines = lines.collect::<Result<Vec<_>, _>>()?;
        let mut done = 0;
        while let Some(count) = self.send_some(&lines, done)? {
            for change in changes.iter().skip(done).take(count) {
                let answer = self.change_answer(change);
                answers.push(self.unless_broken(answer)?);
            }
            done += count;
        }
        Ok(())
    }

    fn change_lines(&self, change: &ChangeCommand) -> Result<Vec<Vec<u8>>, Error> {
        match change {
            ChangeCommand::Delete(path) => Ok(vec![self.line(b"DELE ", path, b"")?]),
            ChangeCommand::MakeDirectory(path) => Ok(vec![self.line(b"MKD ", path, b"")?]),
            ChangeCommand::RemoveDirectory(path) => Ok(vec![self.line(b"RMD ", path, b"")?]),
            ChangeCommand::Rename(from, to) => Ok(vec![
                self.line(b"RNFR ", from, b"")?,
                self.line(b"RNTO ", to, b"")?,
            ]),
            ChangeCommand::Set(path, setting) => Ok(vec![self.setting_line(path, *setting)?]),
        }
    }

    fn change_answer(&mut self, change: &ChangeCommand) -> Result<(), Error> {
        match change {
            ChangeCommand::Delete(_) => self.completion("DELE").map(drop),
            ChangeCommand::MakeDirectory(_) => self.completion("MKD").map(drop),
            ChangeCommand::RemoveDirectory(_) => self.completion("RMD").map(drop),
            ChangeCommand::Rename(..) => self.renamed(),
            ChangeCommand::Set(_, setting) => self.set_answer(*setting),
        }
    }
}
