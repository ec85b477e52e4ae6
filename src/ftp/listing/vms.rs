//! OpenVMS `DIRECTORY`: `LOGIN.COM;7  3/18  11-MAR-2009 22:04:51  [OPS,ANNE]  (RWED,RWED,RE,)`.
//!
//! Sizes are in blocks and therefore unknown. A name that is too long for its column is on a line
//! by itself. Names keep their ODS-5 escapes (`^.`), which the server expects in commands; versions
//! are removed.

use super::clock::{self, next_clock};
use super::date;
use super::words::{is_blank, next_word, number, trim_start, words};
use super::{Entry, Kind, Modified, Precision, Row};

/// Parses a line with a name and something after it. `None` if it is not VMS.
pub(super) fn parse(line: &[u8]) -> Option<Row> {
    let (name, rest) = file_name(line)?;
    let columns = VmsColumns::read(rest)?;
    Some(name.row(&columns))
}

/// Whether a name fills the line.
pub(super) fn is_wrapped(line: &[u8]) -> bool {
    file_name(line).is_some_and(|(_, rest)| rest.iter().all(|byte| is_blank(*byte)))
}

/// Parses the line that follows a name on a line by itself. `None` if it does not belong to the
/// name.
pub(super) fn parse_rest(name: &[u8], line: &[u8]) -> Option<Row> {
    line.first().filter(|byte| is_blank(**byte))?;
    let (name, _) = file_name(name)?;
    let columns = VmsColumns::read(line)?;
    Some(name.row(&columns))
}

/// Returns an entry with only a name.
pub(super) fn alone(name: &[u8]) -> Option<Row> {
    let (name, _) = file_name(name)?;
    Some(name.row(&VmsColumns::default()))
}

/// Whether the line is the heading of a directory, or says that there are no files.
pub(super) fn is_decoration(line: &[u8]) -> bool {
    let text = trim_start(line);
    let heads = text.strip_prefix(b"Directory ").map(trim_start);
    heads.is_some_and(|path| path.contains(&b'[') || path.contains(&b':'))
        || text.starts_with(b"%DIRECT-W-NOFILES")
}

/// A name with its version.
struct FileName<'a> {
    name: &'a [u8],
    version: u32,
    is_directory: bool,
}

impl FileName<'_> {
    fn row(&self, columns: &VmsColumns) -> Row {
        let kind = if self.is_directory {
            Kind::Directory
        } else {
            Kind::File
        };
        let mut entry = Entry::new(self.name, kind);
        entry.modified = columns.modified;
        entry.owner.clone_from(&columns.owner);
        Row::Version(entry, self.version)
    }
}

/// Parses `[WEB.DATA]DRAFTS.DIR;1`. Also returns the rest. Blanks in a name are preceded by a
/// circumflex.
fn file_name(line: &[u8]) -> Option<(FileName<'_>, &[u8])> {
    let is_end = |at: &usize| {
        line.get(*at).is_none_or(|byte| is_blank(*byte))
            && at.checked_sub(1).and_then(|before| line.get(before)) != Some(&b'^')
    };
    let end = (0..=line.len()).find(is_end)?;
    let (word, rest) = line.split_at_checked(end)?;
    let semicolon = word.iter().rposition(|byte| *byte == b';')?;
    let (path, version) = word.split_at_checked(semicolon)?;
    let version = number(version.get(1..)?)?;
    // The brackets of the directory; those in a name are escaped.
    let bracket = path.iter().rposition(|byte| matches!(byte, b']' | b'>'));
    let is_escaped = |at: usize| at.checked_sub(1).and_then(|it| path.get(it)) == Some(&b'^');
    let name = match bracket {
        Some(at) if !is_escaped(at) => path.get(at + 1..)?,
        _ => path,
    };
    let stem = name
        .len()
        .checked_sub(4)
        .and_then(|at| name.split_at_checked(at));
    let directory = stem.filter(|(_, ending)| ending.eq_ignore_ascii_case(b".DIR"));
    let (name, is_directory) = directory.map_or((name, false), |(stem, _)| (stem, true));
    let name = FileName {
        name,
        version,
        is_directory,
    };
    (!word.starts_with(b";")).then_some((name, rest))
}

