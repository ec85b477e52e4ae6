//! The memory of the process: how many arenas the allocator keeps, and what it gives back.

/// Number of arenas of the allocator. By default there are up to eight for each processor, and what
/// is freed in one of them stays there. [`trim`] gives back the free end of the first only, and of
/// the others what lies between memory in use.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 1;

/// Limits the allocator's arenas. Must be called before threads start to have its full effect.
#[cfg(target_env = "gnu")]
pub(crate) fn limit_arenas() {
    // SAFETY: mallopt(3) takes two integers. It changes only the allocator's own settings, under
    // the allocator's lock.
    let is_set = unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
    if is_set == 0 {
        log::debug!("cannot limit the allocator's arenas");
    }
}

/// Gives the memory that the allocator holds without need back to the system.
#[cfg(target_env = "gnu")]
pub(crate) fn trim() {
    // SAFETY: malloc_trim(3) takes an integer and releases only memory that is free. It is
    // thread-safe.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators have no arenas to limit.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn limit_arenas() {}

/// Other allocators give memory back by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn trim() {}
