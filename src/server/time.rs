//! Times in the format of RFC 3659 §2.3: `YYYYMMDDHHMMSS`, in UTC.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// Converts seconds since the epoch to a UTC calendar time. `None` outside the years -9999 to 9999.
pub(super) fn civil(seconds: i64) -> Option<DateTime> {
    Some(Offset::UTC.to_datetime(Timestamp::from_second(seconds).ok()?))
}

/// Formats `YYYYMMDDHHMMSS`. `None` if the year does not have four digits.
pub(super) fn format(seconds: i64) -> Option<String> {
    let time = civil(seconds).filter(|time| time.year() >= 0)?;
    let mut text = String::with_capacity(14);
    write!(
        text,
        "{:04}{:02}{:02}",
        time.year(),
        time.month(),
        time.day()
    )
    .ok()?;
    write!(
        text,
        "{:02}{:02}{:02}",
        time.hour(),
        time.minute(),
        time.second()
    )
    .ok()?;
    Some(text)
}

/// Parses `YYYYMMDDHHMMSS`, with optional seconds. Ignores a fraction after a point.
pub(super) fn parse(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (digits, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !matches!(digits.len(), 12 | 14) || !all_digits(digits) || !all_digits(fraction) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| digits.get(range).map_or(Ok(0), str::parse::<i8>);
    let time = DateTime::new(
        digits.get(..4)?.parse().ok()?,
        part(4..6).ok()?,
        part(6..8).ok()?,
        part(8..10).ok()?,
        part(10..12).ok()?,
        part(12..14).ok()?,
        0,
    );
    Some(Offset::UTC.to_timestamp(time.ok()?).ok()?.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_being_written_and_read() {
        for (seconds, text) in [
            (0, "19700101000000"),
            (951_827_696, "20000229123456"),
            (-1, "19691231235959"),
            (4_102_444_800, "21000101000000"),
        ] {
            assert_eq!(format(seconds).as_deref(), Some(text));
            assert_eq!(parse(text.as_bytes()), Some(seconds));
        }
    }

    #[test]
    fn fractions_and_missing_seconds_are_understood() {
        assert_eq!(parse(b"20000229123456.789"), Some(951_827_696));
        assert_eq!(parse(b"200002291234"), Some(951_827_640));
    }

    proptest::proptest! {
        #[test]
        fn every_time_of_a_four_digit_year_survives(seconds in -62_167_219_200_i64..253_402_207_200) {
            let text = format(seconds).unwrap();
            proptest::prop_assert_eq!(parse(text.as_bytes()), Some(seconds));
        }

        #[test]
        fn no_bytes_upset_the_parser(text in "[0-9.+é ]{0,20}") {
            let _ = parse(text.as_bytes());
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2000",
            "20000230000000",
            "20001301000000",
            "2000022912345x",
            "+0000229123456",
            "20000229123456.x",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(format(i64::MAX), None);
    }
}
