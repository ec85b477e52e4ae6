//! Properties of a single file: size, modification time, facts and digest.

use std::time::Duration;

use super::pipelined::FactsCommand;
use super::{Session, first_word, malformed};
use crate::ftp::digest::{Algorithm, Digest, DigestCommand};
use crate::ftp::error::{Error, Phase};
use crate::ftp::listing::{Entry, Kind, SIZE_MAX, parse_mlst};
use crate::ftp::path::RemotePath;
use crate::ftp::reply::Reply;
use crate::ftp::text::escaped;
use crate::ftp::time::{moment, parse_timestamp, to_zone};

/// Size and modification time of a file, each of which can be refused separately.
pub type SizeAndModified = (Result<u64, Error>, Result<i64, Error>);

impl Session {
    /// Returns the size of a file in bytes (SIZE, RFC 3659 §4).
    pub fn size(&mut self, path: &RemotePath) -> Result<u64, Error> {
        let reply = self.on_path("SIZE", path)?;
        parse_size(&reply)
    }

    /// Returns the modification time of a file in UTC seconds since the epoch (MDTM, RFC 3659 §3).
    pub fn modified(&mut self, path: &RemotePath) -> Result<i64, Error> {
        let reply = self.on_path("MDTM", path)?;
        self.parse_time(&reply)
    }

    /// Returns size and modification time (SIZE and MDTM), in one round trip if the server supports
    /// pipelining. Each can be refused separately.
    ///
    /// # Errors
    /// The session failed.
    pub fn size_and_modified(&mut self, path: &RemotePath) -> Result<SizeAndModified, Error> {
        if !self.pipelines() {
            let size = self.size(path);
            let size = self.unless_broken(size)?;
            let modified = self.modified(path);
            return Ok((size, self.unless_broken(modified)?));
        }
        if !self.is_already_asked(path, FactsCommand::SizeAndTime) {
            let lines = self.facts_lines(path, FactsCommand::SizeAndTime)?;
            for line in &lines {
                log::debug!("> {}", escaped(line));
            }
            let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
            self.control.send_batch(&lines)?;
        }
        let size = self.completion("SIZE").and_then(|it| parse_size(&it));
        let size = self.unless_broken(size)?;
        let modified = self.modified_answer()?;
        Ok((size, modified))
    }

    /// Receives the reply to an MDTM that was sent before.
    ///
    /// # Errors
    /// The session failed.
    pub(in crate::ftp) fn modified_answer(&mut self) -> Result<Result<i64, Error>, Error> {
        let answer = self.completion("MDTM");
        let modified = answer.and_then(|reply| self.parse_time(&reply));
        self.unless_broken(modified)
    }

    /// Parses an MDTM reply to UTC seconds since the epoch, converting from the server's time zone.
    fn parse_time(&self, reply: &Reply) -> Result<i64, Error> {
        let parsed = parse_time(reply)?;
        let zone = self.mdtm_zone.as_ref();
        Ok(zone.map_or(parsed, |zone| moment(parsed, zone)))
    }

    /// Converts a time in UTC seconds to the time zone in which MDTM sets it.
    pub(in crate::ftp) fn mdtm_time(&self, seconds: i64) -> i64 {
        let zone = self.mdtm_zone.as_ref();
        zone.map_or(seconds, |zone| to_zone(seconds, zone))
    }

    /// Returns the digest of a file, or `None` if the reply contains none. The server may take
    /// `patience` longer than for other replies, because it reads the whole file.
    pub fn digest(
        &mut self,
        command: DigestCommand,
        path: &RemotePath,
        patience: Duration,
    ) -> Result<Option<Digest>, Error> {
        let line = self.line(format!("{} ", command.verb()).as_bytes(), path, b"")?;
        log::debug!("> {}", escaped(&line));
        self.control.send(&line)?;
        let reply = self.control.reply_after(Phase::Reply, patience)?;
        if !reply.is_completion() {
            let command = command.verb();
            return Err(Error::Refused { command, reply });
        }
        Ok(command.parse_reply(&reply))
    }

