//! The directories whose files a program reads one after the other.

use std::sync::Arc;
use std::time::Instant;

use crate::cache::Snapshot;
use crate::ftp::{Kind, RemotePath};

/// Most names of a directory that are looked at for the next directory.
const MOST_NAMES: usize = 256;

/// A directory of a run.
#[derive(Debug)]
pub(super) struct RunDirectory {
    pub(super) path: RemotePath,
    pub(super) listing: Arc<Snapshot>,
    /// When the listing was made.
    pub(super) listed: Instant,
}

/// Whether a program that goes through a tree may come from one directory to the other.
pub(super) fn are_neighbours(one: &RemotePath, other: &RemotePath) -> bool {
    let (above, beside) = (one.parent(), other.parent());
    above == beside || above.as_ref() == Some(other) || beside.as_ref() == Some(one)
}

/// The directory that comes behind `directory` and what is below it, if its listing is known.
pub(super) fn behind(
    directory: &RemotePath,
    listing: impl Fn(&RemotePath) -> Option<(Arc<Snapshot>, Instant)>,
) -> Option<RunDirectory> {
    let mut left = directory.clone();
    loop {
        let parent = left.parent()?;
        let (beside, _) = listing(&parent)?;
        let place = beside.position(left.name())?;
        let names = (place + 1..beside.len()).take(MOST_NAMES);
        let next = names
            .filter_map(|index| beside.get(index))
            .find(|(_, attributes)| attributes.kind == Kind::Directory);
        if let Some((name, _)) = next {
            let path = parent.join(name).ok()?;
            let (listing, listed) = listing(&path)?;
            return Some(RunDirectory {
                path,
                listing,
                listed,
            });
        }
        left = parent;
    }
}
