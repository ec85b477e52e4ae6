//! `ls -l` in its dialects, and NetWare's likeness of it.
//!
//! The date is the landmark: what stands before it is size, group and owner, of which some may be
//! missing or hold blanks; exactly one blank after it begins the name.

use super::calendar::{day, hour_minute, month, seconds, without_year, year};
use super::{Entry, Kind, Modified, Precision, size};

/// More words than this stand before no date.
const MOST_WORDS: usize = 16;

/// A word, and where it ends in the line.
#[derive(Clone, Copy)]
struct Word<'a> {
    text: &'a [u8],
    start: usize,
    end: usize,
}

/// The entry of an `ls -l` line.
pub(super) fn parse(line: &[u8], now: i64) -> Option<Entry> {
    let line = line.strip_prefix(b" ").unwrap_or(line);
    let words = words(line);
    let (kind, mode, head) = permissions(&words)?;
    let (at, modified, date_end) = find_date(&words, head, now)?;
    let name = line.get(date_end..)?.strip_prefix(b" ")?;
    let mut entry = Entry::new(name, kind);
    entry.mode = mode;
    entry.modified = Some(modified);
    if kind == Kind::File || kind == Kind::Symlink {
        entry.size = words.get(at - 1).and_then(|word| size(word.text));
    }
    (entry.owner, entry.group) = owners(line, words.get(head..at - 1)?);
    if kind == Kind::Symlink {
        split_target(&mut entry);
    }
    Some(entry)
}

fn words(line: &[u8]) -> Vec<Word<'_>> {
    let mut words = Vec::with_capacity(MOST_WORDS);
    let mut at = 0;
    while words.len() < MOST_WORDS {
        let rest = line.get(at..).unwrap_or_default();
        let Some(skip) = rest.iter().position(|byte| *byte != b' ') else {
            break;
        };
        let start = at + skip;
        let text = line.get(start..).unwrap_or_default();
        let length = text
            .iter()
            .position(|byte| *byte == b' ')
            .unwrap_or(text.len());
        let end = start + length;
        words.push(Word {
            text: line.get(start..end).unwrap_or_default(),
            start,
            end,
        });
        at = end;
    }
    words
}

