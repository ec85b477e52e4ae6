//! The name that an upload has on the server until it is complete: three choices, each tried after
//! the one before it failed.
//!
//! A temporary name that begins with a dot, one that does not, and the final name. A failed choice
//! is skipped for its directory, or only for its file if the server accepts temporary names
//! elsewhere. If the next choice works and the failed one never did, the profile records that as a
//! property of the server.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Atomic;
use crate::ftp::{Capability, RemotePath, ServerProfile};

/// Number of uploads refused with a temporary error after which a kind of name counts as always
/// refused.
pub(super) const MAX_PASSING: u8 = 3;

/// How long a choice is skipped in one place. Permissions can change.
const SKIPPED_FOR: Duration = Duration::from_secs(600);
/// Maximum number of remembered places.
const MAX_PLACES: usize = 1024;

/// The kind of name that an upload has until it is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum UploadName {
    /// A temporary name that begins with a dot.
    Hidden,
    /// A temporary name that does not begin with a dot.
    Visible,
    /// The final name.
    Final,
}

impl UploadName {
    /// Whether the user's settings allow this name.
    pub(super) fn is_allowed(self, atomic: Atomic) -> bool {
        self != Self::Final || atomic != Atomic::Require
    }

    /// Returns the choice after this one.
    pub(super) fn next(self) -> Option<Self> {
        match self {
            Self::Hidden => Some(Self::Visible),
            Self::Visible => Some(Self::Final),
            Self::Final => None,
        }
    }

    /// Returns the first choice worth trying on a server with this profile.
    pub(super) fn of_server(profile: &ServerProfile) -> Self {
        if !profile.has(Capability::TemporaryNames) {
            Self::Final
        } else if !profile.has(Capability::HiddenNames) {
            Self::Visible
        } else {
            Self::Hidden
        }
    }
}

/// The skipped choices, by place.
#[derive(Debug, Default)]
pub(super) struct UploadSteps {
    /// The first remaining choice for a directory or a file, and since when.
    places: Mutex<HashMap<RemotePath, (UploadName, Instant)>>,
    /// Number of renames of temporary names that were refused with a temporary error.
    refused: AtomicU32,
}

impl UploadSteps {
    /// Returns the first choice worth trying for the file `target`.
    pub(super) fn first(
        &self,
        profile: &ServerProfile,
        target: &RemotePath,
        now: Instant,
    ) -> UploadName {
        let places = self.places();
        let left = |place: &RemotePath| {
            let (name, since) = places.get(place)?;
            (now.saturating_duration_since(*since) < SKIPPED_FOR).then_some(*name)
        };
        let here = left(target).max(target.parent().as_ref().and_then(left));
        here.unwrap_or(UploadName::Hidden)
            .max(UploadName::of_server(profile))
    }

    /// Makes uploads of `target` start with `name`, because the choices before it failed.
    pub(super) fn skip_to(
        &self,
        profile: &ServerProfile,
        target: &RemotePath,
        name: UploadName,
        now: Instant,
    ) {
        let worked_elsewhere =
            name == UploadName::Final && profile.is_proven(Capability::TemporaryNames);
        let directory = target.parent().filter(|_| !worked_elsewhere);
        self.skip_for(directory.as_ref().unwrap_or(target), name, now);
    }

    /// Makes uploads of `place`, a file or the files of a directory, start with `name`.
    pub(super) fn skip_for(&self, place: &RemotePath, name: UploadName, now: Instant) {
        let mut places = self.places();
        if places.len() >= MAX_PLACES {
            places.clear();
        }
        places.insert(place.clone(), (name, now));
    }

