//! VShell: `58240  Nov 19, 2013 07:41 notes.odt`, with a slash after directory names.

use super::date::{self, When};
use super::words::{is_digits, next_word, number, words};
use super::{Entry, Kind, Precision, Row};

/// Parses the line. `None` if it does not consist of size, date with the name of a month, time and
/// name.
pub(super) fn parse(line: &[u8], now: i64) -> Option<Row> {
    let (size, rest) = next_word(line)?;
    if !is_digits(size) || !words(rest).nth(1)?.ends_with(b",") {
        return None;
    }
    let (when, rest) = date::read(rest, now)?;
    if !matches!(when, When::At(modified) if modified.is_none_or(|it| it.precision != Precision::Day))
    {
        return None;
    }
    let (_, name) = rest.split_first()?;
    let mut entry = match name.strip_suffix(b"/") {
        Some(name) => Entry::new(name, Kind::Directory),
        None => Entry::new(name, Kind::File),
    };
    entry.size = number(size);
    Some(Row::new(entry, when))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_is_a_directory() {
        for (line, name, kind) in [
            ("0  Nov 19, 2013 07:40 a b/", "a b", Kind::Directory),
            ("58240  Nov 19, 2013 07:41 notes", "notes", Kind::File),
        ] {
            let Some(Row::Entry(entry)) = parse(line.as_bytes(), 1_795_435_200) else {
                panic!("{line}");
            };
            assert_eq!((entry.name.as_slice(), entry.kind), (name.as_bytes(), kind));
        }
        for line in [
            "",
            "0",
            "0  Nov 19 2013 07:40 a",
            "x  Nov 19, 2013 07:40 a",
            "0  Nov 19, 2013 a",
        ] {
            assert!(parse(line.as_bytes(), 0).is_none(), "{line}");
        }
    }
}
