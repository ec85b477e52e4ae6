//! Whether REST before RETR is what the server says it is (RFC 3659 §5).
//!
//! One that says 350 and sends the file from its start all the same would have the wrong bytes read
//! for the right ones, and nothing would show it: a transfer does not say where it begins. So of a
//! server that is not known for its REST a file's last byte is asked for, once, before any other
//! offset: what comes is one byte. Where sizes are not told, REST is taken at its word.

use super::download::open_in;
use super::retry::Exchange;
use super::{Error, Remote};
use crate::ftp::{Capability, Finding, RemotePath, ServerProfile};

/// So many bytes, or the file's size where that is less, tell a transfer from the start from one of
/// the last byte.
const ENOUGH: u64 = 64 << 10;

/// How often it is tried by one file: the connection may break.
const TRIES: u32 = 2;

/// Whether REST has yet to be seen to work: it is tried whether or not FEAT has it.
pub(super) fn needs_probe(profile: &ServerProfile) -> bool {
    !matches!(
        profile.finding(Capability::Rest),
        Finding::Works | Finding::Fails
    )
}

/// Finds out by `path` whether a transfer begins where REST says. Where that cannot be found out,
/// another file is to show it.
pub(super) fn probe(remote: &Remote, exchange: &mut Exchange<'_>, path: &RemotePath) {
    for _ in 0..TRIES {
        match tried(remote, exchange, path) {
            Ok(()) => return,
            Err(error) => log::debug!("REST could not be tried: {error}"),
        }
    }
}

fn tried(remote: &Remote, exchange: &mut Exchange<'_>, path: &RemotePath) -> Result<(), Error> {
    let profile = remote.profile();
    let Some(size) = size_of(remote, exchange, path) else {
        return Ok(());
    };
    let Some(last) = size.checked_sub(1).filter(|last| *last > 0) else {
        return Ok(());
    };
    let mut transfer = open_in(remote, exchange, path, last)?;
    if transfer.start() != last {
        return Ok(());
    }
    let too_many = size.min(ENOUGH);
    let (mut came, mut buffer) = (0, [0; 4 << 10]);
    while came < too_many {
        match transfer.read(&mut buffer)? {
            0 => break,
            count => came += count as u64,
        }
    }
    drop(transfer);
    if came == 1 {
        profile.works(Capability::Rest);
    }
    // It may have grown meanwhile.
    let is_none = came >= too_many && size_of(remote, exchange, path) == Some(size);
    if is_none && needs_probe(profile) {
        let why = "it takes REST and begins at the start of the file";
        if profile.fails(Capability::Rest, &why) {
            log::warn!("the server takes REST and begins at the start of the file all the same");
        }
    }
    Ok(())
}

fn size_of(remote: &Remote, exchange: &mut Exchange<'_>, path: &RemotePath) -> Option<u64> {
    let profile = remote.profile();
    let by_size = profile.has(Capability::Size).then(|| {
        let told = exchange.run_idempotent(|session| session.size(path));
        told.map(Some)
    });
    if let Some(Ok(size)) = by_size {
        return size;
    }
    let has_mlst = profile.has(Capability::Mlst);
    let entry = has_mlst.then(|| exchange.run_idempotent(|session| session.mlst(path)));
    entry?.ok()?.size
}
