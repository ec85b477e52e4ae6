//! Options that mount(8) and similar programs pass along.

use super::{Spec, ignored};

pub(super) static SPECS: &[Spec] = &[
    // A server must not be able to make a program run as root or a name act as a device, so these
    // two cannot be undone. mount.fuse3 adds suid and dev without being asked.
    ignored("suid"),
    ignored("nosuid"),
    ignored("dev"),
    ignored("nodev"),
    ignored("diratime"),
    ignored("nodiratime"),
    ignored("relatime"),
    ignored("norelatime"),
    ignored("strictatime"),
    ignored("nostrictatime"),
    ignored("lazytime"),
    ignored("nolazytime"),
    ignored("iversion"),
    ignored("noiversion"),
    ignored("mand"),
    ignored("nomand"),
    ignored("silent"),
    ignored("loud"),
    ignored("defaults"),
    ignored("auto"),
    ignored("noauto"),
    ignored("nofail"),
    ignored("_netdev"),
    ignored("nouser"),
    ignored("users"),
    ignored("nousers"),
    ignored("owner"),
    ignored("noowner"),
    ignored("group"),
    ignored("nogroup"),
    ignored("comment"),
    // Of sshfs; ftpfs always does.
    ignored("reconnect"),
    ignored("x-*"),
    ignored("X-*"),
];
