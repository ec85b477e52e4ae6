//! Uploads: at close, in the background, and after a crash.

pub(crate) mod recovery;
pub(in crate::vfs) mod state;
pub(in crate::vfs) mod uploader;
pub(in crate::vfs) mod writeback;
