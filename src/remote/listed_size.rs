//! Servers whose listings and MLST report wrong sizes: truncated to 32 bits, or the size of the
//! stored form. SIZE (RFC 3659 §4) reports the number of bytes that a transfer delivers. On servers
//! where the two were found to differ, listed sizes count as unknown and SIZE is used instead.

use super::error::{ErrorContext, Operation, unless_refused};
use super::retry::Exchange;
use super::{Error, Remote};
use crate::ftp::{Capability, Entry, Finding, Kind, RemotePath, ServerProfile};

/// Whether this server was found to list wrong sizes.
pub(super) fn are_wrong(profile: &ServerProfile) -> bool {
    profile.finding(Capability::ListedSizes) == Finding::Fails
}

/// Records that the server listed `listed` bytes for the file at `path`, whose size is `size`.
pub(super) fn record_wrong(profile: &ServerProfile, path: &RemotePath, listed: u64, size: u64) {
    let why = format!("it listed {listed} bytes for {path}, which has {size}");
    profile.fails(Capability::ListedSizes, &why);
}

/// Whether the server's listings and MLST report sizes as SIZE does, which is found out with the
/// file at `path`, listed with `listed` bytes, unless it is known.
pub(super) fn are_true(remote: &Remote, path: &RemotePath, listed: u64) -> Result<bool, Error> {
    let profile = remote.profile();
    // Where they are wrong, the size comes from SIZE.
    if matches!(
        profile.finding(Capability::ListedSizes),
        Finding::Works | Finding::Fails
    ) {
        return Ok(true);
    }
    match ask(remote, &mut remote.exchange(), path)? {
        Some(size) if size != listed => {
            record_wrong(profile, path, listed, size);
            Ok(false)
        }
        Some(_) => {
            profile.works(Capability::ListedSizes);
            Ok(true)
        }
        None => Ok(true),
    }
}

/// Removes the sizes of files if they are wrong on this server.
pub(super) fn forget_wrong(profile: &ServerProfile, entries: &mut [Entry]) {
    if are_wrong(profile) {
        for entry in entries.iter_mut().filter(|it| it.kind == Kind::File) {
            entry.size = None;
        }
    }
}

/// Replaces the size of a file that was found at `path` with that of SIZE, if listed sizes are
/// wrong.
pub(super) fn correct(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
    found: &mut Entry,
) -> Result<(), Error> {
    if found.kind == Kind::File && are_wrong(remote.profile()) {
        found.size = ask(remote, exchange, path)?;
    }
    Ok(())
}

/// Returns the size of the file at `path` from SIZE, or `None` if the server does not report it.
pub(super) fn ask(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
) -> Result<Option<u64>, Error> {
    let profile = remote.profile();
    if !profile.has(Capability::Size) {
        return Ok(None);
    }
    exchange
        .run_idempotent(|session| unless_refused(session.size(path), profile, Capability::Size))
        .map_err(|fault| {
            let context = ErrorContext::new(Operation::Stat, path);
            remote.diagnose(exchange, &context, &fault)
        })
}
