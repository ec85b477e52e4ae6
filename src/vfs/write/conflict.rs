//! Whether a file that a killed mount left may be uploaded: not if the server has it already, and
//! not if another client changed it.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Seek};

use crate::ftp::{Entry, Kind, Precision, RemotePath, Version};
use crate::journal::{Pending, SpoolFile, StateDir};
use crate::remote::{self, ErrorKind, Remote};

/// Bytes compared at a time.
const COMPARE: usize = 256 << 10;

/// What to do with a file that a killed mount left.
#[derive(Debug)]
pub(in crate::vfs) enum UploadVerdict {
    /// Upload it.
    Upload,
    /// The server has it: it was stored, and ftpfs was killed before it could record that.
    Stored(Box<Entry>),
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
/// name may be replaced whatever it is if it `is_ours`.
///
/// # Errors
/// The file must not be uploaded, or that cannot be found out now.
pub(in crate::vfs) fn judge(
    remote: &Remote,
    pending: &Pending,
    file: &File,
    is_ours: bool,
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
        && is_same(remote, target, file)?
    {
        return Ok(UploadVerdict::Stored(Box::new(found.clone())));
    }
    if is_ours || is_base(remote, target, base.as_ref(), found.as_ref())? {
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

/// Whether the server still has the version that the file was based on. If that is known to the
/// second, the server is asked for the exact time: another change within the minute of a listing
/// would not be visible.
fn is_base(
    remote: &Remote,
    target: &RemotePath,
    base: Option<&Version>,
    found: Option<&Entry>,
) -> Result<bool, remote::Error> {
    let (Some(base), Some(found)) = (base, found) else {
        return Ok(base.is_none() && found.is_none());
    };
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

/// Whether the server's file has the same bytes.
fn is_same(remote: &Remote, target: &RemotePath, file: &File) -> Result<bool, Problem> {
    let mut ours = io::BufReader::with_capacity(COMPARE, file);
    ours.rewind()?;
    let mut download = remote.open_at(target, 0)?;
    let (mut theirs, mut mine) = (vec![0; COMPARE], vec![0; COMPARE]);
    loop {
        let count = download.read(&mut theirs)?;
        let (Some(theirs), Some(mine)) = (theirs.get(..count), mine.get_mut(..count)) else {
            return Ok(false);
        };
        if count == 0 {
            return Ok(ours.read(&mut [0])? == 0);
        }
        match ours.read_exact(mine) {
            Ok(()) if mine == theirs => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}
