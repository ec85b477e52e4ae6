//! One line of MS-DOS's `dir`, which IIS and other servers on Windows print:
//! `04-27-00  09:09PM       <DIR>          name`.

use jiff::civil::{Date, Time};

use super::{Entry, Kind, Modified, Precision, calendar, is_blank, next_word, number};

/// `<DIR>` and its like fill a column of this width before the name.
const TAG_WIDTH: usize = 15;

/// Reads the line; none when it does not begin with a date and a time in DOS's form.
pub(super) fn parse(line: &[u8]) -> Option<Entry> {
    if !line.first()?.is_ascii_digit() {
        return None;
    }
    let (date_word, rest) = next_word(line)?;
    let date = date(date_word)?;
    let (clock, rest) = clock(rest)?;
    let (column, rest) = next_word(rest)?;
    let (kind, size) = kind_and_size(column)?;
    let padding = match kind {
        Kind::File => 1,
        _ => TAG_WIDTH.saturating_sub(column.len()).max(1),
    };
    let (name, target) = split_target(kind, strip_blanks(rest, padding)?);
    let mut entry = Entry::new(name, kind);
    entry.size = size;
    entry.target = target.map(<[u8]>::to_vec);
    entry.modified = modified(date, clock);
    Some(entry)
}

/// Year, month and day as written.
type Written = (i16, i8, i8);

/// `mm-dd-yy`, `mm-dd-yyyy`, `yyyy-mm-dd`, the same with `/`, or `dd.mm.yyyy`.
fn date(word: &[u8]) -> Option<Written> {
    let separator = *word.iter().find(|byte| !byte.is_ascii_digit())?;
    if !matches!(separator, b'-' | b'/' | b'.') {
        return None;
    }
    let mut parts = word.split(|byte| *byte == separator);
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (year, month, day) = match (first.len(), separator) {
        (4, _) => (first, second, third),
        (_, b'.') => (third, second, first),
        _ => (third, first, second),
    };
    Some((full_year(year)?, number(month)?, number(day)?))
}

fn full_year(digits: &[u8]) -> Option<i16> {
    let year = number(digits)?;
    match digits.len() {
        4 => Some(year),
        2 if year < 70 => Some(2000 + year),
        2 => Some(1900 + year),
        _ => None,
    }
}

/// `09:09PM`, `9:09 PM` or `21:09`; the hour counts from midnight.
fn clock(bytes: &[u8]) -> Option<((i8, i8), &[u8])> {
    let (word, rest) = next_word(bytes)?;
    let (word, half, rest) = match half(word.get(word.len().saturating_sub(2)..)?) {
        Some(half) => (word.get(..word.len() - 2)?, Some(half), rest),
        None => match next_word(rest) {
            Some((next, after)) if half(next).is_some() => (word, half(next), after),
            _ => (word, None, rest),
        },
    };
    let colon = word.iter().position(|byte| *byte == b':')?;
    let hour: i8 = number(word.get(..colon)?)?;
    let minute = number(word.get(colon + 1..)?)?;
    let hour = match half {
        Some(_) if hour > 12 => return None,
        Some(half) => hour % 12 + half,
        None => hour,
    };
    Some(((hour, minute), rest))
}

/// The hour at which the half of the day begins that `AM` or `PM` means.
fn half(word: &[u8]) -> Option<i8> {
    match word.to_ascii_uppercase().as_slice() {
        b"AM" => Some(0),
        b"PM" => Some(12),
        _ => None,
    }
}

fn kind_and_size(column: &[u8]) -> Option<(Kind, Option<u64>)> {
    match column {
        b"<DIR>" => Some((Kind::Directory, None)),
        b"<JUNCTION>" | b"<SYMLINK>" | b"<SYMLINKD>" => Some((Kind::Symlink, None)),
        _ => {
            let grouped = |byte: &u8| matches!(byte, b',' | b'.' | b'\'');
            let digits: Vec<u8> = column.iter().copied().filter(|b| !grouped(b)).collect();
            let unsigned = digits.strip_prefix(b"-").unwrap_or(&digits);
            let is_number = !unsigned.is_empty() && unsigned.iter().all(u8::is_ascii_digit);
            is_number.then(|| (Kind::File, number(&digits)))
        }
    }
}

