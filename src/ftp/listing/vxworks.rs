//! VxWorks: `2048  Mar-07-2011  08:15:42  CFG  <DIR>`, with padded names.

use super::clock::next_clock;
use super::date::{self, When};
use super::words::{is_digits, next_word, number, trim_end, trim_start, words};
use super::{Entry, Kind, Row};

/// Matches the heading `size date time name`, or the rule below it.
pub(super) fn is_heading(line: &[u8]) -> bool {
    let titles = [b"size".as_slice(), b"date", b"time", b"name"];
    let is_rule = |word: &[u8]| word.len() > 1 && word.iter().all(|byte| *byte == b'-');
    let mut count = 0;
    let all_rules = words(line).all(|word| {
        count += 1;
        is_rule(word)
    });
    (all_rules && count > 1) || words(line).map(<[u8]>::to_ascii_lowercase).eq(titles)
}

/// Parses the line. `None` if it does not consist of size, date with the name of a month, time and
/// name.
pub(super) fn parse(line: &[u8]) -> Option<Row> {
    let (size, rest) = next_word(line)?;
    let (date, rest) = next_word(rest)?;
    if !is_digits(size) || !date.first()?.is_ascii_alphabetic() {
        return None;
    }
    let date = date::named_date(date)?;
    let (clock, rest) = next_clock(rest)?;
    let name = trim_end(trim_start(rest));
    let directory = name.strip_suffix(b"<DIR>").map(trim_end);
    let mut entry = match directory {
        Some(name) => Entry::new(name, Kind::Directory),
        None => Entry::new(name, Kind::File),
    };
    entry.size = number(size);
    Some(Row::new(entry, When::At(clock.on(date))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_behind_the_name_is_a_directory() {
        for (line, name, kind) in [
            (
                "  2048  Mar-07-2011  08:15:42   A b        <DIR>",
                "A b",
                Kind::Directory,
            ),
            (
                "  2048  MAR-07-2011  08:15:42   vx.st         ",
                "vx.st",
                Kind::File,
            ),
        ] {
            let Some(Row::Entry(entry)) = parse(line.as_bytes()) else {
                panic!("{line}");
            };
            assert_eq!((entry.name.as_slice(), entry.kind), (name.as_bytes(), kind));
            assert!(entry.modified.is_some());
        }
        assert!(parse(b"2048 03-07-2011 08:15:42 x").is_none());
        assert!(is_heading(b"  size   date   time   name"));
        assert!(is_heading(b"-------- ------  ------  --------"));
        assert!(!is_heading(b"") && !is_heading(b"----"));
    }
}
