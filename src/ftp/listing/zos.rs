//! IBM z/OS: data sets, members of a partitioned data set, load modules, and jobs of JES.
//!
//! The meaning of a line depends on the heading above it: a member without statistics is only a
//! name.

use super::clock::next_clock;
use super::date::When;
use super::order::{NumericDate, NumericTime, Order};
use super::words::{is_blank, is_digits, last_word, next_word, words};
use super::{Entry, Kind, Row};

/// The heading above the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Heading {
    /// No heading.
    #[default]
    None,
    /// `Volume Unit Referred Ext Used Recfm Lrecl BlkSz Dsorg Dsname`.
    DataSets,
    /// `Name VV.MM Created Changed Size Init Mod Id`.
    Members,
    /// `Name Size TTR Alias-of AC Attributes Amode Rmode`.
    LoadModules,
    /// `JOBNAME JOBID OWNER STATUS CLASS`.
    Jobs,
}

/// Parses a heading.
pub(super) fn heading(line: &[u8]) -> Option<Heading> {
    let has = |wanted: &[u8]| words(line).any(|word| word.eq_ignore_ascii_case(wanted));
    let (first, _) = next_word(line)?;
    if first.eq_ignore_ascii_case(b"Volume") && has(b"Dsname") {
        Some(Heading::DataSets)
    } else if first.eq_ignore_ascii_case(b"Name") && has(b"VV.MM") {
        Some(Heading::Members)
    } else if first.eq_ignore_ascii_case(b"Name") && has(b"TTR") {
        Some(Heading::LoadModules)
    } else if first.eq_ignore_ascii_case(b"JOBNAME") && has(b"JOBID") {
        Some(Heading::Jobs)
    } else {
        None
    }
}

/// Parses a line below `heading`. `None` if it does not fit the heading.
pub(super) fn parse(line: &[u8], heading: Heading) -> Option<Row> {
    match heading {
        Heading::None => described_data_set(line)
            .or_else(|| member_with_statistics(line))
            .or_else(|| job(line)),
        Heading::DataSets => data_set(line),
        Heading::Members => member_with_statistics(line).or_else(|| member(line)),
        Heading::LoadModules => member(line),
        Heading::Jobs => job(line).or_else(|| job_below_heading(line)),
    }
}

/// Parses a line that ends in the name of a data set. Its organisation precedes the name, unless
/// the data set was migrated or is not on a disk.
fn data_set(line: &[u8]) -> Option<Row> {
    let (name, before) = last_word(line)?;
    let name = unquoted(name);
    if !is_data_set_name(name) || before.is_empty() {
        return None;
    }
    let kind = if before
        .trim_ascii()
        .eq_ignore_ascii_case(b"Pseudo Directory")
    {
        Kind::Directory
    } else {
        let (organisation, _) = last_word(before)?;
        organised_as(organisation).unwrap_or(Kind::Unknown)
    };
    Some(Row::Entry(Entry::new(name, kind)))
}

/// Parses a line with all columns of a data set, which is recognisable without a heading.
fn described_data_set(line: &[u8]) -> Option<Row> {
    let mut columns = words(line).skip(2);
    let referred = columns.next()?;
    let is_referred = NumericDate::parse(referred).is_some() || referred == b"**NONE**";
    let organisation = columns.nth(5)?;
    (is_referred && organised_as(organisation).is_some()).then(|| data_set(line))?
}

/// Parses the organisation (DSORG) of a data set. Partitioned ones are directories of members; VSAM
/// cannot be transferred.
fn organised_as(organisation: &[u8]) -> Option<Kind> {
    let upper = organisation.to_ascii_uppercase();
    match upper.as_slice() {
        b"PS" | b"PSU" | b"PS-L" | b"PS-E" | b"DA" | b"DAU" => Some(Kind::File),
        b"PO" | b"POU" | b"PO-E" => Some(Kind::Directory),
        b"VSAM" | b"VS" => Some(Kind::Special),
        _ => None,
    }
}

fn unquoted(name: &[u8]) -> &[u8] {
    let inner = name.strip_prefix(b"'").and_then(|it| it.strip_suffix(b"'"));
    inner.unwrap_or(name)
}

fn is_data_set_name(name: &[u8]) -> bool {
    let is_part =
        |byte: &u8| is_name_byte(*byte) || matches!(byte, b'.' | b'-' | b'(' | b')' | b'+');
    !name.is_empty()
        && name.len() <= 56
        && !name.iter().all(u8::is_ascii_digit)
        && name.iter().all(is_part)
}

/// Matches letters, digits and the national characters.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'$' | b'@' | b'#' | b'{')
}

fn is_member_name(name: &[u8]) -> bool {
    let begins = name.first().is_some_and(|byte| !byte.is_ascii_digit());
    begins && name.len() <= 8 && name.iter().all(|byte| is_name_byte(*byte))
}

