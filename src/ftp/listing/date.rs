//! The date columns of `ls -l`: with a month's name or number, in ISO's order, with a time, a year
//! or both.

use jiff::civil::{Date, Time};

use super::{Modified, Precision, calendar, month, next_word, number};

/// A date and what follows it, which begins with the blank before the name.
type Split<'a> = (Option<Modified>, &'a [u8]);

/// Splits off the date that `bytes` begin with; none when they do not.
///
/// A date that has the form but never was (`Feb 30`) is an unknown time.
pub(super) fn split(bytes: &[u8], now: i64) -> Option<Split<'_>> {
    let (first, after_first) = next_word(bytes)?;
    if let Some(date) = iso_date(first) {
        return Some(after_iso(date, after_first));
    }
    if let Some((month, day)) = iso_month_and_day(first) {
        let (second, rest) = next_word(after_first)?;
        return Some((clock(second)?.in_latest_year(month, day, now), rest));
    }
    let (second, rest) = next_word(after_first)?;
    let (month, day) = match month::parse(first) {
        Some(month) => (month, day(second)?),
        None => (month::parse(second)?, day(first)?),
    };
    let (third, rest) = next_word(rest)?;
    if let Some(year) = year(third) {
        let modified = modified((year, month, day), Time::midnight(), Precision::Day);
        return Some((modified, rest));
    }
    let clock = clock(third)?;
    if clock.precision == Precision::Second
        && let Some((year, rest)) = next_word(rest).and_then(|(w, rest)| Some((year(w)?, rest)))
    {
        return Some((clock.on((year, month, day)), rest));
    }
    Some((clock.in_latest_year(month, day, now), rest))
}

/// Year, month and day as written.
type Written = (i16, i8, i8);

/// A time of day as written; `time` is none where there is no such time.
struct Clock {
    time: Option<Time>,
    precision: Precision,
}

impl Clock {
    fn on(&self, date: Written) -> Option<Modified> {
        modified(date, self.time?, self.precision)
    }

    fn in_latest_year(&self, month: i8, day: i8, now: i64) -> Option<Modified> {
        Some(Modified {
            seconds: calendar::latest(month, day, self.time?, now)?,
            precision: self.precision,
            utc: false,
        })
    }
}

fn modified((year, month, day): Written, time: Time, precision: Precision) -> Option<Modified> {
    Some(Modified {
        seconds: calendar::seconds(Date::new(year, month, day).ok()?, time)?,
        precision,
        utc: false,
    })
}

/// `2024-05-06` or `2024/05/06`.
fn iso_date(word: &[u8]) -> Option<Written> {
    match word {
        [y @ .., b'-', m1, m2, b'-', d1, d2] | [y @ .., b'/', m1, m2, b'/', d1, d2]
            if y.len() == 4 =>
        {
            Some((number(y)?, number(&[*m1, *m2])?, number(&[*d1, *d2])?))
        }
        _ => None,
    }
}

/// `05-06`, as `ls --time-style=iso` shows recent days.
fn iso_month_and_day(word: &[u8]) -> Option<(i8, i8)> {
    match word {
        [m1, m2, b'-', d1, d2] => Some((number(&[*m1, *m2])?, number(&[*d1, *d2])?)),
        _ => None,
    }
}

/// What may follow an ISO date: a time, a time with its zone, or the name.
fn after_iso(date: Written, bytes: &[u8]) -> Split<'_> {
    let Some((clock, rest)) = next_word(bytes).and_then(|(w, rest)| Some((clock(w)?, rest))) else {
        // `--time-style=iso` fills the place of the time with one blank.
        let rest = if bytes.starts_with(b"  ") {
            bytes.get(1..).unwrap_or(bytes)
        } else {
            bytes
        };
        return (modified(date, Time::midnight(), Precision::Day), rest);
    };
    let modified = clock.on(date);
    if clock.precision == Precision::Second
        && let Some((offset, rest)) = next_word(rest).and_then(|(w, rest)| Some((zone(w)?, rest)))
    {
        let in_utc = modified.map(|modified| Modified {
            seconds: modified.seconds - offset,
            utc: true,
            ..modified
        });
        return (in_utc, rest);
    }
    (modified, rest)
}

