//! Date columns of `ls -l` in many languages: with the name or number of a month, in ISO order or
//! another, with a time, a year or both.

use jiff::civil::Time;

use super::clock::{Clock, MIDNIGHT, Written, clock, modified, next_clock, with_half};
use super::order::{NumericDate, NumericTime, full_year};
use super::words::{is_digits, leading_blanks, next_word, number};
use super::{Modified, Precision, calendar, month, weekday};

/// A modification time as written in one line.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    /// A time, or `None` for an invalid date (`Feb 30`).
    At(Option<Modified>),
    /// Three numbers whose order another line may show.
    Numeric(NumericTime),
}

/// A date and the rest of the line, which starts with the blank before the name.
type Dated<'a> = (When, &'a [u8]);

/// Parses the date at the beginning of `bytes`. `None` if there is none. `now` determines the year
/// of dates without one.
pub(super) fn read(bytes: &[u8], now: i64) -> Option<Dated<'_>> {
    dated(bytes, now).or_else(|| {
        let (first, rest) = next_word(bytes)?;
        let may_be_a_day = !first.first()?.is_ascii_digit() && weekday::is_one(first);
        may_be_a_day.then(|| dated(rest, now))?
    })
}

/// Parses unusual dates, which may also be other numbers or invalid days: seconds since 1970,
/// `20190307221405`, `Apr 45  2019`.
pub(super) fn read_unusual(bytes: &[u8], now: i64) -> Option<Dated<'_>> {
    let (first, rest) = next_word(bytes)?;
    if is_digits(first)
        && let Some(modified) = seconds_since_1970(first, now).or_else(|| packed(first))
    {
        return Some((When::At(Some(modified)), rest));
    }
    impossible_day(bytes, now)
}

fn dated(bytes: &[u8], now: i64) -> Option<Dated<'_>> {
    let (first, rest) = next_word(bytes)?;
    if is_large(first) {
        None
    } else if first.first()?.is_ascii_digit() {
        iso(first, rest)
            .or_else(|| numeric(first, rest))
            .or_else(|| year_first(first, rest))
            .or_else(|| month_and_day(first, rest, now))
            .or_else(|| in_one_word(first, rest))
            .or_else(|| with_a_name(first, rest, now))
            .or_else(|| two_numbers(first, rest, now))
    } else {
        with_a_name(first, rest, now).or_else(|| in_one_word(first, rest))
    }
}

/// Whether the word is a number that can be no day or month: an owner, a group or a size, which
/// most lines have before the date.
fn is_large(word: &[u8]) -> bool {
    word.len() > 2 && word.first() != Some(&b'0') && is_digits(word)
}

/// Parses `2024-05-06`, `2024/05/06` or `2024.05.06`, followed by a time or the name, or both in
/// one word, `2024-05-06T07:08:09Z`.
fn iso<'a>(first: &[u8], rest: &'a [u8]) -> Option<Dated<'a>> {
    let (date, tail) = first.split_at_checked(10)?;
    let date = iso_date(date)?;
    match tail {
        [] => {
            let (modified, rest) = after_iso(date, rest);
            Some((When::At(modified), rest))
        }
        [b'T' | b't', time @ ..] => Some((zoned(date, time)?, rest)),
        _ => None,
    }
}

fn iso_date(word: &[u8]) -> Option<Written> {
    match word {
        [y @ .., b'-', m1, m2, b'-', d1, d2]
        | [y @ .., b'/', m1, m2, b'/', d1, d2]
        | [y @ .., b'.', m1, m2, b'.', d1, d2]
            if y.len() == 4 =>
        {
            Some((number(y)?, number(&[*m1, *m2])?, number(&[*d1, *d2])?))
        }
        _ => None,
    }
}

/// Parses what can follow an ISO date: a time, a time with its zone, or the name.
fn after_iso(date: Written, bytes: &[u8]) -> (Option<Modified>, &[u8]) {
    let Some((clock, rest)) = next_clock(bytes) else {
        // `--time-style=iso` puts one blank in place of the time.
        let rest = if bytes.starts_with(b"  ") {
            bytes.get(1..).unwrap_or(bytes)
        } else {
            bytes
        };
        return (modified(date, Time::midnight(), Precision::Day), rest);
    };
    let modified = clock.on(date);
    in_its_zone(modified, clock.precision, rest)
}

