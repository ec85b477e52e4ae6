//! lookup, getattr and access: from names to inodes and attributes.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::{Answer, Attributes, Snapshot};
use crate::cancel::{Blocking, Cancel};
use crate::ftp::{Completeness, DirectoryListing, Entry, Kind, RemotePath};
use crate::remote::{self, CaseRule, ErrorKind, Remote, StatAlone};

use super::case::CachedAnswer;
use crate::vfs::Vfs;
use crate::vfs::attr::{Attr, WithTtl, made_now};
use crate::vfs::errno::Errno;
use crate::vfs::prefetch::relist::{OldAbsence, relist_interval};
use crate::vfs::table::ino::Ino;
use crate::vfs::table::inode::NodeKind;

/// Number of names in a directory that are requested one by one. After that, a listing of the
/// directory is cheaper.
const STATS_BEFORE_LISTING: u32 = 2;

/// Maximum number of names in a directory that is listed again for the first name that an old
/// listing lacks. It answers for all other names too, and costs hardly more than one request.
const SMALL_LISTING: usize = 1000;

impl Vfs {
    /// Looks up `name` in `parent` and counts one lookup.
    pub(crate) fn lookup(
        &self,
        parent: Ino,
        name: &[u8],
        may: Blocking<'_>,
    ) -> Result<WithTtl<Attr>, Errno> {
        if let Some(found) = self.lookup_dots(parent, name, may) {
            return found;
        }
        if let Some(found) = self.open_lookup(parent, name) {
            return found;
        }
        let directory = self.child_directory(parent, name)?;
        let mut fresh = self.attributes_of(&directory, name, may)?;
        if fresh.value.has_coarse_time() && self.complete_known_times(&directory, name, may)? {
            fresh = self.attributes_of(&directory, name, may)?;
        }
        self.count_lookup(parent, name, &fresh)
    }

    /// Removes `count` lookups of `ino` that the kernel has dropped.
    pub(crate) fn forget(&self, ino: Ino, count: u64) {
        let dropped = || self.forget_contents(ino);
        self.inodes.forget(ino, count, dropped);
    }

    /// Forgets what is remembered of the contents of `ino` beside its inode.
    pub(in crate::vfs) fn forget_contents(&self, ino: Ino) {
        self.digests.remove(ino);
        if let Some(recent) = &self.services.recent {
            recent.remove(ino);
        }
    }

    /// Returns the attributes of `ino`.
    pub(crate) fn getattr(&self, ino: Ino, may: Blocking<'_>) -> Result<WithTtl<Attr>, Errno> {
        let open = self.inodes.open_file(ino);
        if let Some(file) = &open
            && file.polled().is_some()
        {
            match self.follow(ino, file, may) {
                Ok(_) | Err(Errno::STALE) => {}
                Err(errno) => return Err(errno),
            }
        }
        if let Some(known) = self.getattr_without_server(ino) {
            return known;
        }
        if let Some(file) = open.as_ref().filter(|file| self.is_nameless(file)) {
            self.counts.hit();
            return Ok(WithTtl {
                value: self.show(ino, &file.pinned()),
                ttl: self.options.attr_ttl,
            });
        }
        if let Some(followed) = open.and_then(|file| self.followed_attributes(ino, &file)) {
            self.counts.hit();
            return Ok(followed);
        }
        let (directory, name) = self.location(ino)?;
        let fresh = self.attributes_of(&directory, &name, may)?;
        self.attr_of_inode(ino, &fresh)
    }

    /// Whether a program may access `ino` according to `mask` (R_OK, W_OK, X_OK), as far as this
    /// mount knows.
    ///
    /// The server decides about permissions when the operation is performed.
    pub(crate) fn access(&self, ino: Ino, mask: i32, may: Blocking<'_>) -> Result<(), Errno> {
        let attr = self.getattr(ino, may)?.value;
        if mask & libc::W_OK != 0 && self.options.read_only {
            return Err(Errno::ROFS);
        }
        let no_program = attr.kind == Kind::File && attr.mode & 0o111 == 0;
        if mask & libc::X_OK != 0 && no_program {
            return Err(Errno::ACCES);
        }
        Ok(())
    }

