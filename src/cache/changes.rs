//! Observations of single names that are newer than a directory's listing.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Attributes;

/// What was observed of one name outside of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KnownName {
    Present(Attributes),
    Absent,
    /// The name changed and its current state is unknown. Holds the last known attributes.
    Invalidated(Option<Attributes>),
}

/// An observation and its time.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    pub(super) known: KnownName,
    pub(super) at: Instant,
}

/// Observations by name, in byte order.
pub(super) type DirectoryChanges = BTreeMap<Box<[u8]>, Observed>;
