//! Whether the server can be reached, for a mount that works without it (`-o offline`).
//!
//! ```text
//! Online  -- a login begins without another session -->  Suspect
//! Suspect -- 5 s without an answer -------------------->  Offline
//! Suspect -- any answer of the server ----------------->  Online
//! Offline -- a probe is answered ---------------------->  Online
//! ```
//!
//! While it is suspect, requests wait. While it is offline, they fail immediately, and probes look
//! for the server: after 5 s, then after increasing pauses, and when the network changes. A refusal
//! is an answer: a server that refuses the login or has too many sessions is online.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::health::ProblemKind;
use crate::ftp::{Error, Phase};

/// How long requests wait for a server that does not answer, unless its logins take longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause before the first probe, which doubles with each one that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause before a probe.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Shortest pause between probes, however often the network changes. The longer one follows a probe
/// that sent something.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const PAUSE_AFTER_CHANGE: Duration = Duration::from_secs(5);
/// How long one of many that look for the server does so for the others.
const JUST_NOW: Duration = Duration::from_secs(1);

/// Why there is no server, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OfflineStatus {
    /// The kind of the last failure.
    pub kind: ProblemKind,
    /// The last failure as text. Contains no secret.
    pub reason: String,
    /// Time since the server was given up.
    pub lasting: Duration,
    /// Time until the next probe.
    pub next_probe: Duration,
}

/// The state of the way to the server.
#[derive(Debug)]
pub(super) struct Connectivity {
    state: State,
    /// How long the last login took that succeeded.
    login: Duration,
    /// How often a server that was given up was found again.
    returns: u64,
}

#[derive(Debug)]
enum State {
    Online,
    /// No session exists, and the server has not answered since then.
    Suspect(Instant),
    Offline(Outage),
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    error: Arc<Error>,
    /// Number of probes that failed.
    probes: u32,
    last_probe: Instant,
    next_probe: Instant,
}

/// What a failed attempt to make a session says about the way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The server, or a machine in its place, has answered.
    Answered,
    /// The server does not answer. It may be restarting.
    Silent,
    /// This machine has no way to the server.
    NoRoute,
}

impl Connectivity {
    pub(super) fn new() -> Self {
        Self {
            state: State::Online,
            login: Duration::ZERO,
            returns: 0,
        }
    }

    /// Notes that a session is being made while none exists and no other attempt is under way. A
    /// suspicion of long ago does not count, because no request was made since.
    pub(super) fn dialling(&mut self, now: Instant) {
        match self.state {
            State::Online => self.state = State::Suspect(now),
            State::Suspect(since) if now.saturating_duration_since(since) >= self.patience() => {
                self.state = State::Suspect(now);
            }
            State::Suspect(_) | State::Offline(_) => {}
        }
    }

    /// Notes that a session was made, which took this long.
    pub(super) fn logged_in(&mut self, took: Duration) {
        self.login = took;
        self.answered();
    }

    /// Notes that the server has answered.
    pub(super) fn answered(&mut self) {
        if matches!(self.state, State::Offline(_)) {
            self.returns += 1;
        }
        self.state = State::Online;
    }

    /// How often a server that was given up was found again.
    pub(super) fn returns(&self) -> u64 {
        self.returns
    }

    /// Whether the server was looked for just now and not found.
    pub(super) fn was_just_missed(&self, now: Instant) -> bool {
        match &self.state {
            State::Offline(outage) => now.saturating_duration_since(outage.last_probe) < JUST_NOW,
            State::Online | State::Suspect(_) => false,
        }
    }

    /// How long requests wait: some servers take seconds before they greet.
    fn patience(&self) -> Duration {
        PATIENCE.max(self.login * 2)
    }

    /// Notes that an attempt to make a session failed while none existed.
    pub(super) fn failed(&mut self, error: &Arc<Error>, now: Instant) {
        let since = match (&mut self.state, Reach::of(error)) {
            (_, Reach::Answered) => return self.answered(),
            (State::Offline(outage), Reach::Silent | Reach::NoRoute) => {
                return outage.failed(error, now);
            }
            (_, Reach::NoRoute) => return self.give_up(error, now),
            (State::Online, Reach::Silent) => now,
            (State::Suspect(since), Reach::Silent) => *since,
        };
        self.state = State::Suspect(since);
        if now.saturating_duration_since(since) >= self.patience() {
            self.give_up(error, now);
        }
    }

    /// Gives the server up until a probe finds it.
    pub(super) fn give_up(&mut self, error: &Arc<Error>, now: Instant) {
        if !matches!(self.state, State::Offline(_)) {
            self.state = State::Offline(Outage {
                since: now,
                error: Arc::clone(error),
                probes: 0,
                last_probe: now,
                next_probe: now + FIRST_PAUSE,
            });
        }
    }

