//! Tandem NonStop's Guardian files: `PAYLOG  101  90412  7-Mar-19 22:14:05 200, 15 "NUNU"`.

use super::clock::next_clock;
use super::date::{self, When};
use super::words::{is_digits, next_word, number, words};
use super::{Entry, Kind, Row};

/// Matches the heading `File Code EOF Last Modification Owner RWEP`.
pub(super) fn is_heading(line: &[u8]) -> bool {
    let mut columns = words(line);
    [b"File".as_slice(), b"Code", b"EOF"]
        .into_iter()
        .all(|name| {
            columns
                .next()
                .is_some_and(|word| word.eq_ignore_ascii_case(name))
        })
}

/// Parses the line. `None` if it does not consist of name, code, size, date, time, and security in
/// quotes.
pub(super) fn parse(line: &[u8]) -> Option<Row> {
    let (name, rest) = next_word(line)?;
    let (code, rest) = next_word(rest)?;
    let (size, rest) = next_word(rest)?;
    let (date, rest) = next_word(rest)?;
    let (clock, rest) = next_clock(rest)?;
    // The code of an open file is followed by a letter.
    let code = code.strip_suffix(b"O").unwrap_or(code);
    let has_security = rest.split(|byte| *byte == b'"').count() == 3;
    if !is_name(name) || !is_digits(code) || !is_digits(size) || !has_security {
        return None;
    }
    let date = date::named_date(date)?;
    let mut entry = Entry::new(name, Kind::File);
    entry.size = number(size);
    Some(Row::new(entry, When::At(clock.on(date))))
}

/// Matches a Guardian name: a letter and up to seven letters and digits.
fn is_name(word: &[u8]) -> bool {
    word.first().is_some_and(u8::is_ascii_alphabetic)
        && word.len() <= 8
        && word.iter().all(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_all_its_columns() {
        let row = parse(b"PAYCODE 100O 1482752 30-Nov-21 08:00:59 255,255 \"OOOO\"");
        let Some(Row::Entry(entry)) = row else {
            panic!("{row:?}");
        };
        assert_eq!(
            (entry.name.as_slice(), entry.size),
            (b"PAYCODE".as_slice(), Some(1_482_752))
        );
        assert!(entry.modified.is_some());
        for line in [
            "PAYCODE 100 1482752 30-Nov-21 08:00:59 255,255",
            "PAYCODE 100 1482752 30-11-21 08:00:59 255,255 \"OOOO\"",
            "9AYCODE 100 1482752 30-Nov-21 08:00:59 255,255 \"OOOO\"",
            "",
        ] {
            assert!(parse(line.as_bytes()).is_none(), "{line}");
        }
    }
}
