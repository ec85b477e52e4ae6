//! Conversion of calendar dates to seconds, and inference of the year that ls omits.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;

/// How far a listed time without a zone can be in the future.
pub(super) const ZONES_APART: i64 = 24 * 3600;

/// Number of years to look back for a month and day: the last 29 February can be eight years ago
/// (1896, 1904).
const LONGEST_GAP: i16 = 8;

/// Returns a time of day, or `None` if it is invalid. Second 60, a leap second, becomes 59.
pub(super) fn clock_time(hour: i8, minute: i8, second: i8) -> Option<Time> {
    let second = if second == 60 { 59 } else { second };
    Time::new(hour, minute, second, 0).ok()
}

/// Converts a UTC date and time to seconds since the epoch.
pub(super) fn seconds(date: Date, time: Time) -> Option<i64> {
    let timestamp = Offset::UTC.to_timestamp(DateTime::from_parts(date, time));
    Some(timestamp.ok()?.as_second())
}

/// Returns the latest such day and time that is not in the future, with a tolerance of one day for
/// the zone. In seconds since the epoch.
pub(super) fn latest(month: i8, day: i8, time: Time, now: i64) -> Option<i64> {
    let this_year = Offset::UTC
        .to_datetime(Timestamp::from_second(now).ok()?)
        .year();
    let oldest = this_year.saturating_sub(LONGEST_GAP);
    (oldest..=this_year.saturating_add(1))
        .rev()
        .filter_map(|year| seconds(Date::new(year, month, day).ok()?, time))
        .find(|seconds| *seconds <= now.saturating_add(ZONES_APART))
}

#[cfg(test)]
mod tests {
    use crate::ftp::time::parse_timestamp;

    use super::*;

    fn at(text: &str) -> i64 {
        parse_timestamp(text.as_bytes()).unwrap()
    }

    fn latest_at_ten(month: i8, day: i8, now: &str) -> i64 {
        latest(month, day, Time::constant(10, 0, 0, 0), at(now)).unwrap()
    }

    #[test]
    fn a_date_without_a_year_is_the_latest_that_was() {
        let now = "20261123120000";
        assert_eq!(latest_at_ten(11, 23, now), at("20261123100000"));
        assert_eq!(latest_at_ten(11, 24, now), at("20261124100000"));
        assert_eq!(latest_at_ten(11, 25, now), at("20251125100000"));
        assert_eq!(latest_at_ten(1, 1, "20261231233000"), at("20270101100000"));
    }

    #[test]
    fn a_leap_day_without_a_year_is_in_the_last_leap_year() {
        assert_eq!(latest_at_ten(2, 29, "20261123120000"), at("20240229100000"));
        assert_eq!(latest_at_ten(2, 29, "21031123120000"), at("20960229100000"));
    }

    #[test]
    fn a_day_that_never_was_is_none() {
        let ten = Time::constant(10, 0, 0, 0);
        assert_eq!(latest(2, 30, ten, 0), None);
        assert_eq!(latest(1, 1, ten, i64::MAX), None);
    }
}
