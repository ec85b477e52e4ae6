//! Inode numbers.

/// The number of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ino(pub u64);

impl Ino {
    /// The root of the mount, by convention of the kernel.
    pub(crate) const ROOT: Self = Self(1);
}