/// Applies a zone that follows the time, if a name follows that. Only times to the second have one.
fn in_its_zone(
    modified: Option<Modified>,
    precision: Precision,
    rest: &[u8],
) -> (Option<Modified>, &[u8]) {
    let offset = next_word(rest).and_then(|(word, rest)| Some((zone(word)?, rest)));
    match offset {
        Some((offset, rest)) if precision == Precision::Second && !rest.is_empty() => {
            (modified.map(|modified| east(modified, offset)), rest)
        }
        _ => (modified, rest),
    }
}

/// Parses `07:08:09.250+0100`. `None` if it is not a time.
fn zoned(date: Written, word: &[u8]) -> Option<When> {
    let at = word
        .iter()
        .position(|byte| matches!(byte, b'Z' | b'z' | b'+' | b'-'));
    let (time, offset) = word.split_at_checked(at.unwrap_or(word.len()))?;
    let modified = clock(time)?.on(date);
    if offset.is_empty() {
        return Some(When::At(modified));
    }
    let offset = zone(offset)?;
    Some(When::At(modified.map(|modified| east(modified, offset))))
}

/// Converts local time `offset` seconds east of Greenwich to UTC.
fn east(modified: Modified, offset: i64) -> Modified {
    Modified {
        seconds: modified.seconds - offset,
        utc: true,
        ..modified
    }
}

/// Parses `+0200`, `+02:00`, `+02`, `Z` or `GMT` to seconds east of Greenwich.
fn zone(word: &[u8]) -> Option<i64> {
    let (sign, digits) = match word {
        b"Z" | b"z" | b"GMT" | b"UTC" => return Some(0),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let (hours, minutes): (i64, i64) = match digits {
        [h1, h2] => (number(&[*h1, *h2])?, 0),
        [h1, h2, m1, m2] | [h1, h2, b':', m1, m2] => (number(&[*h1, *h2])?, number(&[*m1, *m2])?),
        _ => return None,
    };
    Some(sign * (hours * 3600 + minutes * 60))
}

/// Parses `27-03-2019` or `05/03/19`, followed by a time or the name.
fn numeric<'a>(first: &[u8], rest: &'a [u8]) -> Option<Dated<'a>> {
    let date = NumericDate::parse(first.strip_suffix(b",").unwrap_or(first))?;
    let (clock, rest) = next_clock(rest).unwrap_or((MIDNIGHT, rest));
    let Some(time) = clock.time else {
        return Some((When::At(None), rest));
    };
    let time = NumericTime {
        date,
        time,
        precision: clock.precision,
        default: None,
    };
    Some((When::Numeric(time), rest))
}

/// Parses `2018年07月09日` in one word or several, followed by a time or the name.
fn year_first<'a>(first: &[u8], mut rest: &'a [u8]) -> Option<Dated<'a>> {
    let mut numbers = [0_i16; 3];
    let mut found = 0;
    let mut word = first;
    loop {
        let (value, digits, after) = number_with_unit(word)?;
        // The day may lack its unit.
        let has_unit = after.len() < word.len() - digits;
        if (found == 0 && digits != 4) || (found > 0 && digits > 2) || (found < 2 && !has_unit) {
            return None;
        }
        *numbers.get_mut(found)? = value;
        found += 1;
        word = after;
        if found == 3 {
            break;
        }
        if word.is_empty() {
            (word, rest) = next_word(rest)?;
        }
    }
    let [year, month, day] = numbers;
    if !word.is_empty() || !(1..=12).contains(&month) {
        return None;
    }
    let (clock, rest) = clock_behind_a_year(rest, false).unwrap_or((MIDNIGHT, rest));
    let date = (year, i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    Some((When::At(clock.on(date)), rest))
}

/// Parses a number at the beginning of a word, followed by a unit that is not ASCII, in any
/// charset. Returns the number, its count of digits, and the rest.
fn number_with_unit(word: &[u8]) -> Option<(i16, usize, &[u8])> {
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (value, unit) = word.split_at_checked(digits)?;
    let end = unit.iter().take_while(|byte| !byte.is_ascii()).count();
    if end > 4 {
        return None;
    }
    Some((number(value)?, digits, unit.get(end..)?))
}

