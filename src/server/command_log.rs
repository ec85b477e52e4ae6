//! A log of received command lines, which tests evaluate.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::command_line::Command;

/// Memory limit in bytes, so that a server running for months does not grow.
const LIMIT_BYTES: usize = 16 << 20;

/// Overhead of a line in bytes.
const LINE_BYTES: usize = size_of::<(Flight, String)>();

/// Identifies a flight: commands of one session sent without waiting for replies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flight {
    session: u64,
    number: u64,
}

/// Command lines of all sessions in the order of their execution.
#[derive(Default)]
pub(super) struct CommandLog {
    logged: Mutex<LoggedCommands>,
}

#[derive(Default)]
struct LoggedCommands {
    /// Each line with its flight.
    lines: VecDeque<(Flight, String)>,
    bytes: usize,
    flights: u64,
    sessions: u64,
}

impl CommandLog {
    /// Returns the number of a new session.
    pub(super) fn begin_session(&self) -> u64 {
        let mut logged = self.lock();
        logged.sessions += 1;
        logged.sessions
    }

    /// Returns a new flight of `session`.
    pub(super) fn begin_flight(&self, session: u64) -> Flight {
        let mut logged = self.lock();
        logged.flights += 1;
        let number = logged.flights;
        Flight { session, number }
    }

    pub(super) fn record(&self, command: &Command, flight: Flight) {
        let line = match command.verb.as_str() {
            "PASS" => "PASS ***".to_owned(),
            verb if command.argument.is_empty() => verb.to_owned(),
            verb => format!("{verb} {}", String::from_utf8_lossy(&command.argument)),
        };
        log::debug!("server: {line}");
        let mut logged = self.lock();
        logged.bytes += line.len() + LINE_BYTES;
        logged.lines.push_back((flight, line));
        while logged.bytes > LIMIT_BYTES {
            let Some((_, oldest)) = logged.lines.pop_front() else {
                break;
            };
            logged.bytes -= oldest.len() + LINE_BYTES;
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.lock().lines.iter().map(|it| it.1.clone()).collect()
    }

    /// Returns the lines grouped by flight, ordered by the first line of each flight.
    pub(super) fn flights(&self) -> Vec<Vec<String>> {
        let mut flights: Vec<(Flight, Vec<String>)> = Vec::new();
        for (flight, line) in &self.lock().lines {
            match flights.iter_mut().rev().find(|it| it.0 == *flight) {
                Some((_, lines)) => lines.push(line.clone()),
                None => flights.push((*flight, vec![line.clone()])),
            }
        }
        flights.into_iter().map(|it| it.1).collect()
    }

    /// Returns the number of flights of the session with the most.
    pub(super) fn most_flights(&self) -> usize {
        let logged = self.lock();
        let flights: BTreeSet<Flight> = logged.lines.iter().map(|it| it.0).collect();
        drop(logged);
        let mut of_sessions: BTreeMap<u64, usize> = BTreeMap::new();
        for flight in flights {
            *of_sessions.entry(flight.session).or_default() += 1;
        }
        of_sessions.into_values().max().unwrap_or(0)
    }

    pub(super) fn clear(&self) {
        let mut logged = self.lock();
        logged.lines.clear();
        logged.bytes = 0;
    }

    fn lock(&self) -> MutexGuard<'_, LoggedCommands> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &[u8]) -> Command {
        Command::parse(line)
    }

    #[test]
    fn a_password_is_never_kept() {
        let log = CommandLog::default();
        log.record(&command(b"USER joe"), log.begin_flight(1));
        log.record(&command(b"pass secret"), log.begin_flight(1));
        assert_eq!(log.lines(), ["USER joe", "PASS ***"]);
    }

    #[test]
    fn the_oldest_lines_make_room() {
        let log = CommandLog::default();
        let upload = [b"STOR ".as_slice(), &[b'x'; 8000]].concat();
        for _ in 0..3000 {
            log.record(&command(&upload), Flight::default());
        }
        log.record(&command(b"NOOP"), Flight::default());
        let lines = log.lines();
        assert!(lines.len() < 2200, "{} lines kept", lines.len());
        assert_eq!(lines.last().map(String::as_str), Some("NOOP"));
    }

    #[test]
    fn lines_of_sessions_side_by_side_are_told_by_flight() {
        let log = CommandLog::default();
        let (one, other) = (log.begin_flight(1), log.begin_flight(2));
        for (line, flight) in [("RNFR a", one), ("EPSV", other), ("RNTO b", one)] {
            log.record(&command(line.as_bytes()), flight);
        }
        assert_eq!(log.flights(), [vec!["RNFR a", "RNTO b"], vec!["EPSV"]]);
        assert_eq!(log.most_flights(), 1);
        log.record(&command(b"NOOP"), log.begin_flight(1));
        assert_eq!(log.most_flights(), 2);
        log.clear();
        assert!(log.flights().is_empty() && log.begin_flight(2) > other);
    }
}
