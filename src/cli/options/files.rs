//! Options for how files look and how they are stored.

use super::{Group, Set, Spec, flag, valued};
use crate::cli::{accounts, value};

/// Minimum size in bytes of the file system that df shows: one block.
const LEAST_SPACE: u64 = 4096;

pub(super) static SPECS: &[Spec] = &[
    valued(
        Group::Files,
        "atomic",
        "HOW",
        "auto",
        "Atomic replace: require, auto (when the server can), never (overwrite in place)",
        |to, value| {
            to.atomic = value::atomic(value)?;
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "append",
        "HOW",
        "auto",
        "Append to large files: send only the new bytes (auto, when the server can), or store the whole file (never)",
        |to, value| {
            to.append = value::append(value)?;
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "verify",
        "HOW",
        "digest",
        "Verify each upload by its size, or also by its digest if the server supports one",
        |to, value| {
            to.verify = value::verify(value)?;
            Ok(())
        },
    ),
    Spec {
        name: "writeback",
        placeholder: "HOW",
        default: "",
        help: "Return from close when the local disk has the file, and store it in the background (data); also create directories, rename, remove and set attributes there (names)",
        group: Group::Files,
        set: Set::Optional(|to, value| {
            to.background_names = match value {
                None => false,
                Some(value) => value::background_names(value)?,
            };
            to.writeback = true;
            Ok(())
        }),
    },
    flag(
        Group::Files,
        "direct_io",
        "Bypass the kernel's page cache: faster for a nearby server that is read once in large blocks, otherwise slower",
        |to| to.direct_io = true,
    ),
    valued(
        Group::Files,
        "symlinks",
        "HOW",
        "show",
        "Show links that stay inside the mount (show), show their targets instead (follow), or hide them",
        |to, value| {
            to.symlinks = value::links(value)?;
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "charset",
        "NAME",
        "none: names byte for byte",
        "Charset of file names on the server, such as windows-1252, koi8-r or shift_jis",
        |to, value| {
            to.charset = value::charset(value)?;
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "timezone",
        "ZONE",
        "detected; UTC on vsftpd",
        "Time zone of the times that the server lists, such as UTC, +02:00 or Europe/Berlin",
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
        "How long directory listings are cached",
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
        "Maximum age of cached attributes at open; older ones are revalidated",
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
        "How long the kernel caches attributes; never longer than the listing that contains them",
        |to, value| {
            to.attr_ttl = value::seconds(value)?;
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "uid",
        "USER",
        "the mounting user",
        "Owner shown for every file, by number or name",
        |to, value| {
            to.uid = Some(accounts::user_id(value)?);
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "gid",
        "GROUP",
        "the mounting user's group",
        "Group shown for every file, by number or name",
        |to, value| {
            to.gid = Some(accounts::group_id(value)?);
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "umask",
        "OCTAL",
        "none: the server's modes",
        "Show every file and directory with mode 777 without these bits, whatever its mode on the server",
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
        "Like umask, for everything that is not a directory",
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
        "Like umask, for directories",
        |to, value| {
            to.dmask = Some(value::mask(value)?);
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "file_mode",
        "OCTAL",
        "by fmask or umask, else the server's",
        "Show every file with this mode",
        |to, value| {
            to.file_mode = Some(value::mode(value)?);
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "dir_mode",
        "OCTAL",
        "by dmask or umask, else the server's",
        "Show every directory with this mode",
        |to, value| {
            to.dir_mode = Some(value::mode(value)?);
            Ok(())
        },
    ),
    valued(
        Group::Files,
        "space",
        "SIZE",
        "none: 1 PiB free",
        "Size that df shows if the server reports no space (AVBL, XQUOTA, SITE QUOTA)",
        |to, value| {
            to.space = Some(value::size(value, LEAST_SPACE)?);
            Ok(())
        },
    ),
    flag(
        Group::Files,
        "quiet",
        "Ignore chown, and chmod and utime that the server cannot do, instead of failing: for rsync -a, tar and cp -a as root",
        |to| to.quiet = true,
    ),
];
