//! Options for the kernel.

use super::{Group, Spec, flag, valued};
use crate::cli::config::ConfigChoice;
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
    flag(
        Group::Mount,
        "noexec",
        "Do not allow programs on the mount to be executed",
        |to| {
            to.no_exec = true;
        },
    ),
    flag(Group::Mount, "exec", "Undo noexec", |to| {
        to.no_exec = false;
    }),
    flag(
        Group::Mount,
        "allow_other",
        "Allow access by all users, not only the one who mounts; turns default_permissions on",
        |to| {
            to.sharing = Sharing::Everyone;
            to.default_permissions = true;
        },
    ),
    flag(
        Group::Mount,
        "allow_root",
        "Allow access by root and the user who mounts; turns default_permissions on",
        |to| {
            to.sharing = Sharing::OwnerAndRoot;
            to.default_permissions = true;
        },
    ),
    flag(
        Group::Mount,
        "default_permissions",
        "Make the kernel check permissions by the modes shown; otherwise only the server checks them",
        |to| to.default_permissions = true,
    ),
    flag(
        Group::Mount,
        "nonempty",
        "Allow mounting on a directory that is not empty",
        |to| to.nonempty = true,
    ),
    flag(
        Group::Mount,
        "export",
        "Keep inode numbers in cache_dir, so that an NFS server can export the mount",
        |to| to.exports = true,
    ),
    flag(
        Group::Mount,
        "auto_unmount",
        "Unmount even if ftpfs is killed; requires allow_other or allow_root",
        |to| to.auto_unmount = true,
    ),
    valued(
        Group::Mount,
        "fsname",
        "NAME",
        "the source, without its password",
        "Name shown as the mount's source",
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
        "Name shown after `fuse.` as the mount's type",
        |to, value| {
            to.subtype = Some(value::text(value)?);
            Ok(())
        },
    ),
    flag(Group::Mount, "sync", "Write synchronously", |to| {
        to.sync = true;
    }),
    flag(Group::Mount, "async", "Undo sync", |to| {
        to.sync = false;
    }),
    flag(
        Group::Mount,
        "dirsync",
        "Change directories synchronously",
        |to| to.dir_sync = true,
    ),
    flag(
        Group::Mount,
        "noatime",
        "Do not update access times, which FTP does not have",
        |to| to.no_atime = true,
    ),
    flag(Group::Mount, "atime", "Undo noatime", |to| {
        to.no_atime = false;
    }),
    valued(
        Group::Mount,
        "config",
        "FILE",
        "~/.config/ftpfs/config and /etc/ftpfs.conf",
        "Read the configuration from FILE only; none reads no file",
        |to, value| {
            to.config = ConfigChoice::parse(value.to_owned());
            Ok(())
        },
    ),
];
