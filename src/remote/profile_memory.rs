//! Persistence of the server profile between mounts: read before the first session, written when it
//! changes.

use std::sync::{Mutex, PoisonError};

use crate::ftp::ServerProfile;
use crate::ftp::profile::ProfileRecord;
use crate::journal::ProfileFile;

/// The profile file and its contents.
#[derive(Debug)]
pub(super) struct ProfileMemory {
    file: Option<ProfileFile>,
    /// Held for a comparison and a small local write, never across the network.
    written: Mutex<Option<ProfileRecord>>,
}

impl ProfileMemory {
    /// Reads `file`, which an earlier mount wrote, into `profile`.
    pub(super) fn load(file: Option<ProfileFile>, profile: &ServerProfile) -> Self {
        if let Some(text) = file.as_ref().and_then(ProfileFile::read) {
            profile.remember(ProfileRecord::parse(&text));
        }
        Self {
            file,
            written: Mutex::default(),
        }
    }

    /// Writes the profile if it has changed.
    pub(super) fn save(&self, profile: &ServerProfile) {
        let (Some(file), Some(record)) = (&self.file, profile.record()) else {
            return;
        };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.as_ref() != Some(&record) {
            file.write(&record.format());
            *written = Some(record);
        }
    }
}
