//! Copies and symbolic links that the server makes by itself: SITE CPFR, CPTO and COPY of ProFTPD's
//! mod_copy, and SITE SYMLINK of its mod_site_misc.

use std::time::Duration;

use super::{Session, intermediate};
use crate::ftp::error::{Error, Phase};
use crate::ftp::path::RemotePath;
use crate::ftp::text::escaped;

impl Session {
    /// Names the file that the next [`Self::copy_to`] copies (SITE CPFR).
    pub fn copy_from(&mut self, from: &RemotePath) -> Result<(), Error> {
        let line = self.line(b"SITE CPFR ", from, b"")?;
        let answer = self.exchange("SITE CPFR", &line);
        intermediate("SITE CPFR", answer)
    }

    /// Copies the file named by [`Self::copy_from`] to `to` (SITE CPTO). The server may take
    /// `patience` longer than for other replies.
    pub fn copy_to(&mut self, to: &RemotePath, patience: Duration) -> Result<(), Error> {
        let line = self.line(b"SITE CPTO ", to, b"")?;
        self.slowly_completed("SITE CPTO", &line, patience)
    }

    /// Copies `from` to `to` (SITE COPY). The server may take `patience` longer than for other
    /// replies.
    ///
    /// # Errors
    /// [`Error::Unrepresentable`] if a path has a blank, which ends it in this command.
    pub fn copy(
        &mut self,
        from: &RemotePath,
        to: &RemotePath,
        patience: Duration,
    ) -> Result<(), Error> {
        let line = self.line_of_two("SITE COPY", from.as_bytes(), to)?;
        self.slowly_completed("SITE COPY", &line, patience)
    }

    /// Makes a symbolic link at `link`, whose directory is the working directory, to `target` (SITE
    /// SYMLINK). ProFTPD resolves a relative target against the working directory, stores it as an
    /// absolute path, and refuses one that does not exist.
    ///
    /// # Errors
    /// [`Error::Unrepresentable`] if a path has a blank, which ends it in this command.
    pub fn make_link(&mut self, target: &[u8], link: &RemotePath) -> Result<(), Error> {
        let command = self.line_of_two("SITE SYMLINK", target, link)?;
        self.completed("SITE SYMLINK", &command).map(drop)
    }

    fn line_of_two(
        &self,
        command: &str,
        first: &[u8],
        second: &RemotePath,
    ) -> Result<Vec<u8>, Error> {
        let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
        if first.is_empty() || first.iter().chain(second.as_bytes()).any(is_blank) {
            return Err(Error::Unrepresentable(
                "a path with blanks before another one",
            ));
        }
        let first = crate::ftp::charset::encode(first, self.charset())?;
        let before = [command.as_bytes(), b" ", &first, b" "].concat();
        self.line(&before, second, b"")
    }

    fn slowly_completed(
        &mut self,
        command: &'static str,
        line: &[u8],
        patience: Duration,
    ) -> Result<(), Error> {
        log::debug!("> {}", escaped(line));
        self.control.send(line)?;
        let reply = self.control.reply_after(Phase::Reply, patience)?;
        if reply.is_completion() && reply.code().0 != super::SUPERFLUOUS {
            return Ok(());
        }
        if !reply.is_refusal() {
            // Another reply would follow or be missing.
            self.control.give_up();
        }
        Err(Error::Refused { command, reply })
    }
}
