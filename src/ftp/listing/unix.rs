//! Lines of Unix `ls -l` in its dialects, and of NetWare, which has different permissions:
//! `-rw-r--r--   1 owner group  531 Jan 29 03:26 name`.

use super::date::{self, When};
use super::unix_size::{SizeColumn, size_column};
use super::words::{
    find, is_blank, is_digits, leading_blanks, next_word, number, octal, trim_start, words,
};
use super::{Entry, Kind, Row, month};

/// Maximum number of words before the date: links, owner and group (with blanks) and size.
const MAX_WORDS: usize = 16;
/// Number of words before the size if no name has blanks: links, owner, group.
const USUAL_WORDS: usize = 3;
/// Minimum digits of a link count that fills its column, leaving no blank before it.
const GLUED_DIGITS: usize = 3;

/// Parses the line. `None` if it does not begin with permissions followed by a size and a date, or
/// by a name.
pub(super) fn parse(line: &[u8], now: i64) -> Option<Row> {
    let (permissions, rest) = permissions(line).or_else(|| permissions(behind_numbers(line)?))?;
    let usual = columns(rest, permissions.kind, now, date::read);
    match usual {
        Some(columns) if columns.before().len() <= USUAL_WORDS + 1 => {
            Some(columns.row(&permissions))
        }
        // A name can contain what looks like a size and a date, preceded by unusual forms of them.
        usual => columns(rest, permissions.kind, now, date::read_unusual)
            .filter(|columns| columns.before().len() <= USUAL_WORDS)
            .or(usual)
            .map(|columns| columns.row(&permissions))
            .or_else(|| without_a_date(&permissions, rest)),
    }
}

/// The first column.
struct Permissions {
    kind: Kind,
    mode: Option<u32>,
    is_netware: bool,
}

