//! What tells a server from another one at the same address.

use sha2::{Digest, Sha256};

use crate::ftp::reply::Reply;

/// Words that are left out of a greeting, because they are those of a date.
const DATE_WORDS: [&str; 19] = [
    "mon", "tue", "wed", "thu", "fri", "sat", "sun", "jan", "feb", "mar", "apr", "may", "jun",
    "jul", "aug", "sep", "oct", "nov", "dec",
];

/// Identity of a host: the key of its certificate, or without TLS the words of its greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostIdentity([u8; 32]);

impl HostIdentity {
    /// Computes the identity. Numbers in a greeting do not count: Pure-FTPd's has the time and the
    /// number of users.
    pub(in crate::ftp) fn of(tls_key: Option<&[u8]>, greeting: &Reply) -> Self {
        let mut hash = Sha256::new();
        if let Some(key) = tls_key {
            hash.update(b"key ");
            hash.update(key);
        } else {
            hash.update(b"greeting");
            let text = greeting.words();
            let words = text.split(|it: char| !it.is_alphabetic());
            for word in words.filter(|word| !word.is_empty() && !DATE_WORDS.contains(word)) {
                hash.update(b" ");
                hash.update(word.as_bytes());
            }
        }
        Self(hash.finalize().into())
    }

    /// Returns its bytes, to be stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::reply::ReplyCode;

    fn of(tls_key: Option<&[u8]>, greeting: &str) -> HostIdentity {
        let lines = greeting.lines().map(|line| line.as_bytes().to_vec());
        let greeting = Reply::new(ReplyCode(220), lines.collect());
        HostIdentity::of(tls_key, &greeting)
    }

    #[test]
    fn numbers_and_dates_in_a_greeting_do_not_count() {
        let greeting = |number, time: &str| {
            format!(
                "---- Welcome to Pure-FTPd ----\nYou are user number {number} of 50 allowed.\n\
                 Local time is now {time}. Server port: 21."
            )
        };
        assert_eq!(
            of(None, &greeting(1, "Mon Nov 29 16:43")),
            of(None, &greeting(12, "Tue Dec 1 06:00"))
        );
        assert_eq!(of(None, "(vsFTPd 3.0.3)"), of(None, "(vsFTPd 3.0.5)"));
        assert_ne!(of(None, "(vsFTPd 3.0.5)"), of(None, "files of anna"));
    }

    #[test]
    fn a_key_counts_instead_of_the_greeting() {
        assert_eq!(of(Some(b"key"), "one"), of(Some(b"key"), "two"));
        assert_ne!(of(Some(b"key"), "one"), of(Some(b"yek"), "one"));
        assert_ne!(of(Some(b"key"), "one"), of(None, "one"));
    }
}
