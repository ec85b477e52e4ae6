//! The `-o` options: the one table that parsing, `--help`, the man page and the README come from.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::settings::Settings;
use super::value::{self, Expected};
use crate::credentials::Netrc;
use crate::mount::Sharing;

/// One option.
pub(super) struct Spec {
    /// As typed before the `=`. A `*` at the end stands for any ending.
    pub(super) name: &'static str,
    /// What stands behind the `=`, in capitals; empty for an option without a value.
    pub(super) placeholder: &'static str,
    /// The default, as it would be typed or in words; empty for none.
    pub(super) default: &'static str,
    /// One sentence without its full stop.
    pub(super) help: &'static str,
    pub(super) group: Group,
    pub(super) set: Set,
}

/// Under which heading an option is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Login,
    Connection,
    Files,
    Memory,
    Log,
    Mount,
    Elsewhere,
}

impl Group {
    /// All, in the order they are shown.
    pub(super) const ALL: [Self; 7] = [
        Self::Login,
        Self::Connection,
        Self::Files,
        Self::Memory,
        Self::Log,
        Self::Mount,
        Self::Elsewhere,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Login => "Login",
            Self::Connection => "Connection",
            Self::Files => "Files",
            Self::Memory => "Memory and disk",
            Self::Log => "Log",
            Self::Mount => "Mount",
            Self::Elsewhere => "Taken and ignored, for they are mount(8)'s or change nothing here",
        }
    }
}

/// What an option does.
pub(super) enum Set {
    /// Stands alone.
    Flag(fn(&mut Settings)),
    /// Needs a value.
    Value(fn(&mut Settings, &OsStr) -> Result<(), Expected>),
    /// May have a value.
    Optional(fn(&mut Settings, Option<&OsStr>) -> Result<(), Expected>),
    /// Changes nothing, whatever its value.
    Nothing,
}

const fn flag(
    group: Group,
    name: &'static str,
    help: &'static str,
    set: fn(&mut Settings),
) -> Spec {
    Spec {
        name,
        placeholder: "",
        default: "",
        help,
        group,
        set: Set::Flag(set),
    }
}

const fn valued(
    group: Group,
    name: &'static str,
    placeholder: &'static str,
    default: &'static str,
    help: &'static str,
    set: fn(&mut Settings, &OsStr) -> Result<(), Expected>,
) -> Spec {
    Spec {
        name,
        placeholder,
        default,
        help,
        group,
        set: Set::Value(set),
    }
}

const fn ignored(name: &'static str) -> Spec {
    Spec {
        name,
        placeholder: "",
        default: "",
        help: "",
        group: Group::Elsewhere,
        set: Set::Nothing,
    }
}

/// The least that is worth reading ahead: one request of the kernel.
const LEAST_READ_AHEAD: u64 = 128 << 10;

/// The least a cache or a spool can work with.
const LEAST_CACHE: u64 = 1 << 20;

