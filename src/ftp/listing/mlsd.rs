//! MLSD and MLST lines: `fact=value;fact=value; name` (RFC 3659 §7.2), with the UNIX facts and
//! `OS.unix` types that servers agree on.

use crate::ftp::time::parse_timestamp;

use super::{Entry, Kind, Modified, Precision, size};

/// What a line says, before it is known whether it is to be shown.
struct Told {
    entry: Entry,
    /// The listed directory itself (`cdir`) or its parent (`pdir`).
    of_the_directory: bool,
}

/// The line's entry; the inner `None` is a line to skip: the directory itself or its parent.
pub(super) fn parse(line: &[u8]) -> Option<Option<Entry>> {
    let told = read(line)?;
    Some((!told.of_the_directory).then_some(told.entry))
}

/// The entry in an MLST reply's inner line (RFC 3659 §7.2: it begins with a blank). Its name may
/// be a whole path: the caller knows what it asked for.
pub fn parse_mlst(line: &[u8]) -> Option<Entry> {
    // A directory asked for by its path is told as `cdir` by some servers.
    read(line.strip_prefix(b" ").unwrap_or(line)).map(|told| told.entry)
}

fn read(line: &[u8]) -> Option<Told> {
    let (facts, name) = split(line)?;
    let mut told = Told {
        entry: Entry::new(name, Kind::Unknown),
        of_the_directory: false,
    };
    for fact in facts.split(|byte| *byte == b';') {
        let Some(equals) = fact.iter().position(|byte| *byte == b'=') else {
            continue;
        };
        let (fact, value) = (fact.get(..equals)?, fact.get(equals + 1..)?);
        let name = fact.to_ascii_lowercase();
        if name == b"type" {
            (told.entry.kind, told.entry.target) = kind(value);
            told.of_the_directory =
                value.eq_ignore_ascii_case(b"cdir") || value.eq_ignore_ascii_case(b"pdir");
        } else {
            note(&mut told.entry, &name, value);
        }
    }
    if told.entry.kind == Kind::Directory {
        told.entry.size = None;
    }
    Some(told)
}

/// Facts and name. Every fact ends in `;`, one blank follows the last: any more belong to the
/// name. A line without facts begins with the blank.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some(name) = line.strip_prefix(b" ") {
        return Some((b"", name));
    }
    let end = line.windows(2).position(|pair| pair == b"; ")?;
    Some((line.get(..end)?, line.get(end + 2..)?))
}

fn note(entry: &mut Entry, fact: &[u8], value: &[u8]) {
    match fact {
        b"size" => entry.size = size(value),
        b"modify" => {
            entry.modified = parse_timestamp(value).map(|seconds| Modified {
                seconds,
                precision: Precision::Second,
                utc: true,
            });
        }
        b"unix.mode" => entry.mode = octal(value),
        b"unix.owner" | b"unix.ownername" => entry.owner = Some(value.to_vec()),
        b"unix.uid" if entry.owner.is_none() => entry.owner = Some(value.to_vec()),
        b"unix.group" | b"unix.groupname" => entry.group = Some(value.to_vec()),
        b"unix.gid" if entry.group.is_none() => entry.group = Some(value.to_vec()),
        b"unique" => entry.unique = Some(value.to_vec()),
        // Facts that nobody knows are passed over (RFC 3659 §7.2).
        _ => {}
    }
}

/// Kind, and symlink target where it is told.
fn kind(value: &[u8]) -> (Kind, Option<Vec<u8>>) {
    let lower = value.to_ascii_lowercase();
    match lower.as_slice() {
        b"file" => return (Kind::File, None),
        b"dir" | b"cdir" | b"pdir" => return (Kind::Directory, None),
        b"os.unix=slink" | b"os.unix=symlink" => return (Kind::Symlink, None),
        _ => {}
    }
    for link in [b"os.unix=slink:".as_slice(), b"os.unix=symlink:"] {
        if lower.starts_with(link) {
            let target = value.get(link.len()..).filter(|target| !target.is_empty());
            return (Kind::Symlink, target.map(<[u8]>::to_vec));
        }
    }
    let known_system = lower.starts_with(b"os.unix=");
    (
        if known_system {
            Kind::Special
        } else {
            Kind::Unknown
        },
        None,
    )
}

/// An octal number; pyftpdlib writes it as Python does, `0o644`.
fn octal(value: &[u8]) -> Option<u32> {
    let value = std::str::from_utf8(value).ok()?;
    let value = value.strip_prefix("0o").unwrap_or(value);
    u32::from_str_radix(value, 8).ok().map(|mode| mode & 0o7777)
}
