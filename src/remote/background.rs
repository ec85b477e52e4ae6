//! A connection for background work. Its results are useful, but nothing is lost without them.
//!
//! Nothing here is retried or waits for another connection. A refused operation is left to the
//! user's own request for it, if one comes.

use std::ops::Range;
use std::time::Duration;

use super::error::{ErrorContext, Operation, meaning, unless_refused};
use super::links::Links;
use super::listing::{complete, list_as_shown};
use super::retry::Exchange;
use super::stat_listing::{self, believed, is_literal};
use super::temporary_name::is_temporary;
use super::{Error, ErrorKind, Remote, RemoteDownload, rest_probe};
use crate::ftp::{
    self, Capability, DirectoryListing, Entry, Precision, RemotePath, ServerProfile, Session,
    SizeAndModified, StatListing, Version,
};
use crate::pool::{Lease, Purpose};

/// Maximum number of commands in one write.
const MAX_TOGETHER: usize = 64;
/// Maximum number of bytes in one write. A server that replies while it receives more must not
/// block.
const MAX_BYTES: usize = 8 << 10;
/// How long to wait until the connection on which REST was probed is available again.
const PROVEN: Duration = Duration::from_secs(1);
/// Bytes of a command besides its path.
const VERB_BYTES: usize = 8;

/// Maximum wait for a session by a thread for which others may wait. A session that takes longer to
/// make is used for the next question.
const BRIEF_WAIT: Duration = Duration::from_secs(1);

impl Remote {
    /// Creates an exchange over one session, or `None` if there is none soon. For a thread that
    /// holds another session, or that must release idle transfers for others.
    pub(super) fn brief_exchange(&self) -> Option<Exchange<'_>> {
        let lease = self.pool().brief_lease(Purpose::Command, BRIEF_WAIT)?;
        Some(Exchange::only(self.pool(), lease))
    }

    /// Whether files were moved aside from one of `directories`.
    pub(super) fn has_asides_in(&self, directories: &[RemotePath]) -> bool {
        let is_in_one = |original: &RemotePath| {
            let parent = original.parent();
            parent.is_some_and(|parent| directories.contains(&parent))
        };
        !self.names().orphans().asides(&is_in_one).is_empty()
    }

    /// Whether the listings of all of `directories` can be requested in one write.
    pub(crate) fn can_list_together(&self, directories: &[RemotePath]) -> bool {
        self.profile().has(Capability::Pipelining)
            && lists_together(self)
            && directories.iter().all(is_literal)
            && !self.has_asides_in(directories)
    }

    /// Lists `directories`, which [can be listed together](Self::can_list_together), as
    /// [`Remote::list`] would. Passes each listing to `visit` with its index as soon as it has
    /// arrived. Directories that could not be listed are skipped.
    ///
    /// # Errors
    /// What failed for all that are left.
    pub(crate) fn list_together(
        &self,
        directories: &[RemotePath],
        visit: &mut dyn FnMut(usize, DirectoryListing),
    ) -> Result<(), Error> {
        self.list_together_as(directories, visit, |session, visit| {
            session.stat_batch(directories, visit)
        })
    }

    /// Like [`Self::list_together`], and returns the time of `file` (MDTM), requested in the same
    /// write.
    ///
    /// # Errors
    /// In the inner result, the server does not report it.
    pub(super) fn list_together_with_time(
        &self,
        directories: &[RemotePath],
        file: &RemotePath,
        visit: &mut dyn FnMut(usize, DirectoryListing),
    ) -> Result<Result<i64, ftp::Error>, Error> {
        self.list_together_as(directories, visit, |session, visit| {
            session.stat_batch_with_time(directories, file, visit)
        })
    }

    fn list_together_as<T>(
        &self,
        directories: &[RemotePath],
        visit: &mut dyn FnMut(usize, DirectoryListing),
        list: impl Fn(
            &mut Session,
            &mut dyn FnMut(usize, Result<StatListing, ftp::Error>),
        ) -> Result<T, ftp::Error>,
    ) -> Result<T, Error> {
        let listed = self.exchange().run_idempotent(|session| {
            list(session, &mut |number, listing| {
                if let Some(mut listing) = stat_listed(self, directories.get(number), listing) {
                    listing.entries.retain(|entry| !is_temporary(&entry.name));
                    visit(number, listing);
                }
            })
        });
        listed.map_err(|fault| {
            let path = directories.first().cloned();
            let path = path.unwrap_or_else(RemotePath::root);
            let kind = meaning(&fault, &path).unwrap_or(ErrorKind::Other);
            ErrorContext::new(Operation::List, &path).error(kind, &fault)
        })
    }
}

/// A connection that no foreground operation needs at the moment. Dropping it returns it to the
/// pool.
#[derive(Debug)]
pub struct BackgroundSession {
    pub(super) remote: Remote,
    pub(super) lease: Option<Lease>,
}

