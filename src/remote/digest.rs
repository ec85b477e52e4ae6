//! Digests that the server computes: for programs, and to verify uploads by comparing the server's
//! digest with the local one.

use std::fs::File;
use std::time::Duration;

use super::ErrorKind;
use super::Verify;
use super::error::{ErrorContext, Operation, is_unsupported};
use super::fallbacks::Fallback;
use super::retry::Exchange;
use super::{Error, Remote};
use crate::ftp::{Algorithm, Cause, Digest, DigestCommand, RemotePath};

/// Minimum rate in bytes per second at which a server reads a file to compute its digest.
const SLOWEST: u64 = 10 << 20;

impl Remote {
    /// Compares the first `size` bytes of `file` with the file at `stored` if the server can
    /// compute a digest.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] if they differ, [`ErrorKind::Local`] if `file` cannot be read. It
    /// is not an error if the server sends no digest: its 226 and the size count.
    pub(super) fn verify_digest(
        &self,
        exchange: &mut Exchange<'_>,
        stored: &RemotePath,
        file: &File,
        size: u64,
    ) -> Result<(), Error> {
        // ProFTPD sends no digest of an empty file.
        if self.verify() != Verify::Digest || size == 0 {
            return Ok(());
        }
        let Some(theirs) = self.server_digest(exchange, stored, size) else {
            return Ok(());
        };
        let context = ErrorContext::new(Operation::Store, stored);
        let ours = Digest::of(theirs.algorithm(), file, size)
            .map_err(|error| context.error(ErrorKind::Local, &error))?;
        if ours == theirs {
            return Ok(());
        }
        let reason = format!("the server has different bytes than were sent: {theirs}, not {ours}");
        Err(context.error(ErrorKind::Truncated, &reason))
    }

    /// Returns the digest of the file at `path` by this algorithm, which the server computes.
    /// `size` is the size of the file.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the server does not compute it.
    pub(crate) fn digest(
        &self,
        path: &RemotePath,
        algorithm: Algorithm,
        size: u64,
    ) -> Result<Digest, Error> {
        let context = ErrorContext::new(Operation::Digest, path);
        let patience = Duration::from_secs(size / SLOWEST);
        let mut exchange = self.exchange();
        let may_be_of =
            |command: &DigestCommand| command.algorithm().is_none_or(|it| it == algorithm);
        for command in DigestCommand::candidates(self.profile()).filter(may_be_of) {
            let digest = exchange.run_idempotent(|session| {
                if command == DigestCommand::Hash && !session.select_hash(algorithm)? {
                    return Ok(None);
                }
                session.digest(command, path, patience)
            });
            match digest {
                Ok(Some(digest)) if digest.algorithm() == algorithm => {
                    self.profile().works(command.capability());
                    return Ok(digest);
                }
                Ok(_) => {}
                Err(fault) if is_unsupported(&fault) => {}
                Err(fault) => return Err(self.diagnose(&mut exchange, &context, &fault)),
            }
        }
        let reason = format!("the server does not compute {}", algorithm.name());
        Err(context.error(ErrorKind::Unsupported, &reason))
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
                    log::debug!("cannot get a digest of {path}: {fault}");
                    return None;
                }
                Ok(None) => self.disable(command, &"its reply contains none"),
                Err(fault) => self.disable(command, &fault),
            }
        }
        None
    }

    fn disable(&self, command: DigestCommand, why: &dyn Cause) {
        self.profile().fails(command.capability(), why);
    }
}
