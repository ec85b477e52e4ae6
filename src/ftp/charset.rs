//! Names in the server's charset and in the mount's (UTF-8), both ways.
//!
//! Without a charset, names go through byte for byte. With one, a name that does not decode stays
//! the bytes it is, and bytes that are no UTF-8 are sent as they are: so every listed name leads
//! back to its file.

use encoding_rs::Encoding;

use super::path::PathError;

/// The bytes to send for `name`.
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

/// The name that listed `bytes` mean.
pub(super) fn decode(bytes: Vec<u8>, charset: Option<&'static Encoding>) -> Vec<u8> {
    let Some(charset) = charset else { return bytes };
    let Some(text) = charset.decode_without_bom_handling_and_without_replacement(&bytes) else {
        return bytes;
    };
    let text = text.into_owned();
    // Only a name that leads back to the same bytes may stand for them.
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
}