/// Parses the line of a member below a heading, which begins with the name, whatever follows.
fn member(line: &[u8]) -> Option<Row> {
    let (name, rest) = next_word(line)?;
    // Exclude prose: `NO MEMBERS FOUND` has more words, none of them with a digit.
    let is_alone = rest.iter().all(|byte| is_blank(*byte));
    let has_columns = words(rest).any(|word| word.iter().any(u8::is_ascii_digit));
    (is_member_name(name) && (is_alone || has_columns))
        .then(|| Row::Entry(Entry::new(name, Kind::File)))
}

/// Parses `INVOICE 01.17 2016/05/12 2022/08/31 16:05 412 388 0 ANNE1`. The size is in lines and
/// therefore not used.
fn member_with_statistics(line: &[u8]) -> Option<Row> {
    let (name, rest) = next_word(line)?;
    let (version, rest) = next_word(rest)?;
    let [v1, v2, b'.', m1, m2] = version else {
        return None;
    };
    if !is_digits(&[*v1, *v2, *m1, *m2]) || !is_member_name(name) {
        return None;
    }
    let (created, rest) = next_word(rest)?;
    NumericDate::parse(created)?;
    let (changed, rest) = next_word(rest)?;
    let date = NumericDate::parse(changed)?;
    let entry = Entry::new(name, Kind::File);
    let time = next_clock(rest).and_then(|(clock, _)| Some((clock.time?, clock.precision)));
    let Some((time, precision)) = time else {
        return Some(Row::Entry(entry));
    };
    let when = When::Numeric(NumericTime {
        date,
        time,
        precision,
        default: Some(Order::YearMonthDay),
    });
    Some(Row::new(entry, when))
}

/// Parses the line of a job. The second word is its identifier, by which its output is retrieved.
fn job(line: &[u8]) -> Option<Row> {
    const STATES: [&[u8]; 7] = [
        b"INPUT",
        b"ACTIVE",
        b"OUTPUT",
        b"HELD",
        b"HELDOUT",
        b"WAITING",
        b"EXECUTING",
    ];
    let mut columns = words(line);
    let (_, identifier) = (columns.next()?, columns.next()?);
    let has_state = columns.take(2).any(|word| STATES.contains(&word));
    (has_state && is_job_identifier(identifier))
        .then(|| Row::Entry(Entry::new(identifier, Kind::File)))
}

fn job_below_heading(line: &[u8]) -> Option<Row> {
    let identifier = words(line).nth(1)?;
    is_job_identifier(identifier).then(|| Row::Entry(Entry::new(identifier, Kind::File)))
}

/// Matches `JOB04412`, `STC01234`, `TSU00001`, `J0012345`.
fn is_job_identifier(word: &[u8]) -> bool {
    let letters = word.iter().take_while(|byte| byte.is_ascii_uppercase());
    let Some((letters, digits)) = word.split_at_checked(letters.count()) else {
        return false;
    };
    matches!(letters, b"JOB" | b"STC" | b"TSU" | b"J" | b"S" | b"T")
        && (4..=7).contains(&digits.len())
        && is_digits(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: &str, heading: Heading) -> Option<(String, Kind)> {
        match parse(line.as_bytes(), heading)? {
            Row::Entry(entry) | Row::Dated(entry, _) => {
                Some((String::from_utf8(entry.name).unwrap(), entry.kind))
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_organisation_tells_what_a_data_set_is() {
        for (columns, kind) in [
            (
                "PRD014 3390   2019/03/07  1   45  FB      80 27920  PS ",
                Kind::File,
            ),
            (
                "PRD022 3390   **NONE**    1   15  U        0 32760  PO-E",
                Kind::Directory,
            ),
            ("PRD031 3390                     VSAM", Kind::Special),
            ("Migrated", Kind::Unknown),
            ("Pseudo Directory", Kind::Directory),
            ("ARCIVE Not Direct Access Device", Kind::Unknown),
            ("PRD031 Error determining attributes", Kind::Unknown),
        ] {
            let found = entry(&format!("{columns} 'A.B$1.C'"), Heading::DataSets);
            assert_eq!(found, Some(("A.B$1.C".to_owned(), kind)), "{columns}");
        }
        assert_eq!(entry("No data sets found", Heading::DataSets), None);
    }

    #[test]
    fn lines_that_say_enough_need_no_heading() {
        let all = "PRD014 3390   2019/03/07  1   45  FB      80 27920  PS  A.B";
        assert_eq!(
            entry(all, Heading::None),
            Some(("A.B".to_owned(), Kind::File))
        );
        assert_eq!(entry("Migrated A.B", Heading::None), None);
        assert!(
            entry(
                "M 01.17 2016/05/12 2022/08/31 16:05 4 3 0 ID",
                Heading::None
            )
            .is_some()
        );
        assert_eq!(entry("$INDEX", Heading::None), None);
        assert!(entry("PAYRUN1  JOB04412  OUTPUT    5 Spool Files", Heading::None).is_some());
    }

    #[test]
    fn prose_below_a_heading_is_no_member() {
        for line in [
            "No members found",
            "NO MEMBERS FOUND",
            "123",
            "TOOLONGNAME",
            "lower",
        ] {
            assert_eq!(entry(line, Heading::Members), None, "{line}");
        }
        assert!(entry("LOADMOD 0012F8 00020A", Heading::LoadModules).is_some());
    }
}