    /// Returns what is known about `name` in `directory` without asking the server.
    pub(in crate::vfs) fn cached_attributes(
        &self,
        directory: &RemotePath,
        name: &[u8],
    ) -> Option<Result<WithTtl<Attributes>, Errno>> {
        let (answer, longest) = match self.cached_answer(directory, name) {
            CachedAnswer::Exact(answer) => (answer, self.options.attr_ttl),
            CachedAnswer::Variant(answer) => (answer, Duration::ZERO),
            CachedAnswer::Open(_) => return None,
        };
        match answer {
            Answer::Present(value, _) if self.lacks_size(&value) => None,
            Answer::Present(value, left) => Some(Ok(WithTtl {
                value,
                ttl: self.ttl_of(directory, name, left.min(longest)),
            })),
            Answer::Absent(_) => Some(Err(Errno::NOENT)),
            Answer::Unknown => None,
        }
    }

    /// Returns the attributes of `name` in `directory`: from memory, otherwise from one stat,
    /// otherwise from the directory's listing. A name that the listing neither shows nor rules out
    /// is looked up separately.
    pub(in crate::vfs) fn attributes_of(
        &self,
        directory: &RemotePath,
        name: &[u8],
        may: Blocking<'_>,
    ) -> Result<WithTtl<Attributes>, Errno> {
        let asked = self.current_attributes(directory, name, may);
        self.or_last_attributes(asked, directory, name)
    }

    /// [`Self::attributes_of`] of a server that can be reached.
    fn current_attributes(
        &self,
        directory: &RemotePath,
        name: &[u8],
        may: Blocking<'_>,
    ) -> Result<WithTtl<Attributes>, Errno> {
        let known = self.cached_attributes(directory, name);
        let is_absent = matches!(&known, Some(Err(_)));
        if let Some(known) = known
            && !(is_absent && self.must_ask_for_absent(directory, name))
        {
            self.counts.hit();
            self.prefetcher.found(directory);
            return known;
        }
        let cancel = may.cancel()?;
        self.counts.miss();
        let fresh = match self.cached_answer(directory, name) {
            CachedAnswer::Exact(Answer::Present(value, left)) => WithTtl {
                value,
                ttl: left.min(self.options.attr_ttl),
            },
            CachedAnswer::Variant(Answer::Present(variant, _)) | CachedAnswer::Open(variant) => {
                return self.variant_attributes(directory, name, variant, cancel);
            }
            CachedAnswer::Exact(_) | CachedAnswer::Variant(_) => {
                match self.ask_attributes(directory, name, cancel) {
                    Err(errno) if is_absent && errno.is_failure() => {
                        self.prefetcher.unanswered();
                        return Err(Errno::NOENT);
                    }
                    asked => asked?,
                }
            }
        };
        self.with_size(directory, name, fresh, cancel)
    }

    /// Whether the server must be asked for `name`, which is absent from memory: that is older than
    /// `open_ttl`, so another client may have created the name since.
    fn must_ask_for_absent(&self, directory: &RemotePath, name: &[u8]) -> bool {
        if self.options.names
            && (self.cache.is_private(directory) || self.cache.is_pinned(directory, name))
        {
            return false;
        }
        let Answer::Absent(left) = self.cache.lookup(directory, name) else {
            return false;
        };
        let age = self.options.dir_ttl.saturating_sub(left);
        if age < self.options.open_ttl {
            return false;
        }
        let listing = self.cache.completeness(directory);
        if listing.is_some_and(|listing| !listing.answers_for(name)) {
            // No listing answers for it, so each such name would cost a request per `open_ttl`.
            return false;
        }
        let listed = self.cache.listing_age(directory);
        let interval = relist_interval(self.options.open_ttl, listed);
        age >= interval
            && self.prefetcher.old_absence(directory, listed, interval) == OldAbsence::Ask
    }

    /// Returns the listing of `directory`, from memory or from the server.
    pub(in crate::vfs) fn listing(
        &self,
        directory: &RemotePath,
        cancel: &Cancel,
    ) -> Result<Arc<Snapshot>, Errno> {
        let asked = self.recent_listing(directory, Duration::MAX, cancel);
        self.or_last_listing(asked, directory)
    }

    /// Returns the listing of `directory`, from memory if it is younger than `max_age`, otherwise
    /// from the server.
    fn recent_listing(
        &self,
        directory: &RemotePath,
        max_age: Duration,
        cancel: &Cancel,
    ) -> Result<Arc<Snapshot>, Errno> {
        self.listing_seen(directory, max_age, None, cancel, |_| {})
    }

