//! Uploads: at close, in the background, and after a crash.

pub mod recovery;
pub(in crate::vfs) mod uploader;
pub(in crate::vfs) mod writeback;
