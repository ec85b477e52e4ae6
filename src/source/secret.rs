//! Finds the passwords of URLs in a text, so that they can be hidden.

use std::ops::Range;

/// Replaces a password.
const STARS: &str = "****";

/// Returns the ranges of `text` that are passwords of URLs of any scheme.
///
/// The ranges may be too large but never too small: if a password contains a character that must be
/// written as `%XX`, the URL is refused later, and until then everything up to the last `@` is
/// hidden.
pub(crate) fn password_ranges(text: &[u8]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    while let Some(rest) = text.get(start..)
        && let Some(scheme) = rest.windows(3).position(|window| window == b"://")
    {
        let authority = start + scheme + 3;
        let range = text.get(authority..).and_then(password_in);
        let range = range.map(|range| authority + range.start..authority + range.end);
        start = range.as_ref().map_or(authority, |range| range.end);
        ranges.extend(range);
    }
    ranges
}

/// Returns `text` with stars in place of the passwords of URLs.
pub(crate) fn conceal(text: &str) -> String {
    let mut concealed = text.to_owned();
    for range in password_ranges(text.as_bytes()).into_iter().rev() {
        concealed.replace_range(range, STARS);
    }
    concealed
}

/// Returns a URL without its password and the colon before it.
pub(super) fn without_password(url: &str) -> String {
    let mut shown = url.to_owned();
    for range in password_ranges(url.as_bytes()).into_iter().rev() {
        shown.replace_range(range.start - 1..range.end, "");
    }
    shown
}

/// Returns the range of the password in the text after `://`.
fn password_in(text: &[u8]) -> Option<Range<usize>> {
    let ends = |byte: &u8| matches!(byte, b'/' | b'?' | b'#' | b'\\');
    let end = text.iter().position(ends).unwrap_or(text.len());
    let authority = text.get(..end)?;
    if let Some(at) = authority.iter().rposition(|byte| *byte == b'@') {
        let colon = authority.get(..at)?.iter().position(|byte| *byte == b':')?;
        return Some(colon + 1..at);
    }
    // Either there is no login, or its password contains a character that ends the authority; then
    // no port follows the colon.
    let colon = authority.iter().position(|byte| *byte == b':')?;
    let is_port = authority.get(colon + 1..)?.iter().all(u8::is_ascii_digit);
    if is_port || authority.starts_with(b"[") {
        return None;
    }
    let at = text.iter().rposition(|byte| *byte == b'@')?;
    (at > colon).then_some(colon + 1..at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_password_of_every_scheme_is_found() {
        for (text, concealed) in [
            ("ftp://me:secret@h/", "ftp://me:****@h/"),
            ("ftps://me:secret@h", "ftps://me:****@h"),
            ("FTPES://me:se:c@ret@h:21/a@b", "FTPES://me:****@h:21/a@b"),
            (
                "-oproxy=socks5h://p:secret@h:1",
                "-oproxy=socks5h://p:****@h:1",
            ),
            (
                "ro,proxy=http://p:a\\,b@h:1,fsname=ftp://x:y@z",
                "ro,proxy=http://p:****@z",
            ),
            (
                "proxy=http://p:a@h:1,fsname=ftp://x:y@z/",
                "proxy=http://p:****@h:1,fsname=ftp://x:****@z/",
            ),
            ("ftp://me:a/b#c?@h/", "ftp://me:****@h/"),
            ("ftp://:secret@h/", "ftp://:****@h/"),
        ] {
            assert_eq!(conceal(text), concealed);
        }
    }

    #[test]
    fn what_is_no_password_stays() {
        for text in [
            "ftp://h:21/a@b",
            "ftp://[::1]:21/a@b",
            "ftp://me@h/a:b@c",
            "me@h:path",
            "ftp://h",
            "://",
            "",
        ] {
            assert_eq!(conceal(text), text);
        }
    }

    #[test]
    fn a_shown_url_has_neither_password_nor_colon() {
        assert_eq!(without_password("ftp://me:x@h:2/p"), "ftp://me@h:2/p");
        assert_eq!(without_password("ftp://me@h:2/p"), "ftp://me@h:2/p");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text in "(://|[a:@/,é\\\\])*") {
            password_ranges(&bytes);
            conceal(&text);
            without_password(&text);
        }

        #[test]
        fn a_password_is_hidden_whatever_it_holds_but_an_at_sign(password in "[a-z]([!-?A-~]{0,8}[a-z])?") {
            let shown = conceal(&format!("ftp://USER:{password}@HOST/"));
            prop_assert_eq!(shown, "ftp://USER:****@HOST/");
        }
    }
}
