//! Parsers of server output, for fuzzing (see [`crate::fuzzing`]).

#![allow(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "panics report findings to the fuzzer"
)]

use std::fmt::Display;
use std::ops::ControlFlow;

use super::address::{extended_passive_port, passive_address};
use super::digest::DigestCommand;
use super::features::Features;
use super::listing::{
    Entry, Format, Kind, ListingBudget, ListingLine, ListingReader, TARGET_MAX, parse_line,
    parse_mlst,
};
use super::path::{NAME_MAX, RemotePath, check_name};
use super::reply::{Reply, ReplyCode, first_line, inner_line, last_line};
use super::session::facts::{parse_size, parse_time};
use super::session::list::Parser;
use super::session::quoted_path;

/// 2026-11-23T12:00 UTC, as in the recorded listings.
const NOW: i64 = 1_795_435_200;

/// Parses a sequence of replies and the values in them.
pub fn reply(input: &[u8]) {
    for reply in replies(input) {
        is_one_line(&reply);
        reply.words();
        reply.is_fatal_oops();
        if let Ok(size) = parse_size(&reply) {
            assert!(i64::try_from(size).is_ok());
        }
        let _ = parse_time(&reply);
        for line in reply.lines() {
            if let Some(path) = quoted_path(line) {
                is_safe(RemotePath::new(&path).ok().as_ref());
            }
        }
    }
}

/// Parses FEAT replies.
pub fn feat(input: &[u8]) {
    for reply in replies(input) {
        let features = Features::parse(&reply);
        for name in features.names() {
            assert!(features.parameters(name).is_some());
        }
        super::session::login::wanted_facts(&features).inspect(is_one_line);
    }
}

/// Parses EPSV and PASV replies.
pub fn data_address(input: &[u8]) {
    for line in lines(input) {
        assert_ne!(extended_passive_port(line), Some(0));
        assert!(passive_address(line).is_none_or(|address| address.port() != 0));
    }
}

/// Parses replies to HASH, XSHA256 and similar commands.
pub fn digest(input: &[u8]) {
    for reply in replies(input) {
        for command in DigestCommand::ALL {
            command.parse_reply(&reply).iter().for_each(is_one_line);
        }
    }
}

/// Parses lines of MLSD.
pub fn mlsd(input: &[u8]) {
    each_line(input, Format::Mlsd);
}

/// Parses lines of MLST.
pub fn mlst(input: &[u8]) {
    for mut entry in lines(input).filter_map(parse_mlst) {
        if entry.name.is_empty() {
            // The entry gets the name that was asked for.
            entry.name = b"name".to_vec();
        }
        is_bounded(&entry);
    }
}

/// Parses lines of `ls -l`.
pub fn unix(input: &[u8]) {
    each_line(input, Format::List);
}

/// Parses lines of IIS.
pub fn dos(input: &[u8]) {
    each_line(input, Format::List);
}

/// Parses lines of EPLF.
pub fn eplf(input: &[u8]) {
    each_line(input, Format::List);
}

/// Parses a whole listing as a stream. The first byte selects the format, the second the number of
/// bytes per read.
pub fn listing(input: &[u8]) {
    let [format, step, rest @ ..] = input else {
        return;
    };
    let format = if format % 2 == 0 {
        Format::List
    } else {
        Format::Mlsd
    };
    let charset = (format == Format::List).then_some(encoding_rs::SHIFT_JIS);
    let mut sink = |entry: Entry| {
        // Names in another charset may grow when converted to UTF-8.
        check_name(&entry.name).expect("a name that can be used");
        ControlFlow::Continue(())
    };
    let root = RemotePath::root();
    let budget = ListingBudget::default();
    let mut parser = Parser::new(charset, &root, format, &budget, &mut sink);
    let pieces = Pieces {
        rest,
        step: usize::from(*step).max(1),
    };
    assert!(parser.read(pieces).is_ok_and(|flow| flow.is_continue()));
    assert!(parser.finish().is_ok());
}

/// A reader that returns a few bytes at a time.
struct Pieces<'a> {
    rest: &'a [u8],
    step: usize,
}

impl std::io::Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = self.step.min(buffer.len());
        let count = self.rest.read(buffer.get_mut(..most).unwrap_or_default())?;
        Ok(count)
    }
}

/// Parses each line as a listing, and all lines as one listing.
fn each_line(input: &[u8], format: Format) {
    let mut reader = ListingReader::new(format, NOW);
    for line in lines(input) {
        if let ListingLine::Entry(entry) = reader.line(line) {
            is_bounded(&entry);
        }
    }
    for line in reader.finish() {
        if let ListingLine::Entry(entry) = line {
            is_bounded(&entry);
        }
    }
    for line in lines(input) {
        if let ListingLine::Entry(entry) = parse_line(line, format, NOW) {
            is_bounded(&entry);
        }
    }
}

fn lines(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = input.split(|byte| *byte == b'\n');
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// Parses the complete replies in `input`.
fn replies(input: &[u8]) -> Vec<Reply> {
    let (mut replies, mut lines) = (Vec::new(), lines(input));
    while let Some(line) = lines.next() {
        let Some(first) = first_line(line) else {
            continue;
        };
        let mut text = vec![first.text.to_vec()];
        let mut more = first.more;
        while more {
            let Some(line) = lines.next() else {
                return replies;
            };
            let last = last_line(line, first.code);
            more = last.is_none();
            text.push(
                last.unwrap_or_else(|| inner_line(line, first.code))
                    .to_vec(),
            );
        }
        let ReplyCode(code) = first.code;
        assert!((100..=599).contains(&code));
        replies.push(Reply::new(first.code, text));
    }
    replies
}

/// Checks that the entry can be joined to a path and is within its size limits.
fn is_bounded(entry: &Entry) {
    assert_eq!(check_name(&entry.name), Ok(()));
    is_safe(RemotePath::root().join(&entry.name).ok().as_ref());
    let is_within = |bytes: Option<&[u8]>, most: usize| {
        bytes.is_none_or(|bytes| !bytes.is_empty() && bytes.len() <= most && !bytes.contains(&0))
    };
    for value in [&entry.owner, &entry.group, &entry.unique] {
        assert!(is_within(value.as_deref(), NAME_MAX));
    }
    assert!(is_within(entry.target.as_deref(), TARGET_MAX));
    assert!(entry.mode.is_none_or(|mode| mode <= 0o7777));
    assert!(entry.size.is_none_or(|size| i64::try_from(size).is_ok()));
    assert!(entry.kind != Kind::Directory || entry.size.is_none());
}

/// Checks that the path is safe in a log and in a command.
fn is_safe(path: Option<&RemotePath>) {
    let Some(path) = path else { return };
    is_one_line(path);
    let is_unsendable = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
    assert!(!path.as_bytes().iter().any(is_unsendable));
}

/// Checks that displayed server text cannot disturb a terminal.
fn is_one_line(shown: &impl Display) {
    assert!(!shown.to_string().contains(char::is_control));
}
