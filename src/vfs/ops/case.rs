//! Names that differ only in case, on servers that treat them as the same.
//!
//! A name that is not listed while a variant of it is gets the variant's attributes on such a
//! server ([`Vfs::cached_answer`]). The kernel caches such a spelling for no time at all.

use crate::cache::{Answer, Attributes};
use crate::cancel::Cancel;
use crate::ftp::RemotePath;
use crate::remote::CaseRule;

use crate::vfs::Vfs;
use crate::vfs::errno::Errno;

/// What the cache knows about a name, taking the server's case rule into account.
#[derive(Debug)]
pub(in crate::vfs) enum CachedAnswer {
    /// What the cache knows about exactly this name.
    Exact(Answer),
    /// The name is listed with a different case and is the same file.
    Variant(Answer),
    /// The name is listed with a different case. It is unknown whether that is the same file.
    Open(Attributes),
}

impl Vfs {
    /// Returns what the cache knows about `name` in `directory`.
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

    /// Like [`Vfs::cached_answer`], reduced to one answer: a variant counts if it is the same file.
    pub(in crate::vfs) fn known_answer(&self, directory: &RemotePath, name: &[u8]) -> Answer {
        match self.cached_answer(directory, name) {
            CachedAnswer::Exact(answer) | CachedAnswer::Variant(answer) => answer,
            CachedAnswer::Open(_) => Answer::Unknown,
        }
    }

    /// Whether `name`, which is not listed in `directory`, is the same file as a listed variant.
    pub(in crate::vfs) fn is_variant(
        &self,
        directory: &RemotePath,
        name: &[u8],
        variant: &Attributes,
        cancel: &Cancel,
    ) -> Result<bool, Errno> {
        let rule = match self.remote.case_rule() {
            CaseRule::Unknown => {
                let path = directory.join(name)?;
                self.remote
                    .with(cancel)
                    .find_case_rule(&path, variant.kind)?
            }
            known => known,
        };
        Ok(rule == CaseRule::Insensitive)
    }

    /// Returns the entry of `directory` whose name differs from `name` only in case.
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

    /// Forgets other spellings of `name` in `directory`, because the name was created, removed or
    /// changed.
    pub(in crate::vfs) fn forget_variants(&self, directory: &RemotePath, name: &[u8]) {
        if self.remote.case_rule() == CaseRule::Insensitive
            && self.listed_variant(directory, name).is_some()
        {
            self.cache.forget(directory);
        }
    }
}
