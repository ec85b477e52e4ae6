//! Whether the server has the bytes that were sent: its digest of them beside ours.

use std::fs::File;
use std::time::Duration;

use super::Verify;
use super::error::{ErrorContext, ErrorKind, Operation, is_unsupported};
use super::fallbacks::Fallback;
use super::retry::Exchange;
use super::{Error, Remote};
use crate::ftp::{Digest, DigestCommand, RemotePath};

/// Octets a second that a server takes in at least to make a digest of them.
const SLOWEST: u64 = 10 << 20;

impl Remote {
    /// Compares the first `size` bytes of `file` with what the server has at `stored`, where it
    /// tells a digest.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] where they differ, [`ErrorKind::Local`] where `file` cannot be
    /// read. A server that tells none, or not this time, is not doubted: its 226 and the size
    /// stand.
    pub(super) fn verify_digest(
        &self,
        exchange: &mut Exchange<'_>,
        stored: &RemotePath,
        file: &File,
        size: u64,
    ) -> Result<(), Error> {
        // ProFTPD tells none of nothing.
        if self.verify() != Verify::Digest || size == 0 {
            return Ok(());
        }
        let Some(told) = self.server_digest(exchange, stored, size) else {
            return Ok(());
        };
        let context = ErrorContext::new(Operation::Store, stored);
        let ours = Digest::of(told.algorithm(), file, size)
            .map_err(|error| context.error(ErrorKind::Local, &error))?;
        if ours == told {
            return Ok(());
        }
        let reason = format!("the server has other bytes than were sent: {told}, not {ours}");
        Err(context.error(ErrorKind::Truncated, &reason))
    }

    fn server_digest(
        &self,
        exchange: &mut Exchange<'_>,
        path: &RemotePath,
        size: u64,
    ) -> Option<Digest> {
        let patience = Duration::from_secs(size / SLOWEST);
        for command in DigestCommand::candidates(self.profile()) {
            match exchange.run_idempotent(|session| session.digest(command, path, patience)) {
                Ok(Some(digest)) => return Some(digest),
                Err(fault) if !is_unsupported(&fault) => {
                    log::debug!("no digest of {path}: {fault}");
                    return None;
                }
                Ok(None) => self.disable(command, &"its answer holds none"),
                Err(fault) => self.disable(command, &fault),
            }
        }
        None
    }

    fn disable(&self, command: DigestCommand, why: &dyn std::fmt::Display) {
        self.profile().fails(command.capability(), why);
    }
}
