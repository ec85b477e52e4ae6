//! EPLF, D. J. Bernstein's easily parsed list format: `+facts,\tname`.

use super::{Entry, Kind, Modified, Precision, size};

/// The entry of an EPLF line.
pub(super) fn parse(line: &[u8], _now: i64) -> Option<Entry> {
    let line = line.strip_prefix(b"+")?;
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    let (facts, name) = (line.get(..tab)?, line.get(tab + 1..)?);
    let mut entry = Entry::new(name, Kind::Unknown);
    for fact in facts.split(|byte| *byte == b',') {
        match fact {
            b"/" => entry.kind = Kind::Directory,
            // A file that can be retrieved; a directory with `r` is one all the same.
            b"r" if entry.kind == Kind::Unknown => entry.kind = Kind::File,
            [b's', digits @ ..] => entry.size = size(digits),
            [b'm', digits @ ..] => entry.modified = modified(digits),
            [b'i', unique @ ..] => entry.unique = Some(unique.to_vec()),
            [b'u', b'p', mode @ ..] => {
                let mode = std::str::from_utf8(mode).ok();
                entry.mode = mode.and_then(|mode| u32::from_str_radix(mode, 8).ok());
                entry.mode = entry.mode.map(|mode| mode & 0o7777);
            }
            _ => {}
        }
    }
    if entry.kind == Kind::Directory {
        entry.size = None;
    }
    Some(entry)
}

fn modified(digits: &[u8]) -> Option<Modified> {
    let seconds = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(Modified {
        seconds,
        precision: Precision::Second,
        utc: true,
    })
}
