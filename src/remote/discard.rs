//! Uploads of files that do not stay available: what was sent is discarded while the rest is
//! written.

use std::fs::File;

use super::error::{ErrorContext, Operation};
use super::naming::Presence;
use super::resumable_upload::Discardable;
use super::upload::UploadPlace;
use super::{Error, ErrorKind, RemoteUpload};

impl RemoteUpload {
    /// Sends copies of the file's pages from now on, so that the file may change as soon as they
    /// are sent.
    pub fn send_copies(&mut self) {
        // One that has failed sends nothing.
        let _ = self.step(|sending| {
            sending.send_copies();
            Ok(())
        });
    }

    /// Announces that the bytes of `file` before `offset`, which were sent, will be discarded. From
    /// then on the upload cannot be repeated from its beginning. Returns the offset before which
    /// they may be discarded, or `None` if the server must receive more first.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if they must stay available: the upload might have to be
    /// repeated, as the server has not shown yet that it stores files under temporary names; or it
    /// does not say what it has received. Otherwise those of [`RemoteUpload::send`].
    pub fn keep_from(&mut self, file: &File, offset: u64) -> Result<Option<u64>, Error> {
        let remote = self.remote.uncancelled();
        let context = ErrorContext::new(Operation::Store, &self.path);
        let must_stay = |reason: &str| context.error(ErrorKind::Unsupported, &reason);
        let UploadPlace::Temporary(temporary) = &self.place else {
            return Err(must_stay(
                "the server stores this file under its final name",
            ));
        };
        // Another session is needed to ask.
        if self.kept_from() == 0 && self.needs_proof() && remote.pool_stats().limit > 1 {
            let Some(mut exchange) = remote.brief_exchange() else {
                return Ok(None);
            };
            if remote.presence(&mut exchange, temporary.path()) == Presence::Missing {
                return Err(must_stay("the server does not list its temporary name"));
            }
        }
        let mut kept = Discardable::NotYet;
        self.step(|sending| {
            kept = sending.keep_from(file, offset)?;
            Ok(())
        })?;
        match kept {
            Discardable::Before(end) => Ok(Some(end)),
            Discardable::NotYet => Ok(None),
            Discardable::Unknown => {
                let reason = "the server does not say how much it has received";
                Err(ErrorContext::new(Operation::Store, &self.path)
                    .error(ErrorKind::Unsupported, &reason))
            }
        }
    }
}
