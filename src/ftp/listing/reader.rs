//! Reading of a listing line by line: detects the dialect, and resolves what only the complete
//! listing shows.

use std::collections::HashMap;

use super::indicators::TypeIndicators;
use super::mlsd::{self, Subject};
use super::order::{DateEvidence, DateOrders, NumericTime};
use super::words::{next_word, words};
use super::zos::{self, Heading};
use super::{
    Entry, Format, Kind, ListingLine, Row, as400, checked, dos, eplf, os2, sterling, tandem,
    unisys, unix, vms, vshell, vxworks,
};

/// The dialects of LIST, strictest first. Lines are tried in this order, after the dialect of the
/// previous line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Eplf,
    Facts,
    Unix,
    Dos,
    UnixNumbers,
    As400,
    Tandem,
    Zos,
    Sterling,
    VxWorks,
    VShell,
    Os2,
    Unisys,
    Vms,
    ForeignDos,
}

const DIALECTS: [Dialect; 15] = [
    Dialect::Eplf,
    Dialect::Facts,
    Dialect::Unix,
    Dialect::Dos,
    Dialect::UnixNumbers,
    Dialect::As400,
    Dialect::Tandem,
    Dialect::Zos,
    Dialect::Sterling,
    Dialect::VxWorks,
    Dialect::VShell,
    Dialect::Os2,
    Dialect::Unisys,
    Dialect::Vms,
    Dialect::ForeignDos,
];

/// Reads one listing line by line.
#[derive(Debug)]
pub struct ListingReader {
    format: Format,
    now: i64,
    /// A line that is not blank was read.
    has_begun: bool,
    /// Dialect of the last line that was understood.
    dialect: Option<Dialect>,
    /// Heading above the lines (z/OS).
    heading: Heading,
    /// A VMS name whose columns may follow on the next line.
    wrapped: Option<Vec<u8>>,
    dates: DateOrders,
    indicators: TypeIndicators,
    held: Vec<HeldRow>,
}

/// An entry that is not fully known before the end of the listing.
#[derive(Debug)]
struct HeldRow {
    entry: Entry,
    /// Its date, if that can be read in several orders.
    time: Option<NumericTime>,
    /// Its version.
    version: Option<u32>,
}

impl ListingReader {
    /// Creates a reader for a listing in `format`. `now`, in seconds since the epoch (UTC),
    /// determines the year of dates without one.
    pub fn new(format: Format, now: i64) -> Self {
        Self {
            format,
            now,
            has_begun: false,
            dialect: None,
            heading: Heading::None,
            wrapped: None,
            dates: DateOrders::new(now),
            indicators: TypeIndicators::default(),
            held: Vec::new(),
        }
    }

    /// Reads one line without its terminator.
    pub fn line(&mut self, mut line: &[u8]) -> ListingLine {
        // No name ends in CR, because it could not be sent.
        while let [rest @ .., b'\r'] = line {
            line = rest;
        }
        match self.format {
            Format::Mlsd => facts(line),
            Format::List => self.list_line(line),
        }
    }

    /// Ends the listing and returns the held entries, including those that must not be used.
    pub fn finish(mut self) -> Vec<ListingLine> {
        self.flush_wrapped_name();
        let newest = self.newest_versions();
        let (dates, indicators) = (self.dates, self.indicators);
        let held = self.held.into_iter().enumerate();
        let shown = held.filter(|(at, held)| {
            held.version.is_none() || newest.get(held.entry.name.as_slice()) == Some(at)
        });
        let shown: Vec<_> = shown.map(|(_, held)| held).collect();
        let settled = shown.into_iter().map(
            |HeldRow {
                 mut entry, time, ..
             }| {
                if let Some(time) = time {
                    entry.modified = dates.resolve(&time);
                }
                indicators.strip_from(&mut entry);
                checked(entry)
            },
        );
        settled.collect()
    }

    fn newest_versions(&self) -> HashMap<Vec<u8>, usize> {
        let mut newest: HashMap<Vec<u8>, usize> = HashMap::new();
        for (at, held) in self
            .held
            .iter()
            .enumerate()
            .filter(|(_, held)| held.version.is_some())
        {
            let version = |at: &usize| self.held.get(*at).and_then(|held| held.version);
            match newest.get_mut(&held.entry.name) {
                Some(best) if version(best) < held.version => *best = at,
                Some(_) => {}
                None => {
                    newest.insert(held.entry.name.clone(), at);
                }
            }
        }
        newest
    }

    fn list_line(&mut self, line: &[u8]) -> ListingLine {
        if let Some(name) = self.wrapped.take() {
            match vms::parse_rest(&name, line) {
                Some(row) => return self.row(row),
                None => self.hold_name_only(&name),
            }
        }
        self.read_list_line(line)
    }

    fn read_list_line(&mut self, line: &[u8]) -> ListingLine {
        let is_blank = line.trim_ascii().is_empty();
        let is_first = !self.has_begun;
        self.has_begun |= !is_blank;
        if let Some(dialect) = self.dialect
            && let Some(row) = self.in_dialect(dialect, line)
        {
            return self.row(row);
        }
        for dialect in DIALECTS {
            if Some(dialect) != self.dialect
                && let Some(row) = self.in_dialect(dialect, line)
            {
                self.dialect = Some(dialect);
                if dialect != Dialect::Zos {
                    self.heading = Heading::None;
                }
                return self.row(row);
            }
        }
        if self.dialect.is_none_or(|dialect| dialect == Dialect::Vms) && vms::is_wrapped(line) {
            self.wrapped = Some(line.to_vec());
            // If no line completes it, it is an entry by itself.
            return ListingLine::Held(held_memory(&Entry::new(line, Kind::File)));
        }
        if let Some(heading) = zos::heading(line) {
            self.heading = heading;
            self.dialect = Some(Dialect::Zos);
            return ListingLine::Skip;
        }
        if is_blank
            || is_total(line)
            || (is_first && is_sum_of_blocks(line))
            || vms::is_decoration(line)
            || tandem::is_heading(line)
            || vxworks::is_heading(line)
            || dos::is_decoration(line)
        {
            return ListingLine::Skip;
        }
        ListingLine::Unparsable
    }

