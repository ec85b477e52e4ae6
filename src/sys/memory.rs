//! The memory of the process: what the allocator keeps, and what it gives back.

/// Number of arenas of the allocator. By default there are up to eight for each processor, and what
/// is freed in one of them stays there. [`trim`] gives back the free end of the first only, and of
/// the others what lies between memory in use.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 1;

/// Size in bytes from which memory is mapped for one allocation, and unmapped with it. By default,
/// the first buffer of fuser, of 16 MiB, raises this to its size. Later ones are then in the heap,
/// and may get memory that was in use: it must be cleared, and is resident from then on.
#[cfg(target_env = "gnu")]
const MAPPED_SIZE: libc::c_int = 4 << 20;

/// Free bytes at the end of the heap that the allocator keeps for transfers until [`trim`].
#[cfg(target_env = "gnu")]
const KEPT_END: libc::c_int = 32 << 20;

/// Makes the allocator return memory. Must be called before threads start to have its full effect.
#[cfg(target_env = "gnu")]
pub(crate) fn set_up_allocator() {
    for (setting, value) in [
        (libc::M_ARENA_MAX, ARENAS),
        (libc::M_MMAP_THRESHOLD, MAPPED_SIZE),
        (libc::M_TRIM_THRESHOLD, KEPT_END),
    ] {
        // SAFETY: mallopt(3) takes two integers. It changes only the allocator's own settings,
        // under the allocator's lock.
        let is_set = unsafe { libc::mallopt(setting, value) };
        if is_set == 0 {
            log::debug!("cannot set option {setting} of the allocator");
        }
    }
}

/// Gives the memory that the allocator holds without need back to the system.
#[cfg(target_env = "gnu")]
pub(crate) fn trim() {
    // SAFETY: malloc_trim(3) takes an integer and releases only memory that is free. It is
    // thread-safe.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators need no settings.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn set_up_allocator() {}

/// Other allocators give memory back by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn trim() {}