/// Kind and mode, and how many words they take.
fn permissions(words: &[Word<'_>]) -> Option<(Kind, Option<u32>, usize)> {
    let first = words.first()?.text;
    let (letter, bits) = first.split_first()?;
    let kind = match letter {
        b'-' => Kind::File,
        b'd' => Kind::Directory,
        b'l' => Kind::Symlink,
        b'b' | b'c' | b'p' | b's' | b'D' => Kind::Special,
        _ => return None,
    };
    if bits.is_empty() {
        // NetWare: `d [R----F--] owner size date name`.
        let rights = words.get(1)?.text;
        return rights.starts_with(b"[").then_some((kind, None, 2));
    }
    Some((kind, Some(mode(bits)?), 1))
}

/// `rwxr-sr-t`, and one mark after it for access lists (`+`, `.`, `@`).
fn mode(bits: &[u8]) -> Option<u32> {
    let marked = bits.strip_suffix(b"+").or_else(|| bits.strip_suffix(b"."));
    let bits = marked.or_else(|| bits.strip_suffix(b"@")).unwrap_or(bits);
    let nine: &[u8; 9] = bits.try_into().ok()?;
    let mut mode = 0;
    for (index, letter) in nine.iter().enumerate() {
        let bit = 0o400 >> index;
        let special = 0o4000 >> (index / 3);
        mode |= match (index % 3, letter) {
            (_, b'-') => 0,
            (0, b'r') | (1, b'w') | (2, b'x') => bit,
            (2, b's' | b't') => bit | special,
            (2, b'S' | b'T' | b'l' | b'L') => special,
            _ => return None,
        };
    }
    Some(mode)
}

/// The first date that follows a size: its index, the time, and where in the line it ends.
fn find_date(words: &[Word<'_>], head: usize, now: i64) -> Option<(usize, Modified, usize)> {
    (head + 1..words.len()).find_map(|at| {
        let sized = words.get(at - 1)?.text.iter().all(u8::is_ascii_digit);
        let (modified, count) = date(words.get(at..).filter(|_| sized)?, now)?;
        Some((at, modified, words.get(at + count - 1)?.end))
    })
}

/// The date that `words` begin with, and how many of them it is.
fn date(words: &[Word<'_>], now: i64) -> Option<(Modified, usize)> {
    iso_date(words).or_else(|| {
        let [first, second, third, ..] = words else {
            return None;
        };
        let (month, day) = match (month(first.text), month(second.text)) {
            (Some(month), _) => (month, day(second.text)?),
            (None, Some(month)) => (month, day(first.text)?),
            (None, None) => return None,
        };
        let (seconds, precision) = if let Some(clock) = hour_minute(third.text) {
            (without_year(month, day, clock, now)?, Precision::Minute)
        } else {
            (
                seconds((year(third.text)?, month, day), (0, 0, 0))?,
                Precision::Day,
            )
        };
        Some((
            Modified {
                seconds,
                precision,
                utc: false,
            },
            3,
        ))
    })
}

/// `2024-05-06 07:08`, `2024-05-06 07:08:09.000000000 +0200`.
fn iso_date(words: &[Word<'_>]) -> Option<(Modified, usize)> {
    let [date, clock, rest @ ..] = words else {
        return None;
    };
    let mut parts = date.text.split(|byte| *byte == b'-');
    let date = (
        year(parts.next()?)?,
        day(parts.next()?)?,
        day(parts.next()?)?,
    );
    let clock = clock.text.split(|byte| *byte == b'.').next()?;
    let (hour, minute) = hour_minute(clock.get(..5)?)?;
    let Some(second) = clock.get(5..).filter(|rest| !rest.is_empty()) else {
        let seconds = seconds(date, (hour, minute, 0))?;
        return Some((
            Modified {
                seconds,
                precision: Precision::Minute,
                utc: false,
            },
            2,
        ));
    };
    let second = std::str::from_utf8(second.strip_prefix(b":")?)
        .ok()?
        .parse()
        .ok()?;
    let local = seconds(date, (hour, minute, second))?;
    let offset = rest.first().and_then(|zone| zone_offset(zone.text));
    let seconds = local - offset.unwrap_or(0);
    let utc = offset.is_some();
    Some((
        Modified {
            seconds,
            precision: Precision::Second,
            utc,
        },
        2 + usize::from(utc),
    ))
}

/// Seconds east of UTC of `+0200`.
fn zone_offset(word: &[u8]) -> Option<i64> {
    let (sign, digits) = word.split_first()?;
    let sign = match sign {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.len() == 4)?;
    let number: i64 = digits.parse().ok()?;
    Some(sign * (number / 100 * 3600 + number % 100 * 60))
}

/// Owner and group among the words between mode and size: a number of links first, where there is
/// one; the last word is the group, what is before it the owner, blanks and all.
fn owners(line: &[u8], words: &[Word<'_>]) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let words = match words {
        [links, rest @ ..] if links.text.iter().all(u8::is_ascii_digit) && !rest.is_empty() => rest,
        words => words,
    };
    match words {
        [] => (None, None),
        [owner] => (Some(owner.text.to_vec()), None),
        [first, .., last_of_owner, group] => {
            let owner = line.get(first.start..last_of_owner.end).map(<[u8]>::to_vec);
            (owner, Some(group.text.to_vec()))
        }
        [owner, group] => (Some(owner.text.to_vec()), Some(group.text.to_vec())),
    }
}

fn split_target(entry: &mut Entry) {
    const ARROW: &[u8] = b" -> ";
    let Some(at) = entry
        .name
        .windows(ARROW.len())
        .position(|part| part == ARROW)
    else {
        return;
    };
    entry.target = entry.name.get(at + ARROW.len()..).map(<[u8]>::to_vec);
    entry.name.truncate(at);
}
