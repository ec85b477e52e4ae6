//! What the server reports about a file that it has just acknowledged, without MLST.

use crate::ftp::{self, Entry, Modified, Precision, RemotePath, Session};

/// Requests SIZE and, if the server has it, MDTM of a file.
pub(super) fn size_and_time(
    session: &mut Session,
    path: &RemotePath,
    has_mdtm: bool,
) -> Result<Entry, ftp::Error> {
    let (size, modified) = if has_mdtm {
        let (size, modified) = session.size_and_modified(path)?;
        (size, modified.ok())
    } else {
        (session.size(path), None)
    };
    let size = match size {
        // A reply without a number, as npm ftp-srv sends for an empty file.
        Err(ftp::Error::Malformed { .. }) if session.is_usable() => None,
        size => Some(size?),
    };
    let mut entry = Entry::new(path.name(), ftp::Kind::File);
    entry.size = size;
    entry.modified = modified.map(|seconds| Modified {
        seconds,
        precision: Precision::Second,
        utc: true,
    });
    Ok(entry)
}