/// See [`Remote::spare`].
pub(super) fn spare(
    remote: &Remote,
    is_brief: bool,
    patience: Duration,
) -> Option<BackgroundSession> {
    let pool = remote.pool();
    let mut lease = if is_brief {
        pool.brief_background_lease(patience)?
    } else {
        pool.background_lease(patience)?
    };
    lease.expect_more(true);
    Some(BackgroundSession {
        remote: remote.uncancelled(),
        lease: Some(lease),
    })
}

impl BackgroundSession {
    /// How many directories should be [listed](Self::list) together: as many as one round trip can
    /// serve.
    pub fn most_to_list(&self) -> usize {
        let queues = self.lease.as_ref().is_some_and(|lease| lease.pipelines());
        if queues && self.lists_together() {
            MAX_TOGETHER
        } else {
            1
        }
    }

    /// Lists `directories` as [`Remote::list`] would, and passes each listing to `visit` with its
    /// index. Directories that could not be listed are skipped.
    pub fn list(
        &mut self,
        directories: &[RemotePath],
        visit: &mut dyn FnMut(usize, DirectoryListing),
    ) {
        let mut done = 0;
        while let Some(rest) = directories.get(done..).filter(|rest| !rest.is_empty()) {
            let literal = rest.iter().take_while(|path| is_literal(path)).count();
            let some = rest.get(..literal).unwrap_or_default();
            let some = some.get(..together(some)).unwrap_or_default();
            if some.len() > 1 && self.lists_together() && !self.remote.has_asides_in(some) {
                self.list_together(some, &mut |number, mut listing| {
                    listing.entries.retain(|entry| !is_temporary(&entry.name));
                    visit(done + number, listing);
                });
                done += some.len();
                continue;
            }
            let Some(directory) = rest.first() else {
                return;
            };
            let number = done;
            done += 1;
            let remote = self.remote.uncancelled();
            let Some(mut exchange) = self.exchange(&remote) else {
                return;
            };
            let listed = list_as_shown(&remote, &mut exchange, directory);
            self.lease = exchange.into_lease();
            match listed {
                Ok(listing) => visit(number, listing),
                Err(error) => log::debug!("cannot list ahead: {error}"),
            }
        }
    }

    /// Returns the current version of each of `paths`, requested in few round trips, or `None` if
    /// the server does not report it.
    pub fn versions(&mut self, paths: &[RemotePath]) -> Vec<Option<Version>> {
        let mut versions = Vec::with_capacity(paths.len());
        while let Some(rest) = paths.get(versions.len()..).filter(|rest| !rest.is_empty()) {
            let some = rest.get(..together(rest).max(1)).unwrap_or_default();
            match self.some_versions(some) {
                Some(reported) => versions.extend(reported),
                None => break,
            }
        }
        versions.resize(paths.len(), None);
        versions
    }

