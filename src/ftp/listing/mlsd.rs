//! Lines of MLSD and MLST: `fact=value;fact=value; name` (RFC 3659 §7.2).

use crate::ftp::time::parse_timestamp;

use super::words::{find, number, octal_mode, trim_start};
use super::{Entry, Kind, Modified, Perm, Precision};

/// A parsed line whose name is not yet checked.
#[derive(Debug)]
pub(super) struct Parsed {
    /// The entry described by the facts.
    pub(super) entry: Entry,
    /// The subject of the line.
    pub(super) subject: Subject,
}

/// The subject of a line, as given by its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// A name in the listed directory.
    Name,
    /// The listed directory (`cdir`).
    Itself,
    /// The parent of the listed directory (`pdir`).
    Parent,
}

/// Parses facts and name. `None` if the line has neither form.
pub(super) fn parse(line: &[u8]) -> Option<Parsed> {
    let (facts, name) = split(line)?;
    read(facts, name)
}

/// Parses facts and path in an MLST reply, which may lack the blank before the path.
pub(super) fn parse_mlst(line: &[u8]) -> Option<Parsed> {
    let line = trim_start(line);
    if find(line, b"; ").is_none()
        && let Some(semicolon) = line.iter().rposition(|byte| *byte == b';')
        && let Some((facts, path)) = line.split_at_checked(semicolon + 1)
        && path.starts_with(b"/")
    {
        return read(facts, path);
    }
    parse(line)
}

/// Parses facts in a LIST reply. Requires a type, which no line of another dialect begins with.
pub(super) fn parse_in_list(line: &[u8]) -> Option<Parsed> {
    let first = line.iter().position(|byte| matches!(byte, b';' | b' '))?;
    let is_fact = line.get(..first)?.contains(&b'=');
    find(line, b"; ").filter(|_| is_fact)?;
    parse(line).filter(|parsed| parsed.entry.kind != Kind::Unknown)
}

fn read(facts: &[u8], name: &[u8]) -> Option<Parsed> {
    let mut parsed = Parsed {
        entry: Entry::new(name, Kind::Unknown),
        subject: Subject::Name,
    };
    let mut owner = Ranked::default();
    let mut group = Ranked::default();
    let mut are_facts = facts.is_empty();
    let mut before: &[u8] = b"";
    for fact in facts.split(|byte| *byte == b';') {
        if fact.is_empty() {
            continue;
        }
        let Some(equals) = fact.iter().position(|byte| *byte == b'=') else {
            // Servers do not escape semicolons in the target of a link.
            if before == b"type"
                && let Some(target) = &mut parsed.entry.target
            {
                target.push(b';');
                target.extend_from_slice(fact);
            }
            continue;
        };
        are_facts = true;
        let (key, value) = (fact.get(..equals)?, fact.get(equals + 1..)?);
        let entry = &mut parsed.entry;
        before = b"";
        if key.eq_ignore_ascii_case(b"type") {
            before = b"type";
            set_type(&mut parsed, value);
        } else if key.eq_ignore_ascii_case(b"size") {
            entry.size = number(value);
        } else if key.eq_ignore_ascii_case(b"modify") {
            entry.modified = modified(value);
        } else if key.eq_ignore_ascii_case(b"perm") {
            entry.perm = Some(Perm::parse(value));
        } else if key.eq_ignore_ascii_case(b"unique") {
            entry.unique = Some(value.into());
        } else if let Some((b"unix.", key)) = key.to_ascii_lowercase().split_at_checked(5) {
            match key {
                b"mode" => entry.mode = octal_mode(value),
                b"ownername" => owner.offer(3, value),
                b"owner" => owner.offer(2, value),
                b"uid" => owner.offer(1, value),
                b"groupname" => group.offer(3, value),
                b"group" => group.offer(2, value),
                b"gid" => group.offer(1, value),
                _ => {}
            }
        }
    }
    parsed.entry.owner = owner.value();
    parsed.entry.group = group.value();
    are_facts.then_some(parsed)
}

/// Finds the end of the facts: the first `; `, because values can contain blanks and names
/// semicolons.
///
/// Without one, the first blank: some servers omit the last semicolon.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    if let [b' ', name @ ..] = line {
        return Some((&[], name));
    }
    let blank = match find(line, b"; ") {
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

/// Parses `OS.unix=slink` and `OS.unix=symlink`; others are devices, sockets or pipes:
/// `OS.unix=chr-8/0`.
fn unix_kind(unix: &[u8]) -> Kind {
    let word = unix.split(|byte| *byte == b':').next().unwrap_or(unix);
    match word {
        b"slink" | b"symlink" => Kind::Symlink,
        _ => Kind::Special,
    }
}

/// Returns the target in `OS.unix=slink:target`.
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

/// The best of several facts with the same meaning: names take precedence over numbers.
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

    fn value(&self) -> Option<Box<[u8]>> {
        (self.rank > 0).then(|| self.value.into())
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
        // pyftpdlib formats it with Python's oct().
        assert_eq!(entry("unix.mode=0o755; x").mode, Some(0o755));
        assert_eq!(entry("UNIX.mode=rwx; x").mode, None);
    }

    #[test]
    fn a_semicolon_in_a_target_belongs_to_it_and_another_piece_is_no_fact() {
        let link = entry("type=OS.unix=slink:/data/a;b;size=9; semicolon");
        assert_eq!(link.target.as_deref(), Some(b"/data/a;b".as_slice()));
        assert_eq!(
            (link.size, link.name.as_slice()),
            (Some(9), b"semicolon".as_slice())
        );
        let odd = entry("type=file;odd;size=9; x");
        assert_eq!((odd.kind, odd.size), (Kind::File, Some(9)));
    }

    #[test]
    fn mlst_may_lack_a_blank_or_have_too_many() {
        for line in [
            "    size=8;type=dir; /sub",
            "size=8;type=dir;/sub",
            " Type=dir;Size=8;/sub",
            "\tsize=8;type=dir; /sub",
        ] {
            let parsed = parse_mlst(line.as_bytes()).unwrap();
            assert_eq!(parsed.entry.kind, Kind::Directory, "{line}");
            assert_eq!(parsed.entry.name, b"/sub", "{line}");
        }
        let blank = parse_mlst(b"Type=file;Size=8;/a b; c").unwrap();
        assert_eq!((blank.entry.kind, blank.entry.size), (Kind::File, Some(8)));
    }

    #[test]
    fn facts_in_a_list_have_a_type() {
        assert!(parse_in_list(b"Type=file;Size=640; plain facts").is_some());
        assert!(parse_in_list(b"size=640;type=dir; x").is_some());
        for line in [
            "-rw; type=file; x",
            "size=640; x",
            " type=file; x",
            "a b=c; type=dir; x",
        ] {
            assert!(parse_in_list(line.as_bytes()).is_none(), "{line}");
        }
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

    #[test]
    fn permissions_are_known_only_if_they_are_sent() {
        let perm = |facts: &str| {
            let perm = entry(facts).perm;
            perm.map(|perm| (perm.creates, perm.writes))
        };
        assert_eq!(perm("type=dir;perm=cdeflmp; d"), Some((true, false)));
        assert_eq!(perm("type=dir;Perm=EL; d"), Some((false, false)));
        assert_eq!(perm("type=file;perm=adfrw; f"), Some((false, true)));
        assert_eq!(perm("type=file;perm=; f"), Some((false, false)));
        assert_eq!(perm("type=file;size=1; f"), None);
    }
}
