//! What this process may do, and give up doing: capabilities(7), no_new_privs and dumps (prctl(2)).
//!
//! Linux keeps capabilities and no_new_privs by thread; a thread inherits them from the one that
//! starts it.

use std::io;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

/// What root mounts and unmounts with: the right to, and to reach a mountpoint below directories
/// that are closed to root without it, such as a user's home.
const TO_MOUNT: CapabilitySet = CapabilitySet::SYS_ADMIN.union(CapabilitySet::DAC_READ_SEARCH);

/// From now on this process leaves no core dump, and no other one of the same user reads its memory
/// or its environment.
///
/// # Errors
/// The kernel's refusal.
pub fn forbid_dumps() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Takes from this thread every capability that mounting and unmounting do not need.
///
/// Root's thread cannot gain others by running a program. Anybody else's can, for it unmounts by
/// one that has the set-user-ID bit, fusermount3.
///
/// # Errors
/// The kernel's refusal.
pub fn keep_only_mounting() -> io::Result<()> {
    if super::effective_uid() == 0 {
        set_no_new_privs(true)?;
    }
    restrict(TO_MOUNT)
}

/// Takes every capability from this thread and all it starts from now on, which cannot gain any by
/// running a program.
///
/// # Errors
/// The kernel's refusal.
pub fn renounce() -> io::Result<()> {
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

    /// A line of this thread's status.
    fn own(name: &str) -> String {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().to_owned()
    }

    #[test]
    fn a_thread_gives_up_its_privileges_for_itself_and_those_it_starts() {
        let told = || (own("CapPrm:"), own("CapEff:"), own("NoNewPrivs:"));
        let renounced = thread::spawn(move || {
            renounce().unwrap();
            (told(), thread::spawn(told).join().unwrap())
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
