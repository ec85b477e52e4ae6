//! Unisys mainframes: `INVENTORY FTPDATA 90180 11/30/98 07:22:10`, with the name first and nothing
//! after the time.

use super::clock::next_clock;
use super::date::When;
use super::order::{NumericDate, NumericTime, Order};
use super::words::{is_blank, is_digits, next_word, number};
use super::{Entry, Kind, Precision, Row};

/// Parses the line. `None` if it does not consist of name, kind, size, date and time to the second.
pub(super) fn parse(line: &[u8]) -> Option<Row> {
    let (name, rest) = next_word(line)?;
    let (kind, rest) = next_word(rest)?;
    let (size, rest) = next_word(rest)?;
    let (date, rest) = next_word(rest)?;
    let (clock, rest) = next_clock(rest)?;
    let ends = rest.iter().all(|byte| is_blank(*byte));
    let is_part = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    let is_kind = kind.first().is_some_and(u8::is_ascii_uppercase) && kind.iter().all(is_part);
    if !ends || !is_kind || !is_digits(size) || clock.precision != Precision::Second {
        return None;
    }
    let date = NumericDate::parse(date)?;
    let mut entry = Entry::new(name, Kind::File);
    entry.size = number(size);
    let when = match clock.time {
        None => When::At(None),
        Some(time) => When::Numeric(NumericTime {
            date,
            time,
            precision: clock.precision,
            default: Some(Order::MonthDayYear),
        }),
    };
    Some(Row::new(entry, when))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stands_behind_the_time() {
        let row = parse(b"A/B         FTPDATA       90180 11/30/98 07:22:10 ");
        assert!(matches!(row, Some(Row::Dated(entry, _)) if entry.size == Some(90_180)));
        for line in [
            "",
            "A DATA 9 11/30/98 07:22:10 x",
            "A data 9 11/30/98 07:22:10",
            "A DATA 9 11/30/98 07:22",
        ] {
            assert!(parse(line.as_bytes()).is_none(), "{line}");
        }
    }
}
