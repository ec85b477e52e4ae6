//! One line of Unix's `ls -l` in its dialects, and NetWare's, which differs in its rights:
//! `-rw-r--r--   1 owner group  531 Jan 29 03:26 name`.

use super::{Entry, Kind, date, is_blank, next_word, number};

/// Most words looked at before the date: links, owner and group (with blanks in them) and size.
const MOST_WORDS: usize = 16;

/// Reads the line; none when it does not begin with permissions or has no size and date.
///
/// One leading blank is passed over: ProFTPD begins the lines of its STAT so.
pub(super) fn parse(line: &[u8], now: i64) -> Option<Entry> {
    let (permissions, mut rest) = permissions(line.strip_prefix(b" ").unwrap_or(line))?;
    let kind = permissions.kind;
    let mut before = Vec::with_capacity(6);
    while before.len() < MOST_WORDS {
        let (word, after) = next_word(rest)?;
        rest = after;
        if is_size(word, kind)
            && let Some((modified, after)) = date::split(after, now)
        {
            let (name, target) = name_and_target(&permissions, after);
            let (owner, group) = owner_and_group(&before, &permissions);
            let mut entry = Entry::new(name, kind);
            entry.size = number(word);
            entry.modified = modified;
            entry.mode = permissions.mode;
            entry.owner = owner.map(<[u8]>::to_vec);
            entry.group = group.map(<[u8]>::to_vec);
            entry.target = target.map(<[u8]>::to_vec);
            return Some(entry);
        }
        before.push(word);
    }
    None
}

/// The first column.
struct Permissions {
    kind: Kind,
    mode: Option<u32>,
    is_netware: bool,
}

fn permissions(line: &[u8]) -> Option<(Permissions, &[u8])> {
    let (letter, rest) = line.split_first()?;
    let kind = kind(*letter)?;
    if let Some(rest) = netware_rights(rest) {
        let permissions = Permissions {
            kind,
            mode: None,
            is_netware: true,
        };
        return Some((permissions, rest));
    }
    let (letters, rest) = rest.split_at_checked(9)?;
    let mode = mode(letters)?;
    // An access control list, a SELinux context, an extended attribute.
    let ([b'+' | b'.' | b'@', rest @ ..] | rest) = rest;
    if !rest.first().is_some_and(|byte| is_blank(*byte)) {
        return None;
    }
    let permissions = Permissions {
        kind,
        mode: Some(mode),
        is_netware: false,
    };
    Some((permissions, rest))
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

/// What follows NetWare's `[R----F--]`.
fn netware_rights(bytes: &[u8]) -> Option<&[u8]> {
    let (word, rest) = next_word(bytes)?;
    let rights = word.strip_prefix(b"[")?.strip_suffix(b"]")?;
    let is_rights = |byte: &u8| byte.is_ascii_uppercase() || matches!(byte, b'-' | b' ');
    rights.iter().all(is_rights).then_some(rest)
}

/// The permission bits of `rwxr-sr-t`.
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
                // `l` is mandatory locking: the set-group bit without the right to execute.
                (2, b'S' | b'T' | b'l' | b'L') => special,
                _ => return None,
            };
            Some(mode | bits)
        })
}

/// Whether the word may stand where a size stands: a number, or a device's `1,3`.
fn is_size(word: &[u8], kind: Kind) -> bool {
    let unsigned = word.strip_prefix(b"-").unwrap_or(word);
    let is_comma = |byte: &u8| *byte == b',' && kind == Kind::Special;
    unsigned.last().is_some_and(u8::is_ascii_digit)
        && unsigned
            .iter()
            .all(|byte| byte.is_ascii_digit() || is_comma(byte))
}

/// The words between links and size. Of more than two it cannot be told where the owner ends.
fn owner_and_group<'a>(
    before: &[&'a [u8]],
    permissions: &Permissions,
) -> (Option<&'a [u8]>, Option<&'a [u8]>) {
    let words = match before {
        // A device's major number, its comma apart from the minor.
        [words @ .., major] if major.ends_with(b",") => words,
        words => words,
    };
    let words = match words {
        words if permissions.is_netware => words,
        [links, words @ ..] if links.iter().all(u8::is_ascii_digit) => words,
        words => words,
    };
    match words {
        [owner] => (Some(owner), None),
        [owner, group] => (Some(owner), Some(group)),
        _ => (None, None),
    }
}

/// The name after exactly one blank, so that its own blanks stay; NetWare pads it.
fn name_and_target<'a>(permissions: &Permissions, bytes: &'a [u8]) -> (&'a [u8], Option<&'a [u8]>) {
    let name = match bytes {
        bytes if permissions.is_netware => bytes.trim_ascii_start(),
        [_, name @ ..] => name,
        [] => bytes,
    };
    if permissions.kind != Kind::Symlink {
        return (name, None);
    }
    match name.windows(4).position(|window| window == b" -> ") {
        Some(arrow) => (name.get(..arrow).unwrap_or(name), name.get(arrow + 4..)),
        None => (name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: &str) -> Entry {
        parse(line.as_bytes(), 1_795_435_200).unwrap()
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
            let text = |bytes: Option<Vec<u8>>| bytes.map(|b| String::from_utf8(b).unwrap());
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
            assert_eq!(parse(line.as_bytes(), 0), None, "{line}");
        }
    }
}