    /// When requests stop waiting for the server, which was last heard at `last_heard`; `None`
    /// while it is online or given up.
    pub(super) fn deadline(&self, last_heard: Instant) -> Option<Instant> {
        match self.state {
            State::Suspect(since) => Some(since.max(last_heard) + self.patience()),
            State::Online | State::Offline(_) => None,
        }
    }

    /// Why the server was given up, or `None` if it was not.
    pub(super) fn given_up(&self) -> Option<Arc<Error>> {
        match &self.state {
            State::Offline(outage) => Some(Arc::clone(&outage.error)),
            State::Online | State::Suspect(_) => None,
        }
    }

    /// When to probe; `None` unless the server is given up.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        match &self.state {
            State::Offline(outage) => Some(outage.next_probe),
            State::Online | State::Suspect(_) => None,
        }
    }

    /// Begins a probe. The next one is due if this one has no outcome for long.
    pub(super) fn begin_probe(&mut self, now: Instant) {
        if let State::Offline(outage) = &mut self.state {
            outage.last_probe = now;
            outage.next_probe = now + LONGEST_PAUSE;
        }
    }

    /// Makes a probe due, because a user asks for it.
    pub(super) fn expedite(&mut self, now: Instant) {
        if let State::Offline(outage) = &mut self.state {
            outage.probes = 0;
            let soon = now.max(outage.last_probe + SHORTEST_PAUSE);
            outage.next_probe = outage.next_probe.min(soon);
        }
    }

    /// Makes a probe due soon, because the network has changed.
    pub(super) fn network_changed(&mut self, now: Instant) {
        if let State::Offline(outage) = &mut self.state {
            let pause = match Reach::of(&outage.error) {
                Reach::NoRoute => SHORTEST_PAUSE,
                Reach::Silent | Reach::Answered => PAUSE_AFTER_CHANGE,
            };
            let soon = now.max(outage.last_probe + pause);
            outage.next_probe = outage.next_probe.min(soon);
        }
    }

    /// Returns the status while the server is given up.
    pub(super) fn status(&self, now: Instant) -> Option<OfflineStatus> {
        match &self.state {
            State::Offline(outage) => Some(OfflineStatus {
                kind: ProblemKind::of(&outage.error),
                reason: outage.error.to_string(),
                lasting: now.saturating_duration_since(outage.since),
                next_probe: outage.next_probe.saturating_duration_since(now),
            }),
            State::Online | State::Suspect(_) => None,
        }
    }
}

impl Outage {
    fn failed(&mut self, error: &Arc<Error>, now: Instant) {
        let pause = FIRST_PAUSE * 2_u32.pow(self.probes.min(8));
        self.probes = self.probes.saturating_add(1);
        self.error = Arc::clone(error);
        self.last_probe = now;
        self.next_probe = now + pause.min(LONGEST_PAUSE);
    }
}

impl Reach {
    fn of(error: &Error) -> Self {
        match ProblemKind::of(error) {
            ProblemKind::Unreachable => Self::NoRoute,
            ProblemKind::NameNotResolved
            | ProblemKind::Refused
            | ProblemKind::TimedOut
            | ProblemKind::Proxy
            | ProblemKind::Broken => Self::Silent,
            ProblemKind::Full | ProblemKind::LoginRefused | ProblemKind::NotSecure => {
                Self::Answered
            }
        }
    }
}

/// Whether a session could not be made because the server cannot be reached.
pub(crate) fn is_out_of_reach(error: &Error) -> bool {
    Reach::of(error) != Reach::Answered
}

/// Whether nothing was heard of the server, not even that its machine refuses the connection.
pub(super) fn is_silence(error: &Error) -> bool {
    matches!(
        ProblemKind::of(error),
        ProblemKind::TimedOut | ProblemKind::Unreachable | ProblemKind::NameNotResolved
    )
}

