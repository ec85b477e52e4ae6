//! Dates as listings write them.

use jiff::civil::DateTime;
use jiff::tz::Offset;

const DAY: i64 = 86_400;

/// The beginnings of the months' names in the languages that servers were seen to speak: English,
/// German, French, Spanish, Italian, Portuguese, Dutch; lower case. Where a name begins another's
/// (`mar`, `mai`), the month is the same.
const MONTHS: [&[&str]; 12] = [
    &["jan", "ene", "gen", "jän"],
    &["feb", "fev", "fév"],
    &["mar", "mär", "mrz", "maa", "mrt"],
    &["apr", "avr", "abr"],
    &["may", "mai", "mag", "mei"],
    &["jun", "juin", "giu"],
    &["jul", "juil", "lug"],
    &["aug", "aoû", "aou", "ago"],
    &["sep", "set"],
    &["oct", "okt", "ott", "out"],
    &["nov"],
    &["dec", "dez", "déc", "dic"],
];

/// Seconds since the epoch of a moment in a zone that is taken for UTC.
pub(super) fn seconds(date: (i16, i8, i8), time: (i8, i8, i8)) -> Option<i64> {
    let moment = DateTime::new(date.0, date.1, date.2, time.0, time.1, time.2, 0).ok()?;
    Some(Offset::UTC.to_timestamp(moment).ok()?.as_second())
}

/// The year that a date without one belongs to: the latest in which it is not later than a day
/// from `now` (the server's clock may be in another zone).
pub(super) fn without_year(month: i8, day: i8, (hour, minute): (i8, i8), now: i64) -> Option<i64> {
    let today = Offset::UTC.to_datetime(jiff::Timestamp::from_second(now).ok()?);
    // Eight years hold a leap day, whatever century they are in.
    (0..=8)
        .filter_map(|back| seconds((today.year() + 1 - back, month, day), (hour, minute, 0)))
        .find(|moment| *moment <= now + DAY)
}

/// 1 to 12, by name or as East Asian locales write it (`11月`).
pub(super) fn month(word: &[u8]) -> Option<i8> {
    let word = std::str::from_utf8(word)
        .ok()?
        .trim_end_matches(['.', ','])
        .to_lowercase();
    if let Some(digits) = word.strip_suffix(['月', '월']) {
        return digits.parse().ok().filter(|month| (1..=12).contains(month));
    }
    if word.chars().count() < 3 {
        return None;
    }
    // The longest beginning decides: `juin` is not `juil`, and neither is in English.
    let begins = |names: &&&[&str]| names.iter().any(|name| word.starts_with(*name));
    let index = MONTHS.iter().position(|names| begins(&names))?;
    (index as i8).checked_add(1)
}

/// 1 to 31, with what locales put behind it (`23.`, `23日`).
pub(super) fn day(word: &[u8]) -> Option<i8> {
    let word = std::str::from_utf8(word)
        .ok()?
        .trim_end_matches(['.', ',', '日', '일']);
    if word.is_empty() || word.len() > 2 {
        return None;
    }
    word.parse().ok().filter(|day| (1..=31).contains(day))
}

/// `hh:mm`.
pub(super) fn hour_minute(word: &[u8]) -> Option<(i8, i8)> {
    let (hour, minute) = std::str::from_utf8(word).ok()?.split_once(':')?;
    if hour.is_empty() || hour.len() > 2 || minute.len() != 2 {
        return None;
    }
    let (hour, minute) = (hour.parse().ok()?, minute.parse().ok()?);
    ((0..24).contains(&hour) && (0..60).contains(&minute)).then_some((hour, minute))
}

/// A year of four digits.
pub(super) fn year(word: &[u8]) -> Option<i16> {
    let word = std::str::from_utf8(word).ok()?.trim_end_matches('年');
    if word.len() != 4 {
        return None;
    }
    word.parse().ok().filter(|year| *year > 0)
}
