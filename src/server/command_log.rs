//! The command lines received, for tests to count.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::command_line::Command;

/// Most memory the lines may take; a server that runs for months must not grow.
const LIMIT_BYTES: usize = 16 << 20;

/// What one line costs beside its bytes.
const LINE_BYTES: usize = size_of::<String>();

/// Command lines in the order they were acted upon, over all sessions.
#[derive(Default)]
pub(super) struct CommandLog {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    lines: VecDeque<String>,
    bytes: usize,
}

impl CommandLog {
    pub(super) fn record(&self, command: &Command) {
        let line = match command.verb.as_str() {
            "PASS" => "PASS ***".to_owned(),
            verb if command.argument.is_empty() => verb.to_owned(),
            verb => format!("{verb} {}", String::from_utf8_lossy(&command.argument)),
        };
        log::debug!("server: {line}");
        let mut kept = self.lock();
        kept.bytes += line.len() + LINE_BYTES;
        kept.lines.push_back(line);
        while kept.bytes > LIMIT_BYTES {
            let Some(oldest) = kept.lines.pop_front() else {
                break;
            };
            kept.bytes -= oldest.len() + LINE_BYTES;
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.lock().lines.iter().cloned().collect()
    }

    pub(super) fn clear(&self) {
        *self.lock() = Kept::default();
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
        log.record(&command(b"USER joe"));
        log.record(&command(b"pass secret"));
        assert_eq!(log.lines(), ["USER joe", "PASS ***"]);
    }

    #[test]
    fn the_oldest_lines_make_room() {
        let log = CommandLog::default();
        let upload = [b"STOR ".as_slice(), &[b'x'; 8000]].concat();
        for _ in 0..3000 {
            log.record(&command(&upload));
        }
        log.record(&command(b"NOOP"));
        let lines = log.lines();
        assert!(lines.len() < 2200, "{} lines kept", lines.len());
        assert_eq!(lines.last().map(String::as_str), Some("NOOP"));
    }
}
