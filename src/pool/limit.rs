//! How many sessions there may be: what the user allows, or less where the server said so.

use std::time::{Duration, Instant};

use crate::ftp::ServerProfile;

/// How long a learned limit is believed at first; twice as long after each try above it that
/// failed.
const BELIEVED: Duration = Duration::from_secs(30);
/// How long it is believed at most.
const BELIEVED_AT_MOST: Duration = Duration::from_secs(600);

/// The most sessions to have.
#[derive(Debug)]
pub(super) struct Limit {
    allowed: usize,
    learned: Option<LearnedLimit>,
    /// Holds what is learned for the next mount.
    profile: ServerProfile,
}

#[derive(Debug)]
struct LearnedLimit {
    sessions: usize,
    believed: Duration,
    until: Instant,
}

impl Limit {
    /// What the user allows, at least one; less where `profile` knows of a limit.
    pub(super) fn new(allowed: usize, profile: ServerProfile, now: Instant) -> Self {
        let remembered = profile.session_limit();
        let mut limit = Self {
            allowed: allowed.max(1),
            learned: None,
            profile,
        };
        if let Some(sessions) = remembered.filter(|sessions| *sessions < limit.allowed) {
            limit.refused(now, sessions);
        }
        limit
    }

    /// Most sessions that the server is known to take, or the user's number.
    pub(super) fn known(&self) -> usize {
        self.learned
            .as_ref()
            .map_or(self.allowed, |learned| learned.sessions)
    }

    /// Most sessions to open now: one above what the server took once the refusal is old.
    pub(super) fn at(&self, now: Instant) -> usize {
        match &self.learned {
            Some(learned) if now < learned.until => learned.sessions,
            Some(learned) => (learned.sessions + 1).min(self.allowed),
            None => self.allowed,
        }
    }

    /// When one more may be tried, where the server's limit is what holds the pool.
    pub(super) fn next_try(&self) -> Option<Instant> {
        self.learned.as_ref().map(|learned| learned.until)
    }

    /// The server refused one more beside `established` sessions.
    pub(super) fn refused(&mut self, now: Instant, established: usize) {
        let believed = match &self.learned {
            Some(learned) if now >= learned.until => (learned.believed * 2).min(BELIEVED_AT_MOST),
            Some(learned) => learned.believed,
            None => BELIEVED,
        };
        let sessions = established.clamp(1, self.allowed);
        self.profile.set_session_limit(sessions);
        self.learned = Some(LearnedLimit {
            sessions,
            believed,
            until: now + believed,
        });
    }

    /// There are `established` sessions now.
    pub(super) fn grew(&mut self, now: Instant, established: usize) {
        let Some(learned) = &mut self.learned else {
            return;
        };
        if established > learned.sessions {
            learned.sessions = established;
            learned.until = now;
            self.profile.set_session_limit(established);
        }
        if learned.sessions >= self.allowed {
            self.learned = None;
            self.profile.set_session_limit(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(allowed: usize) -> Limit {
        Limit::new(allowed, ServerProfile::default(), Instant::now())
    }

    #[test]
    fn the_next_mount_begins_with_the_limit_that_was_learned() {
        let start = Instant::now();
        let profile = ServerProfile::default();
        let mut limit = Limit::new(8, profile.clone(), start);
        limit.refused(start, 2);
        assert_eq!(profile.session_limit(), Some(2));
        let next = Limit::new(8, profile.clone(), start);
        assert_eq!((next.known(), next.at(start)), (2, 2));
        assert_eq!(next.at(start + BELIEVED), 3, "it is tried again");
        assert_eq!(Limit::new(1, profile.clone(), start).at(start), 1);
        limit.grew(start + BELIEVED, 8);
        assert_eq!(profile.session_limit(), None);
    }

    #[test]
    fn a_refusal_teaches_the_limit_and_age_lets_it_be_tried_again() {
        let start = Instant::now();
        let mut limit = unknown(8);
        assert_eq!(limit.at(start), 8);
        limit.refused(start, 2);
        assert_eq!(limit.at(start), 2);
        let later = start + BELIEVED;
        assert_eq!(limit.at(later), 3);
        limit.refused(later, 2);
        assert_eq!(limit.at(later + BELIEVED), 2, "believed longer now");
        assert_eq!(limit.at(later + BELIEVED * 2), 3);
    }

    #[test]
    fn a_server_with_room_again_is_filled_again() {
        let start = Instant::now();
        let mut limit = unknown(3);
        limit.refused(start, 1);
        let later = start + BELIEVED;
        limit.grew(later, 2);
        assert_eq!(limit.at(later), 3, "growing goes on at once");
        limit.grew(later, 3);
        assert_eq!(limit.at(later), 3);
        assert_eq!(limit.next_try(), None);
    }

    #[test]
    fn one_connection_is_always_tried() {
        let now = Instant::now();
        let mut limit = unknown(0);
        limit.refused(now, 0);
        assert_eq!(limit.at(now), 1);
    }
}
