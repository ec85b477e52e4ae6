//! Sterling Connect:Enterprise: mailboxes of batches, in two forms.
//!
//! `-CR-E-----FTP B INV7A2 40312 2048 Mar 9 16:20 ORDERS`: flags, format, mailbox, number, size,
//! date, name. `acmebank 00001207 00058112 <STMT0319.CSV> 190307-2214 A RT TCP BIN`: mailbox,
//! number, size, name, date.

use super::clock;
use super::date::{self, When};
use super::words::{is_digits, next_word, number, trim_start, words};
use super::{Entry, Kind, Precision, Row};

/// Parses the line. `None` if it has neither form and is not a mailbox.
pub(super) fn parse(line: &[u8], now: i64) -> Option<Row> {
    mailbox(line)
        .or_else(|| flagged(line, now))
        .or_else(|| bracketed(line))
}

/// Parses `d   -   -   -  -  -  -  - acmebank`.
fn mailbox(line: &[u8]) -> Option<Row> {
    let mut rest = line.strip_prefix(b"d ")?;
    let mut dashes = 0;
    while let Some((b"-", after)) = next_word(rest) {
        rest = after;
        dashes += 1;
    }
    let (_, name) = rest.split_first()?;
    (dashes >= 4).then(|| Row::Entry(Entry::new(trim_start(name), Kind::Directory)))
}

/// Parses the form with flags. Of two numbers before the date the last is the size.
fn flagged(line: &[u8], now: i64) -> Option<Row> {
    let (flags, mut rest) = next_word(line)?;
    let is_flag = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'-';
    let are_flags = (11..=16).contains(&flags.len()) && flags.iter().all(is_flag);
    if !are_flags || !flags.contains(&b'-') {
        return None;
    }
    let (format, after) = next_word(rest)?;
    (format.len() == 1).then_some(())?;
    (_, rest) = next_word(after)?;
    for _ in 0..3 {
        let (word, after) = next_word(rest)?;
        rest = after;
        if is_digits(word)
            && let Some((when, name)) = date::read(rest, now)
        {
            let mut entry = Entry::new(name.split_first()?.1, Kind::File);
            entry.size = number(word);
            return Some(Row::new(entry, when));
        }
    }
    None
}

/// Parses the form with the name in brackets. A trailing `+` means that the server has cut the
/// name.
fn bracketed(line: &[u8]) -> Option<Row> {
    let (_, rest) = next_word(line)?;
    let (batch, rest) = next_word(rest)?;
    let (size, rest) = next_word(rest)?;
    let inner = trim_start(rest).strip_prefix(b"<")?;
    if !is_digits(batch) || !is_digits(size) {
        return None;
    }
    // A name may contain brackets. A date follows the one that ends it.
    let mut ends = (0..inner.len()).filter(|at| inner.get(*at) == Some(&b'>'));
    let (name, is_cut, when) = ends.find_map(|at| {
        let (name, rest) = inner.split_at_checked(at)?;
        let rest = rest.get(1..)?;
        let (is_cut, rest) = match rest.strip_prefix(b"+") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        Some((name, is_cut, stamp(words(rest).next()?)?))
    })?;
    if is_cut {
        return Some(Row::Dropped("its name was cut by the server"));
    }
    let mut entry = Entry::new(name, Kind::File);
    entry.size = number(size);
    Some(Row::new(entry, when))
}

/// Parses `190307-2214`. `None` if it has another form.
fn stamp(word: &[u8]) -> Option<When> {
    let (date, time) = word.split_at_checked(6)?;
    let ([b'-', h1, h2, m1, m2] | [b'-', h1, h2, m1, m2, _, _]) = time else {
        return None;
    };
    let [y1, y2, o1, o2, d1, d2] = date else {
        return None;
    };
    is_digits(date).then_some(())?;
    let date = (
        super::order::full_year(number(&[*y1, *y2])?, 2)?,
        number(&[*o1, *o2])?,
        number(&[*d1, *d2])?,
    );
    let time = super::calendar::clock_time(number(&[*h1, *h2])?, number(&[*m1, *m2])?, 0);
    let modified = time.and_then(|time| clock::modified(date, time, Precision::Minute));
    Some(When::At(modified))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_435_200;

    fn entry(line: &str) -> Entry {
        match parse(line.as_bytes(), NOW) {
            Some(Row::Entry(entry)) => entry,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_second_number_is_the_size_in_both_forms() {
        let flagged = entry("-CR-E-----FTP B INV7A2      40312     2048 Mar  9 16:20 A b");
        assert_eq!(
            (flagged.name.as_slice(), flagged.size),
            (b"A b".as_slice(), Some(2048))
        );
        let bracketed = entry("acme 00001207 00058112 <A <b>>   190307-2214  A RT TCP BIN");
        assert_eq!(
            (bracketed.name.as_slice(), bracketed.size),
            (b"A <b>".as_slice(), Some(58112))
        );
        let odd = entry("acme 1 2 <A>   191307-2214  A");
        assert_eq!(odd.modified, None);
    }

    #[test]
    fn a_name_that_was_cut_is_none() {
        let cut = parse(b"acme 1 2 <LONG>+ 190307-2215  A R TCP ASC", NOW);
        assert!(matches!(cut, Some(Row::Dropped(_))));
    }

    #[test]
    fn other_lines_are_none() {
        for line in [
            "",
            "d - - x",
            "-CR-E-----FTP B",
            "acme 1 2 <A>",
            "acme 1 x <A> 190307-2214",
        ] {
            assert!(parse(line.as_bytes(), NOW).is_none(), "{line}");
        }
    }
}
