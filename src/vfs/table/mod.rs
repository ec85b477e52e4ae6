//! Inodes and handles: the kernel's numbers.

pub(in crate::vfs) mod claimed;
pub(in crate::vfs) mod handle;
pub(in crate::vfs) mod ino;
pub(in crate::vfs) mod inode;
pub(in crate::vfs) mod io_mode;