fn permissions(line: &[u8]) -> Option<(Permissions, &[u8])> {
    let (letter, rest) = line.split_first()?;
    if let Some(kind) = kind(*letter)
        && let Some(rest) = netware_rights(rest)
    {
        let permissions = Permissions {
            kind,
            mode: None,
            is_netware: true,
        };
        return Some((permissions, rest));
    }
    let (kind, letters, rest) = letters(line)?;
    // ls prints question marks for files that it cannot access.
    let mode = match letters {
        b"?????????" => None,
        letters => Some(mode(letters)?),
    };
    // An access control list, SELinux context or extended attribute.
    let (has_mark, rest) = match rest {
        [b'+' | b'.' | b'@', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let ends = |at: usize| rest.get(at).is_some_and(|byte| is_blank(*byte));
    let is_glued = digits >= if has_mark { 1 } else { GLUED_DIGITS };
    let is_apart = ends(0) || (is_glued && ends(digits));
    if !is_apart {
        return None;
    }
    let permissions = Permissions {
        kind,
        mode,
        is_netware: false,
    };
    Some((permissions, rest))
}

/// Splits into type, nine letters of permissions, and the rest. Some servers omit the type.
fn letters(line: &[u8]) -> Option<(Kind, &[u8], &[u8])> {
    if let Some(kind) = kind(*line.first()?)
        && let Some((letters, rest)) = line.get(1..)?.split_at_checked(9)
        && (mode(letters).is_some() || letters == b"?????????")
    {
        return Some((kind, letters, rest));
    }
    let (letters, rest) = line.split_at_checked(9)?;
    rest.first().filter(|byte| is_blank(**byte))?;
    mode(letters)?;
    Some((Kind::Unknown, letters, rest))
}

/// Skips blanks, an inode number and a count of blocks (`ls -is`). ProFTPD begins the lines of STAT
/// with a blank.
fn behind_numbers(line: &[u8]) -> Option<&[u8]> {
    let mut rest = trim_start(line);
    for _ in 0..2 {
        match next_word(rest) {
            Some((word, after)) if is_digits(word) => rest = trim_start(after),
            _ => break,
        }
    }
    (rest.len() < line.len()).then_some(rest)
}

fn kind(letter: u8) -> Option<Kind> {
    match letter {
        // `C` is a contiguous file, `M` one moved to slower storage.
        b'-' | b'C' | b'M' => Some(Kind::File),
        b'd' => Some(Kind::Directory),
        b'l' => Some(Kind::Symlink),
        // `D` is a door, `n` a network file, `P` a port, `w` a whiteout.
        b'b' | b'c' | b'p' | b's' | b'D' | b'n' | b'P' | b'w' => Some(Kind::Special),
        b'?' => Some(Kind::Unknown),
        _ => None,
    }
}

/// Skips NetWare's `[R----F--]`.
fn netware_rights(bytes: &[u8]) -> Option<&[u8]> {
    let (word, rest) = next_word(bytes)?;
    let rights = word.strip_prefix(b"[")?.strip_suffix(b"]")?;
    let is_rights = |byte: &u8| byte.is_ascii_uppercase() || matches!(byte, b'-' | b' ');
    rights.iter().all(is_rights).then_some(rest)
}

/// Parses `rwxr-sr-t` to permission bits.
fn mode(letters: &[u8]) -> Option<u32> {
    letters
        .iter()
        .enumerate()
        .try_fold(0, |mode, (at, letter)| {
            let bit = 0o400 >> at;
            let special = 0o4000 >> (at / 3);
            let bits = match (at % 3, letter) {
                (_, b'-') => 0,
                (0, b'r') | (1, b'w') | (2, b'x') => bit,
                (2, b's' | b't') => bit | special,
                // `l` is mandatory locking: the set-group bit without execute permission.
                (2, b'S' | b'T' | b'l' | b'L') => special,
                _ => return None,
            };
            Some(mode | bits)
        })
}

/// Parses a date.
type DateReader = fn(&[u8], i64) -> Option<(When, &[u8])>;

/// The columns after the permissions.
struct Columns<'a> {
    words: [&'a [u8]; MAX_WORDS],
    count: usize,
    size: Option<u64>,
    when: When,
    /// The name, with the blank before it.
    rest: &'a [u8],
}

/// Finds the first size that is followed by a date.
fn columns(mut rest: &[u8], kind: Kind, now: i64, read: DateReader) -> Option<Columns<'_>> {
    let mut words: [&[u8]; MAX_WORDS] = [b""; MAX_WORDS];
    for count in 0..MAX_WORDS {
        let (word, after) = next_word(rest)?;
        rest = after;
        let before = words.get(..count).unwrap_or_default();
        if let Some(column) = size_column(word, kind, before)
            && let Some((when, rest)) = read(after, now)
        {
            let is_glued = column == SizeColumn::Glued;
            return Some(Columns {
                words,
                count: count + usize::from(is_glued),
                size: column.exact(),
                when,
                rest,
            });
        }
        *words.get_mut(count)? = word;
    }
    None
}

impl<'a> Columns<'a> {
    /// The words before the size.
    fn before(&self) -> &[&'a [u8]] {
        self.words.get(..self.count).unwrap_or_default()
    }

    fn row(&self, permissions: &Permissions) -> Row {
        let name = name(permissions, self.rest);
        let (name, target) = match permissions.kind {
            Kind::Symlink => split_target(name, self.size),
            _ => (name, None),
        };
        let (owner, group) = owner_and_group(self.before(), permissions);
        let mut entry = Entry::new(name, permissions.kind);
        entry.size = self.size;
        entry.mode = permissions.mode;
        entry.owner = owner.map(Box::from);
        entry.group = group.map(Box::from);
        entry.target = target.map(<[u8]>::to_vec);
        Row::new(entry, self.when)
    }
}

/// Parses a line with links, owner, group and size followed by the name: `drwxr-x--- 5 u g 4096
/// name`. ls prints question marks for values that it cannot determine.
fn without_a_date(permissions: &Permissions, rest: &[u8]) -> Option<Row> {
    let mut rest = rest;
    let mut before: [&[u8]; 4] = [b""; 4];
    for column in &mut before {
        (*column, rest) = next_word(rest)?;
    }
    let [links, owner, group, size] = before;
    let size = if before == [b"?"; 4] {
        let (_, name) = next_word(rest).filter(|(word, _)| *word == b"?")?;
        rest = name;
        None
    } else {
        let is_date = |word: &[u8]| {
            month::parse(word).is_some() || word.contains(&b':') || date::named_date(word).is_some()
        };
        // With an unreadable date, the beginning of the name is unknown.
        if !is_digits(links) || !is_digits(size) || words(rest).take(3).any(is_date) {
            return None;
        }
        let is_year = |word: &[u8]| word.len() == 4 && is_digits(word);
        if words(rest).nth(1).is_some_and(is_digits) && words(rest).nth(2).is_some_and(is_year) {
            return None;
        }
        number(size)
    };
    let name = name(permissions, rest);
    if name.is_empty() {
        return None;
    }
    let mut entry = Entry::new(name, permissions.kind);
    entry.size = size;
    entry.mode = permissions.mode;
    let known = |word: &[u8]| (word != b"?").then(|| word.into());
    (entry.owner, entry.group) = (known(owner), known(group));
    Some(Row::Entry(entry))
}

/// Returns owner and group from the words between links and size. With more than two, the end of
/// the owner is unknown.
fn owner_and_group<'a>(
    before: &[&'a [u8]],
    permissions: &Permissions,
) -> (Option<&'a [u8]>, Option<&'a [u8]>) {
    let words = match before {
        // The major number of a device, whose comma is separate from the minor.
        [words @ .., major] if major.ends_with(b",") => words,
        words => words,
    };
    let words = match words {
        words if permissions.is_netware => words,
        [links, words @ ..] if links.iter().all(u8::is_ascii_digit) => words,
        words => words,
    };
    match words {
        [owner] | [owner, b""] => (Some(owner), None),
        [owner, group] => (Some(owner), Some(group)),
        _ => (None, None),
    }
}

/// Returns the name after exactly one blank, so that its own blanks are preserved. NetWare pads it.
fn name<'a>(permissions: &Permissions, bytes: &'a [u8]) -> &'a [u8] {
    match bytes {
        bytes if permissions.is_netware => trim_start(bytes),
        [_, name @ ..] => name,
        [] => bytes,
    }
}

