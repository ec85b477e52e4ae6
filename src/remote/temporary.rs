//! The names that unfinished uploads have on the server: the one place that makes and knows them.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ftp::RemotePath;

const PREFIX: &[u8] = b".ftpfs-";
const SUFFIX: &[u8] = b".part";
/// Hexadecimal digits between the two.
const DIGITS: usize = 16;

/// Makes names that no other upload has, in this process or another.
#[derive(Debug)]
pub(super) struct TemporaryNames {
    /// The keys are the system's random numbers.
    keys: RandomState,
    made: AtomicU64,
}

impl TemporaryNames {
    pub(super) fn new() -> Self {
        Self {
            keys: RandomState::new(),
            made: AtomicU64::new(0),
        }
    }

    /// A new name beside `target`; none for the root, beside which nothing is.
    pub(super) fn beside(&self, target: &RemotePath) -> Option<RemotePath> {
        let number = self
            .keys
            .hash_one(self.made.fetch_add(1, Ordering::Relaxed));
        let name = [PREFIX, format!("{number:0DIGITS$x}").as_bytes(), SUFFIX].concat();
        target.parent()?.join(&name).ok()
    }
}

/// Whether `name` is one of these. Strict, so that no name a user would choose is taken for one.
pub(super) fn is_temporary(name: &[u8]) -> bool {
    let digits = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(SUFFIX));
    digits.is_some_and(|digits| {
        digits.len() == DIGITS
            && digits
                .iter()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_beside_their_target_known_and_never_the_same() {
        let target = RemotePath::new(b"/a/b").unwrap();
        let (ours, theirs) = (TemporaryNames::new(), TemporaryNames::new());
        let made = [&ours, &ours, &theirs, &theirs].map(|names| names.beside(&target).unwrap());
        for (index, path) in made.iter().enumerate() {
            assert_eq!(path.parent(), target.parent());
            assert!(is_temporary(path.name()), "{path}");
            assert!(!made[..index].contains(path));
        }
        assert_eq!(ours.beside(&RemotePath::root()), None);
    }

    #[test]
    fn names_of_users_are_theirs() {
        for name in [
            b".ftpfs-.part".as_slice(),
            b".ftpfs-0123456789abcde.part",
            b".ftpfs-0123456789abcdef0.part",
            b".ftpfs-0123456789ABCDEF.part",
            b".ftpfs-0123456789abcdef.par",
            b"ftpfs-0123456789abcdef.part",
            b".ftpfs-0123456789abcdef.part ",
        ] {
            assert!(!is_temporary(name));
        }
        assert!(is_temporary(b".ftpfs-0123456789abcdef.part"));
    }
}
