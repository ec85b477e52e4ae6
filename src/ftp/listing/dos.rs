//! Lines of MS-DOS `dir`, used by IIS and other servers on Windows, and by Windows CE: `04-27-00
//! 09:09PM       <DIR>          name`.

use super::clock::{self, Clock, next_clock};
use super::date::When;
use super::order::{NumericDate, NumericTime, Order};
use super::words::{
    find, is_blank, is_digits, last_word, leading_blanks, next_word, number, trim_start, words,
};
use super::{Entry, Kind, Precision, Row};

/// Width of the column of `<DIR>` and similar tags before the name.
const TAG_WIDTH: usize = 15;

/// Parses the line. `None` if it does not begin with a date and a time in DOS format.
pub(super) fn parse(line: &[u8]) -> Option<Row> {
    row(line, kind_and_size)
}

/// Parses a line with an unknown tag for directories: `<REP>` in French.
pub(super) fn parse_foreign(line: &[u8]) -> Option<Row> {
    row(line, foreign_tag)
}

type Column = fn(&[u8]) -> Option<(Kind, Option<u64>)>;

fn row(line: &[u8], kind_and_size: Column) -> Option<Row> {
    if !line.first()?.is_ascii_digit() {
        return None;
    }
    let (date_word, rest) = next_word(line)?;
    let date = NumericDate::parse(date_word)?;
    let (clock, has_halves, rest) = clock(rest)?;
    let (column, rest) = next_word(rest)?;
    let (kind, size) = kind_and_size(column)?;
    // Windows CE shows seconds and 24 hours, and pads the name.
    let is_padded = clock.precision == Precision::Second && !has_halves;
    let padding = match kind {
        Kind::File if is_padded => leading_blanks(rest),
        Kind::File => 1,
        _ => TAG_WIDTH.saturating_sub(letters(column)).max(1),
    };
    let (name, target) = split_target(kind, strip_blanks(rest, padding)?);
    let mut entry = Entry::new(name, kind);
    entry.size = size;
    entry.target = target.map(<[u8]>::to_vec);
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

/// Parses `09:09PM`, `9:09 PM`, `04:12:09 PM` or `21:09`. Also returns whether it has AM or PM, and
/// the rest.
fn clock(bytes: &[u8]) -> Option<(Clock, bool, &[u8])> {
    let (word, rest) = next_word(bytes)?;
    if let Some((half, after)) = next_word(rest)
        && clock::half(half).is_some()
        && word.last().is_some_and(u8::is_ascii_digit)
    {
        return Some((clock::clock(&[word, half].concat())?, true, after));
    }
    let has_half = word.last().is_some_and(u8::is_ascii_alphabetic);
    let (clock, rest) = next_clock(bytes)?;
    Some((clock, has_half, rest))
}

fn kind_and_size(column: &[u8]) -> Option<(Kind, Option<u64>)> {
    match column {
        b"<DIR>" | b"<REP>" => Some((Kind::Directory, None)),
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

/// Parses any word in angle brackets in place of a size: a directory in another language, or a
/// Windows reparse point.
fn foreign_tag(column: &[u8]) -> Option<(Kind, Option<u64>)> {
    let word = column.strip_prefix(b"<")?.strip_suffix(b">")?;
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || !byte.is_ascii();
    if word.is_empty() || !word.iter().all(is_letter) {
        return None;
    }
    match word.to_ascii_uppercase().as_slice() {
        b"APPEXECLINK" | b"UNIXSOCKET" | b"SOCKET" => Some((Kind::Special, None)),
        b"JUNCTION" | b"SYMLINK" | b"SYMLINKD" => Some((Kind::Symlink, None)),
        _ => Some((Kind::Directory, None)),
    }
}

/// Counts the letters of a word, in UTF-8 or a single-byte charset.
fn letters(word: &[u8]) -> usize {
    std::str::from_utf8(word).map_or(word.len(), |text| text.chars().count())
}

/// Strips at least one and at most `most` blanks.
fn strip_blanks(bytes: &[u8], most: usize) -> Option<&[u8]> {
    let blanks = bytes.iter().take_while(|byte| is_blank(**byte)).count();
    if blanks == 0 {
        return None;
    }
    bytes.get(blanks.min(most)..)
}

/// Splits `name [target]` of a junction or link.
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

/// Beginnings of the line with the volume name, in lower case.
const VOLUMES: [&[u8]; 8] = [
    b"volume",
    b"le volume",
    b"datentr",
    b"volumen",
    b"el volumen",
    b"il volume",
    b"o volume",
    b"het volume",
];

/// Whether this is a line that `dir` prints around the entries, in any language: the name and
/// number of the volume, the path of the directory, the sums of files and directories. They are
/// indented by one blank. Similar lines may be entries in another format and are excluded.
pub(super) fn is_decoration(line: &[u8]) -> bool {
    let text = trim_start(line);
    if text.len() == line.len() {
        return false;
    }
    let lower = text.to_ascii_lowercase();
    let names_a_path = find(text, b":\\").is_some();
    let names_a_volume = VOLUMES.iter().any(|start| lower.starts_with(start));
    let is_prose = !text.first().is_some_and(u8::is_ascii_digit);
    is_sum(text) || (is_prose && (names_a_path || names_a_volume || has_serial_number(text)))
}

/// Matches `... is 1A2B-3C4D`.
fn has_serial_number(text: &[u8]) -> bool {
    let Some((word, before)) = last_word(text) else {
        return false;
    };
    let is_hex = |part: &[u8]| part.len() == 4 && part.iter().all(u8::is_ascii_hexdigit);
    !before.is_empty()
        && word.len() == 9
        && word.get(4) == Some(&b'-')
        && is_hex(word.get(..4).unwrap_or_default())
        && is_hex(word.get(5..).unwrap_or_default())
}

/// Matches `3 File(s)  5,376 bytes`, `2 Dir(s)  1,024 bytes free`, `3 archivos  5.376 bytes`.
fn is_sum(text: &[u8]) -> bool {
    const UNITS: [&[u8]; 4] = [b"byte", b"octet", b"bajt", b"bait"];
    let mut columns = words(text);
    let count = columns.next().filter(|count| is_digits(count));
    let noun = columns
        .next()
        .filter(|noun| !noun.first().is_some_and(u8::is_ascii_digit));
    let has_unit = columns.any(|word| {
        let lower = word.to_ascii_lowercase();
        UNITS.iter().any(|unit| lower.starts_with(unit))
    });
    count.is_some() && noun.is_some_and(|noun| noun.contains(&b'(') || has_unit)
}

#[cfg(test)]
mod tests {
    use crate::ftp::time::parse_timestamp;

    use super::*;
    use crate::ftp::listing::order::DateOrders;

    /// Parses a listing of one line.
    fn entry(line: &str) -> Option<Entry> {
        match parse(line.as_bytes())? {
            Row::Entry(entry) => Some(entry),
            Row::Dated(mut entry, time) => {
                let mut orders = DateOrders::new(1_795_435_200);
                orders.learn(&time);
                entry.modified = orders.resolve(&time);
                Some(entry)
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    fn seconds(line: &str) -> Option<i64> {
        entry(line).unwrap().modified.map(|m| m.seconds)
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
        let entry = entry("02-30-04  05:06  5 x").unwrap();
        assert_eq!((entry.size, entry.modified), (Some(5), None));
    }

    #[test]
    fn blanks_in_names_are_kept() {
        let name = |line: &str| entry(line).unwrap().name;
        assert_eq!(name("03-02-04  05:06PM          5  x "), b" x ");
        assert_eq!(name("03-02-04  05:06PM  <DIR>           x "), b" x ");
        assert_eq!(name("03-02-04  05:06PM  <DIR> x"), b"x");
    }

    #[test]
    fn a_size_beyond_64_bits_is_unknown() {
        let size = |column: &str| {
            let line = format!("03-02-04  05:06PM  {column} x");
            entry(&line).map(|entry| entry.size)
        };
        assert_eq!(size("18446744073709551615"), Some(Some(u64::MAX)));
        assert_eq!(size("18446744073709551616"), Some(None));
        assert_eq!(size("-1"), Some(None));
        assert_eq!(size("<BAR>"), None);
    }

    #[test]
    fn a_word_in_brackets_is_a_directory_in_another_language() {
        for (tag, kind) in [
            ("<KAT>", Kind::Directory),
            ("<ΚΑΤ>", Kind::Directory),
            ("<UNIXSOCKET>", Kind::Special),
        ] {
            let line = format!("25/03/2018  09:41    {tag:<15}x y");
            let Some(Row::Dated(entry, _)) = parse_foreign(line.as_bytes()) else {
                panic!("{tag}");
            };
            assert_eq!(
                (entry.kind, entry.name.as_slice()),
                (kind, b"x y".as_slice())
            );
        }
        assert!(parse_foreign(b"25/03/2018  09:41    <2>   x").is_none());
    }

    #[test]
    fn what_dir_prints_around_its_rows_is_no_entry() {
        for line in [
            " Volume in drive D is DATA",
            " Volume Serial Number is 1A2B-3C4D",
            " Volumeseriennummer: 1A2B-3C4D",
            " Directory of D:\\ftp\\in",
            " Verzeichnis von D:\\ftp",
            "               3 File(s)          5,376 bytes",
            "               2 Dir(s)   9,123,456 bytes free",
            "               3 archivos          5.376 bytes",
            "               3 Datei(en),          5.376 Bytes",
            "               3 fichier(s)          5 376 octets",
        ] {
            assert!(is_decoration(line.as_bytes()), "{line}");
        }
        for line in [
            "3 File(s) 5,376 bytes",
            " something else",
            " 1234 name 5",
            " 77 c:\\x",
            "",
            " ",
            " 3",
        ] {
            assert!(!is_decoration(line.as_bytes()), "{line}");
        }
    }
}
