//! Close-to-open consistency: the attributes of a file at open are those that the server reports
//! now, not those of an old listing.

use crate::cache::{Answer, Attributes};
use crate::cancel::{Blocking, Cancel};
use crate::ftp::{Kind, RemotePath, Version};
use crate::remote::ErrorKind;

use super::case::CachedAnswer;
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::table::inode::MOST_QUESTIONS;

impl Vfs {
    /// Returns the attributes of `name` in `directory` if the server reported them recently enough
    /// to open the file with them.
    pub(in crate::vfs) fn fresh_attributes(
        &self,
        directory: &RemotePath,
        name: &[u8],
    ) -> Option<Attributes> {
        match self.known_answer(directory, name) {
            Answer::Present(known, left) => {
                let age = self.options.dir_ttl.saturating_sub(left);
                if self.cache.is_pinned(directory, name) {
                    // Only this mount knows it.
                    return Some(known);
                }
                if age < self.options.open_ttl || known.kind == Kind::Directory {
                    return Some(known);
                }
                let listed = Version::from(&known);
                let path = directory.join(name).ok()?;
                let (said, age) = self.prefetcher.said(&path, &listed)?;
                (age < self.options.open_ttl).then(|| known.of_version(said.with(listed)))
            }
            Answer::Absent(_) | Answer::Unknown => None,
        }
    }

    /// Requests the current attributes of `name` in `directory`. Returns them and whether they
    /// differ from those that this mount knew.
    ///
    /// # Errors
    /// `STALE` if it was removed. The kernel then looks the name up again.
    pub(in crate::vfs) fn revalidate(
        &self,
        directory: &RemotePath,
        name: &[u8],
        cancel: &Cancel,
    ) -> Result<(Attributes, bool), Errno> {
        match self.ask_version(directory, name, cancel) {
            Err(Errno::NETUNREACH) => {
                let last = self.or_last_attributes(Err(Errno::NETUNREACH), directory, name);
                last.map(|last| (last.value, false))
            }
            asked => asked,
        }
    }

    /// [`Self::revalidate`] with a server that can be reached.
    fn ask_version(
        &self,
        directory: &RemotePath,
        name: &[u8],
        cancel: &Cancel,
    ) -> Result<(Attributes, bool), Errno> {
        if let Some(recent) = self.fresh_attributes(directory, name) {
            return Ok((recent, false));
        }
        if let CachedAnswer::Variant(Answer::Present(known, _)) =
            self.cached_answer(directory, name)
        {
            return self.relist(directory, name, &known, cancel);
        }
        let known = match self.known_answer(directory, name) {
            Answer::Present(known, _) if self.remote.can_stat() => known,
            Answer::Present(known, _) => return self.relist(directory, name, &known, cancel),
            Answer::Absent(_) => return Err(Errno::STALE),
            Answer::Unknown => {
                // The kernel knew the name, so it may be any file now.
                return match self.attributes_of(directory, name, Blocking::Yes(cancel)) {
                    Ok(fresh) => Ok((fresh.value, true)),
                    Err(Errno::NOENT) => Err(Errno::STALE),
                    Err(errno) => Err(errno),
                };
            }
        };
        let path = directory.join(name)?;
        let mut questions = 0;
        let reported = loop {
            let reported = self.remote.with(cancel).version(&path);
            if !self.inodes.is_being_renamed(&path) {
                break reported;
            }
            questions += 1;
            if questions == MOST_QUESTIONS {
                return Err(ErrorKind::TryLater.into());
            }
            // It may be about no file, or about another one.
            self.inodes.wait_for_renames(&path, cancel);
            if cancel.is_cancelled() {
                return Err(Errno::INTR);
            }
        };
        match reported {
            Ok(reported) => {
                let listed = Version::from(&known);
                let changed = !reported.agrees(&listed);
                let now = if changed {
                    reported
                } else {
                    reported.with(listed)
                };
                let attributes = known.of_version(now);
                self.cache.insert(directory, name, attributes.clone());
                Ok((attributes, changed))
            }
            Err(error) if error.kind == ErrorKind::NotFound => {
                self.cache.remove(directory, name);
                Err(Errno::STALE)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// [`Self::revalidate`] for a server that supports only listings.
    fn relist(
        &self,
        directory: &RemotePath,
        name: &[u8],
        known: &Attributes,
        cancel: &Cancel,
    ) -> Result<(Attributes, bool), Errno> {
        let is_changed = |now: &Attributes| !Version::from(now).agrees(&Version::from(known));
        // What is under way is recent enough. It would not answer for a name that is invalidated
        // meanwhile.
        if self.cache.wait_for_fetch(directory, self.options.open_ttl)
            && let Some(recent) = self.fresh_attributes(directory, name)
        {
            let changed = is_changed(&recent);
            return Ok((recent, changed));
        }
        // The new listing may be precise only to the minute. The cache has the exact times, so it
        // must not be discarded.
        self.cache.invalidate(directory, name);
        match self.attributes_of(directory, name, Blocking::Yes(cancel)) {
            Ok(fresh) => {
                let changed = is_changed(&fresh.value);
                Ok((fresh.value, changed))
            }
            Err(Errno::NOENT) => Err(Errno::STALE),
            Err(errno) => Err(errno),
        }
    }
}
