//! Rate limit of the log, so that a server cannot fill it: each place in the program that logs
//! warnings may do so a few times per minute. Further records are counted, and the count is logged
//! with the next record.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, Log, Metadata, Record};

use crate::mount::REPLY_LOG;
use crate::server::SESSION_LOG;

/// Maximum number of records of one place in a [`WINDOW`].
const MOST: u32 = 20;
/// Length of the window after which a place may log again.
const WINDOW: Duration = Duration::from_secs(60);

/// A line of the source code, which logs one kind of message.
type LogSite = (Option<&'static str>, Option<u32>);

/// A log with a rate limit. Debug logs are not limited.
pub(super) struct Limited<L> {
    log: L,
    places: Mutex<HashMap<LogSite, SiteCount>>,
}

struct SiteCount {
    since: Instant,
    count: u32,
    held_back: u64,
}

/// What happens to a record.
#[derive(Debug, PartialEq, Eq)]
enum LogVerdict {
    /// It is written, after this number of similar ones was held back.
    Write(u64),
    /// It is written, as the last one of this window.
    WriteAsLast,
    HoldBack,
}

impl<L: Log> Limited<L> {
    /// Limits `log`.
    pub(super) fn new(log: L) -> Self {
        Self {
            log,
            places: Mutex::default(),
        }
    }

    fn judge(&self, record: &Record<'_>, now: Instant) -> LogVerdict {
        // There is one summary per session by purpose, and no rate of them is an error.
        if record.level() > Level::Info || record.target() == SESSION_LOG {
            return LogVerdict::Write(0);
        }
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (record.file_static(), record.line());
        let said = places.entry(place).or_insert_with(|| SiteCount::new(now));
        said.judge(now)
    }

    fn write(&self, about: &Record<'_>, text: std::fmt::Arguments<'_>) {
        let mut record = Record::builder();
        record.metadata(about.metadata().clone()).args(text);
        self.log.log(&record.build());
    }
}

impl SiteCount {
    fn new(since: Instant) -> Self {
        Self {
            since,
            count: 0,
            held_back: 0,
        }
    }

    fn judge(&mut self, now: Instant) -> LogVerdict {
        let mut held_back = 0;
        if now.saturating_duration_since(self.since) >= WINDOW {
            held_back = self.held_back;
            *self = Self::new(now);
        }
        self.count = self.count.saturating_add(1);
        match self.count {
            ..MOST => LogVerdict::Write(held_back),
            MOST => LogVerdict::WriteAsLast,
            _ => {
                self.held_back += 1;
                LogVerdict::HoldBack
            }
        }
    }
}

/// Whether the FUSE library reports a reply that the kernel no longer wanted: its request was
/// interrupted, or the mount ended. That is part of every unmount in use, and no error.
fn is_about_ended_request(record: &Record<'_>) -> bool {
    record.target() == REPLY_LOG && record.level() == Level::Error
}

impl<L: Log> Log for Limited<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.log.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) || is_about_ended_request(record) {
            return;
        }
        match self.judge(record, Instant::now()) {
            LogVerdict::HoldBack => {}
            LogVerdict::Write(0) => self.log.log(record),
            LogVerdict::Write(held_back) => {
                self.write(record, format_args!("{held_back} more were like this one:"));
                self.log.log(record);
            }
            LogVerdict::WriteAsLast => {
                self.log.log(record);
                self.write(
                    record,
                    format_args!("more like this are only counted for a minute"),
                );
            }
        }
    }

    fn flush(&self) {
        self.log.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_said_a_few_times_and_counted_then() {
        let start = Instant::now();
        let mut said = SiteCount::new(start);
        for _ in 1..MOST {
            assert_eq!(said.judge(start), LogVerdict::Write(0));
        }
        assert_eq!(said.judge(start), LogVerdict::WriteAsLast);
        for _ in 0..1_000_000 {
            assert_eq!(said.judge(start), LogVerdict::HoldBack);
        }
        assert_eq!(said.judge(start + WINDOW), LogVerdict::Write(1_000_000));
        assert_eq!(said.judge(start + WINDOW), LogVerdict::Write(0));
    }

    #[test]
    fn a_reply_that_the_kernel_no_longer_wants_is_no_error() {
        let record = |target, level| Record::builder().target(target).level(level).build();
        assert!(is_about_ended_request(&record(REPLY_LOG, Level::Error)));
        assert!(!is_about_ended_request(&record(REPLY_LOG, Level::Warn)));
        assert!(!is_about_ended_request(&record("other", Level::Error)));
    }

    #[test]
    fn summaries_of_sessions_are_never_held_back() {
        let limited = Limited::new(env_logger::Builder::new().build());
        let mut record = Record::builder();
        let record = record.level(Level::Info).target(SESSION_LOG).build();
        for _ in 0..100 {
            assert_eq!(limited.judge(&record, Instant::now()), LogVerdict::Write(0));
        }
    }

    #[test]
    fn a_step_of_debugging_is_never_held_back() {
        let limited = Limited::new(env_logger::Builder::new().build());
        let record = Record::builder().level(Level::Debug).build();
        for _ in 0..100 {
            assert_eq!(limited.judge(&record, Instant::now()), LogVerdict::Write(0));
        }
    }
}
