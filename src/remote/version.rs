//! Requests for the version of a file, and of its size alone.

use super::error::{ErrorContext, Operation, unless_refused};
use super::name_lookup::Lookup;
use super::retry::Exchange;
use super::stat::{lookup, lookup_as_shown};
use super::{Error, ErrorKind, Remote, listed_size};
use crate::ftp::{Capability, Kind, Precision, RemotePath, Version};

/// See [`Remote::version`].
pub(super) fn version(remote: &Remote, path: &RemotePath) -> Result<Version, Error> {
    version_in(remote, &mut remote.exchange(), path)
}

/// Like [`version`], over the session of `exchange`.
pub(super) fn version_in(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
) -> Result<Version, Error> {
    if !remote.profile().has(Capability::Mlst)
        && let Some(version) = size_and_time(remote, exchange, path)?
    {
        return Ok(version);
    }
    let absent = |kind: ErrorKind, reason: &str| {
        ErrorContext::new(Operation::Stat, path).error(kind, reason)
    };
    match lookup_as_shown(remote, exchange, path)? {
        Lookup::Found(entry) => Ok(Version::from(&entry)),
        Lookup::Absent => Err(absent(ErrorKind::NotFound, "it no longer exists")),
        Lookup::NoParent(kind) => Err(absent(kind, "its directory no longer exists")),
    }
}

/// See [`Remote::size`].
pub(super) fn size(remote: &Remote, path: &RemotePath) -> Result<Option<u64>, Error> {
    listed_size::ask(remote, &mut remote.exchange(), path)
}

/// See [`Remote::check_listed_size`]. A file that others change in the meantime proves nothing.
pub(super) fn check_listed_size(remote: &Remote, path: &RemotePath) -> Result<(), Error> {
    if listed_size::are_wrong(remote.profile()) {
        return Ok(());
    }
    let mut exchange = remote.exchange();
    let Some(before) = listed_size(remote, &mut exchange, path)? else {
        return Ok(());
    };
    let reported = listed_size::ask(remote, &mut exchange, path)?;
    if let Some(reported) = reported.filter(|reported| *reported != before)
        && listed_size(remote, &mut exchange, path)? == Some(before)
    {
        listed_size::record_wrong(remote.profile(), path, before, reported);
    }
    Ok(())
}

/// Returns the size that MLST or the listing reports for the file at `path`.
fn listed_size(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
) -> Result<Option<u64>, Error> {
    match lookup(remote, exchange, path)? {
        Lookup::Found(entry) if entry.kind == Kind::File => Ok(entry.size),
        Lookup::Found(_) | Lookup::Absent | Lookup::NoParent(_) => Ok(None),
    }
}

/// Requests SIZE and MDTM, whichever the server has. Returns `None` if neither reports anything
/// about the file.
fn size_and_time(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
) -> Result<Option<Version>, Error> {
    let profile = remote.profile();
    let asked = exchange.run_idempotent(|session| {
        match (profile.has(Capability::Size), profile.has(Capability::Mdtm)) {
            (true, true) => {
                let (size, time) = session.size_and_modified(path)?;
                Ok((
                    unless_refused(size, profile, Capability::Size)?,
                    unless_refused(time, profile, Capability::Mdtm)?,
                ))
            }
            (true, false) => Ok((
                unless_refused(session.size(path), profile, Capability::Size)?,
                None,
            )),
            (false, true) => Ok((
                None,
                unless_refused(session.modified(path), profile, Capability::Mdtm)?,
            )),
            (false, false) => Ok((None, None)),
        }
    });
    match asked {
        Ok((None, None)) => Ok(None),
        Ok((size, modified)) => Ok(Some(Version {
            size,
            modified: modified.map(|seconds| (seconds, Precision::Second)),
            unique: 0,
        })),
        Err(fault) => {
            Err(remote.diagnose(exchange, &ErrorContext::new(Operation::Stat, path), &fault))
        }
    }
}
