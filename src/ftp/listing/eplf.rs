//! Lines of EPLF, the easily parsed LIST format: `+facts,`, a tab, and the name.

use super::words::{number, octal_mode};
use super::{Entry, Kind, Modified, Precision};

/// Parses the line. `None` if it is not EPLF.
pub(super) fn parse(line: &[u8]) -> Option<Entry> {
    let line = line.strip_prefix(b"+")?;
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    let (facts, name) = (line.get(..tab)?, line.get(tab + 1..)?);
    let mut entry = Entry::new(name, Kind::Unknown);
    for fact in facts.split(|byte| *byte == b',') {
        match fact {
            b"/" => entry.kind = Kind::Directory,
            b"r" => entry.kind = Kind::File,
            [b's', digits @ ..] => entry.size = number(digits),
            [b'm', digits @ ..] => entry.modified = modified(digits),
            [b'i', id @ ..] => entry.unique = Some(id.into()),
            [b'u', b'p', digits @ ..] => entry.mode = octal_mode(digits),
            _ => {}
        }
    }
    Some(entry)
}

fn modified(digits: &[u8]) -> Option<Modified> {
    Some(Modified {
        seconds: number(digits)?,
        precision: Precision::Second,
        utc: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_in_any_order_describe_the_entry() {
        let entry = parse(b"+s12,up4755,m1,i8.9,r,zfuture,\ta,b\tc").unwrap();
        assert_eq!(entry.name, b"a,b\tc");
        assert_eq!(entry.kind, Kind::File);
        assert_eq!(entry.size, Some(12));
        assert_eq!(entry.mode, Some(0o4755));
        assert_eq!(entry.unique.as_deref(), Some(b"8.9".as_slice()));
        assert_eq!(entry.modified.map(|modified| modified.seconds), Some(1));
    }

    #[test]
    fn what_the_facts_do_not_say_is_unknown() {
        let entry = parse(b"+\tx").unwrap();
        assert_eq!(entry, Entry::new("x", Kind::Unknown));
        assert_eq!(parse(b"+m99999999999999999999,\tx").unwrap().modified, None);
    }

    #[test]
    fn other_lines_are_not_eplf() {
        assert_eq!(parse(b"+r,s12 no tab"), None);
        assert_eq!(parse(b"-r,\tx"), None);
    }
}
