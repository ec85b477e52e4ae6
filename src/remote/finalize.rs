//! The last step of an upload: setting the mode, time and name of the file, in one write if the
//! server supports pipelining (RFC 959 §4.1.3, draft-somers-ftp-mfxx). Attributes that this did not
//! set are set afterwards with the remaining fallbacks.

use super::change::Owner;
use super::fallbacks::{Fallback, ModeWay, TimeWay};
use super::retry::Exchange;
use super::{CommitOptions, Error, Remote, change, rename};
use crate::ftp::listing::unique_hash;
use crate::ftp::{Capability, Entry, Modified, Precision, RemotePath, Setting, Version};

/// The mode that servers give new files under the usual umask 022.
const USUAL_MODE: u32 = 0o644;

/// Facts that the server reports for a file that it has just stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoredFacts {
    /// Modification time in UTC seconds since the epoch, if the server reports it.
    pub modified: Option<i64>,
    /// Permission bits: those that were set, otherwise those that the server reports, otherwise the
    /// default that servers give new files.
    pub mode: Option<u32>,
    /// The `unique` fact (RFC 3659 §7.5.2) as shortened by [`crate::ftp::listing::unique_hash`]; 0
    /// if there is none.
    pub unique: u64,
    /// Whether the file had this time before it had its name, and a file that another client
    /// stores later has another time.
    pub is_exact: bool,
}

/// Sets the time and mode of the file at `from` to those in `commit` if `found` shows that they
/// differ, and renames it to `target` if that is another name. Returns the resulting time and mode;
/// setting them is best effort.
///
/// # Errors
/// Those of the rename. The error names the path that the server refused.
pub(super) fn place(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    from: &RemotePath,
    target: &RemotePath,
    commit: &CommitOptions,
    found: Option<&Entry>,
) -> Result<StoredFacts, Error> {
    let mut finalizer = Finalizer::new(remote, target, commit, found);
    if from != target {
        finalizer.rename(exchange, from)?;
    }
    finalizer.set_the_rest(exchange);
    Ok(finalizer.stored)
}

/// See [`Remote::complete_stored`].
pub(super) fn complete(
    remote: &Remote,
    path: &RemotePath,
    commit: &CommitOptions,
    base: Option<&Version>,
    found: &Entry,
) -> StoredFacts {
    let mut exchange = remote.exchange();
    let mut found = found.clone();
    let is_exact = |it: &Modified| it.utc && it.precision == Precision::Second;
    if !found.modified.as_ref().is_some_and(is_exact) {
        let may_ask = remote.profile().has(Capability::Mdtm);
        let reported = may_ask.then(|| {
            exchange
                .run_idempotent(|session| session.modified(path))
                .ok()
        });
        found.modified = reported.flatten().map(|seconds| Modified {
            seconds,
            precision: Precision::Second,
            utc: true,
        });
    }
    let mut finalizer = Finalizer::new(remote, path, commit, Some(&found));
    if !base.is_some_and(|base| base.agrees(&Version::from(&found))) {
        finalizer.mode = None;
        finalizer.modified = None;
    } else if found.modified.map(|it| it.seconds) == finalizer.modified {
        finalizer.modified = None;
    }
    finalizer.set_the_rest(&mut exchange);
    finalizer.stored
}

/// A file that is being given its final name and attributes.
pub(super) struct Finalizer<'a> {
    remote: &'a Remote,
    path: &'a RemotePath,
    /// The mode that remains to be set.
    mode: Option<u32>,
    /// The time that remains to be set.
    modified: Option<i64>,
    stored: StoredFacts,
    /// The facts that the server reported before.
    found: Option<&'a Entry>,
    size: u64,
}

/// The attributes that go with the rename, and the commands that set them.
pub(super) struct RenameSettings {
    mode: Option<(Setting, ModeWay)>,
    time: Option<(Setting, TimeWay)>,
}

impl RenameSettings {
    /// Returns the settings in the order in which they are sent.
    pub(super) fn list(&self) -> Vec<Setting> {
        let mode = self.mode.map(|(setting, _)| setting);
        let time = self.time.map(|(setting, _)| setting);
        mode.into_iter().chain(time).collect()
    }
}

