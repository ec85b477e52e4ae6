//! Whether a file that a killed mount left may be uploaded: not if the server has it already, and
//! not if another client changed it.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Seek};

use crate::ftp::{Entry, Kind, Precision, RemotePath, Version};
use crate::journal::{ContentHasher, Pending, SpoolFile, StateDir, UnprovenUpload};
use crate::remote::{self, Attempts, CommitOptions, ErrorKind, Remote};

/// Maximum length in bytes of a name (NAME_MAX on most servers).
const MOST_NAME: usize = 255;
/// Maximum number of bytes of this machine's name in another one.
const MOST_HOST: usize = 40;
/// Maximum number of conflicts of one file in one second.
const MOST_CONFLICTS: u32 = 100;

/// Bytes compared at a time.
const COMPARE: usize = 256 << 10;

/// What to do with a file that a killed mount left.
#[derive(Debug)]
pub(in crate::vfs) enum UploadVerdict {
    /// Upload it.
    Upload,
    /// The server has its contents: it was stored, and ftpfs was killed before it could record
    /// that, or the contents were the same before, and the file needs its time and mode.
    Stored(Box<Entry>),
}

/// Whether the server's file may be replaced although it is not the one that was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum OwnClaim {
    /// It may not.
    None,
    /// It may: the same mount has stored it.
    Any,
    /// It may if it is the beginning of what is stored: it was being overwritten in place.
    Beginning,
}

/// How the server's file compares with a local one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ContentMatch {
    Same,
    Beginning,
    Different,
}

