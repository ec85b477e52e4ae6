//! The command lines received, for tests to count.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::command_line::Command;

/// Most memory the lines may take; a server that runs for months must not grow.
const LIMIT_BYTES: usize = 16 << 20;

/// What one line costs beside its bytes.
const LINE_BYTES: usize = size_of::<(u64, String)>();

/// Command lines in the order they were acted upon, over all sessions.
#[derive(Default)]
pub(super) struct CommandLog {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Each with its flight.
    lines: VecDeque<(u64, String)>,
    bytes: usize,
    flights: u64,
}

impl CommandLog {
    /// Another flight: commands that one session sent without waiting for replies.
    pub(super) fn begin_flight(&self) -> u64 {
        let mut kept = self.lock();
        kept.flights += 1;
        kept.flights
    }

    pub(super) fn record(&self, command: &Command, flight: u64) {
        let line = match command.verb.as_str() {
            "PASS" => "PASS ***".to_owned(),
            verb if command.argument.is_empty() => verb.to_owned(),
            verb => format!("{verb} {}", String::from_utf8_lossy(&command.argument)),
        };
        log::debug!("server: {line}");
        let mut kept = self.lock();
        kept.bytes += line.len() + LINE_BYTES;
        kept.lines.push_back((flight, line));
        while kept.bytes > LIMIT_BYTES {
            let Some((_, oldest)) = kept.lines.pop_front() else {
                break;
            };
            kept.bytes -= oldest.len() + LINE_BYTES;
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.lock().lines.iter().map(|it| it.1.clone()).collect()
    }

    /// The lines by flight, in the order of the flights' first lines.
    pub(super) fn flights(&self) -> Vec<Vec<String>> {
        let mut flights: Vec<(u64, Vec<String>)> = Vec::new();
        for (flight, line) in &self.lock().lines {
            match flights.iter_mut().rev().find(|it| it.0 == *flight) {
                Some((_, lines)) => lines.push(line.clone()),
                None => flights.push((*flight, vec![line.clone()])),
            }
        }
        flights.into_iter().map(|it| it.1).collect()
    }

    pub(super) fn clear(&self) {
        let mut kept = self.lock();
        kept.lines.clear();
        kept.bytes = 0;
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
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
        log.record(&command(b"USER joe"), 1);
        log.record(&command(b"pass secret"), 2);
        assert_eq!(log.lines(), ["USER joe", "PASS ***"]);
    }

    #[test]
    fn the_oldest_lines_make_room() {
        let log = CommandLog::default();
        let upload = [b"STOR ".as_slice(), &[b'x'; 8000]].concat();
        for _ in 0..3000 {
            log.record(&command(&upload), 1);
        }
        log.record(&command(b"NOOP"), 2);
        let lines = log.lines();
        assert!(lines.len() < 2200, "{} lines kept", lines.len());
        assert_eq!(lines.last().map(String::as_str), Some("NOOP"));
    }

    #[test]
    fn lines_of_sessions_side_by_side_are_told_by_flight() {
        let log = CommandLog::default();
        let (one, other) = (log.begin_flight(), log.begin_flight());
        for (line, flight) in [("RNFR a", one), ("EPSV", other), ("RNTO b", one)] {
            log.record(&command(line.as_bytes()), flight);
        }
        assert_eq!(log.flights(), [vec!["RNFR a", "RNTO b"], vec!["EPSV"]]);
        log.clear();
        assert!(log.flights().is_empty() && log.begin_flight() > other);
    }
}
