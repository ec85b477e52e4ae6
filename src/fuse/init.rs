//! What is agreed with the kernel at INIT: sizes, and what it may do by itself.

use fuser::{InitFlags, KernelConfig};

/// Largest WRITE the kernel is asked to send; it sends at most 1 MiB.
const MAX_WRITE: u32 = 1 << 20;
/// Requests the kernel may have under way in the background (read-ahead): enough to keep every
/// connection busy.
const MAX_BACKGROUND: u16 = 64;

/// Asks for all that makes the mount fast, and takes what this kernel grants.
pub(super) fn negotiate(config: &mut KernelConfig) {
    // Each refusal names the nearest value the kernel takes.
    if let Err(most) = config.set_max_write(MAX_WRITE) {
        let _ = config.set_max_write(most);
    }
    if let Err(most) = config.set_max_readahead(MAX_WRITE) {
        let _ = config.set_max_readahead(most);
    }
    if let Err(most) = config.set_max_background(MAX_BACKGROUND) {
        let _ = config.set_max_background(most);
    }
    // Readdirplus without AUTO: `find -size` costs one request a directory, not one a file.
    for wanted in [
        InitFlags::FUSE_ATOMIC_O_TRUNC,
        InitFlags::FUSE_AUTO_INVAL_DATA,
        // Else a file whose pages are bypassed could not be mapped to be shared.
        InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
        InitFlags::FUSE_DO_READDIRPLUS,
        InitFlags::FUSE_PARALLEL_DIROPS,
    ] {
        if config.add_capabilities(wanted).is_err() {
            log::debug!("this kernel does without {wanted:?}");
        }
    }
}
