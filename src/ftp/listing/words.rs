//! Words, numbers and columns, from which the parsers of all dialects are built.

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Returns the next word after any blanks, and the rest.
pub(super) fn next_word(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = bytes.iter().position(|byte| !is_blank(*byte))?;
    let bytes = bytes.get(start..)?;
    let end = bytes.iter().position(|byte| is_blank(*byte));
    bytes.split_at_checked(end.unwrap_or(bytes.len()))
}

/// Iterates over the words of `bytes`.
pub(super) fn words(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (word, rest) = next_word(bytes)?;
        bytes = rest;
        Some(word)
    })
}

/// Returns the last word, and what precedes it.
pub(super) fn last_word(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().rposition(|byte| !is_blank(*byte))? + 1;
    let bytes = bytes.get(..end)?;
    let start = bytes.iter().rposition(|byte| is_blank(*byte));
    let (before, word) = bytes.split_at_checked(start.map_or(0, |at| at + 1))?;
    Some((word, before))
}

/// Strips leading blanks.
pub(super) fn trim_start(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !is_blank(*byte));
    bytes
        .get(start.unwrap_or(bytes.len())..)
        .unwrap_or_default()
}

/// Strips trailing blanks.
pub(super) fn trim_end(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !is_blank(*byte));
    bytes.get(..end.map_or(0, |at| at + 1)).unwrap_or_default()
}

/// Counts leading blanks.
pub(super) fn leading_blanks(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| is_blank(**byte)).count()
}

/// Returns the position of the first `part` in `bytes`.
pub(super) fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// Whether the word consists of digits only.
pub(super) fn is_digits(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(u8::is_ascii_digit)
}

/// Parses a number of digits only. `None` if it does not fit.
pub(super) fn number<T: TryFrom<u64>>(digits: &[u8]) -> Option<T> {
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })?;
    T::try_from(value).ok()
}

/// Parses a number with separated thousands: `1,048,576`, `1.048.576` or `1'048'576`. `None` if the
/// groups are not thousands: `12.4` is rounded.
pub(super) fn grouped_number(word: &[u8]) -> Option<u64> {
    let separator = *word.iter().find(|byte| !byte.is_ascii_digit())?;
    if !matches!(separator, b',' | b'.' | b'\'') {
        return None;
    }
    let mut value = 0_u64;
    for (at, group) in word.split(|byte| *byte == separator).enumerate() {
        let fits = match at {
            0 => (1..=3).contains(&group.len()),
            _ => group.len() == 3,
        };
        let group: u64 = number(group).filter(|_| fits)?;
        value = value.checked_mul(1000)?.checked_add(group)?;
    }
    Some(value)
}

/// Parses permission bits in octal, without the bits of the file type.
///
/// pyftpdlib formats them like Python: `0o644`.
pub(super) fn octal_mode(digits: &[u8]) -> Option<u32> {
    octal(digits).map(|bits| bits & 0o7777)
}

/// Parses an octal number.
pub(super) fn octal(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits.strip_prefix(b"0o").unwrap_or(digits)).ok()?;
    u32::from_str_radix(text, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_from_both_ends() {
        assert_eq!(
            last_word(b"a  bc "),
            Some((b"bc".as_slice(), b"a  ".as_slice()))
        );
        assert_eq!(last_word(b"a"), Some((b"a".as_slice(), b"".as_slice())));
        assert_eq!(last_word(b"  "), None);
        assert_eq!(
            words(b" a  bc ").collect::<Vec<_>>(),
            [b"a".as_slice(), b"bc"]
        );
    }

    #[test]
    fn only_whole_thousands_are_a_number() {
        assert_eq!(grouped_number(b"1,048,576"), Some(1_048_576));
        assert_eq!(grouped_number(b"1.048.576"), Some(1_048_576));
        assert_eq!(grouped_number(b"8'192"), Some(8192));
        for rounded in [
            "12.4",
            "1,23",
            "1,2345",
            ",123",
            "1,234.567",
            "12",
            "1,23x",
            "1,",
        ] {
            assert_eq!(grouped_number(rounded.as_bytes()), None, "{rounded}");
        }
        assert_eq!(grouped_number(b"99,999,999,999,999,999,999"), None);
    }
}
