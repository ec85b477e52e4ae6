//! Whether REST before RETR is what the server says it is (RFC 3659 §5).
//!
//! One that says 350 and sends the file from its start all the same would have the wrong bytes read for the right ones, and
//! nothing would show it: a transfer does not say where it begins. So of a server that is not known for its REST a file's
//! last byte is asked for, once, before any other offset: what comes is one byte. Where sizes are not told, REST is taken
//! at its word.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::dialect::Has;
use super::download::open_in;
use super::retry::Dialogue;
use super::{Error, Remote};
use crate::ftp::RemotePath;

/// So many bytes, or the file's size where that is less, tell a transfer from the start from one of the last byte.
const ENOUGH: u64 = 64 << 10;

/// How often it is tried by one file: the connection may break.
const TRIES: u32 = 2;

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

/// Finds out by `path` whether a transfer begins where REST says. Where that cannot be found out, another file is to show
/// it.
pub(super) fn prove(remote: &Remote, dialogue: &mut Dialogue<'_>, path: &RemotePath) {
    for _ in 0..TRIES {
        match tried(remote, dialogue, path) {
            Ok(()) => return,
            Err(error) => log::debug!("REST could not be tried: {error}"),
        }
    }
}

fn tried(remote: &Remote, dialogue: &mut Dialogue<'_>, path: &RemotePath) -> Result<(), Error> {
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
        restart.proven.store(true, Relaxed);
    }
    // It may have grown meanwhile.
    let is_none = came >= too_many && size_of(remote, dialogue, path) == Some(size);
    if is_none && restart.is_to_be_proven() {
        log::warn!("the server takes REST and begins at the start of the file all the same");
        restart.not();
    }
    Ok(())
}

fn size_of(remote: &Remote, dialogue: &mut Dialogue<'_>, path: &RemotePath) -> Option<u64> {
    let dialect = remote.dialect();
    let by_size = dialect.size.get().then(|| {
        let told = dialogue.repeat(|session| session.size(path));
        told.map(Some)
    });
    if let Some(Ok(size)) = by_size {
        return size;
    }
    let has_mlst = dialect.mlst.get();
    let entry = has_mlst.then(|| dialogue.repeat(|session| session.mlst(path)));
    entry?.ok()?.size
}
