//! What was sent to the server and is in no log or message, though the server may repeat it.

use std::borrow::Cow;

/// What is shown in a secret's place.
const STARS: &[u8] = b"****";

/// Passwords and the like.
#[derive(Default)]
pub(super) struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// One more; an empty one hides nothing.
    pub(super) fn add(&mut self, secret: &str) {
        if !secret.is_empty() {
            self.0.push(secret.as_bytes().to_vec());
        }
    }

    /// `text` with stars for each of them.
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

/// `text` with stars for each `secret` in it, which is not empty.
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
