//! fuser's callbacks, translated into vfs calls and their answers into replies; no policy.

use std::sync::Arc;

use crate::vfs::Vfs;

/// What is handed to `fuser::Session::new`.
#[derive(Debug)]
pub struct FuseFs {}

#[allow(unused_variables)]
impl FuseFs {
    /// The glue between the kernel and `vfs`.
    pub fn new(vfs: Arc<Vfs>) -> Self {
        todo!()
    }
}

impl fuser::Filesystem for FuseFs {}