/// The columns after the name.
#[derive(Debug, Default)]
struct VmsColumns {
    modified: Option<Modified>,
    owner: Option<Box<[u8]>>,
}

impl VmsColumns {
    /// Parses the columns. `None` if they contain neither a date nor the server's excuse.
    fn read(line: &[u8]) -> Option<Self> {
        let text = trim_start(line);
        if text.starts_with(b"%") {
            return Some(Self::default());
        }
        let mut rest = text;
        let mut count = 0;
        while let Some((word, after)) = next_word(rest) {
            if let Some(date) = day(word) {
                let clock = next_clock(after);
                let modified = match clock {
                    Some((clock, _)) => clock.on(date),
                    None => clock::modified(date, jiff::civil::Time::midnight(), Precision::Day),
                };
                let owner = owner(after);
                return Some(Self { modified, owner });
            }
            rest = after;
            count += 1;
            // Only the size and its unit precede the date.
            if count > 3 {
                return None;
            }
        }
        // Sizes without a date: `DIRECTORY/SIZE`.
        let is_size = |word: &[u8]| {
            word.iter()
                .all(|byte| byte.is_ascii_digit() || *byte == b'/')
        };
        (count > 0 && words(text).all(is_size)).then(Self::default)
    }
}

/// Parses `11-MAR-2009`.
fn day(word: &[u8]) -> Option<(i16, i8, i8)> {
    let (first, _) = word.split_first()?;
    let is_date = first.is_ascii_digit() && word.split(|byte| *byte == b'-').count() == 3;
    is_date.then(|| date::named_date(word))?
}

/// Returns the text in brackets: `[OPS,ANNE]`.
fn owner(bytes: &[u8]) -> Option<Box<[u8]>> {
    let open = bytes.iter().position(|byte| *byte == b'[')?;
    let inner = bytes.get(open + 1..)?;
    let close = inner.iter().position(|byte| *byte == b']')?;
    inner.get(..close).map(Box::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(row: Option<Row>) -> (Entry, u32) {
        match row {
            Some(Row::Version(entry, version)) => (entry, version),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_name_loses_its_version_and_a_directory_its_ending() {
        let (file, number) = version(parse(
            b"LOGIN.COM;7  3/18  11-MAR-2009 22:04:51  [OPS,ANNE] (R)",
        ));
        assert_eq!((file.name.as_slice(), number), (b"LOGIN.COM".as_slice(), 7));
        assert_eq!(file.owner.as_deref(), Some(b"OPS,ANNE".as_slice()));
        let (directory, _) = version(parse(b"DKA0:[A.B]SUB.dir;1 1/3 15-APR-1994 18:29"));
        assert_eq!(
            (directory.name.as_slice(), directory.kind),
            (b"SUB".as_slice(), Kind::Directory)
        );
        let (odd, _) = version(parse(b"a^ b^;c^]d.txt;1 1 15-APR-1994 18:29"));
        assert_eq!(odd.name, b"a^ b^;c^]d.txt");
    }

    #[test]
    fn what_cannot_be_read_leaves_the_name() {
        for rest in [
            "%RMS-E-PRV, no privilege",
            "1/3",
            "1 45-APR-1994 18:29",
            "1 31-APR-1994 18:29",
        ] {
            let line = format!("A.B;1 {rest}");
            let row = parse(line.as_bytes());
            if rest.starts_with("1 45") {
                assert!(row.is_none());
                continue;
            }
            assert_eq!(version(row).0.modified, None, "{rest}");
        }
        assert_eq!(version(alone(b"A.B;1")).0.name, b"A.B");
    }

    #[test]
    fn other_lines_are_not_vms() {
        for line in [
            "",
            "A.B",
            "A.B;",
            "A.B;x 1/3",
            ";1 1/3",
            "A.B;1 some other words of text",
        ] {
            assert!(parse(line.as_bytes()).is_none(), "{line}");
        }
    }
}