    /// Counts a rename of a temporary name that was refused with a temporary error. Returns whether
    /// that has happened [`MAX_PASSING`] times in this mount. The profile does not record it,
    /// because a virus scanner may have held the files.
    pub(super) fn is_refused_again_and_again(&self) -> bool {
        self.refused
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1)
            >= u32::from(MAX_PASSING)
    }

    /// Records that `target` was stored by way of `name`. `is_new` says whether no such file
    /// existed before.
    pub(super) fn worked(
        &self,
        profile: &ServerProfile,
        target: &RemotePath,
        name: UploadName,
        is_new: bool,
    ) {
        let (works, failed): (&[Capability], _) = match name {
            UploadName::Hidden => (&[Capability::HiddenNames, Capability::TemporaryNames], None),
            UploadName::Visible => (&[Capability::TemporaryNames], Some(Capability::HiddenNames)),
            // Files can be writable in a directory that is not, so this proves nothing about the
            // server.
            UploadName::Final => (&[], Some(Capability::TemporaryNames).filter(|_| is_new)),
        };
        for capability in works {
            profile.works(*capability);
        }
        let was_skipped = target
            .parent()
            .is_some_and(|directory| self.places().contains_key(&directory));
        if let Some(failed) = failed
            && was_skipped
            && !profile.is_proven(failed)
        {
            profile.fails(failed, &"other names worked where these failed");
        }
    }

    fn places(&self) -> MutexGuard<'_, HashMap<RemotePath, (UploadName, Instant)>> {
        // The map is changed only by single insertions.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RemotePath {
        RemotePath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_step_that_failed_is_skipped_in_its_directory_and_for_a_while() {
        let (steps, profile, now) = (
            UploadSteps::default(),
            ServerProfile::default(),
            Instant::now(),
        );
        let first = |file, now| steps.first(&profile, &path(file), now);
        assert_eq!(first("/a/x", now), UploadName::Hidden);
        steps.skip_to(&profile, &path("/a/x"), UploadName::Visible, now);
        assert_eq!(first("/a/y", now), UploadName::Visible);
        assert_eq!(first("/b/y", now), UploadName::Hidden);
        assert_eq!(first("/a/y", now + SKIPPED_FOR), UploadName::Hidden);
    }

    #[test]
    fn a_step_that_never_worked_is_a_trait_of_the_server_once_the_next_one_works() {
        let (steps, profile, now) = (
            UploadSteps::default(),
            ServerProfile::default(),
            Instant::now(),
        );
        steps.skip_to(&profile, &path("/a/x"), UploadName::Visible, now);
        assert_eq!(
            UploadName::of_server(&profile),
            UploadName::Hidden,
            "not yet"
        );
        steps.worked(&profile, &path("/a/x"), UploadName::Visible, true);
        assert_eq!(UploadName::of_server(&profile), UploadName::Visible);
        assert_eq!(
            steps.first(&profile, &path("/b/y"), now),
            UploadName::Visible
        );
    }

    #[test]
    fn a_directory_that_takes_no_new_names_says_nothing_about_the_server() {
        let (steps, profile, now) = (
            UploadSteps::default(),
            ServerProfile::default(),
            Instant::now(),
        );
        steps.skip_to(&profile, &path("/ro/x"), UploadName::Final, now);
        steps.worked(&profile, &path("/ro/x"), UploadName::Final, false);
        assert_eq!(UploadName::of_server(&profile), UploadName::Hidden);

        steps.worked(&profile, &path("/b/y"), UploadName::Hidden, true);
        steps.skip_to(&profile, &path("/c/x"), UploadName::Final, now);
        steps.worked(&profile, &path("/c/x"), UploadName::Final, true);
        assert_eq!(UploadName::of_server(&profile), UploadName::Hidden);
        let first = |file| steps.first(&profile, &path(file), now);
        assert_eq!(first("/c/x"), UploadName::Final, "only this file");
        assert_eq!(first("/c/y"), UploadName::Hidden);
    }

    #[test]
    fn a_server_that_renames_nothing_gets_final_names() {
        let (steps, profile, now) = (
            UploadSteps::default(),
            ServerProfile::default(),
            Instant::now(),
        );
        steps.skip_to(&profile, &path("/drop/x"), UploadName::Final, now);
        steps.worked(&profile, &path("/drop/x"), UploadName::Final, true);
        assert_eq!(UploadName::of_server(&profile), UploadName::Final);
    }
}
