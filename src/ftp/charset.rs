//! Conversion of names between the server's charset and UTF-8, which the mount uses.
//!
//! Without a charset, names are passed through byte for byte. With one, names that cannot be
//! decoded and names that are not UTF-8 also pass through unchanged, so that every listed name
//! refers to its file.

use encoding_rs::Encoding;

use super::path::PathError;

/// Returns the bytes to send for `name`.
pub(super) fn encode(
    name: &[u8],
    charset: Option<&'static Encoding>,
) -> Result<Vec<u8>, PathError> {
    let Some((charset, text)) = charset.zip(std::str::from_utf8(name).ok()) else {
        return Ok(name.to_vec());
    };
    let (bytes, _, unmappable) = charset.encode(text);
    if unmappable {
        return Err(PathError::NotInCharset(charset.name()));
    }
    Ok(bytes.into_owned())
}

/// Returns the name for the listed `bytes`.
pub(super) fn decode(bytes: Vec<u8>, charset: Option<&'static Encoding>) -> Vec<u8> {
    let Some(charset) = charset else { return bytes };
    let Some(text) = charset.decode_without_bom_handling_and_without_replacement(&bytes) else {
        return bytes;
    };
    let text = text.into_owned();
    // Accept only names that encode to the same bytes again.
    match encode(text.as_bytes(), Some(charset)) {
        Ok(back) if back == bytes => text.into_bytes(),
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_charset_bytes_are_names() {
        assert_eq!(encode(b"\xe9\xff", None), Ok(b"\xe9\xff".to_vec()));
        assert_eq!(decode(b"\xe9".to_vec(), None), b"\xe9");
    }

    #[test]
    fn an_old_charset_is_spoken_both_ways() {
        let latin = Some(encoding_rs::WINDOWS_1252);
        assert_eq!(encode("é".as_bytes(), latin), Ok(b"\xe9".to_vec()));
        assert_eq!(decode(b"\xe9".to_vec(), latin), "é".as_bytes());
    }

    #[test]
    fn what_the_charset_cannot_say_is_refused_not_replaced() {
        let latin = Some(encoding_rs::WINDOWS_1252);
        assert_eq!(
            encode("日".as_bytes(), latin),
            Err(PathError::NotInCharset("windows-1252"))
        );
    }

    #[test]
    fn a_name_that_does_not_decode_stays_as_it_is() {
        let japanese = Some(encoding_rs::SHIFT_JIS);
        assert_eq!(decode(b"\xff\xff".to_vec(), japanese), b"\xff\xff");
        assert_eq!(encode(b"\xff\xff", japanese), Ok(b"\xff\xff".to_vec()));
    }

    /// No conversion creates a byte that ends a command or a path component.
    #[test]
    fn a_name_without_a_line_break_has_none_in_any_charset() {
        let labels = "big5 euc-jp euc-kr gb18030 gbk ibm866 iso-8859-2 iso-8859-8-i koi8-r koi8-u \
                      macintosh shift_jis windows-874 windows-1251 windows-1252 x-user-defined";
        let mut converted = 0;
        for label in labels.split_whitespace() {
            let charset = Encoding::for_label(label.as_bytes()).unwrap();
            assert!(charset.is_ascii_compatible(), "{label}");
            for letter in '\u{e}'..='\u{1ffff}' {
                let name = letter.to_string();
                let Ok(bytes) = encode(name.as_bytes(), Some(charset)) else {
                    continue;
                };
                converted += 1;
                let ends = |byte: &u8| {
                    matches!(byte, b'\r' | b'\n' | 0) || (*byte == b'/' && letter != '/')
                };
                assert!(!bytes.iter().any(ends), "{label}: {letter:?}");
            }
        }
        assert!(converted > 50_000, "{converted}");
    }
}