    /// Like [`Self::recent_listing`]. `see` gets the listing as the server sent it, if this call
    /// has requested it, with an exact time of `name` where that costs no round trip.
    fn listing_seen(
        &self,
        directory: &RemotePath,
        max_age: Duration,
        name: Option<&[u8]>,
        cancel: &Cancel,
        mut see: impl FnMut(&mut DirectoryListing),
    ) -> Result<Arc<Snapshot>, Errno> {
        loop {
            let fetch = || {
                if self.names.is_unmade(directory) {
                    // All that is in it is known here.
                    return Ok(DirectoryListing::from(Vec::new()));
                }
                let remote = self.remote.with(cancel);
                let mut listing = match name {
                    Some(name) => remote.list_with_time(directory, name)?,
                    None => remote.list(directory)?,
                };
                see(&mut listing);
                Ok(listing)
            };
            match self.cache.recent_or_fetch(directory, max_age, fetch) {
                // Another program's fetch ended with the wait of that program.
                Err(error) if error.kind == ErrorKind::Interrupted && !cancel.is_cancelled() => {}
                listed => return Ok(listed?),
            }
        }
    }

    /// Whether a file's size is unknown but the server may report it separately (SIZE). Programs
    /// that rely on the size in stat(2) would take such a file for empty.
    pub(in crate::vfs) fn lacks_size(&self, attributes: &Attributes) -> bool {
        attributes.kind == Kind::File && attributes.size.is_none() && self.remote.supports_size()
    }

    /// Returns how long the kernel may cache `name` in `directory`: at most for `ttl`, and for no
    /// time if the server does not have it yet.
    pub(in crate::vfs) fn ttl_of(
        &self,
        directory: &RemotePath,
        name: &[u8],
        ttl: Duration,
    ) -> Duration {
        if !self.names.is_empty() && self.cache.is_pinned(directory, name) {
            Duration::ZERO
        } else {
            ttl
        }
    }

    fn with_size(
        &self,
        directory: &RemotePath,
        name: &[u8],
        mut fresh: WithTtl<Attributes>,
        cancel: &Cancel,
    ) -> Result<WithTtl<Attributes>, Errno> {
        if self.lacks_size(&fresh.value) {
            fresh.value.size = self.remote.with(cancel).size(&directory.join(name)?)?;
            if fresh.value.size.is_some() {
                self.cache.insert(directory, name, fresh.value.clone());
            }
        }
        Ok(fresh)
    }

    /// Requests the attributes of `name` in `directory` from the server. Missing names cost a few
    /// requests per directory and `open_ttl`: one listing for all, in a large directory after a few
    /// questions about single names.
    fn ask_attributes(
        &self,
        directory: &RemotePath,
        name: &[u8],
        cancel: &Cancel,
    ) -> Result<WithTtl<Attributes>, Errno> {
        let listed = self.cache.completeness(directory);
        if listed == Some(Completeness::Blank) {
            return self.stat(directory, name, Remote::stat, cancel);
        }
        if listed.is_some_and(|completeness| !completeness.answers_for(name)) {
            return self.stat(directory, name, Remote::stat_unlisted, cancel);
        }
        let is_listed_ahead = self.prefetcher.looks_up(directory);
        let mut refusal = None;
        if self.remote.can_stat_name(name)
            && !is_listed_ahead
            && !self.lacks_in_small_listing(directory, name)
        {
            if self.cache.count_miss(directory) <= STATS_BEFORE_LISTING {
                let remote = self.remote.with(cancel);
                match self.note_absence(
                    directory,
                    name,
                    remote.stat_alone(&directory.join(name)?),
                )? {
                    StatAlone::Found(entry) => {
                        return Ok(self.record_entry(directory, name, &entry));
                    }
                    // The listing answers for other names, too.
                    StatAlone::Unexplained(words) => refusal = Some(words),
                }
            } else {
                self.prefetcher.combed(directory);
            }
        } else if listed.is_none() && !is_listed_ahead && self.names.is_empty() {
            self.prefetcher.goes_along(directory, name, cancel);
        }
        let age = self.cache.listing_age(directory);
        let interval = relist_interval(self.options.open_ttl, age);
        if age.is_some_and(|listed| listed.age >= interval) {
            self.prefetcher
                .looks_again(directory, self.options.open_ttl);
        }
        // What the server lists, if it is asked after the refusal.
        let mut is_listed = None;
        // Programs that compare times see no other time of the first file that they look up.
        let timed = Some(name).filter(|_| listed.is_none());
        let listing = self.listing_seen(directory, interval, timed, cancel, |listing| {
            let is_it = |entry: &Entry| entry.name == name;
            is_listed = Some(listing.entries.iter().any(is_it));
            if is_listed_ahead && self.prefetcher.compares_times(directory) {
                self.remote.with(cancel).complete_times(directory, listing);
            }
        })?;
        if is_listed_ahead {
            self.prefetcher.listed(directory, &listing);
        }
        let found = listing.find(name);
        if let Some((refusal, is_listed)) = refusal.zip(is_listed)
            && (is_listed || listing.completeness().answers_for(name))
        {
            let remote = self.remote.with(cancel);
            remote.explain_refusal(directory, refusal, is_listed);
        }
        if let Some(value) = found {
            if timed.is_some() && value.kind == Kind::File {
                self.prefetcher.looks_at_time(directory, name);
            }
            let ttl = self.options.attr_ttl.min(self.options.dir_ttl);
            return Ok(WithTtl { value, ttl });
        }
        let variant = listing
            .find_variant(name)
            .filter(|_| self.remote.case_rule() != CaseRule::Sensitive);
        match variant {
            Some((_, variant)) => self.variant_attributes(directory, name, variant, cancel),
            None if listing.completeness().answers_for(name) => Err(Errno::NOENT),
            None if listing.completeness() == Completeness::Blank => {
                self.stat(directory, name, Remote::stat, cancel)
            }
            None => self.stat(directory, name, Remote::stat_unlisted, cancel),
        }
    }

