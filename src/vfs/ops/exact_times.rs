//! Exact times in place of those that a listing shows to the minute or the day.

use crate::cancel::Blocking;
use crate::ftp::RemotePath;
use crate::remote::exact_times::MOST_EXACT_TIMES;
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;

impl Vfs {
    /// Requests the exact times of the files in `directory`, of which `name` is looked up, if the
    /// program most likely compares them. Returns whether it did.
    pub(in crate::vfs) fn complete_known_times(
        &self,
        directory: &RemotePath,
        name: &[u8],
        may: Blocking<'_>,
    ) -> Result<bool, Errno> {
        if self.cache.has_pins(directory)
            || self.names.is_unmade(directory)
            || !self.prefetcher.looks_at_time(directory, name)
            || self.prefetcher.is_away()
        {
            return Ok(false);
        }
        let cancel = may.cancel()?;
        let Some(listing) = self.cache.snapshot(directory) else {
            return Ok(false);
        };
        self.prefetcher.requests_times(directory);
        let files = (0..listing.len()).filter_map(|index| listing.get(index));
        let coarse = files.filter(|(_, attributes)| attributes.has_coarse_time());
        let (names, before): (Vec<_>, Vec<_>) = coarse.take(MOST_EXACT_TIMES + 1).unzip();
        if names.len() > MOST_EXACT_TIMES {
            return Ok(false);
        }
        let asked = self.remote.with(cancel).versions_in(directory, &names);
        let Some(versions) = asked else {
            self.prefetcher.unanswered();
            return Ok(false);
        };
        let is_answered = versions.len() == names.len();
        let mut is_refined = false;
        for ((name, before), version) in names.iter().zip(&before).zip(versions) {
            is_refined |=
                version.is_some_and(|exact| self.cache.refine(directory, name, before, &exact));
        }
        if is_answered && !is_refined {
            self.prefetcher.found_no_times(directory);
        }
        Ok(is_refined)
    }
}