    /// Downloads `path`. Passes its contents to `whole` when `size` bytes and the end of the data
    /// have arrived, which is a round trip before the server confirms them; not if it has another
    /// size.
    ///
    /// # Errors
    /// The reason why the transfer failed.
    pub fn fetch(
        &mut self,
        path: &RemotePath,
        size: usize,
        whole: &mut dyn FnMut(Vec<u8>),
    ) -> Result<(), Error> {
        let remote = self.remote.uncancelled();
        let Some(mut exchange) = self.exchange(&remote) else {
            return Ok(());
        };
        let mut download = super::download::open_in(&remote, &mut exchange, path, 0)?;
        let mut bytes = vec![0; size + 1];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match download.receive(rest)? {
                0 => break,
                count => filled += count,
            }
        }
        if filled > size {
            return Ok(());
        }
        let mut bytes = Some(bytes).filter(|_| filled == size);
        if let Some(bytes) = &mut bytes {
            bytes.truncate(size);
            bytes.shrink_to_fit();
        }
        if !download.is_cut_off()
            && let Some(bytes) = bytes.take()
        {
            whole(bytes);
        }
        download.read(&mut [0])?;
        if let Some(bytes) = bytes {
            whole(bytes);
        }
        Ok(())
    }

    /// Starts a download of `range` of `path`, which must still be `version`. Stops at the end of
    /// the range if the server supports that.
    ///
    /// # Errors
    /// Those of the transfer; [`ErrorKind::Changed`] if the server does not confirm the version,
    /// and [`ErrorKind::Unsupported`] if the transfer does not start at that offset.
    pub fn open_within(
        mut self,
        path: &RemotePath,
        version: &Version,
        range: &Range<u64>,
    ) -> Result<RemoteDownload, Error> {
        let context = ErrorContext::new(Operation::Read, path);
        let remote = self.remote.uncancelled();
        if range.start > 0 && rest_probe::needs_probe(remote.profile()) {
            self.probe_rest(&remote, path);
            if rest_probe::needs_probe(remote.profile()) {
                return Err(
                    context.error(ErrorKind::Unsupported, &"REST is not proven to work yet")
                );
            }
        }
        let reported = self.versions(std::slice::from_ref(path));
        if !matches!(reported.first(), Some(Some(reported)) if reported.agrees(version)) {
            return Err(context.error(ErrorKind::Changed, &"the file has changed on the server"));
        }
        if let Some(lease) = &mut self.lease {
            // The transfer is aborted early, so no command may be sent ahead after it.
            lease.expect_more(false);
        }
        let Some(mut exchange) = self.exchange(&remote) else {
            return Err(context.error(ErrorKind::ConnectionLost, &"the connection was lost"));
        };
        let transfer = super::download::open_within(&remote, &mut exchange, path, range)?;
        if transfer.start() != range.start {
            return Err(context.error(
                ErrorKind::Unsupported,
                &"the server does not start transfers at this offset",
            ));
        }
        Ok(transfer)
    }

    /// Probes with `path` whether transfers start at the REST offset, and continues with another
    /// spare connection.
    fn probe_rest(&mut self, remote: &Remote, path: &RemotePath) {
        if let Some(mut exchange) = self.exchange(remote) {
            rest_probe::probe(remote, &mut exchange, path);
        }
        self.lease = remote.pool().background_lease(PROVEN);
    }

    fn list_together(
        &mut self,
        directories: &[RemotePath],
        visit: &mut dyn FnMut(usize, DirectoryListing),
    ) {
        let Some(lease) = self.lease.as_mut() else {
            return;
        };
        let remote = &self.remote;
        let listed = lease.stat_batch(directories, &mut |number, listing| {
            if let Some(listing) = stat_listed(remote, directories.get(number), listing) {
                visit(number, listing);
            }
        });
        if let Err(error) = listed {
            log::debug!(
                "not all of {} directories were listed: {error}",
                directories.len()
            );
        }
    }

    fn lists_together(&self) -> bool {
        lists_together(&self.remote)
    }

    fn some_versions(&mut self, paths: &[RemotePath]) -> Option<Vec<Option<Version>>> {
        let profile = self.remote.profile();
        let lease = self.lease.as_mut().filter(|lease| lease.is_usable())?;
        if profile.has(Capability::Mlst) {
            let reported = lease.mlst_batch(paths).ok()?;
            let version = |entry: Result<Entry, ftp::Error>| Some(Version::from(&entry.ok()?));
            return Some(reported.into_iter().map(version).collect());
        }
        if !profile.has(Capability::Size) || !profile.has(Capability::Mdtm) {
            return None;
        }
        let answers = lease.sizes_and_times(paths).ok()?;
        let version = |answer| exact_version(profile, answer);
        Some(answers.into_iter().map(version).collect())
    }

    fn exchange<'pool>(&mut self, remote: &'pool Remote) -> Option<Exchange<'pool>> {
        let lease = self.lease.take().filter(|lease| lease.is_usable())?;
        Some(Exchange::only(remote.pool(), lease))
    }
}

impl Drop for BackgroundSession {
    fn drop(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.expect_more(false);
        }
    }
}

/// Returns the listing of `directory` by STAT, if it can be trusted.
fn stat_listed(
    remote: &Remote,
    directory: Option<&RemotePath>,
    listing: Result<StatListing, ftp::Error>,
) -> Option<DirectoryListing> {
    let mut entries = believed(listing)?;
    remote.incomplete().found_complete(directory?);
    remote.zone().to_utc_as_known(&mut entries);
    Some(complete(remote, entries))
}

fn lists_together(remote: &Remote) -> bool {
    // Finding out the time zone would require a question of its own in between.
    stat_listing::is_believed(remote) && remote.zone().is_known() && remote.links() == Links::Show
}

/// Returns how many of the first `paths` fit in one write of listings.
fn together(paths: &[RemotePath]) -> usize {
    fit_in_write(paths.iter().take(MAX_TOGETHER))
}

/// Returns how many of the first commands with these paths fit in one write.
pub(super) fn fit_in_write<'path>(paths: impl Iterator<Item = &'path RemotePath>) -> usize {
    let mut bytes = 0;
    let fits = |path: &&RemotePath| {
        bytes += path.as_bytes().len() + VERB_BYTES;
        bytes <= MAX_BYTES
    };
    paths.take_while(fits).count()
}

/// The version in the answers to SIZE and MDTM, unless one was refused.
pub(super) fn exact_version(
    profile: &ServerProfile,
    (size, time): SizeAndModified,
) -> Option<Version> {
    let size = unless_refused(size, profile, Capability::Size).ok()??;
    let time = unless_refused(time, profile, Capability::Mdtm).ok()??;
    Some(Version {
        size: Some(size),
        modified: Some((time, Precision::Second)),
        unique: 0,
    })
}
