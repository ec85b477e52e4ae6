//! Whether REST before RETR is what the server says it is (RFC 3659 §5).
//!
//! One that says 350 and sends the file from its start all the same, or a gateway that does so in its place, would have the
//! wrong bytes read for the right ones, and nothing would show it: a transfer does not say where it begins. So of a server
//! that is not known for its REST a file's last byte is asked for, once, before any other offset: what comes is one byte.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::dialect::Has;
use super::download::open_in;
use super::retry::Dialogue;
use super::{Error, Remote};
use crate::ftp::RemotePath;

/// So many bytes, where the last one was asked for, are no growth of the file in the meantime.
const NO_GROWTH: u64 = 64 << 10;

/// What is known of the server's REST: tried whether or not FEAT has it.
#[derive(Debug)]
pub(super) struct Restart {
    has: Has,
    proven: AtomicBool,
}

impl Restart {
    /// Of a server that is known for it, or one that is to prove it.
    pub(super) fn new(is_known: bool) -> Self {
        Self {
            has: Has::new(true),
            proven: AtomicBool::new(is_known),
        }
    }

    /// Whether the server has it, as far as is known.
    pub(super) fn get(&self) -> bool {
        self.has.get()
    }

    /// The server refused it, or does not do it.
    pub(super) fn not(&self) {
        self.has.not("REST");
    }

    /// Whether the next transfer from an offset is the first.
    pub(super) fn is_to_be_proven(&self) -> bool {
        self.get() && !self.proven.load(Relaxed)
    }
}

/// Finds out by `path` whether a transfer begins where REST says. Where that cannot be found out, the next file is to show
/// it.
///
/// # Errors
/// The transfer's.
pub(super) fn prove(
    remote: &Remote,
    dialogue: &mut Dialogue<'_>,
    path: &RemotePath,
) -> Result<(), Error> {
    let restart = &remote.dialect().restart;
    let Some(size) = size_of(remote, dialogue, path) else {
        return Ok(());
    };
    let Some(last) = size.checked_sub(1).filter(|last| *last > 0) else {
        return Ok(());
    };
    let mut transfer = open_in(remote, dialogue, path, last)?;
    if transfer.start() != last {
        return Ok(());
    }
    let too_many = size.min(NO_GROWTH);
    let (mut came, mut buffer) = (0, [0; 4 << 10]);
    while came < too_many {
        match transfer.read(&mut buffer)? {
            0 => break,
            count => came += count as u64,
        }
    }
    if came >= too_many {
        log::warn!("the server takes REST and begins at the start of the file all the same");
        restart.not();
    } else if came == 1 {
        restart.proven.store(true, Relaxed);
    }
    Ok(())
}

fn size_of(remote: &Remote, dialogue: &mut Dialogue<'_>, path: &RemotePath) -> Option<u64> {
    let dialect = remote.dialect();
    let told = if dialect.size.get() {
        dialogue.repeat(|session| session.size(path)).map(Some)
    } else if dialect.mlst.get() {
        let told = dialogue.repeat(|session| session.mlst(path));
        told.map(|entry| entry.size)
    } else {
        return None;
    };
    told.inspect_err(|fault| log::debug!("no size of {path} to try REST by: {fault}"))
        .ok()
        .flatten()
}