impl<'a> Finalizer<'a> {
    /// See [`place`].
    pub(super) fn new(
        remote: &'a Remote,
        target: &'a RemotePath,
        commit: &CommitOptions,
        found: Option<&'a Entry>,
    ) -> Self {
        let told_mode = found.and_then(|found| found.mode);
        Self {
            remote,
            path: target,
            mode: commit
                .mode
                .filter(|mode| told_mode.unwrap_or(USUAL_MODE) != *mode),
            modified: commit.modified,
            stored: StoredFacts {
                modified: found
                    .and_then(|found| found.modified)
                    .map(|reported| reported.seconds),
                mode: told_mode.or(commit.mode.filter(|mode| *mode == USUAL_MODE)),
                unique: found
                    .and_then(|found| found.unique.as_deref())
                    .map_or(0, unique_hash),
                is_exact: false,
            },
            found,
            size: commit.size,
        }
    }

    /// Returns the facts of the stored file.
    pub(super) fn into_stored(self) -> StoredFacts {
        self.stored
    }

    /// Returns the attributes that go with the rename.
    pub(super) fn settings(&self) -> RenameSettings {
        let profile = self.remote.profile();
        let mode_way = ModeWay::candidates(profile).next();
        let time_way = TimeWay::candidates(profile).next();
        let mode = self.mode.zip(mode_way);
        let time = self.modified.zip(time_way);
        RenameSettings {
            mode: mode.map(|(mode, way)| (way.setting(mode), way)),
            time: time.map(|(seconds, way)| (way.setting(seconds), way)),
        }
    }

    /// Records that the server has set these of the `requested` settings.
    pub(super) fn are_set(&mut self, requested: &RenameSettings, kept: &[Setting]) {
        let profile = self.remote.profile();
        for setting in kept {
            if let Some((_, way)) = requested.mode.filter(|(mode, _)| mode == setting) {
                profile.works(way.capability());
                self.stored.mode = self.mode.take();
            } else if let Some((_, way)) = requested.time {
                profile.works(way.capability());
                let set = self.modified.take();
                self.stored.modified = set.map(|seconds| self.remote.zone().round_trip(seconds));
                self.stored.is_exact = self.is_over(self.stored.modified);
            }
        }
    }

    fn rename(&mut self, exchange: &mut Exchange<'_>, from: &RemotePath) -> Result<(), Error> {
        let sent = self.settings();
        let (settings, versions) = (sent.list(), self.versions(sent.time.and(self.modified)));
        let kept =
            rename::set_and_rename(self.remote, exchange, &settings, from, self.path, &versions)?;
        self.are_set(&sent, &kept);
        Ok(())
    }

    /// Whether the server's clock has passed the second `time`, as far as it is known: the server
    /// has just received the file.
    fn is_over(&self, time: Option<i64>) -> bool {
        let received = self.found.and_then(|found| found.modified);
        time.is_some_and(|time| received.is_none_or(|received| time + 1 < received.seconds))
    }

    /// Returns the versions that the file may have, depending on whether its time was set to
    /// `is_set`.
    fn versions(&self, is_set: Option<i64>) -> Vec<Version> {
        let as_found = Version {
            size: Some(self.size),
            ..self.found.map(Version::from).unwrap_or_default()
        };
        let reported = is_set.map(|seconds| self.remote.zone().round_trip(seconds));
        let times = reported.into_iter().chain(is_set);
        let set = times.map(|seconds| Version {
            modified: Some((seconds, Precision::Second)),
            ..as_found
        });
        std::iter::once(as_found).chain(set).collect()
    }

    /// Sets what did not go with the rename.
    pub(super) fn set_the_rest(&mut self, exchange: &mut Exchange<'_>) {
        let (remote, path) = (self.remote, self.path);
        if let Some(mode) = self.mode {
            match change::set_mode(remote, exchange, path, mode, Owner::File) {
                Ok(()) => self.stored.mode = Some(mode),
                Err(error) => remote.warn_unset(&error),
            }
        }
        if let Some(seconds) = self.modified {
            match change::set_modified(remote, exchange, path, seconds, Owner::File) {
                Ok(reported) => {
                    self.stored.modified = Some(reported);
                    self.stored.is_exact = false;
                }
                Err(error) => {
                    if error.kind.is_unanswered() {
                        // It may have been set.
                        self.stored.modified = None;
                    }
                    remote.warn_unset(&error);
                }
            }
        }
        if self.stored.modified.is_none() && remote.profile().has(Capability::Mdtm) {
            // Without MLST, the time must be requested. Otherwise the first listing would show a
            // different time than before, and editors would take the file for changed by others.
            let reported = exchange.run_idempotent(|session| session.modified(path));
            self.stored.modified = reported.ok();
        }
    }
}
