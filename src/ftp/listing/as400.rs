//! IBM i (AS/400): `ANNE  204811 07/15/21 09:12:33 *STMF  Q3 summary.pdf`.
//!
//! Dates are in the order of the server's job, which only the listing as a whole shows.

use jiff::civil::{Date, Time};

use super::clock::{self, Clock};
use super::date::When;
use super::order::{NumericDate, NumericTime, full_year};
use super::words::{is_digits, next_word, number, trim_start};
use super::{Entry, Kind, Modified, Precision, Row, calendar};

/// Parses the line. `None` if there is no object type (`*STMF`) in its column.
pub(super) fn parse(line: &[u8]) -> Option<Row> {
    let (owner, rest) = next_word(line)?;
    let (mut word, mut rest) = next_word(rest)?;
    let mut described = None;
    if !is_type(word) {
        let size = word;
        let (date, after) = next_word(rest)?;
        let (time, after) = next_word(after)?;
        (word, rest) = next_word(after)?;
        if !is_type(word) || !is_digits(size) {
            return None;
        }
        described = Some((size, when(date, time)));
    }
    let name = trim_start(rest);
    let name = name.strip_suffix(b"/").unwrap_or(name);
    // The member of another entry is not a name in this directory.
    if name.contains(&b'/') {
        return Some(Row::Dropped("a name in another directory"));
    }
    let kind = kind(word);
    let mut entry = Entry::new(name, kind);
    entry.owner = Some(owner.into());
    let Some((size, when)) = described else {
        return Some(Row::Entry(entry));
    };
    // The size of other objects is not that of the transferred data.
    entry.size = number(size).filter(|_| kind == Kind::File);
    Some(Row::new(entry, when))
}

/// Whether the word is an object type: `*DIR`, `*STMF`, `*FILE`.
fn is_type(word: &[u8]) -> bool {
    let letters = word.strip_prefix(b"*").unwrap_or_default();
    (2..=9).contains(&letters.len())
        && letters
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

fn kind(object: &[u8]) -> Kind {
    match object {
        b"*DIR" | b"*DDIR" | b"*FLR" | b"*LIB" | b"*DSTDIR" => Kind::Directory,
        b"*STMF" | b"*DSTMF" | b"*DOC" | b"*MEM" => Kind::File,
        b"*SYMLNK" => Kind::Symlink,
        b"*BLKSF" | b"*CHRSF" | b"*FIFO" | b"*SOCKET" => Kind::Special,
        // `*FILE` holds members and can be entered, but a save file is a single file.
        _ => Kind::Unknown,
    }
}

fn when(date: &[u8], time: &[u8]) -> When {
    let Some(clock) = clock(time) else {
        return When::At(None);
    };
    if let Some((year, day)) = day_of_year(date) {
        return When::At(on_day(year, day, &clock));
    }
    // The separator can also be a comma or a minus.
    let date: Vec<u8> = date
        .iter()
        .map(|byte| if *byte == b',' { b'/' } else { *byte })
        .collect();
    match (NumericDate::parse(&date), clock.time) {
        (Some(date), Some(time)) => When::Numeric(NumericTime {
            date,
            time,
            precision: clock.precision,
            default: None,
        }),
        _ => When::At(None),
    }
}

/// Parses `09:12:33`, or with the job's separator: `09.12.33`, `09,12,33`.
fn clock(word: &[u8]) -> Option<Clock> {
    let colons: Vec<u8> = word
        .iter()
        .map(|byte| {
            if matches!(byte, b'.' | b',') {
                b':'
            } else {
                *byte
            }
        })
        .collect();
    clock::clock(&colons)
}

/// Parses `19/334`: the year and the day of the year.
fn day_of_year(word: &[u8]) -> Option<(i16, i16)> {
    let [y1, y2, b'/' | b'-' | b'.' | b',', day @ ..] = word else {
        return None;
    };
    let day = number(day).filter(|_| day.len() == 3)?;
    Some((full_year(number(&[*y1, *y2])?, 2)?, day))
}

fn on_day(year: i16, day: i16, clock: &Clock) -> Option<Modified> {
    let first = calendar::seconds(Date::new(year, 1, 1).ok()?, Time::midnight())?;
    let last = if Date::new(year, 2, 29).is_ok() {
        366
    } else {
        365
    };
    let time = clock.time.filter(|_| (1..=last).contains(&day))?;
    let seconds =
        i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second());
    Some(Modified {
        seconds: first + i64::from(day - 1) * 86_400 + seconds,
        precision: Precision::Second,
        utc: false,
    })
}

#[cfg(test)]
mod tests {
    use crate::ftp::time::parse_timestamp;

    use super::*;

    fn entry(line: &str) -> Entry {
        match parse(line.as_bytes()) {
            Some(Row::Entry(entry) | Row::Dated(entry, _)) => entry,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_type_tells_what_an_object_is() {
        for (object, kind, size) in [
            ("*STMF", Kind::File, Some(640)),
            ("*FILE", Kind::Unknown, None),
            ("*LIB", Kind::Directory, None),
            ("*FLR", Kind::Directory, None),
            ("*PGM", Kind::Unknown, None),
            ("*SYMLNK", Kind::Symlink, None),
        ] {
            let entry = entry(&format!("ANNE 640 11/30/19 10:11:12 {object}     a b/"));
            assert_eq!((entry.kind, entry.size), (kind, size), "{object}");
            assert_eq!(entry.name, b"a b");
        }
        let member = entry("ANNE                                    *MEM       A.MBR");
        assert_eq!(
            (member.name.as_slice(), member.kind),
            (b"A.MBR".as_slice(), Kind::File)
        );
        let other = parse(b"ANNE                                    *MEM       A.FILE/A.MBR");
        assert!(matches!(other, Some(Row::Dropped(_))));
    }

    #[test]
    fn a_day_may_be_counted_from_the_new_year() {
        let modified = |date: &str| entry(&format!("A 1 {date} 10.11.12 *STMF x")).modified;
        let seconds = |date| modified(date).map(|it| it.seconds);
        assert_eq!(seconds("19/334"), parse_timestamp(b"20191130101112"));
        assert_eq!(seconds("20/366"), parse_timestamp(b"20201231101112"));
        assert_eq!(seconds("19/366"), None);
        assert_eq!(seconds("nonsense"), None);
    }

    #[test]
    fn other_lines_are_none() {
        for line in [
            "",
            "ANNE",
            "ANNE *STMF",
            "*STMF x",
            "ANNE a 11/30/19 10:11:12 *STMF x",
        ] {
            let row = parse(line.as_bytes());
            assert!(
                row.is_none() || matches!(row, Some(Row::Entry(ref it)) if it.name.is_empty()),
                "{line}"
            );
        }
    }
}