/// Parses `05-06`, used by `ls --time-style=iso` for recent days, followed by a time; or a year.
fn month_and_day<'a>(first: &[u8], rest: &'a [u8], now: i64) -> Option<Dated<'a>> {
    let [m1, m2, b'-', d1, d2] = first else {
        return None;
    };
    let (month, day) = (number(&[*m1, *m2])?, number(&[*d1, *d2])?);
    let (second, rest) = next_word(rest)?;
    let modified = match year(second) {
        Some(year) => modified((year, month, day), Time::midnight(), Precision::Day),
        None => clock(second)?.in_latest_year(month, day, now),
    };
    Some((When::At(modified), rest))
}

/// Parses `27-MAR-19`, `07/fev/2018` or `Mar-07-2011`, followed by a time or the name.
fn in_one_word<'a>(first: &[u8], rest: &'a [u8]) -> Option<Dated<'a>> {
    let date = named_date(first)?;
    let (clock, rest) = next_clock(rest).unwrap_or((MIDNIGHT, rest));
    Some((When::At(clock.on(date)), rest))
}

/// Parses a date in one word with the name of a month. The date may be invalid.
pub(super) fn named_date(word: &[u8]) -> Option<Written> {
    let word = word.strip_suffix(b",").unwrap_or(word);
    let separator = *word
        .iter()
        .find(|byte| matches!(byte, b'-' | b'/' | b'.'))?;
    let mut parts = word.splitn(3, |byte| *byte == separator);
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next()?);
    let two_or_four = |digits: &[u8]| full_year(number(digits)?, digits.len().min(9) as u8);
    if first.len() == 4 && is_digits(first) {
        return Some((number(first)?, month::parse(second)?, day(third)?));
    }
    let year = two_or_four(third)?;
    if is_digits(first) {
        Some((year, month::parse(second)?, day(first)?))
    } else {
        Some((year, month::parse(first)?, day(second)?))
    }
}

/// Parses month and day in either order, followed by a time, a year, or both.
fn with_a_name<'a>(first: &[u8], rest: &'a [u8], now: i64) -> Option<Dated<'a>> {
    let (second, rest) = next_word(rest)?;
    let comma = [first, second].iter().any(|word| word.ends_with(b","));
    let [first, second] = [first, second].map(|word| word.strip_suffix(b",").unwrap_or(word));
    let (month, day) = if is_digits(first) {
        let day = day(first)?;
        (month::parse(second)?, day)
    } else {
        match month::parse(first) {
            Some(month) => (month, day(second)?),
            None => (month::parse(second)?, day(first)?),
        }
    };
    time_or_year(month, day, comma, rest, now)
}

/// Parses `3 28 14:20`. The month comes first if both numbers could be one.
fn two_numbers<'a>(first: &[u8], rest: &'a [u8], now: i64) -> Option<Dated<'a>> {
    let (second, rest) = next_word(rest)?;
    let (one, other): (i8, i8) = (short_number(first)?, short_number(second)?);
    let (clock, rest) = next_clock(rest)?;
    let (month, day) = match one {
        1..=12 => (one, other),
        _ => (other, one),
    };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some((When::At(clock.in_latest_year(month, day, now)), rest))
}

fn short_number(word: &[u8]) -> Option<i8> {
    (word.len() <= 2).then(|| number(word))?
}

/// Parses what follows month and day. `comma` tells whether they end in one.
fn time_or_year(month: i8, day: i8, comma: bool, bytes: &[u8], now: i64) -> Option<Dated<'_>> {
    let blanks = leading_blanks(bytes);
    let (third, rest) = next_word(bytes)?;
    let ends_in_comma = third.ends_with(b",");
    let third = third.strip_suffix(b",").unwrap_or(third);
    let short_year = || {
        let year = full_year(number(third)?, third.len().min(9) as u8)?;
        (comma && third.len() == 2 && next_clock(rest).is_some()).then_some(year)
    };
    if let Some(year) = year(third).or_else(short_year) {
        let date = (year, month, day);
        // ls pads the year with a second blank; then the name follows directly.
        let separated = comma || ends_in_comma;
        let behind = (blanks == 1 || separated).then(|| clock_behind_a_year(rest, separated));
        let (clock, rest) = behind.flatten().unwrap_or((MIDNIGHT, rest));
        let (modified, rest) = in_its_zone(clock.on(date), clock.precision, rest);
        return Some((When::At(modified), rest));
    }
    let clock = clock(third)?;
    if clock.precision == Precision::Second
        && let Some((year, rest)) = year_behind_a_clock(rest)
    {
        return Some((When::At(clock.on((year, month, day))), rest));
    }
    let (clock, rest) = if comma {
        with_half(clock, rest)
    } else {
        (clock, rest)
    };
    Some((When::At(clock.in_latest_year(month, day, now)), rest))
}

