//! The size column of `ls -l`, which is not always a size: it can be rounded, grouped, the numbers
//! of a device, or run into the group before it.

use super::Kind;
use super::words::{grouped_number, is_digits, number};

/// Meaning of the size column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SizeColumn {
    /// A size in bytes.
    Exact(u64),
    /// Not an exact size: rounded (`12.4M`), negative, too large, or the numbers of a device.
    Unknown,
    /// The name of the group and the size, without a blank between them.
    Glued,
}

impl SizeColumn {
    /// Returns the size in bytes, if known.
    pub(super) fn exact(self) -> Option<u64> {
        match self {
            Self::Exact(size) => Some(size),
            Self::Unknown | Self::Glued => None,
        }
    }
}

/// Parses the size column. `None` if it is not one. `before` are the words between the permissions
/// and this one.
pub(super) fn size_column(word: &[u8], kind: Kind, before: &[&[u8]]) -> Option<SizeColumn> {
    let unknown = || Some(SizeColumn::Unknown);
    if is_digits(word) {
        return number(word).map_or_else(unknown, |size| Some(SizeColumn::Exact(size)));
    }
    if kind == Kind::Special && is_device(word) {
        return unknown();
    }
    if word.strip_prefix(b"-").is_some_and(is_digits) {
        return unknown();
    }
    if let Some(size) = grouped_number(word) {
        return Some(SizeColumn::Exact(size));
    }
    let is_number = |word: &&[u8]| word.first().is_some_and(u8::is_ascii_digit);
    if is_rounded(word) || (is_unit(word) && before.last().is_some_and(is_number)) {
        return unknown();
    }
    if matches!(word, b"-" | b"?") && !before.is_empty() {
        return unknown();
    }
    let is_glued = !is_number(&word) && word.last().is_some_and(u8::is_ascii_digit);
    (is_glued && !before.is_empty()).then_some(SizeColumn::Glued)
}

/// Matches `1,3`, `3` after `1,`, or `0x1000004`.
fn is_device(word: &[u8]) -> bool {
    if let Some(hex) = word.strip_prefix(b"0x") {
        return !hex.is_empty() && hex.iter().all(u8::is_ascii_hexdigit);
    }
    word.last().is_some_and(u8::is_ascii_digit)
        && word
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b',')
}

/// Matches `12.4M`, `96K`, `1,5G`, `640B`.
fn is_rounded(word: &[u8]) -> bool {
    let digits = word
        .iter()
        .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','));
    let Some((value, unit)) = word.split_at_checked(digits.count()) else {
        return false;
    };
    let is_decimal = value.first().is_some_and(u8::is_ascii_digit)
        && value.iter().filter(|byte| !byte.is_ascii_digit()).count() <= 1
        && value.last().is_some_and(u8::is_ascii_digit);
    is_decimal && (unit.is_empty() || is_unit(unit))
}

/// Matches `K`, `MB`, `GiB`, `bytes`.
fn is_unit(word: &[u8]) -> bool {
    let is = |unit: &[u8]| word.eq_ignore_ascii_case(unit);
    let is_scaled = |scale: &u8, rest: &[u8]| {
        b"kmgtp".contains(&scale.to_ascii_lowercase())
            && (rest.is_empty()
                || rest.eq_ignore_ascii_case(b"b")
                || rest.eq_ignore_ascii_case(b"ib"))
    };
    is(b"b")
        || is(b"byte")
        || is(b"bytes")
        || word
            .split_first()
            .is_some_and(|(scale, rest)| is_scaled(scale, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_count_of_octets_is_a_size() {
        let size = |word: &str| size_column(word.as_bytes(), Kind::File, &[b"1", b"u"]);
        assert_eq!(size("640"), Some(SizeColumn::Exact(640)));
        assert_eq!(size("1,048,576"), Some(SizeColumn::Exact(1_048_576)));
        for unknown in [
            "12.4M",
            "96K",
            "1.5GiB",
            "1,5",
            "-1",
            "99999999999999999999",
            "-",
            "640B",
        ] {
            assert_eq!(size(unknown), Some(SizeColumn::Unknown), "{unknown}");
        }
        assert_eq!(size("users640"), Some(SizeColumn::Glued));
        for none in ["five", "g", "0x10", "", "12.4Q", "M"] {
            assert_eq!(size(none), None, "{none}");
        }
        assert_eq!(
            size_column(b"MB", Kind::File, &[b"1", b"12.4"]),
            Some(SizeColumn::Unknown)
        );
        assert_eq!(size_column(b"-", Kind::File, &[]), None);
    }

    #[test]
    fn a_device_has_two_numbers_or_one_in_hex() {
        for word in ["1,3", "3", "0x1000004"] {
            assert!(
                size_column(word.as_bytes(), Kind::Special, &[]).is_some(),
                "{word}"
            );
        }
        assert_eq!(size_column(b"0xyz", Kind::Special, &[]), None);
    }
}