/// What follows at least one and at most `most` blanks.
fn strip_blanks(bytes: &[u8], most: usize) -> Option<&[u8]> {
    let blanks = bytes.iter().take_while(|byte| is_blank(**byte)).count();
    if blanks == 0 {
        return None;
    }
    bytes.get(blanks.min(most)..)
}

/// `name [target]` of a junction or link.
fn split_target(kind: Kind, bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    if kind != Kind::Symlink {
        return (bytes, None);
    }
    let Some(inner) = bytes.strip_suffix(b"]") else {
        return (bytes, None);
    };
    match inner.windows(2).position(|pair| pair == b" [") {
        Some(at) => (inner.get(..at).unwrap_or(bytes), inner.get(at + 2..)),
        None => (bytes, None),
    }
}

fn modified((year, month, day): Written, (hour, minute): (i8, i8)) -> Option<Modified> {
    let time = Time::new(hour, minute, 0, 0).ok()?;
    Some(Modified {
        seconds: calendar::seconds(Date::new(year, month, day).ok()?, time)?,
        precision: Precision::Minute,
        utc: false,
    })
}

#[cfg(test)]
mod tests {
    use crate::ftp::time::parse_timestamp;

    use super::*;

    fn seconds(line: &str) -> Option<i64> {
        parse(line.as_bytes()).unwrap().modified.map(|m| m.seconds)
    }

    #[test]
    fn hours_count_from_midnight() {
        let day = parse_timestamp(b"20231019000000").unwrap();
        for (clock, hour) in [
            ("12:00AM", 0),
            ("1:00am", 1),
            ("11:00 AM", 11),
            ("12:00PM", 12),
            ("11:00 PM", 23),
            ("23:00", 23),
            ("00:00", 0),
        ] {
            let line = format!("10-19-23  {clock}  5 x");
            assert_eq!(seconds(&line), Some(day + hour * 3600), "{clock}");
        }
    }

    #[test]
    fn dates_are_read_in_the_orders_of_windows() {
        let expected = parse_timestamp(b"20040302050600");
        for date in ["03-02-04", "03/02/2004", "2004-03-02", "02.03.2004"] {
            assert_eq!(seconds(&format!("{date}  05:06  5 x")), expected, "{date}");
        }
        let last_century = seconds("03-02-98  05:06  5 x");
        assert_eq!(last_century, parse_timestamp(b"19980302050600"));
    }

    #[test]
    fn an_impossible_date_leaves_the_entry() {
        let entry = parse(b"02-30-04  05:06  5 x").unwrap();
        assert_eq!((entry.size, entry.modified), (Some(5), None));
    }

    #[test]
    fn blanks_in_names_are_kept() {
        let name = |line: &str| parse(line.as_bytes()).unwrap().name;
        assert_eq!(name("03-02-04  05:06PM          5  x "), b" x ");
        assert_eq!(name("03-02-04  05:06PM  <DIR>           x "), b" x ");
        assert_eq!(name("03-02-04  05:06PM  <DIR> x"), b"x");
    }

    #[test]
    fn a_size_beyond_64_bits_is_unknown() {
        let size = |column: &str| {
            let line = format!("03-02-04  05:06PM  {column} x");
            parse(line.as_bytes()).map(|entry| entry.size)
        };
        assert_eq!(size("18446744073709551615"), Some(Some(u64::MAX)));
        assert_eq!(size("18446744073709551616"), Some(None));
        assert_eq!(size("-1"), Some(None));
        assert_eq!(size("<BAR>"), None);
    }
}