/// Every option there is.
pub(super) static OPTIONS: &[Spec] = &[
    Spec {
        name: "user",
        placeholder: "NAME",
        default: "the source's, else netrc's, else anonymous",
        help: "Log in as NAME; without a value it is mount(8)'s `user` and ignored",
        group: Group::Login,
        set: Set::Optional(|to, value| {
            if let Some(value) = value {
                to.user = Some(value::text(value)?);
            }
            Ok(())
        }),
    },
    valued(
        Group::Login,
        "password_file",
        "FILE",
        "",
        "Read the password from the first line of FILE; - is the standard input",
        |to, value| {
            to.password_file = Some(match value.to_str() {
                Some("-") => PathBuf::from("-"),
                _ => value::path(value)?,
            });
            Ok(())
        },
    ),
    Spec {
        name: "netrc",
        placeholder: "FILE",
        default: "~/.netrc, where there is one",
        help: "Read user, password and account from FILE, or from ~/.netrc, which then must exist",
        group: Group::Login,
        set: Set::Optional(|to, value| {
            to.netrc = match value {
                Some(value) => Netrc::File(value::path(value)?),
                None => Netrc::Home,
            };
            Ok(())
        }),
    },
    valued(
        Group::Connection,
        "port",
        "N",
        "the source's, else 21",
        "Connect to port N",
        |to, value| {
            to.port = Some(value::number(
                value,
                1..=u16::MAX,
                "a port from 1 to 65535",
            )?);
            Ok(())
        },
    ),
    valued(
        Group::Connection,
        "connections",
        "N",
        "8",
        "Keep at most N connections to the server; fewer where it allows fewer",
        |to, value| {
            to.connections = value::number(value, 1..=256, "a number from 1 to 256")?;
            Ok(())
        },
    ),
    valued(
        Group::Connection,
        "timeout",
        "SECONDS",
        "30",
        "Longest silence of the server in a reply or a transfer",
        |to, value| {
            to.timeout = value::deadline(value)?;
            Ok(())
        },
    ),
    valued(
        Group::Connection,
        "connect_timeout",
        "SECONDS",
        "10",
        "Longest wait for a connection to be made",
        |to, value| {
            to.connect_timeout = value::deadline(value)?;
            Ok(())
        },
    ),
    flag(
        Group::Connection,
        "active",
        "Have the server connect to this machine for data (EPRT, PORT) instead of the other way",
        |to| to.active = true,
    ),
    flag(
        Group::Connection,
        "pasv_address",
        "Trust the address in the server's answer to PASV instead of using the server's own",
        |to| to.pasv_address = true,
    ),
    valued(
        Group::Files,
        "atomic",
        "HOW",
        "auto",
        "Overwrite files at once: always or not at all (require), where the server can (auto), or in place (never)",
        |to, value| {
            to.atomic = value::atomic(value)?;
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "verify",
        "HOW",
        "digest",
        "Look at each upload by its size, or by its digest, too, where the server tells one",
        |to, value| {
            to.verify = value::verify(value)?;
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "charset",
        "NAME",
        "none: names byte for byte",
        "The charset of the server's names, such as windows-1252, koi8-r or shift_jis",
        |to, value| {
            to.charset = value::charset(value)?;
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "timezone",
        "ZONE",
        "found out",
        "The zone of the times in the server's LIST, such as UTC, +02:00 or Europe/Berlin",
        |to, value| {
            to.timezone = Some(value::time_zone(value)?);
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "dir_ttl",
        "SECONDS",
        "20",
        "How long a directory's listing is believed",
        |to, value| {
            to.dir_ttl = value::seconds(value)?;
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "open_ttl",
        "SECONDS",
        "1",
        "How old what is known of a file may be when it is opened; older is asked for",
        |to, value| {
            to.open_ttl = value::seconds(value)?;
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "attr_ttl",
        "SECONDS",
        "20",
        "How long the kernel keeps attributes; never longer than the listing they are from",
        |to, value| {
            to.attr_ttl = value::seconds(value)?;
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "uid",
        "N",
        "the mounting user",
        "Owner shown of every file",
        |to, value| {
            to.uid = Some(value::number(value, 0..=u32::MAX - 1, "a user id")?);
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "gid",
        "N",
        "the mounting user's group",
        "Group shown of every file",
        |to, value| {
            to.gid = Some(value::number(value, 0..=u32::MAX - 1, "a group id")?);
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "umask",
        "OCTAL",
        "none: the server's modes",
        "Permission bits taken away from all files and directories",
        |to, value| {
            to.umask = Some(value::mask(value)?);
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "fmask",
        "OCTAL",
        "umask",
        "Permission bits taken away from all that is not a directory",
        |to, value| {
            to.fmask = Some(value::mask(value)?);
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "dmask",
        "OCTAL",
        "umask",
        "Permission bits taken away from directories",
        |to, value| {
            to.dmask = Some(value::mask(value)?);
            Ok(())
        },
    ),
    valued(
        Group::Memory,
        "read_ahead",
        "SIZE",
        "4M",
        "Most memory that one open file is read ahead into",
        |to, value| {
            to.read_ahead = value::memory_size(value, LEAST_READ_AHEAD)?;
            Ok(())
        },
    ),
    valued(
        Group::Memory,
        "cache_size",
        "SIZE",
        "64M",
        "Most memory for directory listings",
        |to, value| {
            to.cache_size = value::memory_size(value, LEAST_CACHE)?;
            Ok(())
        },
    ),
    valued(
        Group::Memory,
        "spool",
        "DIR",
        "the state directory",
        "Where written files are kept until the server has them",
        |to, value| {
            to.spool = Some(value::path(value)?);
            Ok(())
        },
    ),
    valued(
        Group::Memory,
        "spool_size",
        "SIZE",
        "none: the disk's",
        "Most disk space for written files",
        |to, value| {
            to.spool_size = Some(value::size(value, LEAST_CACHE)?);
            Ok(())
        },
    ),
    valued(
        Group::Log,
        "log_level",
        "LEVEL",
        "warn",
        "How much is logged: error, warn, info, debug or trace",
        |to, value| {
            to.log_level = value::log_level(value)?;
            Ok(())
        },
    ),
    valued(
        Group::Log,
        "log_file",
        "FILE",
        "the terminal in the foreground, else syslog",
        "Append the log to FILE",
        |to, value| {
            to.log_file = Some(value::path(value)?);
            Ok(())
        },
    ),
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
            to.fsname = Some(value::text(value)?);
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
    // A server's word must not make a program run as root or a name a device, so these two cannot be
    // undone; mount.fuse3 adds suid and dev unasked.
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
    ignored("x-*"),
    ignored("X-*"),
];

#[cfg(test)]
mod tests;
