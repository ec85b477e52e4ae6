//! Probes whether REST before RETR works as specified (RFC 3659 §5).
//!
//! A server that replies 350 and still sends the file from its start would cause silent corruption,
//! because a transfer does not say where it begins. On a server whose REST is not proven, the last
//! byte of a file is requested once before any other offset: exactly one byte must arrive. If the
//! server reports no sizes, REST is trusted.

use super::download::open_in;
use super::retry::Exchange;
use super::{Error, Remote};
use crate::ftp::{Capability, Finding, RemotePath, ServerProfile};

/// Number of bytes, or the file size if that is less, that distinguishes a transfer from the start
/// from one of the last byte.
const ENOUGH: u64 = 64 << 10;

/// Number of attempts with one file, because the connection may fail.
const TRIES: u32 = 2;

/// Whether REST is not proven to work yet. It is probed whether or not FEAT lists it.
pub(super) fn needs_probe(profile: &ServerProfile) -> bool {
    !matches!(
        profile.finding(Capability::Rest),
        Finding::Works | Finding::Fails
    )
}

/// Probes with `path` whether a transfer starts at the REST offset. If the result is unclear,
/// another file is used later.
pub(super) fn probe(remote: &Remote, exchange: &mut Exchange<'_>, path: &RemotePath) {
    for _ in 0..TRIES {
        let Err(error) = tried(remote, exchange, path) else {
            return;
        };
        log::debug!("cannot probe REST: {error}");
        if !error.kind.transience().is_immediate() {
            return;
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
    // The file may have grown in the meantime.
    let is_none = came >= too_many && size_of(remote, exchange, path) == Some(size);
    if is_none && needs_probe(profile) {
        let why = "it accepts REST but starts at the beginning of the file";
        if profile.fails(Capability::Rest, &why) {
            log::warn!(path; "the server accepts REST but starts at the beginning of the file");
        }
    }
    Ok(())
}

fn size_of(remote: &Remote, exchange: &mut Exchange<'_>, path: &RemotePath) -> Option<u64> {
    let profile = remote.profile();
    let by_size = profile.has(Capability::Size).then(|| {
        let reported = exchange.run_idempotent(|session| session.size(path));
        reported.map(Some)
    });
    if let Some(Ok(size)) = by_size {
        return size;
    }
    let has_mlst = profile.has(Capability::Mlst);
    let entry = has_mlst.then(|| exchange.run_idempotent(|session| session.mlst(path)));
    entry?.ok()?.size
}