/// Why a file that a killed mount left is not uploaded.
#[derive(Debug, thiserror::Error)]
pub(in crate::vfs) enum Problem {
    /// Another client changed the file on the server.
    #[error("{0} was changed on the server in the meantime")]
    Changed(RemotePath),
    /// The server did not accept it, or cannot be asked.
    #[error(transparent)]
    Remote(#[from] remote::Error),
    /// The server does not append to the file.
    #[error("it cannot be appended: {0}")]
    NotAppended(String),
    /// The spool file cannot be read.
    #[error("the spool file cannot be read: {0}")]
    Spool(#[from] io::Error),
}

/// Compares `pending`, whose contents are in `file`, with what the server has. Its file of that
/// name may also be replaced if `claim` says so.
///
/// # Errors
/// The file must not be uploaded, or that cannot be found out now.
pub(in crate::vfs) fn judge(
    remote: &Remote,
    pending: &Pending,
    file: &File,
    claim: OwnClaim,
) -> Result<UploadVerdict, Problem> {
    let Pending { target, base, .. } = pending;
    let size = file.metadata()?.len();
    // A file that was moved aside may be on its way back.
    let found = match remote.stat_resolved(target) {
        Ok(entry) => Some(entry),
        Err(error) if error.kind == ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    if let Some(found) = &found
        && found.size == Some(size)
        && compare(remote, target, file)? == ContentMatch::Same
    {
        return Ok(UploadVerdict::Stored(Box::new(found.clone())));
    }
    let is_shorter = |found: &Entry| found.size.is_none_or(|length| length < size);
    let is_own_beginning = claim == OwnClaim::Beginning
        && found.as_ref().is_some_and(is_shorter)
        && compare(remote, target, file)? != ContentMatch::Different;
    if claim == OwnClaim::Any
        || is_own_beginning
        || is_base(remote, target, base.as_ref(), found.as_ref())?
        || is_earlier_upload(remote, pending, found.as_ref())?
    {
        Ok(UploadVerdict::Upload)
    } else {
        Err(Problem::Changed(target.clone()))
    }
}

/// Moves the contents of a file that cannot be stored to where the user finds them. Returns what to
/// say about it.
///
/// # Errors
/// They stay where they are. Returns what to say about it.
pub(in crate::vfs) fn keep(
    record: &SpoolFile,
    place: &StateDir,
    pending: &Pending,
    problem: &dyn Display,
) -> Result<String, String> {
    let name = pending.target.name();
    let recovered = match pending.appended_from {
        Some(from) => record.recover_end(name, from).inspect(|_| record.done()),
        None => record.recover(name, place),
    };
    match recovered {
        Ok(kept) => Ok(format!(
            "cannot be stored: {problem}; its bytes are in {}",
            kept.display()
        )),
        Err(error) => Err(format!(
            "can neither be stored ({problem}) nor moved to where its bytes are found: {error}"
        )),
    }
}

/// Stores the contents of `pending` beside its target, which another client has changed, as
/// `NAME.conflict-DATE-HOST`. Returns the path.
///
/// # Errors
/// The server refuses every such name, or cannot be asked.
pub(in crate::vfs) fn store_beside(
    remote: &Remote,
    pending: &Pending,
    file: &File,
) -> Result<RemotePath, remote::Error> {
    let directory = pending.target.parent().unwrap_or_else(RemotePath::root);
    let date = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
    let host = rustix::system::uname().nodename().to_bytes().to_vec();
    let commit = CommitOptions {
        size: file
            .metadata()
            .map_err(|error| local(&pending.target, &error))?
            .len(),
        ..pending.commit.clone()
    };
    let mut number = 1;
    loop {
        let name = conflict_name(pending.target.name(), &date, &host, number);
        let path = directory
            .join(&name)
            .unwrap_or_else(|_| pending.target.clone());
        match remote.stat(&path) {
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Ok(_) if number < MOST_CONFLICTS => {
                number += 1;
                continue;
            }
            Ok(_) => return Err(local(&path, &io::ErrorKind::AlreadyExists.into())),
            Err(error) => return Err(error),
        }
        let mut attempts = Attempts::default();
        loop {
            match upload(remote, &path, file, &commit) {
                Err(error)
                    if error.kind == ErrorKind::OtherWay
                        && attempts.again(error.kind.transience()) => {}
                stored => return stored.map(|()| path),
            }
        }
    }
}

fn upload(
    remote: &Remote,
    path: &RemotePath,
    file: &File,
    commit: &CommitOptions,
) -> Result<(), remote::Error> {
    let mut upload = remote.upload(path)?;
    upload.send(file, commit.size)?;
    upload.arrive(Some(file))?;
    upload.commit(path, commit).map(drop)
}

/// Returns the name for a version of `name` that cannot replace it, which is not too long. Bytes of
/// `host` that are unusual in names are left out.
fn conflict_name(name: &[u8], date: &str, host: &[u8], number: u32) -> Vec<u8> {
    let host = host.split(|byte| *byte == b'.').next().unwrap_or_default();
    let is_usual = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'-' | b'_');
    let host: Vec<u8> = host
        .iter()
        .filter(is_usual)
        .take(MOST_HOST)
        .copied()
        .collect();
    let mut suffix = format!(".conflict-{date}-").into_bytes();
    suffix.extend(host);
    if number > 1 {
        suffix.extend(format!("-{number}").bytes());
    }
    let kept = MOST_NAME.saturating_sub(suffix.len()).min(name.len());
    // A character of UTF-8 is not cut in the middle.
    let is_whole = |at: &usize| name.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
    let kept = (0..=kept).rev().find(is_whole).unwrap_or(kept);
    let mut whole = name.get(..kept).unwrap_or(name).to_vec();
    whole.extend(suffix);
    whole
}

fn local(path: &RemotePath, error: &io::Error) -> remote::Error {
    remote::Error {
        kind: ErrorKind::Local,
        operation: "store",
        path: path.clone(),
        reason: error.to_string(),
        reply: None,
    }
}

/// Whether the server still has the version that the file was based on. If that is known to the
/// second, the server is asked for the exact time: another change within the minute of a listing
/// would not be visible.
fn is_base(
    remote: &Remote,
    target: &RemotePath,
    base: Option<&Version>,
    found: Option<&Entry>,
) -> Result<bool, remote::Error> {
    // What was deleted on the server and changed here is stored.
    let Some(found) = found else { return Ok(true) };
    let Some(base) = base else { return Ok(false) };
    let listed = Version::from(found);
    if found.kind != Kind::File || !base.agrees(&listed) {
        return Ok(false);
    }
    let is_exact = |version: &Version| matches!(version.modified, Some((_, Precision::Second)));
    if is_exact(&listed) || !is_exact(base) {
        return Ok(true);
    }
    Ok(base.agrees(&remote.version(target)?))
}

/// Whether the server's file is an earlier upload of this file, which the server did not answer.
fn is_earlier_upload(
    remote: &Remote,
    pending: &Pending,
    found: Option<&Entry>,
) -> Result<bool, Problem> {
    let size = found.and_then(|found| found.size);
    let may_be = |upload: &UnprovenUpload| size.is_none_or(|size| upload.size() == size);
    if found.is_none_or(|found| found.kind != Kind::File) || !pending.unproven.iter().any(may_be) {
        return Ok(false);
    }
    let longest = pending.unproven.iter().map(UnprovenUpload::size).max();
    let longest = longest.unwrap_or_default();
    let mut download = remote.open_at(&pending.target, 0)?;
    let mut theirs = ContentHasher::default();
    let mut bytes = vec![0; COMPARE];
    let mut length = 0;
    loop {
        let count = download.read(&mut bytes)?;
        let Some(piece) = bytes.get(..count).filter(|piece| !piece.is_empty()) else {
            return Ok(pending.unproven.contains(&theirs.finish()));
        };
        theirs.update(piece);
        length += count as u64;
        if length > longest {
            return Ok(false);
        }
    }
}

/// Compares the server's file with `file`.
fn compare(remote: &Remote, target: &RemotePath, file: &File) -> Result<ContentMatch, Problem> {
    let mut ours = io::BufReader::with_capacity(COMPARE, file);
    ours.rewind()?;
    let mut download = remote.open_at(target, 0)?;
    let (mut theirs, mut mine) = (vec![0; COMPARE], vec![0; COMPARE]);
    loop {
        let count = download.read(&mut theirs)?;
        let (Some(theirs), Some(mine)) = (theirs.get(..count), mine.get_mut(..count)) else {
            return Ok(ContentMatch::Different);
        };
        if count == 0 {
            return Ok(match ours.read(&mut [0])? {
                0 => ContentMatch::Same,
                _ => ContentMatch::Beginning,
            });
        }
        match ours.read_exact(mine) {
            Ok(()) if mine == theirs => {}
            Ok(()) => return Ok(ContentMatch::Different),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(ContentMatch::Different);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_conflict_says_when_and_where_it_was_written() {
        let name = |name: &str, host: &str, number| {
            let whole = conflict_name(name.as_bytes(), "20260102-030405", host.as_bytes(), number);
            String::from_utf8(whole).unwrap()
        };
        assert_eq!(
            name("a.txt", "laptop.example.org", 1),
            "a.txt.conflict-20260102-030405-laptop"
        );
        assert_eq!(
            name("a", "x/../y\u{1b}", 2),
            "a.conflict-20260102-030405-x-2"
        );
        let long = name(&"ü".repeat(200), &"h".repeat(200), 1);
        assert!(
            long.len() <= MOST_NAME && long.contains("ü.conflict-"),
            "{long}"
        );
    }
}
