//! Fields of a record: tab-separated, with the bytes escaped that could end a field or a line.

use crate::ftp::{Precision, RemotePath};

pub(super) fn put(line: &mut Vec<u8>, word: &str, fields: &[&[u8]]) {
    line.extend_from_slice(word.as_bytes());
    for field in fields {
        line.push(b'\t');
        escape(line, field);
    }
    line.push(b'\n');
}

pub(super) fn option(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

pub(super) fn to_number<T: std::str::FromStr>(field: &[u8]) -> Option<T> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// The outer option belongs to the grammar, the inner one to the value.
#[expect(
    clippy::option_option,
    reason = "a malformed field differs from a missing value"
)]
pub(super) fn to_option<T: std::str::FromStr>(field: &[u8]) -> Option<Option<T>> {
    match field {
        b"-" => Some(None),
        field => to_number(field).map(Some),
    }
}

/// Formats seconds since the epoch, followed by `s`, `m` or `d` for the precision.
pub(super) fn moment((seconds, precision): (i64, Precision)) -> String {
    let unit = match precision {
        Precision::Second => 's',
        Precision::Minute => 'm',
        Precision::Day => 'd',
    };
    format!("{seconds}{unit}")
}

/// Older journals lack the precision. A time without one is as exact as its trailing zeros suggest.
#[expect(
    clippy::option_option,
    reason = "a malformed field differs from a missing time"
)]
pub(super) fn to_moment(field: &[u8]) -> Option<Option<(i64, Precision)>> {
    let (seconds, precision) = match field {
        b"-" => return Some(None),
        [seconds @ .., b's'] => (to_number(seconds)?, Precision::Second),
        [seconds @ .., b'm'] => (to_number(seconds)?, Precision::Minute),
        [seconds @ .., b'd'] => (to_number(seconds)?, Precision::Day),
        seconds => {
            let seconds: i64 = to_number(seconds)?;
            let precision = match seconds {
                _ if seconds % 86_400 == 0 => Precision::Day,
                _ if seconds % 60 == 0 => Precision::Minute,
                _ => Precision::Second,
            };
            (seconds, precision)
        }
    };
    Some(Some((seconds, precision)))
}

pub(super) fn to_path(field: &[u8]) -> Option<RemotePath> {
    RemotePath::new(field).ok()
}

fn escape(line: &mut Vec<u8>, field: &[u8]) {
    for &byte in field {
        if byte.is_ascii_graphic() && byte != b'%' {
            line.push(byte);
        } else {
            line.extend_from_slice(format!("%{byte:02x}").as_bytes());
        }
    }
}

pub(super) fn unescape(field: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = tail.get(2..)?;
        } else {
            bytes.push(*first);
        }
    }
    Some(bytes)
}