    fn in_dialect(&self, dialect: Dialect, line: &[u8]) -> Option<Row> {
        match dialect {
            Dialect::Eplf => eplf::parse(line).map(Row::Entry),
            Dialect::Facts => mlsd::parse_in_list(line).map(fact_row),
            Dialect::Unix => unix::parse(line, self.now),
            Dialect::Dos => dos::parse(line),
            Dialect::UnixNumbers => unix::parse_numbers(line, self.now),
            Dialect::As400 => as400::parse(line),
            Dialect::Tandem => tandem::parse(line),
            Dialect::Zos if zos::heading(line).is_some() => None,
            Dialect::Zos => zos::parse(line, self.heading),
            Dialect::Sterling => sterling::parse(line, self.now),
            Dialect::VxWorks => vxworks::parse(line),
            Dialect::VShell => vshell::parse(line, self.now),
            Dialect::Os2 => os2::parse(line),
            Dialect::Unisys => unisys::parse(line),
            Dialect::Vms => vms::parse(line),
            Dialect::ForeignDos => dos::parse_foreign(line),
        }
    }

    fn row(&mut self, row: Row) -> ListingLine {
        match row {
            Row::Entry(entry) => self.entry(entry, None),
            Row::Dated(mut entry, time) => match self.dates.learn(&time) {
                DateEvidence::Resolved(modified) => {
                    entry.modified = modified;
                    self.entry(entry, None)
                }
                DateEvidence::Ambiguous => self.entry(entry, Some(time)),
            },
            Row::Version(entry, version) => self.hold(HeldRow {
                entry,
                time: None,
                version: Some(version),
            }),
            Row::Decoration => ListingLine::Skip,
            Row::Itself(perm) => ListingLine::Itself(perm),
            Row::Dropped(why) => ListingLine::Dropped(why),
        }
    }

    fn entry(&mut self, mut entry: Entry, time: Option<NumericTime>) -> ListingLine {
        let may_be_marked =
            self.dialect == Some(Dialect::Unix) && self.indicators.learn(&mut entry);
        if may_be_marked || time.is_some() {
            return self.hold(HeldRow {
                entry,
                time,
                version: None,
            });
        }
        checked(entry)
    }

    fn hold(&mut self, held: HeldRow) -> ListingLine {
        let bytes = held_memory(&held.entry);
        self.held.push(held);
        ListingLine::Held(bytes)
    }

    /// Adds a name that stood alone on its line. Its memory was already counted.
    fn hold_name_only(&mut self, name: &[u8]) {
        self.dialect = Some(Dialect::Vms);
        if let Some(row) = vms::alone(name) {
            self.row(row);
        }
    }

    fn flush_wrapped_name(&mut self) {
        if let Some(name) = self.wrapped.take() {
            self.hold_name_only(&name);
        }
    }
}

/// Memory of a held entry in bytes.
fn held_memory(entry: &Entry) -> usize {
    let overhead = size_of::<HeldRow>() - size_of::<Entry>();
    entry.memory() + overhead * 3 / 2
}

/// Parses a line of MLSD.
fn facts(line: &[u8]) -> ListingLine {
    if line.is_empty() {
        return ListingLine::Skip;
    }
    match mlsd::parse(line).map(fact_row) {
        Some(Row::Entry(entry)) => checked(entry),
        Some(Row::Itself(perm)) => ListingLine::Itself(perm),
        Some(_) => ListingLine::Skip,
        None => ListingLine::Unparsable,
    }
}

fn fact_row(parsed: mlsd::Parsed) -> Row {
    match parsed.subject {
        Subject::Name => Row::Entry(parsed.entry),
        Subject::Itself => Row::Itself(parsed.entry.perm),
        Subject::Parent => Row::Decoration,
    }
}

/// Matches a sum in words: `Total: 3 files, 1920 bytes`, `Grand total of 2 directories`.
fn is_total(line: &[u8]) -> bool {
    let mut all = words(line);
    let is = |word: Option<&[u8]>, wanted: &[u8]| {
        word.is_some_and(|word| {
            let word = word.strip_suffix(b":").unwrap_or(word);
            word.eq_ignore_ascii_case(wanted)
        })
    };
    let first = all.next();
    let is_total = is(first, b"total") || (is(first, b"grand") && is(all.next(), b"total"));
    is_total && all.any(|word| word.first().is_some_and(u8::is_ascii_digit))
}

/// Matches the sum of blocks printed by ls, in any language: a word and a number. Only in the first
/// line; elsewhere such a line may be a name and its size.
fn is_sum_of_blocks(line: &[u8]) -> bool {
    let Some((word, rest)) = next_word(line) else {
        return false;
    };
    let ([number @ .., b'k' | b'K' | b'M' | b'G' | b'T'] | number) = rest.trim_ascii();
    !word.iter().any(u8::is_ascii_digit)
        && number.first().is_some_and(u8::is_ascii_digit)
        && number
            .iter()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','))
}
