//! Uploads: at close, in the background, and after a crash.
//!
//! | module | contents |
//! |---|---|
//! | `state` | what is a draft, what is sealed, and what the server has: all transitions |
//! | `uploader` | the upload of one spool, also while it is written |
//! | `writeback` | the queue of sealed files, and the dispatcher that uploads them |
//! | `recovery` | what an earlier mount left |

pub(in crate::vfs) mod conflict;
pub(in crate::vfs) mod names;
pub(crate) mod recovery;
pub(in crate::vfs) mod state;
pub(in crate::vfs) mod uploader;
pub(in crate::vfs) mod writeback;
