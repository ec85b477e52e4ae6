//! One line of MLSD or MLST: `fact=value;fact=value; name` (RFC 3659 §7.2).

use crate::ftp::time::parse_timestamp;

use super::{Entry, Kind, Modified, Precision, number, octal_mode};

/// A line of facts, its name not yet checked.
#[derive(Debug)]
pub(super) struct Parsed {
    /// What the facts say.
    pub(super) entry: Entry,
    /// What the line is about.
    pub(super) subject: Subject,
}

/// Which directory a line of facts is about, as its type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// One of the names in the listed directory.
    Name,
    /// The listed directory (`cdir`).
    Itself,
    /// The listed directory's parent (`pdir`).
    Parent,
}

/// Reads the facts and the name; none when the line has neither form.
pub(super) fn parse(line: &[u8]) -> Option<Parsed> {
    let (facts, name) = split(line)?;
    let mut parsed = Parsed {
        entry: Entry::new(name, Kind::Unknown),
        subject: Subject::Name,
    };
    let mut owner = Ranked::default();
    let mut group = Ranked::default();
    for fact in facts.split(|byte| *byte == b';') {
        if fact.is_empty() {
            continue;
        }
        let equals = fact.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (fact.get(..equals)?, fact.get(equals + 1..)?);
        match key.to_ascii_lowercase().as_slice() {
            b"type" => set_type(&mut parsed, value),
            b"size" => parsed.entry.size = number(value),
            b"modify" => parsed.entry.modified = modified(value),
            b"unique" => parsed.entry.unique = Some(value.to_vec()),
            b"unix.mode" => parsed.entry.mode = octal_mode(value),
            b"unix.ownername" => owner.offer(3, value),
            b"unix.owner" => owner.offer(2, value),
            b"unix.uid" => owner.offer(1, value),
            b"unix.groupname" => group.offer(3, value),
            b"unix.group" => group.offer(2, value),
            b"unix.gid" => group.offer(1, value),
            _ => {}
        }
    }
    parsed.entry.owner = owner.value();
    parsed.entry.group = group.value();
    Some(parsed)
}

/// Where the facts end: at the first `; `, for a value may hold blanks and a name semicolons.
///
/// Without one, at the first blank: some servers leave out the last semicolon.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    if let [b' ', name @ ..] = line {
        return Some((&[], name));
    }
    let blank = match line.windows(2).position(|pair| pair == b"; ") {
        Some(semicolon) => semicolon + 1,
        None => line.iter().position(|byte| *byte == b' ')?,
    };
    Some((line.get(..blank)?, line.get(blank + 1..)?))
}

fn set_type(parsed: &mut Parsed, value: &[u8]) {
    let lower = value.to_ascii_lowercase();
    let entry = &mut parsed.entry;
    match lower.as_slice() {
        b"file" => entry.kind = Kind::File,
        b"dir" => entry.kind = Kind::Directory,
        b"cdir" => {
            entry.kind = Kind::Directory;
            parsed.subject = Subject::Itself;
        }
        b"pdir" => {
            entry.kind = Kind::Directory;
            parsed.subject = Subject::Parent;
        }
        other => {
            if let Some(unix) = other.strip_prefix(b"os.unix=") {
                entry.kind = unix_kind(unix);
                entry.target = target(value);
            }
        }
    }
}

/// `OS.unix=slink`, `OS.unix=symlink`, else a device, socket or pipe: `OS.unix=chr-8/0`.
fn unix_kind(unix: &[u8]) -> Kind {
    let word = unix.split(|byte| *byte == b':').next().unwrap_or(unix);
    match word {
        b"slink" | b"symlink" => Kind::Symlink,
        _ => Kind::Special,
    }
}

/// What follows the colon of `OS.unix=slink:target`.
fn target(value: &[u8]) -> Option<Vec<u8>> {
    let colon = value.iter().position(|byte| *byte == b':')?;
    value.get(colon + 1..).map(<[u8]>::to_vec)
}

fn modified(value: &[u8]) -> Option<Modified> {
    Some(Modified {
        seconds: parse_timestamp(value)?,
        precision: Precision::Second,
        utc: true,
    })
}

/// The best of several facts that say the same: a name before a number.
#[derive(Default)]
struct Ranked<'a> {
    rank: u8,
    value: &'a [u8],
}

impl<'a> Ranked<'a> {
    fn offer(&mut self, rank: u8, value: &'a [u8]) {
        if rank > self.rank && !value.is_empty() {
            *self = Self { rank, value };
        }
    }

    fn value(&self) -> Option<Vec<u8>> {
        (self.rank > 0).then(|| self.value.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: &str) -> Entry {
        parse(line.as_bytes()).unwrap().entry
    }

    #[test]
    fn the_best_owner_is_kept_whatever_the_order() {
        let line = "UNIX.uid=0;UNIX.owner=7;unix.ownername=root;unix.gid=5;UNIX.group=6; x";
        assert_eq!(entry(line).owner.as_deref(), Some(b"root".as_slice()));
        assert_eq!(entry(line).group.as_deref(), Some(b"6".as_slice()));
        let backwards = entry("UNIX.ownername=root;UNIX.owner=0; x");
        assert_eq!(backwards.owner.as_deref(), Some(b"root".as_slice()));
    }

    #[test]
    fn a_links_target_keeps_its_case() {
        let link = entry("type=os.UNIX=SLINK:/Target; x");
        assert_eq!(link.kind, Kind::Symlink);
        assert_eq!(link.target.as_deref(), Some(b"/Target".as_slice()));
    }

    #[test]
    fn a_directory_says_whether_it_is_the_listed_one() {
        let subject = |line: &[u8]| parse(line).unwrap().subject;
        assert_eq!(subject(b"type=cdir; /a"), Subject::Itself);
        assert_eq!(subject(b"Type=PDIR; .."), Subject::Parent);
        assert_eq!(subject(b"type=dir; a"), Subject::Name);
    }

    #[test]
    fn a_mode_keeps_only_its_permission_bits() {
        assert_eq!(entry("UNIX.mode=0104755; x").mode, Some(0o4755));
        // As pyftpdlib writes it, by Python's oct().
        assert_eq!(entry("unix.mode=0o755; x").mode, Some(0o755));
        assert_eq!(entry("UNIX.mode=rwx; x").mode, None);
    }

    #[test]
    fn a_line_without_facts_or_name_is_none() {
        for line in [
            "",
            "nothing",
            "no facts here",
            "type=file;size=1;",
            "550 No",
        ] {
            assert!(parse(line.as_bytes()).is_none(), "{line}");
        }
    }
}