    /// Selects the algorithm of HASH (`OPTS HASH`, draft-bryan-ftpext-hash §3.2), unless it is the
    /// only one. Returns whether FEAT lists it.
    ///
    /// # Errors
    /// The server refused, or the session failed.
    pub fn select_hash(&mut self, algorithm: Algorithm) -> Result<bool, Error> {
        let listed = self.features().parameters("HASH").unwrap_or_default();
        let names: Vec<_> = listed
            .split([';', ' '])
            .filter(|it| !it.is_empty())
            .collect();
        let is_wanted = |name: &&str| {
            let name = name.trim_end_matches('*');
            name.eq_ignore_ascii_case(algorithm.name())
        };
        let is_listed = names.iter().any(is_wanted);
        if is_listed && names.len() > 1 {
            let line = format!("OPTS HASH {}", algorithm.name());
            self.completed("OPTS HASH", line.as_bytes())?;
        }
        Ok(is_listed)
    }

    /// Returns the facts of one name (MLST, RFC 3659 §7).
    pub fn mlst(&mut self, path: &RemotePath) -> Result<Entry, Error> {
        let reply = if self.is_already_asked(path, FactsCommand::Mlst) {
            self.completion("MLST")?
        } else {
            self.on_path("MLST", path)?
        };
        parse_mlst_reply(&reply, path)
    }
}

/// Parses a SIZE reply.
pub(in crate::ftp) fn parse_size(reply: &Reply) -> Result<u64, Error> {
    let size = first_word(reply).and_then(|digits| digits.parse().ok());
    let size = size.filter(|size| *size <= SIZE_MAX);
    size.ok_or_else(|| malformed(reply, "a size"))
}

/// Parses an MDTM reply.
pub(in crate::ftp) fn parse_time(reply: &Reply) -> Result<i64, Error> {
    let time = first_word(reply).and_then(|digits| parse_timestamp(digits.as_bytes()));
    time.ok_or_else(|| malformed(reply, "a time"))
}

/// Parses an MLST reply to an entry with the requested name. Some servers put the facts on the
/// first or only line. Facts without a type are ignored: they would make a directory look like an
/// empty file.
pub(in crate::ftp) fn parse_mlst_reply(reply: &Reply, path: &RemotePath) -> Result<Entry, Error> {
    let lines = reply.lines().iter();
    let mut entries = lines.filter_map(|line| parse_mlst(line));
    let entry = entries.find(|entry| entry.kind != Kind::Unknown);
    let entry = entry.ok_or_else(|| malformed(reply, "one line of facts"))?;
    Ok(Entry {
        name: path.name().to_vec(),
        ..entry
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::reply::ReplyCode;

    fn parse(lines: &[&str]) -> Result<Entry, Error> {
        let lines = lines.iter().map(|line| line.as_bytes().to_vec());
        let reply = Reply::new(ReplyCode(250), lines.collect());
        parse_mlst_reply(&reply, &RemotePath::new(b"/a/sub").unwrap())
    }

    #[test]
    fn facts_are_found_wherever_the_reply_has_them() {
        for lines in [
            ["Listing /a/sub", " type=dir;size=8; /a/sub", "End"].as_slice(),
            &["Listing /a/sub", "    size=8;type=dir; /sub", "End"],
            &["Listing", "size=8;type=dir;/a/sub", "End"],
            &["Start", "", "type=dir; /a/sub", "End"],
            &["type=dir;modify=20180504094100; /a/sub"],
        ] {
            let entry = parse(lines).unwrap();
            assert_eq!(
                (entry.kind, entry.name.as_slice()),
                (Kind::Directory, b"sub".as_slice())
            );
        }
    }

    #[test]
    fn an_answer_without_a_type_is_none() {
        for lines in [
            ["Listing", " size=8;modify=20180504094100; /a/sub", "End"].as_slice(),
            &["Listing", "", "End"],
            &["Listing type=file; x", "End"],
            &["Done"],
        ] {
            let answer = parse(lines);
            assert!(matches!(answer, Err(Error::Malformed { .. })), "{answer:?}");
        }
    }
}
