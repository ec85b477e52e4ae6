//! Inode numbers.

use std::collections::{HashMap, HashSet};
use std::hash::Hasher;

use foldhash::fast::RandomState;
use siphasher::sip::SipHasher13;

/// The number of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ino(pub u64);

/// The highest bit of a number that is made from a name. Programs that store numbers as doubles
/// lose no bit below it, and no small number is one of these.
const NAMED: u64 = 1 << 52;

impl Ino {
    /// The root of the mount, by convention of the kernel.
    pub(crate) const ROOT: Self = Self(1);

    /// Returns a number for `name` in the directory `parent`. It is the same on every mount: git
    /// and backup programs take a file with another number for another file and read it again.
    /// Each `attempt` is another number, for when a living inode has the one before.
    pub(super) fn of_name(parent: Self, name: &[u8], attempt: u64) -> Self {
        let mut hasher = SipHasher13::new();
        hasher.write_u64(parent.0);
        hasher.write_u64(attempt);
        hasher.write(name);
        Self(NAMED | (hasher.finish() & (NAMED - 1)))
    }
}

/// A table by inode number. Its hashes are random, because a server chooses the names from which
/// numbers are made.
pub(in crate::vfs) type InoMap<T> = HashMap<Ino, T, RandomState>;
/// A set of inode numbers.
pub(in crate::vfs) type InoSet = HashSet<Ino, RandomState>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_name_never_changes() {
        let dir = Ino::of_name(Ino::ROOT, b"dir", 0);
        assert_eq!(dir.0, 0x19_be0c_b118_b43e);
        assert_eq!(Ino::of_name(dir, b"file", 0).0, 0x1b_232f_51a2_1eb5);
        assert_eq!(Ino::of_name(dir, b"file", 1).0, 0x1b_e8e1_cc3e_8c58);
    }

    #[test]
    fn names_directories_and_attempts_have_different_numbers() {
        let dir = Ino::of_name(Ino::ROOT, b"a", 0);
        let numbers = [
            dir,
            Ino::of_name(Ino::ROOT, b"b", 0),
            Ino::of_name(Ino::ROOT, b"a", 1),
            Ino::of_name(dir, b"a", 0),
            Ino::of_name(dir, b"b", 0),
        ];
        let different: HashSet<_> = numbers.iter().collect();
        assert_eq!(different.len(), numbers.len());
        assert!(numbers.iter().all(|it| (NAMED..2 * NAMED).contains(&it.0)));
    }
}
