//! Privileges of this process and how to drop them: capabilities(7), no_new_privs and core dumps
//! (prctl(2)).
//!
//! On Linux, capabilities and no_new_privs are attributes of a thread, inherited from the thread
//! that starts it.

use std::io;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

/// The capabilities with which root mounts and unmounts: the right to mount, and to reach a
/// mountpoint below directories that root could not enter otherwise, such as a user's home.
const TO_MOUNT: CapabilitySet = CapabilitySet::SYS_ADMIN.union(CapabilitySet::DAC_READ_SEARCH);

/// Disables core dumps of this process, and prevents other processes of the same user from reading
/// its memory and environment.
///
/// # Errors
/// The kernel refused.
pub(crate) fn forbid_dumps() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Drops every capability of this thread that mounting and unmounting do not need.
///
/// A thread of root cannot gain others by running a program. A thread of another user can, because
/// it unmounts with fusermount3, which has the set-user-ID bit.
///
/// # Errors
/// The kernel refused.
pub(crate) fn keep_only_mounting() -> io::Result<()> {
    if super::effective_uid() == 0 {
        set_no_new_privs(true)?;
    }
    restrict(TO_MOUNT)
}

/// Drops every capability of this thread and those that it starts from now on, none of which can
/// gain any by running a program.
///
/// # Errors
/// The kernel refused.
pub(crate) fn renounce() -> io::Result<()> {
    set_no_new_privs(true)?;
    restrict(CapabilitySet::empty())
}

fn restrict(to: CapabilitySet) -> io::Result<()> {
    let held = capabilities(None)?;
    let kept = CapabilitySets {
        effective: held.effective & to,
        permitted: held.permitted & to,
        inheritable: CapabilitySet::empty(),
    };
    Ok(set_capabilities(None, kept)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use super::*;

    /// Returns a line of this thread's status.
    fn own(name: &str) -> String {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().to_owned()
    }

    #[test]
    fn a_thread_gives_up_its_privileges_for_itself_and_those_it_starts() {
        let own_status = || (own("CapPrm:"), own("CapEff:"), own("NoNewPrivs:"));
        let renounced = thread::spawn(move || {
            renounce().unwrap();
            (own_status(), thread::spawn(own_status).join().unwrap())
        });
        let nothing = || ("0".repeat(16), "0".repeat(16), "1".to_owned());
        assert_eq!(renounced.join().unwrap(), (nothing(), nothing()));
        assert_eq!(own("NoNewPrivs:"), "0", "other threads keep theirs");
    }

    #[test]
    fn a_thread_keeps_what_mounting_takes_and_nothing_else() {
        let held = u64::from_str_radix(&own("CapPrm:"), 16).unwrap();
        let kept = thread::spawn(|| {
            keep_only_mounting().unwrap();
            u64::from_str_radix(&own("CapPrm:"), 16).unwrap()
        });
        assert_eq!(kept.join().unwrap(), held & TO_MOUNT.bits());
    }
}
