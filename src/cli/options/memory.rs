//! How much memory and disk may be used.

use super::{Group, Spec, valued};
use crate::cli::value;

/// The least that is worth reading ahead: one request of the kernel.
const LEAST_READ_AHEAD: u64 = 128 << 10;

/// The least a cache or a spool can work with.
const LEAST_CACHE: u64 = 1 << 20;

pub(super) static SPECS: &[Spec] = &[
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
        "Most memory for directory listings; 8 times as much, or 128M, while they are received",
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
        "Most disk space for written files, and for parts of far ones that are read",
        |to, value| {
            to.spool_size = Some(value::size(value, LEAST_CACHE)?);
            Ok(())
        },
    ),
];
