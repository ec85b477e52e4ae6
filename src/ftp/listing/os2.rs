//! OS/2: `90210  RA  11-05-104  19:45  warp fix.zip`, with years counted from 1900.

use super::clock::next_clock;
use super::date::When;
use super::order::{NumericDate, NumericTime, Order};
use super::words::{is_digits, next_word, number, trim_start};
use super::{Entry, Kind, Row};

/// Parses the line. `None` if it does not consist of size, attributes, date, time and name.
pub(super) fn parse(line: &[u8]) -> Option<Row> {
    let (size, mut rest) = next_word(line)?;
    if !is_digits(size) {
        return None;
    }
    let mut is_directory = false;
    let date = loop {
        let (word, after) = next_word(rest)?;
        rest = after;
        if let Some(date) = NumericDate::parse(word) {
            break date;
        }
        if word != b"DIR" && !is_attributes(word) {
            return None;
        }
        is_directory |= word == b"DIR";
    };
    let (clock, rest) = next_clock(rest)?;
    let kind = if is_directory {
        Kind::Directory
    } else {
        Kind::File
    };
    let mut entry = Entry::new(trim_start(rest), kind);
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

/// Matches `RA`, `A`, `SH`: read-only, archive, system, hidden.
fn is_attributes(word: &[u8]) -> bool {
    word.len() <= 4 && word.iter().all(|byte| b"RASH".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_may_stand_between_size_and_date() {
        for (line, kind) in [
            (
                "    0           DIR   09-14-99   06:05  A b",
                Kind::Directory,
            ),
            ("   77 DIR  A    10-17-100  05:38  A b", Kind::Directory),
            ("   77     RASH  10-17-100  05:38  A b", Kind::File),
            ("   77           10-17-100  05:38  A b", Kind::File),
        ] {
            let Some(Row::Dated(entry, _)) = parse(line.as_bytes()) else {
                panic!("{line}");
            };
            assert_eq!(
                (entry.name.as_slice(), entry.kind),
                (b"A b".as_slice(), kind),
                "{line}"
            );
        }
        for line in [
            "",
            "77",
            "77 x 10-17-100 05:38 a",
            "77 DIR 10-17-100 a",
            "x 10-17-100 05:38 a",
        ] {
            assert!(parse(line.as_bytes()).is_none(), "{line}");
        }
    }
}
