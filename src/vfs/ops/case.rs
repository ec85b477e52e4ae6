//! Names that differ in case only, on servers that take them for the same.
//!
//! A name that is not listed while a variant of it is has the variant's attributes there
//! ([`Vfs::cached_answer`]). The kernel keeps such a spelling for no time at all.

use crate::cache::{Answer, Attributes};
use crate::ftp::RemotePath;
use crate::remote::CaseRule;

use crate::vfs::Vfs;
use crate::vfs::errno::Errno;

/// What the cache says about a name, with the spelling of case left to the server.
#[derive(Debug)]
pub(in crate::vfs) enum CachedAnswer {
    /// What it knows of exactly this name.
    Exact(Answer),
    /// The name is listed in another spelling, which is the same file.
    Variant(Answer),
    /// The name is listed in another spelling. Whether that is the same file is not known.
    Open(Attributes),
}

impl Vfs {
    /// What the cache knows of `name` in `directory`.
    pub(in crate::vfs) fn cached_answer(
        &self,
        directory: &RemotePath,
        name: &[u8],
    ) -> CachedAnswer {
        let answer = self.cache.lookup(directory, name);
        let Answer::Absent(left) = answer else {
            return CachedAnswer::Exact(answer);
        };
        let rule = self.remote.case_rule();
        if rule == CaseRule::Sensitive {
            return CachedAnswer::Exact(answer);
        }
        match (self.listed_variant(directory, name), rule) {
            (None, _) | (_, CaseRule::Sensitive) => CachedAnswer::Exact(answer),
            (Some(variant), CaseRule::Insensitive) => {
                CachedAnswer::Variant(Answer::Present(variant, left))
            }
            (Some(variant), CaseRule::Unknown) => CachedAnswer::Open(variant),
        }
    }

    /// The same as one answer: that of a variant where it is the same file.
    pub(in crate::vfs) fn known_answer(&self, directory: &RemotePath, name: &[u8]) -> Answer {
        match self.cached_answer(directory, name) {
            CachedAnswer::Exact(answer) | CachedAnswer::Variant(answer) => answer,
            CachedAnswer::Open(_) => Answer::Unknown,
        }
    }

    /// Whether `name`, which is not listed in `directory`, is the file of a listed variant.
    pub(in crate::vfs) fn is_variant(
        &self,
        directory: &RemotePath,
        name: &[u8],
        variant: &Attributes,
    ) -> Result<bool, Errno> {
        let rule = match self.remote.case_rule() {
            CaseRule::Unknown => {
                let path = directory.join(name)?;
                self.remote.find_case_rule(&path, variant.kind)?
            }
            known => known,
        };
        Ok(rule == CaseRule::Insensitive)
    }

    /// What is listed in `directory` by a name that differs from `name` in case only.
    pub(in crate::vfs) fn listed_variant(
        &self,
        directory: &RemotePath,
        name: &[u8],
    ) -> Option<Attributes> {
        let snapshot = self.cache.snapshot(directory)?;
        snapshot
            .find_variant(name)
            .map(|(_, attributes)| attributes)
    }

    /// `name` in `directory` came, went or was changed: another spelling of it is not what it was.
    pub(in crate::vfs) fn forget_variants(&self, directory: &RemotePath, name: &[u8]) {
        if self.remote.case_rule() == CaseRule::Insensitive
            && self.listed_variant(directory, name).is_some()
        {
            self.cache.forget(directory);
        }
    }
}
