//! Points in time as listings write them: calendar to seconds, RFC 3659's time-val, and the year
//! that ls leaves out.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;

use super::number;

/// How far a listed time without a year may lie ahead of us: the server's zone is unknown.
const ZONES_APART: i64 = 24 * 3600;

/// Years to look back for a month and day: 29 February can be eight years ago (1896, 1904).
const LONGEST_GAP: i16 = 8;

/// Seconds since the epoch of RFC 3659 §2.3's `YYYYMMDDHHMMSS[.sss]`, which is UTC.
///
/// A fraction is cut off; a leap second becomes the second before it.
pub fn time_val(bytes: &[u8]) -> Option<i64> {
    let (digits, fraction) = bytes.split_at_checked(14)?;
    match fraction {
        [] => {}
        [b'.', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => {}
        _ => return None,
    }
    let (date, clock) = digits.split_at_checked(8)?;
    let (year, month_day) = date.split_at_checked(4)?;
    let (month, day) = month_day.split_at_checked(2)?;
    let (hour, minute_second) = clock.split_at_checked(2)?;
    let (minute, second) = minute_second.split_at_checked(2)?;
    seconds(
        Date::new(number(year)?, number(month)?, number(day)?).ok()?,
        clock_time(number(hour)?, number(minute)?, number(second)?)?,
    )
}

/// A time of day; none when it is none. Second 60, a leap second, becomes 59.
pub(super) fn clock_time(hour: i8, minute: i8, second: i8) -> Option<Time> {
    let second = if second == 60 { 59 } else { second };
    Time::new(hour, minute, second, 0).ok()
}

/// Seconds since the epoch, as if the date and time were UTC.
pub(super) fn seconds(date: Date, time: Time) -> Option<i64> {
    let timestamp = Offset::UTC.to_timestamp(DateTime::from_parts(date, time));
    Some(timestamp.ok()?.as_second())
}

/// Seconds since the epoch of the latest such day and time that is not in the future, give or take
/// a day for the zone.
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
    use super::*;

    fn at(text: &str) -> i64 {
        time_val(text.as_bytes()).unwrap()
    }

    fn latest_at_ten(month: i8, day: i8, now: &str) -> i64 {
        latest(month, day, Time::constant(10, 0, 0, 0), at(now)).unwrap()
    }

    #[test]
    fn a_time_val_is_utc() {
        assert_eq!(at("19700101000000"), 0);
        assert_eq!(at("20230102030405"), 1_672_628_645);
        assert_eq!(at("20230102030405.999"), 1_672_628_645);
        assert_eq!(at("20161231235960"), 1_483_228_799);
        assert_eq!(at("19691231235959"), -1);
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2023",
            "20230230000000",
            "20231301000000",
            "20230102250000",
            "2023010203040x",
            "20230102030405x",
            "20230102030405.x",
            "-0230102030405",
        ] {
            assert_eq!(time_val(text.as_bytes()), None, "{text}");
        }
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
