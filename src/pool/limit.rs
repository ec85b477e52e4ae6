//! The limit on sessions: the user's, or the server's if that is known and smaller.

use std::time::{Duration, Instant};

use crate::ftp::ServerProfile;

/// How long a learned limit holds before one more session is tried. Doubles each time that fails.
const FIRST_HOLD: Duration = Duration::from_secs(30);
/// Maximum time for which a learned limit holds.
const LONGEST_HOLD: Duration = Duration::from_secs(600);

/// The maximum number of sessions.
#[derive(Debug)]
pub(super) struct Limit {
    /// The user's limit.
    allowed: usize,
    learned: Option<LearnedLimit>,
    /// Remembers the learned limit for the next mount.
    profile: ServerProfile,
}

#[derive(Debug)]
struct LearnedLimit {
    sessions: usize,
    hold: Duration,
    until: Instant,
}

impl Limit {
    /// The limit is `allowed` but at least 1, or less if `profile` remembers that the server allows
    /// less.
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

    /// The number of sessions that the server is known to allow, or the user's limit.
    pub(super) fn known(&self) -> usize {
        self.learned
            .as_ref()
            .map_or(self.allowed, |learned| learned.sessions)
    }

    /// The limit now. Once a refusal is old, it is one more than the server allowed.
    pub(super) fn at(&self, now: Instant) -> usize {
        match &self.learned {
            Some(learned) if now < learned.until => learned.sessions,
            Some(learned) => (learned.sessions + 1).min(self.allowed),
            None => self.allowed,
        }
    }

    /// When one more session may be tried, if the server's limit is the smaller one.
    pub(super) fn next_try(&self) -> Option<Instant> {
        self.learned.as_ref().map(|learned| learned.until)
    }

    /// Notes that the server refused another session while `established` existed.
    pub(super) fn refused(&mut self, now: Instant, established: usize) {
        let hold = match &self.learned {
            Some(learned) if now >= learned.until => (learned.hold * 2).min(LONGEST_HOLD),
            Some(learned) => learned.hold,
            None => FIRST_HOLD,
        };
        let sessions = established.clamp(1, self.allowed);
        self.profile.set_session_limit(sessions);
        self.learned = Some(LearnedLimit {
            sessions,
            hold,
            until: now + hold,
        });
    }

    /// Notes that `established` sessions exist now.
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
    fn the_next_mount_starts_with_the_learned_limit() {
        let start = Instant::now();
        let profile = ServerProfile::default();
        let mut limit = Limit::new(8, profile.clone(), start);
        limit.refused(start, 2);
        assert_eq!(profile.session_limit(), Some(2));
        let next = Limit::new(8, profile.clone(), start);
        assert_eq!((next.known(), next.at(start)), (2, 2));
        assert_eq!(next.at(start + FIRST_HOLD), 3, "it is tried again");
        assert_eq!(Limit::new(1, profile.clone(), start).at(start), 1);
        limit.grew(start + FIRST_HOLD, 8);
        assert_eq!(profile.session_limit(), None);
    }

    #[test]
    fn a_refusal_lowers_the_limit_for_a_while() {
        let start = Instant::now();
        let mut limit = unknown(8);
        assert_eq!(limit.at(start), 8);
        limit.refused(start, 2);
        assert_eq!(limit.at(start), 2);
        let later = start + FIRST_HOLD;
        assert_eq!(limit.at(later), 3);
        limit.refused(later, 2);
        assert_eq!(limit.at(later + FIRST_HOLD), 2, "it holds longer now");
        assert_eq!(limit.at(later + FIRST_HOLD * 2), 3);
    }

    #[test]
    fn the_limit_rises_again_when_the_server_has_room() {
        let start = Instant::now();
        let mut limit = unknown(3);
        limit.refused(start, 1);
        let later = start + FIRST_HOLD;
        limit.grew(later, 2);
        assert_eq!(limit.at(later), 3, "growth continues immediately");
        limit.grew(later, 3);
        assert_eq!(limit.at(later), 3);
        assert_eq!(limit.next_try(), None);
    }

    #[test]
    fn the_limit_is_one_at_least() {
        let now = Instant::now();
        let mut limit = unknown(0);
        limit.refused(now, 0);
        assert_eq!(limit.at(now), 1);
    }
}
