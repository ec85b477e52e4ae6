//! What the kernel is told.

use super::{Group, Spec, flag, valued};
use crate::cli::value;
use crate::mount::Sharing;
use crate::source::conceal;

pub(super) static SPECS: &[Spec] = &[
    flag(Group::Mount, "ro", "Change nothing on the server", |to| {
        to.read_only = true;
    }),
    flag(Group::Mount, "rw", "Undo ro", |to| {
        to.read_only = false;
    }),
    flag(Group::Mount, "noexec", "Run no programs from it", |to| {
        to.no_exec = true;
    }),
    flag(Group::Mount, "exec", "Undo noexec", |to| {
        to.no_exec = false;
    }),
    flag(
        Group::Mount,
        "allow_other",
        "Let all users in, not only the one who mounts; turns default_permissions on",
        |to| {
            to.sharing = Sharing::Everyone;
            to.default_permissions = true;
        },
    ),
    flag(
        Group::Mount,
        "allow_root",
        "Let root in beside the user who mounts; turns default_permissions on",
        |to| {
            to.sharing = Sharing::OwnerAndRoot;
            to.default_permissions = true;
        },
    ),
    flag(
        Group::Mount,
        "default_permissions",
        "Have the kernel judge by the modes shown; else the server alone judges what its login may do",
        |to| to.default_permissions = true,
    ),
    flag(
        Group::Mount,
        "nonempty",
        "Mount over a directory that is not empty",
        |to| to.nonempty = true,
    ),
    flag(
        Group::Mount,
        "auto_unmount",
        "Unmount even when ftpfs is killed; needs allow_other or allow_root",
        |to| to.auto_unmount = true,
    ),
    valued(
        Group::Mount,
        "fsname",
        "NAME",
        "the source, without its password",
        "What is shown as the mount's source",
        |to, value| {
            to.fsname = Some(conceal(&value::text(value)?));
            Ok(())
        },
    ),
    valued(
        Group::Mount,
        "subtype",
        "NAME",
        "ftpfs",
        "What is shown behind `fuse.` as the mount's type",
        |to, value| {
            to.subtype = Some(value::text(value)?);
            Ok(())
        },
    ),
    flag(
        Group::Mount,
        "sync",
        "Write without the kernel's delay",
        |to| {
            to.sync = true;
        },
    ),
    flag(Group::Mount, "async", "Undo sync", |to| {
        to.sync = false;
    }),
    flag(
        Group::Mount,
        "dirsync",
        "Change directories without the kernel's delay",
        |to| to.dir_sync = true,
    ),
    flag(
        Group::Mount,
        "noatime",
        "Do not keep times of access; FTP has none to keep",
        |to| to.no_atime = true,
    ),
    flag(Group::Mount, "atime", "Undo noatime", |to| {
        to.no_atime = false;
    }),
];