/// Parses `2020` or `UTC 2020`.
fn year_behind_a_clock(bytes: &[u8]) -> Option<(i16, &[u8])> {
    let (word, rest) = next_word(bytes)?;
    if let Some(year) = year(word) {
        return Some((year, rest));
    }
    let is_zone = (3..=5).contains(&word.len()) && word.iter().all(u8::is_ascii_uppercase);
    let (word, rest) = next_word(rest).filter(|_| is_zone)?;
    Some((year(word)?, rest))
}

/// Parses the time of day one blank after a year. `halves` tells whether `am` and `pm` may follow.
fn clock_behind_a_year(bytes: &[u8], halves: bool) -> Option<(Clock, &[u8])> {
    if leading_blanks(bytes) != 1 {
        return None;
    }
    let (clock, rest) = next_clock(bytes)?;
    Some(if halves {
        with_half(clock, rest)
    } else {
        (clock, rest)
    })
}

/// Parses `7`, `07`, `7.` (German) or a number with a word for day (`23日`).
fn day(word: &[u8]) -> Option<i8> {
    number(day_digits(word)).filter(|day| *day <= 31)
}

fn day_digits(word: &[u8]) -> &[u8] {
    month::digits_before_unit(word)
        .or_else(|| word.strip_suffix(b"."))
        .unwrap_or(word)
}

/// Parses `2024`, or with a word for year (`2024年`).
fn year(word: &[u8]) -> Option<i16> {
    let digits = month::digits_before_unit(word).unwrap_or(word);
    if digits.len() == 4 {
        number(digits)
    } else {
        None
    }
}

/// Parses a number of nine or ten digits in the past as seconds since the epoch.
pub(super) fn seconds_since_1970(word: &[u8], now: i64) -> Option<Modified> {
    let is_past = |seconds: &i64| *seconds <= now.saturating_add(calendar::ZONES_APART);
    let seconds = number(word).filter(is_past)?;
    (9..=10).contains(&word.len()).then_some(Modified {
        seconds,
        precision: Precision::Second,
        utc: true,
    })
}

/// Parses `20190307221405`.
fn packed(word: &[u8]) -> Option<Modified> {
    (word.len() == 14).then_some(())?;
    Some(Modified {
        seconds: crate::ftp::time::parse_timestamp(word)?,
        precision: Precision::Second,
        utc: false,
    })
}

/// Parses `Apr 45  2019`, which is invalid, to find the name after it.
fn impossible_day(bytes: &[u8], now: i64) -> Option<Dated<'_>> {
    let (first, rest) = next_word(bytes)?;
    let (second, rest) = next_word(rest)?;
    let comma = [first, second].iter().any(|word| word.ends_with(b","));
    let [first, second] = [first, second].map(|word| word.strip_suffix(b",").unwrap_or(word));
    let day = match (month::parse(first), month::parse(second)) {
        (Some(_), _) => second,
        (None, Some(_)) => first,
        (None, None) => return None,
    };
    let number: i8 = number(day_digits(day))?;
    (32..=99).contains(&number).then_some(())?;
    let (_, rest) = time_or_year(1, 1, comma, rest, now)?;
    Some((When::At(None), rest))
}

#[cfg(test)]
mod tests {
    use crate::ftp::time::parse_timestamp;

    use super::*;

    /// Returns the time and the rest as parsed by [`read`].
    fn split(bytes: &[u8], now: i64) -> Option<(Option<Modified>, &[u8])> {
        match read(bytes, now)? {
            (When::At(modified), rest) => Some((modified, rest)),
            (When::Numeric(_), rest) => Some((None, rest)),
        }
    }

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
    fn a_number_beyond_all_days_begins_no_date() {
        for (number, is_day) in [("31", true), ("012", true), ("100", false), ("4096", false)] {
            let text = format!("{number} Jul 2021 x");
            assert_eq!(split(text.as_bytes(), NOW).is_some(), is_day, "{text}");
        }
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
