//! Answers while the server cannot be reached: what was last known, however old.
//!
//! Every operation asks as usual. With `-o offline`, a request for a session then fails immediately
//! with `NETUNREACH`, and only that leads here. The kernel caches none of these answers.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::{Answer, Attributes, Snapshot};
use crate::ftp::RemotePath;
use crate::remote::CaseRule;
use crate::vfs::Vfs;
use crate::vfs::attr::WithTtl;
use crate::vfs::errno::Errno;

impl Vfs {
    /// Returns `asked`, or what was last known of `name` in `directory` if the server cannot be
    /// reached.
    ///
    /// # Errors
    /// `NOENT` if the name was absent, `NETUNREACH` if nothing is known of it.
    pub(super) fn or_last_attributes(
        &self,
        asked: Result<WithTtl<Attributes>, Errno>,
        directory: &RemotePath,
        name: &[u8],
    ) -> Result<WithTtl<Attributes>, Errno> {
        let Err(Errno::NETUNREACH) = asked else {
            return asked;
        };
        let mut answer = self.cache.last_answer(directory, name);
        if answer == Answer::Unknown
            && self.cache.listed_names(directory).is_none()
            && self.restore_listing(directory)
        {
            answer = self.cache.last_answer(directory, name);
        }
        if let Answer::Absent(_) = answer {
            answer = self.last_variant(directory, name).unwrap_or(answer);
        }
        match answer {
            Answer::Present(value, _) => Ok(WithTtl {
                value,
                ttl: Duration::ZERO,
            }),
            Answer::Absent(_) => Err(Errno::NOENT),
            Answer::Unknown => Err(Errno::NETUNREACH),
        }
    }

    /// Returns what is known of `name`, which is not listed, because another spelling of it is: the
    /// same file, if the server ignores case, or nothing if it is unknown whether it does.
    fn last_variant(&self, directory: &RemotePath, name: &[u8]) -> Option<Answer> {
        let rule = self.remote.case_rule();
        if rule == CaseRule::Sensitive {
            return None;
        }
        let listing = self.cache.last_snapshot(directory)?;
        let (_, variant) = listing.find_variant(name)?;
        Some(match rule {
            CaseRule::Insensitive => Answer::Present(variant, Duration::ZERO),
            CaseRule::Unknown | CaseRule::Sensitive => Answer::Unknown,
        })
    }

    /// Returns `asked`, or the last listing of `directory` if the server cannot be reached.
    ///
    /// # Errors
    /// `NETUNREACH` if there is none.
    pub(super) fn or_last_listing(
        &self,
        asked: Result<Arc<Snapshot>, Errno>,
        directory: &RemotePath,
    ) -> Result<Arc<Snapshot>, Errno> {
        match asked {
            Err(Errno::NETUNREACH) => {
                if self.cache.listed_names(directory).is_none() {
                    self.restore_listing(directory);
                }
                let last = self.cache.last_snapshot(directory);
                last.ok_or(Errno::NETUNREACH)
            }
            asked => asked,
        }
    }

    /// Adds the stored listing of `directory` to what is known of it. Returns whether there is one.
    fn restore_listing(&self, directory: &RemotePath) -> bool {
        let stored = self.stored_listings.as_ref();
        let Some(listing) = stored.and_then(|stored| stored.read(directory)) else {
            return false;
        };
        self.cache.restore(directory, listing);
        true
    }

    /// Checks that what is written now is stored, or can wait for the server.
    ///
    /// # Errors
    /// `NETUNREACH` if the server cannot be reached and closed files do not wait (`-o writeback`).
    pub(super) fn check_storable(&self) -> Result<(), Errno> {
        if !self.options.writeback && self.remote.is_offline() {
            return Err(Errno::NETUNREACH);
        }
        Ok(())
    }

    /// Whether the server cannot be reached and the mount works without it.
    pub(in crate::vfs) fn is_offline(&self) -> bool {
        self.remote.is_offline()
    }
}
