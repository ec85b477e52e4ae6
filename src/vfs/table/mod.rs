//! Inodes and handles: what the kernel's numbers stand for.

pub(in crate::vfs) mod handle;
pub(in crate::vfs) mod inode;
