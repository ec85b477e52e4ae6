//! What files look like, and how they are stored.

use super::{Group, Spec, flag, valued};
use crate::cli::value;

pub(super) static SPECS: &[Spec] = &[
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
    flag(
        Group::Files,
        "writeback",
        "Let close return when the local disk has a file, and store it in the background",
        |to| to.writeback = true,
    ),
    flag(
        Group::Files,
        "direct_io",
        "Read past the kernel's page cache: faster where a near server is read once in large pieces, else slower",
        |to| to.direct_io = true,
    ),
    valued(
        Group::Files,
        "symlinks",
        "HOW",
        "show",
        "Show links as links that stay inside the mount, show what the server finds behind them (follow), or hide them",
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
        "found out; UTC on vsftpd",
        "The zone of the times that the server shows, such as UTC, +02:00 or Europe/Berlin",
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
];
