//! Timestamps of MDTM, MFMT and the `modify` fact: UTC, `YYYYMMDDHHMMSS` with an optional fraction
//! (RFC 3659 §2.3).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// Parses a timestamp to seconds since the epoch. Truncates a fraction.
pub(crate) fn parse_timestamp(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (digits, fraction) = text.split_once('.').unwrap_or((text, ""));
    let numeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    // Some servers send `19100` for the year 2000, one digit more (the bug mentioned in RFC 3659
    // §3.1).
    let digits = match digits.strip_prefix("191") {
        Some(rest) if digits.len() == 15 => format!("20{rest}"),
        _ => digits.to_owned(),
    };
    if digits.len() != 14 || !numeric(&digits) || !numeric(fraction) {
        return None;
    }
    let field = |from: usize, to: usize| digits.get(from..to)?.parse::<i8>().ok();
    // 60 is a leap second, which the calendar does not have: it becomes the first second of the
    // next minute.
    let second = field(12, 14)?;
    let (second, leap) = if second == 60 { (59, 1) } else { (second, 0) };
    let time = DateTime::new(
        digits.get(..4)?.parse().ok()?,
        field(4, 6)?,
        field(6, 8)?,
        field(8, 10)?,
        field(10, 12)?,
        second,
        0,
    );
    Some(Offset::UTC.to_timestamp(time.ok()?).ok()?.as_second() + leap)
}

/// Formats seconds since the epoch as a timestamp. `None` outside the years 1 to 9999.
pub(crate) fn timestamp(seconds: i64) -> Option<String> {
    let time = Timestamp::from_second(seconds).ok()?;
    let time = Offset::UTC.to_datetime(time);
    (time.year() > 0).then(|| time.strftime("%Y%m%d%H%M%S").to_string())
}

/// Converts local time to UTC: `shown` are the seconds since the epoch that a UTC clock with the
/// local display would show. Ambiguous times resolve to the earlier moment.
pub(crate) fn moment(shown: i64, zone: &TimeZone) -> i64 {
    let Ok(read) = Timestamp::from_second(shown) else {
        return shown;
    };
    let civil = TimeZone::UTC.to_datetime(read);
    zone.to_ambiguous_timestamp(civil)
        .compatible()
        .map_or(shown, Timestamp::as_second)
}

/// Converts UTC to local time: the seconds since the epoch that a UTC clock with the local display
/// would show.
pub(crate) fn to_zone(moment: i64, zone: &TimeZone) -> i64 {
    let Ok(time) = Timestamp::from_second(moment) else {
        return moment;
    };
    let civil = zone.to_datetime(time);
    TimeZone::UTC
        .to_timestamp(civil)
        .map_or(moment, Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_knows_its_summers() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        // 2024-01-15T12:00 and 2024-07-15T12:00 local time.
        for (shown, ahead) in [(1_705_320_000, 3600), (1_721_044_800, 7200)] {
            assert_eq!(moment(shown, &zone), shown - ahead);
            assert_eq!(to_zone(shown - ahead, &zone), shown);
        }
        assert_eq!(moment(i64::MAX, &zone), i64::MAX);
        assert_eq!(to_zone(i64::MAX, &zone), i64::MAX);
    }

    #[test]
    fn a_timestamp_goes_there_and_back() {
        assert_eq!(parse_timestamp(b"19700101000000"), Some(0));
        assert_eq!(parse_timestamp(b"20240229120000.123"), Some(1_709_208_000));
        let leap = parse_timestamp(b"20150630235960");
        assert_eq!(leap, parse_timestamp(b"20150701000000"));
        assert_eq!(timestamp(1_709_208_000).as_deref(), Some("20240229120000"));
        assert_eq!(timestamp(-1).as_deref(), Some("19691231235959"));
    }

    #[test]
    fn a_year_written_as_19100_is_2000() {
        assert_eq!(
            parse_timestamp(b"191000101000000"),
            parse_timestamp(b"20000101000000")
        );
    }

    #[test]
    fn what_is_no_timestamp_is_none() {
        for bad in [
            b"".as_slice(),
            b"2024",
            b"20241301000000",
            b"2024022912000x",
            b"-0240229120000",
        ] {
            assert_eq!(parse_timestamp(bad), None);
        }
        assert_eq!(timestamp(i64::MAX), None);
    }
}