/// Splits a link into name and target. With several arrows, the size of the link tells which one is
/// meant, because it is the length of the target.
fn split_target(name: &[u8], size: Option<u64>) -> (&[u8], Option<&[u8]>) {
    const ARROW: &[u8] = b" -> ";
    let Some(first) = find(name, ARROW) else {
        return (name, None);
    };
    let from_the_end = size.and_then(|size| name.len().checked_sub(usize::try_from(size).ok()?));
    let sized = from_the_end
        .and_then(|target| target.checked_sub(ARROW.len()))
        .filter(|at| name.get(*at..).is_some_and(|rest| rest.starts_with(ARROW)));
    let arrow = sized.unwrap_or(first);
    (
        name.get(..arrow).unwrap_or(name),
        name.get(arrow + ARROW.len()..),
    )
}

/// Parses a line of numbers before the name, which some servers print from stat(2): `0100640 1001
/// 100 48213 1330000000 build.log`, with the mode in octal and the time in seconds since 1970.
pub(super) fn parse_numbers(line: &[u8], now: i64) -> Option<Row> {
    let (mode, mut rest) = next_word(line)?;
    if !(5..=8).contains(&mode.len()) || leading_blanks(line) > 0 {
        return None;
    }
    let bits = octal(mode)?;
    let kind = match bits >> 12 {
        0o10 => Kind::File,
        0o04 => Kind::Directory,
        0o12 => Kind::Symlink,
        0o01 | 0o02 | 0o06 | 0o14 => Kind::Special,
        _ => return None,
    };
    let mut columns: [&[u8]; 4] = [b""; 4];
    for column in &mut columns {
        (*column, rest) = next_word(rest).filter(|(word, _)| is_digits(word))?;
    }
    let [owner, group, size, time] = columns;
    let size = number(size);
    let (name, target) = match kind {
        Kind::Symlink => split_target(trim_start(rest), size),
        _ => (trim_start(rest), None),
    };
    let mut entry = Entry::new(name, kind);
    entry.mode = Some(bits & 0o7777);
    entry.size = size;
    entry.target = target.map(<[u8]>::to_vec);
    entry.modified = date::seconds_since_1970(time, now);
    entry.owner = Some(owner.into());
    entry.group = Some(group.into());
    Some(Row::Entry(entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: &str) -> Entry {
        match parse(line.as_bytes(), 1_795_435_200) {
            Some(Row::Entry(entry)) => entry,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn letters_become_permission_bits() {
        for (letters, bits) in [
            ("rwxrwxrwx", 0o777),
            ("---------", 0),
            ("rwsr-sr-t", 0o7755),
            ("rwSr-Sr-T", 0o7644),
            ("rw-r-lr--", 0o2644),
        ] {
            assert_eq!(mode(letters.as_bytes()), Some(bits), "{letters}");
        }
        assert_eq!(mode(b"rwxrwxrwy"), None);
        assert_eq!(mode(b"wrxrwxrwx"), None);
    }

    #[test]
    fn owner_and_group_are_told_apart_where_they_can_be() {
        let pair = |line: &str| {
            let entry = entry(line);
            let text =
                |bytes: Option<Box<[u8]>>| bytes.map(|b| String::from_utf8(b.into()).unwrap());
            (text(entry.owner), text(entry.group))
        };
        let both = (Some("u".to_owned()), Some("g".to_owned()));
        assert_eq!(pair("-rw-r--r-- 1 u g 5 Jan 29 03:26 x"), both);
        assert_eq!(pair("-rw-r--r-- u g 5 Jan 29 03:26 x"), both);
        assert_eq!(pair("crw-r--r-- 1 u g 5, 6 Jan 29 03:26 x"), both);
        assert_eq!(pair("crw-r--r-- 1 u g 5,6 Jan 29 03:26 x"), both);
        let owner = (Some("u".to_owned()), None);
        assert_eq!(pair("-rw-r--r-- 1 u 5 Jan 29 03:26 x"), owner);
        assert_eq!(pair("- [RWCEAFMS] u 5 Jan 29 03:26 x"), owner);
        let neither = (None, None);
        assert_eq!(pair("-rw-r--r-- 1 u g h 5 Jan 29 03:26 x"), neither);
    }

    #[test]
    fn a_link_without_an_arrow_has_no_target() {
        let link = entry("lrwxrwxrwx 1 u g 5 Jan 29 03:26 x");
        assert_eq!((link.name.as_slice(), link.target), (b"x".as_slice(), None));
    }

    #[test]
    fn an_arrow_in_a_files_name_is_part_of_it() {
        assert_eq!(
            entry("-rw-r--r-- 1 u g 5 Jan 29 03:26 a -> b").name,
            b"a -> b"
        );
    }

    #[test]
    fn numeric_owners_and_month_like_names_do_not_hide_the_date() {
        let tricky = entry("-rw-r--r-- 1 0 5 23 Nov 4 10:00 x");
        assert_eq!(tricky.size, Some(23));
        let tricky = entry("-rw-r--r-- 1 jan may 12 Mar 3 10:00 4 Jul 2021");
        assert_eq!(
            (tricky.size, tricky.name),
            (Some(12), b"4 Jul 2021".to_vec())
        );
    }

    #[test]
    fn lines_that_only_look_alike_are_none() {
        for line in [
            "-rw-r--r--",
            "-rw-r--r-- 1 u g 5",
            "-rw-r--r-- 1 u g 5 Jan 29",
            "-rw-r--r--1 u g 5 Jan 29 03:26 x",
            "drwxr-xr 1 u g 5 Jan 29 03:26 x",
            "xrwxr-xr-x 1 u g 5 Jan 29 03:26 x",
            "-rw-r--r-- 1 u g five Jan 29 03:26 x",
        ] {
            assert!(parse(line.as_bytes(), 0).is_none(), "{line}");
        }
    }

    #[test]
    fn columns_that_run_into_each_other_hide_only_what_they_hide() {
        let links = entry("drwxrwxr-x1024 u g 4096 Sep  3  2018 x");
        assert_eq!(
            (links.kind, links.name.as_slice()),
            (Kind::Directory, b"x".as_slice())
        );
        assert_eq!(links.owner.as_deref(), Some(b"u".as_slice()));
        let group = entry("-rw-rw-r-- 1 build releases87654321 Mar 14 09:26 x");
        assert_eq!((group.size, group.group), (None, None));
        assert_eq!(group.owner.as_deref(), Some(b"build".as_slice()));
        // The name of a group can end in digits.
        assert_eq!(
            entry("-rw-rw-r-- 1 build web1 640 Mar 14 09:26 x").size,
            Some(640)
        );
        assert_eq!(
            entry("-rw-rw-r-- 1 build web1 12 Mar 14 09:26 x").size,
            Some(12)
        );
    }

    #[test]
    fn a_name_like_a_date_does_not_hide_an_unusual_one() {
        let odd = entry("-rw-r--r-- 1 u g 640 1456789012 7 Mar 3 10:00 x");
        assert_eq!(odd.name, b"7 Mar 3 10:00 x");
        // A number like a time can belong to the group.
        let usual = entry("-rw-r--r-- 1 1000 1456789012 640 Mar  3 10:00 x");
        assert_eq!(
            (usual.size, usual.name.as_slice()),
            (Some(640), b"x".as_slice())
        );
    }

    #[test]
    fn a_line_without_a_date_has_a_name() {
        let plain = entry("drwxrwx--- 5 svc svc 4096 no date");
        assert_eq!(
            (plain.name.as_slice(), plain.modified),
            (b"no date".as_slice(), None)
        );
        let broken = entry("-????????? ? ?   ?      ?            ? lost one");
        assert_eq!(
            (broken.name.as_slice(), broken.mode),
            (b"lost one".as_slice(), None)
        );
    }

    #[test]
    fn the_length_of_a_target_tells_which_arrow_is_meant() {
        let target = |line: &str| entry(line).target.map(|it| String::from_utf8(it).unwrap());
        let line = |size| format!("lrwxrwxrwx 1 u g {size} Jan 12  2019 a -> b -> cc");
        assert_eq!(target(&line(2)).as_deref(), Some("cc"));
        assert_eq!(target(&line(7)).as_deref(), Some("b -> cc"));
        assert_eq!(target(&line(99)).as_deref(), Some("b -> cc"));
    }
}
