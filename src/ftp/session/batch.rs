//! Batches of questions in one write, for one round trip: listings by STAT (RFC 959 §4.1.3), facts
//! by MLST, sizes and times (RFC 3659). Only for servers that support pipelining. The caller limits
//! the number of bytes sent in one write.

use std::ops::ControlFlow;

use super::Session;
use super::facts::{SizeAndModified, parse_mlst_reply, parse_size};
use super::list::{MAX_LISTING, Parser};
use crate::ftp::error::Error;
use crate::ftp::listing::{Entry, Format, ListingOutcome};
use crate::ftp::path::RemotePath;
use crate::ftp::text::escaped;

/// Listing of a path by STAT. Without a line for the directory itself
/// ([`names_itself`](ListingOutcome::names_itself)), the path may be a file or not exist.
#[derive(Debug)]
pub struct StatListing {
    /// The entries, without owners and groups.
    pub entries: Vec<Entry>,
    /// Whether the listing is complete.
    pub outcome: ListingOutcome,
}

impl Session {
    /// Lists the directories `paths` by STAT in one write. Passes each listing to `visit` as it
    /// arrives, with its index in `paths`. A refusal is also passed on and does not affect the
    /// other listings.
    ///
    /// # Errors
    /// The session failed, or a path cannot be sent. The remaining listings are not passed on.
    pub fn stat_batch(
        &mut self,
        paths: &[RemotePath],
        visit: &mut dyn FnMut(usize, Result<StatListing, Error>),
    ) -> Result<(), Error> {
        self.send_each(b"STAT ", paths)?;
        self.stat_listings(paths, visit)
    }

    /// Like [`Self::stat_batch`], and returns the modification time of `file` (MDTM) in UTC seconds
    /// since the epoch, requested in the same write.
    ///
    /// # Errors
    /// In the outer result as for [`Self::stat_batch`]; in the inner one, MDTM was refused.
    pub fn stat_batch_with_time(
        &mut self,
        paths: &[RemotePath],
        file: &RemotePath,
        visit: &mut dyn FnMut(usize, Result<StatListing, Error>),
    ) -> Result<Result<i64, Error>, Error> {
        let mut lines = self.lines(b"STAT ", paths)?;
        lines.push(self.line(b"MDTM ", file, b"")?);
        self.send_all(&lines)?;
        self.stat_listings(paths, visit)?;
        self.modified_answer()
    }

    fn stat_listings(
        &mut self,
        paths: &[RemotePath],
        visit: &mut dyn FnMut(usize, Result<StatListing, Error>),
    ) -> Result<(), Error> {
        for (number, path) in paths.iter().enumerate() {
            let listing = self.stat_listing(path);
            let listing = self.unless_broken(listing)?;
            visit(number, listing);
        }
        Ok(())
    }

    /// Returns the facts of each of `paths` (MLST), requested in one write.
    ///
    /// # Errors
    /// The session failed, or a path cannot be sent.
    pub fn mlst_batch(&mut self, paths: &[RemotePath]) -> Result<Vec<Result<Entry, Error>>, Error> {
        self.send_each(b"MLST ", paths)?;
        paths.iter().map(|path| self.mlst_answer(path)).collect()
    }

    /// Returns the size and modification time of each of `paths`, requested in one write. Each can
    /// be refused separately.
    ///
    /// # Errors
    /// The session failed, or a path cannot be sent.
    pub fn sizes_and_times(&mut self, paths: &[RemotePath]) -> Result<Vec<SizeAndModified>, Error> {
        let mut lines = Vec::with_capacity(2 * paths.len());
        for path in paths {
            lines.push(self.line(b"SIZE ", path, b"")?);
            lines.push(self.line(b"MDTM ", path, b"")?);
        }
        self.send_all(&lines)?;
        paths.iter().map(|_| self.size_and_time_answer()).collect()
    }

    /// Returns the modification time of each of `paths` (MDTM) in UTC seconds since the epoch,
    /// requested in one write. Each can be refused separately.
    ///
    /// # Errors
    /// The session failed, or a path cannot be sent.
    pub fn times(&mut self, paths: &[RemotePath]) -> Result<Vec<Result<i64, Error>>, Error> {
        self.send_each(b"MDTM ", paths)?;
        paths.iter().map(|_| self.modified_answer()).collect()
    }

    fn send_each(&mut self, verb: &[u8], paths: &[RemotePath]) -> Result<(), Error> {
        let lines = self.lines(verb, paths)?;
        self.send_all(&lines)
    }

    fn lines(&self, verb: &[u8], paths: &[RemotePath]) -> Result<Vec<Vec<u8>>, Error> {
        let line = |path| self.line(verb, path, b"");
        paths.iter().map(line).collect()
    }

    fn send_all(&mut self, lines: &[Vec<u8>]) -> Result<(), Error> {
        for line in lines {
            log::debug!("> {}", escaped(line));
        }
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        self.control.send_batch(&lines)
    }

    fn stat_listing(&mut self, path: &RemotePath) -> Result<StatListing, Error> {
        let mut entries = Vec::new();
        let mut sink = |mut entry: Entry| {
            // All entries are in memory together, and the server determines the length of these.
            (entry.owner, entry.group) = (None, None);
            entries.push(entry);
            ControlFlow::Continue(())
        };
        let budget = self.listings.clone();
        let mut parser = Parser::new(self.charset(), path, Format::List, &budget, &mut sink);
        let reply = self.control.long_reply(MAX_LISTING as usize, &mut |line| {
            // ProFTPD indents each line by one blank. A line over the memory limit is still read,
            // because other replies follow.
            let _ = parser.line(line.strip_prefix(b" ").unwrap_or(line));
        })?;
        let outcome = parser.finish();
        self.act_on_passive_reply();
        if reply.is_completion() {
            let outcome = outcome?;
            Ok(StatListing { entries, outcome })
        } else {
            let command = "STAT";
            Err(Error::Refused { command, reply })
        }
    }

    fn mlst_answer(&mut self, path: &RemotePath) -> Result<Result<Entry, Error>, Error> {
        let answer = self.completion("MLST");
        let named = answer.and_then(|reply| parse_mlst_reply(&reply, path));
        self.unless_broken(named)
    }

    fn size_and_time_answer(&mut self) -> Result<SizeAndModified, Error> {
        let size = self.completion("SIZE").and_then(|it| parse_size(&it));
        let size = self.unless_broken(size)?;
        Ok((size, self.modified_answer()?))
    }
}