/// The error for a server that does not answer.
pub(super) fn no_answer() -> Arc<Error> {
    Arc::new(Error::Timeout(Phase::Connect))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::ftp::{Reply, ReplyCode};

    const SECOND: Duration = Duration::from_secs(1);

    fn connect(kind: io::ErrorKind) -> Arc<Error> {
        Arc::new(Error::Connect {
            address: "h:21".to_owned(),
            source: kind.into(),
        })
    }

    fn refused() -> Arc<Error> {
        connect(io::ErrorKind::ConnectionRefused)
    }

    #[test]
    fn a_restart_of_the_server_is_waited_for_and_an_outage_is_not() {
        let start = Instant::now();
        let mut way = Connectivity::new();
        way.dialling(start);
        for second in 0..5 {
            way.failed(&refused(), start + SECOND * second);
            assert!(way.given_up().is_none(), "{second}");
        }
        assert_eq!(way.deadline(start), Some(start + PATIENCE));
        way.answered();
        assert_eq!(way.deadline(start), None);

        way.dialling(start);
        way.failed(&refused(), start + PATIENCE);
        assert!(way.given_up().is_some() && way.deadline(start).is_none());
        assert_eq!(way.status(start).unwrap().kind, ProblemKind::Refused);
        assert!(way.was_just_missed(start + PATIENCE));
        assert!(!way.was_just_missed(start + PATIENCE + JUST_NOW));
        assert_eq!(way.returns(), 0);
        way.answered();
        assert!(way.given_up().is_none() && way.status(start).is_none());
        assert!(!way.was_just_missed(start + PATIENCE));
        way.answered();
        assert_eq!(way.returns(), 1);
    }

    #[test]
    fn a_login_that_makes_progress_is_waited_for() {
        let start = Instant::now();
        let mut way = Connectivity::new();
        way.dialling(start);
        let heard = start + SECOND * 3;
        assert_eq!(way.deadline(heard), Some(heard + PATIENCE));
    }

    #[test]
    fn a_suspicion_of_long_ago_does_not_count() {
        let start = Instant::now();
        let mut way = Connectivity::new();
        way.dialling(start);
        way.failed(&refused(), start);
        way.dialling(start + SECOND);
        assert_eq!(way.deadline(start), Some(start + PATIENCE));
        let later = start + SECOND * 600;
        way.dialling(later);
        assert_eq!(way.deadline(start), Some(later + PATIENCE));
    }

    #[test]
    fn a_server_that_greets_late_gets_its_time() {
        let start = Instant::now();
        let mut way = Connectivity::new();
        way.dialling(start);
        way.logged_in(SECOND * 10);
        way.dialling(start);
        assert_eq!(way.deadline(start), Some(start + SECOND * 20));
        way.failed(&refused(), start + SECOND * 19);
        assert!(way.given_up().is_none());
    }

    #[test]
    fn a_network_that_changes_often_does_not_cause_many_logins() {
        let start = Instant::now();
        let mut way = Connectivity::new();
        way.give_up(&refused(), start);
        way.network_changed(start + SECOND);
        assert_eq!(way.next_probe(), Some(start + PAUSE_AFTER_CHANGE));
        let mut way = Connectivity::new();
        let no_route = connect(io::ErrorKind::NetworkUnreachable);
        way.give_up(&no_route, start);
        way.network_changed(start + SECOND);
        assert_eq!(way.next_probe(), Some(start + SECOND), "nothing is sent");
    }

    #[test]
    fn without_a_route_nobody_waits() {
        let now = Instant::now();
        for kind in [
            io::ErrorKind::NetworkUnreachable,
            io::ErrorKind::NetworkDown,
            io::ErrorKind::HostUnreachable,
        ] {
            let mut way = Connectivity::new();
            way.dialling(now);
            way.failed(&connect(kind), now);
            assert!(way.given_up().is_some(), "{kind}");
        }
    }

    #[test]
    fn a_refusal_is_an_answer() {
        let now = Instant::now();
        let reply = |code| Reply::new(ReplyCode(code), vec![b"no".to_vec()]);
        for error in [
            Error::Login(reply(530)),
            Error::TooManySessions(reply(421)),
            Error::NotTls,
        ] {
            let mut way = Connectivity::new();
            way.dialling(now);
            way.failed(&refused(), now + PATIENCE);
            way.failed(&Arc::new(error), now + PATIENCE * 2);
            assert!(way.given_up().is_none());
        }
    }

    #[test]
    fn probes_become_rare_and_a_change_of_the_network_brings_the_next() {
        let start = Instant::now();
        let mut way = Connectivity::new();
        way.give_up(&no_answer(), start);
        let mut now = start;
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let next = way.next_probe().unwrap();
            pauses.push((next - now).as_secs());
            now = next;
            way.begin_probe(now);
            assert_eq!(way.next_probe(), Some(now + LONGEST_PAUSE));
            way.failed(&refused(), now);
        }
        assert_eq!(pauses, [5, 5, 10, 20, 40, 60]);
        way.expedite(now);
        assert_eq!(way.next_probe(), Some(now + SHORTEST_PAUSE));
        way.expedite(now + SECOND);
        assert_eq!(way.next_probe(), Some(now + SHORTEST_PAUSE));
        let status = way.status(now).unwrap();
        assert_eq!(status.lasting, now - start);
        assert_eq!(status.next_probe, SHORTEST_PAUSE);
        way.answered();
        way.expedite(now);
        assert_eq!(way.next_probe(), None);
    }
}
