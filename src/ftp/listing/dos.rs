//! MS-DOS lines, as IIS and Windows CE write them: `mm-dd-yy  hh:mmAM  <DIR>|size  name`.

use super::calendar::{day, hour_minute, seconds, year};
use super::{Entry, Kind, Modified, Precision, size};

/// The entry of an MS-DOS line.
pub(super) fn parse(line: &[u8], _now: i64) -> Option<Entry> {
    let (date, rest) = word(line)?;
    let date = self::date(date)?;
    let (clock, rest) = word(rest)?;
    let (clock, rest) = match word(rest) {
        // `09:09 PM`, the half of the day set apart.
        Some((half, after))
            if half.eq_ignore_ascii_case(b"AM") || half.eq_ignore_ascii_case(b"PM") =>
        {
            (time(&[clock, half].concat())?, after)
        }
        _ => (time(clock)?, rest),
    };
    let (what, rest) = word(rest)?;
    let mut entry = match what {
        b"<DIR>" => Entry::new(rest.trim_ascii_start(), Kind::Directory),
        b"<JUNCTION>" | b"<SYMLINK>" | b"<SYMLINKD>" => link(rest.trim_ascii_start()),
        digits => {
            // One blank separates; further ones belong to the name.
            let mut entry = Entry::new(rest.strip_prefix(b" ")?, Kind::File);
            entry.size = Some(size(&without_commas(digits)?)?);
            entry
        }
    };
    let seconds = seconds(date, (clock.0, clock.1, 0))?;
    entry.modified = Some(Modified {
        seconds,
        precision: Precision::Minute,
        utc: false,
    });
    Some(entry)
}

/// `name [target]`.
fn link(rest: &[u8]) -> Entry {
    let open = rest.windows(2).rposition(|pair| pair == b" [");
    let parts = open.and_then(|open| {
        let target = rest.get(open + 2..)?.strip_suffix(b"]")?;
        Some((rest.get(..open)?, target))
    });
    let Some((name, target)) = parts else {
        return Entry::new(rest, Kind::Symlink);
    };
    let mut entry = Entry::new(name, Kind::Symlink);
    entry.target = Some(target.to_vec());
    entry
}

/// The first word, and what follows it with its blanks.
fn word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.trim_ascii_start();
    let end = line
        .iter()
        .position(|byte| *byte == b' ')
        .unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    (!word.is_empty()).then_some((word, rest))
}

fn date(word: &[u8]) -> Option<(i16, i8, i8)> {
    let mut parts = word.split(|byte| matches!(byte, b'-' | b'/'));
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    if let Some(year) = year(first) {
        return Some((year, day(second)?, day(third)?));
    }
    let year = year(third).or_else(|| two_digit_year(third))?;
    // `mm-dd-yy`; a month is checked with the date as a whole.
    Some((year, day(first)?, day(second)?))
}

/// 70 to 99 are of the last century, as C's strptime has it.
fn two_digit_year(word: &[u8]) -> Option<i16> {
    let year: i16 = std::str::from_utf8(word)
        .ok()
        .filter(|_| word.len() == 2)?
        .parse()
        .ok()?;
    (0..100)
        .contains(&year)
        .then_some(if year < 70 { 2000 + year } else { 1900 + year })
}

/// `hh:mm` of 24 hours, or of 12 with `AM` or `PM`.
fn time(word: &[u8]) -> Option<(i8, i8)> {
    let lower = word.to_ascii_lowercase();
    let (clock, half) = match lower.as_slice() {
        [clock @ .., b'a', b'm'] => (clock, Some(0)),
        [clock @ .., b'p', b'm'] => (clock, Some(12)),
        clock => (clock, None),
    };
    let (hour, minute) = hour_minute(clock)?;
    match half {
        Some(half) if (1..=12).contains(&hour) => Some((hour % 12 + half, minute)),
        Some(_) => None,
        None => Some((hour, minute)),
    }
}

fn without_commas(digits: &[u8]) -> Option<Vec<u8>> {
    digits
        .iter()
        .filter(|byte| **byte != b',')
        .map(|byte| byte.is_ascii_digit().then_some(*byte))
        .collect()
}
