//! Local state that a mount stores for the next one.

use std::path::PathBuf;

use crate::journal::{Journal, JournalError, StateDir};

/// Where state is stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct StateOptions {
    /// The journals of this server and login; `None` disables them.
    pub place: Option<StateDir>,
    /// The spool directory, if the user set one.
    pub spool: Option<PathBuf>,
    /// Whether the mount requires a journal.
    pub is_needed: bool,
    /// Whether the mount changes nothing, so that it keeps no journal.
    pub is_read_only: bool,
}

impl StateOptions {
    /// Opens this mount's journal. Without a writable state directory, the mount works without one,
    /// which is logged.
    ///
    /// # Errors
    /// The requested directory cannot be used, or there is none although one is required.
    pub(super) fn open(&self) -> Result<Journal, super::Error> {
        let nothing = || Journal::disabled(self.spool.clone());
        let Some(place) = self.place.as_ref().filter(|_| !self.is_read_only) else {
            return if self.is_needed {
                Err(super::Error::NoState)
            } else {
                Ok(nothing())
            };
        };
        match Journal::open(place, self.spool.as_deref()) {
            Ok(journal) => Ok(journal),
            Err(error) if self.is_needed || self.is_of_spool(&error) => Err(error.into()),
            Err(error) => {
                log::warn!(
                    "{error}; should ftpfs be killed, what it was storing is not finished by the next mount \
                     (XDG_STATE_HOME names another directory)"
                );
                Ok(nothing())
            }
        }
    }

    fn is_of_spool(&self, error: &JournalError) -> bool {
        let spool = self.spool.as_deref();
        spool.is_some_and(|spool| error.path.starts_with(spool))
    }
}