    /// Whether `name` is absent from an old listing of `directory` that has few names.
    fn lacks_in_small_listing(&self, directory: &RemotePath, name: &[u8]) -> bool {
        let listed = self.cache.listed_names(directory);
        listed.is_some_and(|names| names <= SMALL_LISTING)
            && matches!(self.cache.lookup(directory, name), Answer::Absent(_))
    }

    /// Returns the attributes of `name`, which is not listed, if it is the same file as the listed
    /// `variant`.
    fn variant_attributes(
        &self,
        directory: &RemotePath,
        name: &[u8],
        mut variant: Attributes,
        cancel: &Cancel,
    ) -> Result<WithTtl<Attributes>, Errno> {
        if !self.is_variant(directory, name, &variant, cancel)? {
            return Err(Errno::NOENT);
        }
        if self.lacks_size(&variant) {
            variant.size = self.remote.with(cancel).size(&directory.join(name)?)?;
        }
        Ok(WithTtl {
            value: variant,
            ttl: Duration::ZERO,
        })
    }

    /// Sets the modification time of `directory` to now, because a name was added, removed or
    /// replaced. The next listing brings the time according to the server's clock.
    pub(in crate::vfs) fn touch_directory(&self, directory: &RemotePath) {
        self.prefetcher.changed_in(directory);
        let Some(parent) = directory.parent() else {
            return;
        };
        if let Answer::Present(known, _) = self.cache.lookup(&parent, directory.name()) {
            let Attributes { modified, .. } = made_now(Kind::Directory, None, None);
            let attributes = Attributes { modified, ..known };
            self.cache.insert(&parent, directory.name(), attributes);
        }
    }

    /// Returns the directory that contains `ino` and its name there. The root has none.
    pub(in crate::vfs) fn location(&self, ino: Ino) -> Result<(RemotePath, Box<[u8]>), Errno> {
        let (parent, name) = self.inodes.parent_and_name(ino)?.ok_or(Errno::INVAL)?;
        Ok((self.inodes.path(parent)?, Box::from(&*name)))
    }

    pub(in crate::vfs) fn show(&self, ino: Ino, attributes: &Attributes) -> Attr {
        let has_modes = self.remote.has_directory_modes();
        Attr {
            generation: self.inodes.generation(ino),
            ..Attr::new(ino, attributes, &self.options, self.mounted, has_modes)
        }
    }

    /// Requests the attributes of this one name with `ask`.
    fn stat(
        &self,
        directory: &RemotePath,
        name: &[u8],
        ask: fn(&Remote, &RemotePath) -> Result<Entry, remote::Error>,
        cancel: &Cancel,
    ) -> Result<WithTtl<Attributes>, Errno> {
        let answer = ask(&self.remote.with(cancel), &directory.join(name)?);
        let entry = self.note_absence(directory, name, answer)?;
        Ok(self.record_entry(directory, name, &entry))
    }

