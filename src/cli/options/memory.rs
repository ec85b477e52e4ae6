//! Options for memory and disk usage.

use super::{Group, Spec, valued};
use crate::cli::value;

/// Minimum read-ahead in bytes: one request of the kernel.
const LEAST_READ_AHEAD: u64 = 128 << 10;

/// Minimum size in bytes with which a cache or a spool can work.
const LEAST_CACHE: u64 = 1 << 20;

pub(super) static SPECS: &[Spec] = &[
    valued(
        Group::Memory,
        "read_ahead",
        "SIZE",
        "4M",
        "Maximum read-ahead of one open file",
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
        "Maximum memory for directory listings; 8 times as much, or 128M, while they are received",
        |to, value| {
            to.cache_size = value::memory_size(value, LEAST_CACHE)?;
            Ok(())
        },
    ),
    valued(
        Group::Memory,
        "cache_dir",
        "DIR",
        "none: what is read is kept in memory only",
        "Keep what is read in DIR, for the next mount too; default stands for ~/.cache/ftpfs, for root /var/cache/ftpfs",
        |to, value| {
            to.cache_dir = Some(value::cache_place(value)?);
            Ok(())
        },
    ),
    valued(
        Group::Memory,
        "cache_disk",
        "SIZE",
        "10G",
        "Maximum disk space for what cache_dir keeps of one server and login",
        |to, value| {
            to.cache_disk = value::size(value, LEAST_CACHE)?;
            Ok(())
        },
    ),
    valued(
        Group::Memory,
        "cache_free",
        "SIZE",
        "5% of the disk, at least 1G",
        "Disk space that cache_dir leaves free: what was used least recently is removed",
        |to, value| {
            to.cache_free = Some(value::size(value, 0)?);
            Ok(())
        },
    ),
    valued(
        Group::Memory,
        "spool",
        "DIR",
        "the state directory",
        "Directory for written files until the server has them",
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
        "Maximum disk space for written files, and for downloaded parts of distant ones; a larger file is uploaded while it is written",
        |to, value| {
            to.spool_size = Some(value::size(value, LEAST_CACHE)?);
            Ok(())
        },
    ),
];
