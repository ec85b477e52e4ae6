//! Secrets that were sent to the server and must not appear in logs and messages, even if the
//! server repeats them.

use std::borrow::Cow;

/// Replacement for a secret.
const STARS: &[u8] = b"****";

/// The secrets, such as passwords.
#[derive(Default)]
pub(super) struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// Adds a secret. An empty one has no effect.
    pub(super) fn add(&mut self, secret: &str) {
        if !secret.is_empty() {
            self.0.push(secret.as_bytes().to_vec());
        }
    }

    /// Replaces all secrets in `text` with stars.
    pub(super) fn conceal_in<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let conceal = |text: Cow<'a, [u8]>, secret: &Vec<u8>| {
            if text.windows(secret.len()).any(|window| window == secret) {
                Cow::Owned(without(&text, secret))
            } else {
                text
            }
        };
        self.0.iter().fold(Cow::Borrowed(text), conceal)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("****")
    }
}

/// Replaces each non-empty `secret` in `text` with stars.
fn without(text: &[u8], secret: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        if let Some(behind) = rest.strip_prefix(secret) {
            shown.extend_from_slice(STARS);
            rest = behind;
        } else {
            shown.push(*first);
            rest = tail;
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_is_hidden_wherever_it_stands_even_one_of_stars() {
        let mut secrets = Secrets::default();
        for secret in ["", "hunter2", "**"] {
            secrets.add(secret);
        }
        let shown = |text: &'static [u8]| secrets.conceal_in(text).into_owned();
        assert_eq!(shown(b"nothing"), b"nothing");
        assert_eq!(shown(b"a hunter2hunter2"), b"a ****************");
        assert_eq!(shown(b"**"), STARS);
        assert_eq!(format!("{secrets:?}"), "****");
    }
}
