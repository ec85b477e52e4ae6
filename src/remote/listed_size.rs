//! Servers whose listings and MLST tell wrong sizes: of 32 bits, or of what a file is stored in.
//! SIZE (RFC 3659 §4) tells how many bytes a transfer brings. Where the two were found to differ,
//! listed sizes are unknown, and SIZE is asked.

use super::error::{ErrorContext, Operation, unless_refused};
use super::retry::Exchange;
use super::{Error, Remote};
use crate::ftp::{Capability, Entry, Finding, Kind, RemotePath, ServerProfile};

/// Whether this server was found to list wrong sizes.
pub(super) fn are_wrong(profile: &ServerProfile) -> bool {
    profile.finding(Capability::ListedSizes) == Finding::Fails
}

/// The server listed `listed` bytes for the file at `path`, which has `size`.
pub(super) fn record_wrong(profile: &ServerProfile, path: &RemotePath, listed: u64, size: u64) {
    let why = format!("of {path}, which has {size} bytes, it listed {listed}");
    profile.fails(Capability::ListedSizes, &why);
}

/// Forgets the sizes of files where they are wrong.
pub(super) fn forget_wrong(profile: &ServerProfile, entries: &mut [Entry]) {
    if are_wrong(profile) {
        for entry in entries.iter_mut().filter(|it| it.kind == Kind::File) {
            entry.size = None;
        }
    }
}

/// Gives a file that was found at `path` the size that SIZE tells, where listed ones are wrong.
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

/// The size that SIZE tells of the file at `path`; none where it tells none.
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