/// Seconds east of Greenwich of `+0200` or `+02:00`.
fn zone(word: &[u8]) -> Option<i64> {
    let (sign, digits) = match word {
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let ([h1, h2, m1, m2] | [h1, h2, b':', m1, m2]) = digits else {
        return None;
    };
    let (hours, minutes): (i64, i64) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
    Some(sign * (hours * 3600 + minutes * 60))
}

/// `9:05`, `09:05`, `09:05:06` or `09:05:06.789`.
fn clock(word: &[u8]) -> Option<Clock> {
    let mut parts = word.split(|byte| *byte == b':');
    let (hour, minute) = (number(parts.next()?)?, number(parts.next()?)?);
    let (second, precision) = match parts.next() {
        Some(second) => (whole_second(second)?, Precision::Second),
        None => (0, Precision::Minute),
    };
    if parts.next().is_some() {
        return None;
    }
    Some(Clock {
        time: calendar::clock_time(hour, minute, second),
        precision,
    })
}

fn whole_second(word: &[u8]) -> Option<i8> {
    let mut parts = word.splitn(2, |byte| *byte == b'.');
    let second = number(parts.next()?)?;
    match parts.next() {
        Some(fraction) if !fraction.iter().all(u8::is_ascii_digit) => None,
        _ => Some(second),
    }
}

/// `7`, `07`, `7.` (German) or a number with its own word for day (`23日`).
fn day(word: &[u8]) -> Option<i8> {
    let digits = month::digits_before_unit(word)
        .or_else(|| word.strip_suffix(b"."))
        .unwrap_or(word);
    number(digits).filter(|day| *day <= 31)
}

/// `2024`, or with its own word for year (`2024年`).
fn year(word: &[u8]) -> Option<i16> {
    let digits = month::digits_before_unit(word).unwrap_or(word);
    if digits.len() == 4 {
        number(digits)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::ftp::time::parse_timestamp;

    use super::*;

    /// 2026-11-23T12:00 UTC.
    const NOW: i64 = 1_795_435_200;

    fn dated(text: &str) -> (Option<i64>, Precision, bool) {
        let (modified, rest) = split(text.as_bytes(), NOW).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(rest, b" x", "{text}");
        let modified = modified.unwrap_or_else(|| panic!("{text}"));
        (Some(modified.seconds), modified.precision, modified.utc)
    }

    fn at(text: &str) -> Option<i64> {
        parse_timestamp(text.as_bytes())
    }

    #[test]
    fn a_day_with_a_year_is_exact_to_the_day() {
        let expected = (at("20210704000000"), Precision::Day, false);
        for text in [
            "Jul  4  2021 x",
            "JUL 04 2021 x",
            "4 Jul 2021 x",
            " 4. Juli 2021 x",
            "4 juil. 2021 x",
            "7月  4  2021 x",
            "7月 4日 2021年 x",
            "7\u{c6d4}  4  2021 x",
            "2021-07-04 x",
            "2021-07-04  x",
        ] {
            assert_eq!(dated(text), expected, "{text}");
        }
    }

    #[test]
    fn a_day_with_a_time_is_exact_to_the_minute() {
        let expected = (at("20260704091000"), Precision::Minute, false);
        for text in [
            "Jul  4 09:10 x",
            "Jul 4 9:10 x",
            "4 Jul 09:10 x",
            "07-04 09:10 x",
            "2026-07-04 09:10 x",
            "2026/07/04 09:10 x",
            "4 \u{438}\u{44e}\u{43b} 09:10 x",
        ] {
            assert_eq!(dated(text), expected, "{text}");
        }
    }

    #[test]
    fn seconds_and_zones_are_used_where_they_are_shown() {
        let local = (at("20210704091011"), Precision::Second, false);
        assert_eq!(dated("Jul  4 09:10:11 2021 x"), local);
        assert_eq!(dated("2021-07-04 09:10:11 x"), local);
        let utc = |text| (at(text), Precision::Second, true);
        let full_iso = "2021-07-04 09:10:11.123456789";
        assert_eq!(dated(&format!("{full_iso} +0200 x")), utc("20210704071011"));
        assert_eq!(
            dated(&format!("{full_iso} -03:30 x")),
            utc("20210704124011")
        );
        let this_year = (at("20260704091011"), Precision::Second, false);
        assert_eq!(dated("Jul  4 09:10:11 x"), this_year);
    }

    #[test]
    fn a_day_that_never_was_is_an_unknown_time() {
        for text in [
            "Feb 30 09:10 x",
            "Jan 0 1900 x",
            "2021-13-04 x",
            "Jul 4 25:10 x",
        ] {
            assert_eq!(split(text.as_bytes(), NOW), Some((None, b" x".as_slice())));
        }
    }

    #[test]
    fn other_words_are_no_date() {
        for text in [
            "",
            "Jul",
            "Jul 4",
            "Jul 4 x",
            "Jul 32 2021 x",
            "Foo 4 2021 x",
            "4 5 2021 x",
        ] {
            assert_eq!(split(text.as_bytes(), NOW), None, "{text}");
        }
    }
}
