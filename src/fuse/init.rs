//! FUSE_INIT: negotiation of sizes and features with the kernel.

use fuser::{InitFlags, KernelConfig};

/// Maximum size of a WRITE request in bytes. The kernel sends at most 1 MiB.
const MAX_WRITE: u32 = 1 << 20;
/// Maximum number of background requests (read-ahead) of the kernel: enough to keep every
/// connection busy.
const MAX_BACKGROUND: u16 = 64;

/// Requests everything that makes the mount fast, and accepts what this kernel supports. Without
/// export, the kernel never looks up inodes by their numbers.
pub(super) fn negotiate(config: &mut KernelConfig, exports: bool) {
    // Each refusal contains the nearest value that the kernel accepts.
    if let Err(most) = config.set_max_write(MAX_WRITE) {
        let _ = config.set_max_write(most);
    }
    if let Err(most) = config.set_max_readahead(MAX_WRITE) {
        let _ = config.set_max_readahead(most);
    }
    if let Err(most) = config.set_max_background(MAX_BACKGROUND) {
        let _ = config.set_max_background(most);
    }
    // Readdirplus without AUTO: `find -size` costs one request per directory instead of one per
    // file.
    for wanted in [
        InitFlags::FUSE_ATOMIC_O_TRUNC,
        InitFlags::FUSE_AUTO_INVAL_DATA,
        // Otherwise, a file that bypasses the page cache could not be mapped with MAP_SHARED.
        InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
        InitFlags::FUSE_DO_READDIRPLUS,
        // Otherwise, the kernel requests the attribute security.capability before each write that
        // goes through its page cache, and not only before the first one of a file.
        InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        InitFlags::FUSE_PARALLEL_DIROPS,
    ] {
        if config.add_capabilities(wanted).is_err() {
            log::debug!("this kernel does not support {wanted:?}");
        }
    }
    if exports
        && config
            .add_capabilities(InitFlags::FUSE_EXPORT_SUPPORT)
            .is_err()
    {
        log::warn!("this kernel does not support export: file handles become stale");
    }
}

/// Requests that the kernel may read local files by itself. Returns whether it can.
pub(super) fn negotiate_passthrough(config: &mut KernelConfig) -> bool {
    let is_supported = config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok();
    // Local files on an overlayfs would need 2, with which no overlayfs could be above this mount.
    is_supported && config.set_max_stack_depth(1).is_ok()
}
