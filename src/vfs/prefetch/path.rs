//! The listings along a path, two in a round trip.
//!
//! The kernel looks up one component of a path after the other. Where a lookup takes the listing of
//! its directory, a program that has just come to this directory most likely goes on into the one
//! that it looks up. So both are requested in one write. A thread of its own receives them: the
//! program waits only for the first, which the server may follow with a much longer one.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use super::Prefetcher;
use crate::cancel::Cancel;
use crate::ftp::{Entry, Kind, RemotePath};
use crate::guarded;

impl Prefetcher {
    /// A program looks up `name` in `directory`, of which no listing is known. If it is on its way
    /// along a path, requests the listings of both, for which lookups wait from now on.
    pub(in crate::vfs) fn goes_along(&self, directory: &RemotePath, name: &[u8], cancel: &Cancel) {
        let shared = &self.shared;
        if shared.dir_ttl.is_zero() || has_extension(name) {
            return;
        }
        let now = shared.cache.now();
        let is_on_path = shared.lock().walk.is_along_path(directory, now);
        let Some(child) = directory.join(name).ok().filter(|_| is_on_path) else {
            return;
        };
        let paths = [directory.clone(), child];
        let remote = shared.remote.with(cancel);
        if !remote.can_list_together(&paths) {
            return;
        }
        let [_, child] = &paths;
        shared.lock().walk.goes_along(child, now);
        let shared = Arc::clone(shared);
        let (begun, has_begun) = sync_channel(1);
        let list = move || {
            let [directory, child] = &paths;
            let (above, below) = (shared.cache.begin(directory), shared.cache.begin(child));
            let (Some(above), Some(below)) = (above, below) else {
                return;
            };
            let _ = begun.send(());
            let mut above = Some(above);
            let mut held = None;
            let mut inside = None;
            let listed = remote.list_path_with_time(&paths, child, &mut |number, listing| {
                if number > 0 {
                    inside = Some(listing);
                    return;
                }
                let mut entries = listing.entries.iter();
                let is_child = |entry: &&Entry| entry.name == child.name();
                let kind = entries.find(is_child).map(|entry| entry.kind);
                if kind != Some(Kind::Directory) {
                    shared.lock().walk.does_not_go_along(child);
                    // The other reply is short and right behind. Another request would find the
                    // session in use.
                    held = Some(listing);
                } else if let Some(above) = above.take() {
                    above.complete(listing);
                }
            });
            if let Err(error) = listed {
                log::debug!("not listed along a path: {error}");
            }
            match (above, held) {
                (Some(above), Some(listing)) => drop(above.complete(listing)),
                (Some(_), None) => {}
                // Only now, because the server also lists what a symlink points to.
                (None, _) => drop(inside.map(|listing| below.complete(listing))),
            }
        };
        match guarded::spawn("ftpfs-path", list) {
            // The thread ends without listing anything if others list them.
            Ok(_) => drop(has_begun.recv()),
            Err(error) => log::debug!("not listed along a path: no thread: {error}"),
        }
    }
}

/// Whether a name looks like that of a file. Asking for its listing would be useless.
fn has_extension(name: &[u8]) -> bool {
    name.iter().skip(1).any(|byte| *byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_dot_inside_are_those_of_files() {
        for (name, is_file) in [
            ("a.rs", true),
            ("a", false),
            (".git", false),
            (".a.b", true),
        ] {
            assert_eq!(has_extension(name.as_bytes()), is_file, "{name}");
        }
    }
}
