//! The local disk: spool files for written data, and the space they may take.

pub(in crate::vfs) mod error;
pub(in crate::vfs) mod quota;
pub(in crate::vfs) mod spool;
pub(in crate::vfs) mod spool_dir;
