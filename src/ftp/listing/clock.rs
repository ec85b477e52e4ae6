//! Times of day in listing lines.

use jiff::civil::{Date, Time};

use super::words::{next_word, number};
use super::{Modified, Precision, calendar};

/// Year, month and day as written.
pub(super) type Written = (i16, i8, i8);

pub(super) fn modified(
    (year, month, day): Written,
    time: Time,
    precision: Precision,
) -> Option<Modified> {
    Some(Modified {
        seconds: calendar::seconds(Date::new(year, month, day).ok()?, time)?,
        precision,
        utc: false,
    })
}

/// A time of day as written. `time` is `None` if it is invalid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub(super) time: Option<Time>,
    pub(super) precision: Precision,
}

impl Clock {
    /// Combines the time with `date`, in the server's zone.
    pub(super) fn on(&self, date: Written) -> Option<Modified> {
        modified(date, self.time?, self.precision)
    }

    pub(super) fn in_latest_year(&self, month: i8, day: i8, now: i64) -> Option<Modified> {
        Some(Modified {
            seconds: calendar::latest(month, day, self.time?, now)?,
            precision: self.precision,
            utc: false,
        })
    }

    fn twelve_hours(self, half: i8) -> Self {
        let time = self.time.filter(|time| time.hour() <= 12);
        let hour = |time: Time| Time::new(time.hour() % 12 + half, time.minute(), time.second(), 0);
        Self {
            time: time.and_then(|time| hour(time).ok()),
            ..self
        }
    }
}

/// The time of a date without one.
pub(super) const MIDNIGHT: Clock = Clock {
    time: Some(Time::midnight()),
    precision: Precision::Day,
};

/// Adds a following `AM` or `PM`, if that is followed by a name.
pub(super) fn with_half(clock: Clock, rest: &[u8]) -> (Clock, &[u8]) {
    let half = next_word(rest).and_then(|(word, rest)| Some((half(word)?, rest)));
    match half {
        Some((half, rest)) if !rest.is_empty() => (clock.twelve_hours(half), rest),
        _ => (clock, rest),
    }
}

/// Returns the first hour of the half of the day that `AM` or `PM` denotes.
pub(super) fn half(word: &[u8]) -> Option<i8> {
    match word.to_ascii_uppercase().as_slice() {
        b"AM" | b"A.M." => Some(0),
        b"PM" | b"P.M." => Some(12),
        _ => None,
    }
}

/// Parses the time of day at the beginning of `bytes`. Also returns the rest.
pub(super) fn next_clock(bytes: &[u8]) -> Option<(Clock, &[u8])> {
    let (word, rest) = next_word(bytes)?;
    Some((clock(word)?, rest))
}

/// Parses `9:05`, `09:05`, `09:05:06`, `09:05:06.789` or `9:05pm`.
pub(super) fn clock(word: &[u8]) -> Option<Clock> {
    if !word.first()?.is_ascii_digit() || !word.contains(&b':') {
        return None;
    }
    let digits = word.iter().take_while(|byte| !byte.is_ascii_alphabetic());
    let (word, half_day) = word.split_at_checked(digits.count())?;
    let mut parts = word.split(|byte| *byte == b':');
    let (hour, minute) = (number(parts.next()?)?, number(parts.next()?)?);
    let (second, precision) = match parts.next() {
        Some(second) => (whole_second(second)?, Precision::Second),
        None => (0, Precision::Minute),
    };
    if parts.next().is_some() {
        return None;
    }
    let clock = Clock {
        time: calendar::clock_time(hour, minute, second),
        precision,
    };
    match half_day {
        [] => Some(clock),
        half_day => Some(clock.twelve_hours(half(half_day)?)),
    }
}

fn whole_second(word: &[u8]) -> Option<i8> {
    let mut parts = word.splitn(2, |byte| matches!(byte, b'.' | b','));
    let second = number(parts.next()?)?;
    match parts.next() {
        Some(fraction) if !fraction.iter().all(u8::is_ascii_digit) => None,
        _ => Some(second),
    }
}
