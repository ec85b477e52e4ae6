//! A data connection whose arriving bytes are signs of life.

use std::io::{self, Read};

use crate::ftp::profile::ServerProfile;

/// Reads from `data` and records in the profile that the server sent something.
pub(super) struct HeardRead<'a, R> {
    pub(super) data: R,
    pub(super) profile: &'a ServerProfile,
}

impl<R: Read> Read for HeardRead<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.data.read(buffer)?;
        if count > 0 {
            self.profile.record_heard();
        }
        Ok(count)
    }
}
