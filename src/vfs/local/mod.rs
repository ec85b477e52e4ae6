//! The local disk: spool files of what is written, and how much they may take.

pub(in crate::vfs) mod quota;
pub(in crate::vfs) mod spool;
