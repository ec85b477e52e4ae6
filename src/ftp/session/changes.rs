//! Several changes of names in one write, for one round trip. Only for servers that support
//! pipelining.

use super::Session;
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
}

impl Session {
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
        while let Some(rest) = lines.get(done..).filter(|rest| !rest.is_empty()) {
            let mut bytes = 0;
            let fits = |of_one: &&Vec<Vec<u8>>| {
                bytes += of_one.iter().map(Vec::len).sum::<usize>();
                bytes <= MAX_BYTES
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let together: Vec<&[u8]> = rest.iter().take(count).flatten().map(Vec::as_slice).collect();
            for line in &together {
                log::debug!("> {}", escaped(line));
            }
            self.control.send_batch(&together)?;
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
        }
    }

    fn change_answer(&mut self, change: &ChangeCommand) -> Result<(), Error> {
        match change {
            ChangeCommand::Delete(_) => self.completion("DELE").map(drop),
            ChangeCommand::MakeDirectory(_) => self.completion("MKD").map(drop),
            ChangeCommand::RemoveDirectory(_) => self.completion("RMD").map(drop),
            ChangeCommand::Rename(..) => self.renamed(),
        }
    }
}