    /// Returns the server's `answer` about `name`. If nothing exists there, records that.
    fn note_absence<T>(
        &self,
        directory: &RemotePath,
        name: &[u8],
        answer: Result<T, remote::Error>,
    ) -> Result<T, Errno> {
        answer.map_err(|error| {
            if error.kind == ErrorKind::NotFound {
                self.cache.remove(directory, name);
            }
            error.into()
        })
    }

    /// Records the entry that the server has for `name`.
    fn record_entry(
        &self,
        directory: &RemotePath,
        name: &[u8],
        entry: &Entry,
    ) -> WithTtl<Attributes> {
        let value = Attributes::from(entry);
        self.cache.insert(directory, name, value.clone());
        let ttl = self.options.attr_ttl.min(self.options.dir_ttl);
        WithTtl { value, ttl }
    }

    /// Returns the path of `parent`. Checks `name` first, so that a name that cannot be sent is
    /// never looked up.
    fn child_directory(&self, parent: Ino, name: &[u8]) -> Result<RemotePath, Errno> {
        crate::ftp::path::check_name(name)?;
        self.inodes.path(parent)
    }

    /// Looks up an open file, whose attributes are newer than any listing.
    fn open_lookup(&self, parent: Ino, name: &[u8]) -> Option<Result<WithTtl<Attr>, Errno>> {
        let ino = self.inodes.known(parent, name)?;
        let file = self.inodes.open_file(ino)?;
        if file.is_unlinked() {
            return None;
        }
        let fresh = match file.attributes() {
            Some(attributes) => self.uncacheable(ino, &attributes),
            None => self.followed_attributes(ino, &file)?,
        };
        let counted = self.inodes.lookup(parent, name, NodeKind::Leaf);
        Some(counted.map(|ino| {
            let generation = self.inodes.generation(ino);
            let value = Attr {
                ino,
                generation,
                ..fresh.value
            };
            WithTtl { value, ..fresh }
        }))
    }

    fn getattr_without_server(&self, ino: Ino) -> Option<Result<WithTtl<Attr>, Errno>> {
        if ino == Ino::ROOT {
            let root = made_now(Kind::Directory, None, None);
            let root = Attributes {
                modified: None,
                ..root
            };
            let value = self.show(ino, &root);
            return Some(Ok(WithTtl {
                value,
                ttl: self.options.attr_ttl,
            }));
        }
        let file = self.inodes.open_file(ino)?;
        let mut fresh = self.uncacheable(ino, &file.attributes()?);
        fresh.value.links = u32::from(!file.is_unlinked());
        Some(Ok(fresh))
    }

    /// Returns attributes that the kernel must not cache, because the next write changes them.
    fn uncacheable(&self, ino: Ino, attributes: &Attributes) -> WithTtl<Attr> {
        WithTtl {
            value: self.show(ino, attributes),
            ttl: std::time::Duration::ZERO,
        }
    }

    fn count_lookup(
        &self,
        parent: Ino,
        name: &[u8],
        fresh: &WithTtl<Attributes>,
    ) -> Result<WithTtl<Attr>, Errno> {
        let ino = self
            .inodes
            .lookup(parent, name, node_kind(fresh.value.kind))?;
        Ok(WithTtl {
            value: self.show(ino, &fresh.value),
            ttl: fresh.ttl,
        })
    }

    /// Returns the attributes of `ino`, unless its name now belongs to another kind of inode.
    fn attr_of_inode(&self, ino: Ino, fresh: &WithTtl<Attributes>) -> Result<WithTtl<Attr>, Errno> {
        if self.inodes.kind(ino)? != node_kind(fresh.value.kind) {
            return Err(Errno::STALE);
        }
        Ok(WithTtl {
            value: self.show(ino, &fresh.value),
            ttl: fresh.ttl,
        })
    }
}

/// Returns the kind of inode for a listed kind.
pub(in crate::vfs) fn node_kind(kind: Kind) -> NodeKind {
    match kind {
        Kind::Directory => NodeKind::Directory,
        Kind::File | Kind::Symlink | Kind::Special | Kind::Unknown => NodeKind::Leaf,
    }
}
