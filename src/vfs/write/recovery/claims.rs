//! What the journals of all killed mounts say about a file, and which of several versions is the
//! last one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use crate::disk_cache::DiskCache;
use crate::ftp::RemotePath;
use crate::journal::{
    AbandonedJournal, Journal, Pending, SpoolFile, StateDir, UnprovenUpload, WaitingFile,
};
use crate::vfs::write::conflict::{self, OwnClaim};

/// What all killed mounts say about a file.
#[derive(Default)]
pub(super) struct Claims {
    /// Number of versions that wait for each path.
    pub(super) versions: BTreeMap<RemotePath, usize>,
    /// Files that were being overwritten in place.
    pub(super) in_place: BTreeSet<RemotePath>,
    /// Files of which only the last version is needed: the changes of names have an order, and
    /// what they were before follows its own names.
    replaced: BTreeSet<RemotePath>,
    /// Files that were stored in this pass.
    pub(super) stored: BTreeSet<RemotePath>,
    /// Files of which a version could not be stored in this pass. Later versions must not overtake
    /// it.
    pub(super) late: BTreeSet<RemotePath>,
    /// The versions of these files so far, the oldest first.
    older: BTreeMap<RemotePath, Vec<OlderVersion>>,
    /// What was stored of files of which several versions wait.
    pub(super) placed: BTreeMap<RemotePath, Vec<UnprovenUpload>>,
    /// Whether programs may have written the files since, because they see the mount.
    pub(super) is_shown: bool,
    /// The persistent cache, which must not answer with what these files had before.
    disk: Option<Arc<DiskCache>>,
}

/// A version of a file after which a later one was closed.
struct OlderVersion {
    /// The mount that closed it.
    mount: u32,
    contents: UnprovenUpload,
    pending: Pending,
    record: SpoolFile,
}

impl Claims {
    /// Collects the claims of the journals that are `left`. If changes of names are among them,
    /// these have an order.
    pub(super) fn new(
        disk: Option<Arc<DiskCache>>,
        left: &[AbandonedJournal],
        is_ordered: bool,
    ) -> Self {
        let mut claims = Self {
            disk,
            ..Self::default()
        };
        for file in left.iter().flat_map(AbandonedJournal::waiting) {
            *claims.versions.entry(file.pending.target).or_default() += 1;
        }
        let in_place = left.iter().flat_map(AbandonedJournal::in_place);
        claims.in_place.extend(in_place);
        if is_ordered {
            claims.replaced = replaced(left, &claims);
        }
        claims
    }

    /// Ends the first pass, in which no program could write, or a later one.
    pub(super) fn end_pass(&mut self) {
        self.is_shown = true;
        self.stored.clear();
        self.late.clear();
    }

    /// Whether a later version of `file` waits that replaces it, so that `file` is not needed. The
    /// journal of the last version says that the server may have the others before they go.
    pub(super) fn is_replaced(
        &mut self,
        journal: &Journal,
        place: &StateDir,
        file: &mut WaitingFile,
    ) -> bool {
        let target = &file.pending.target;
        let Some(count) = self.versions.get_mut(target) else {
            return false;
        };
        if !self.replaced.contains(target) {
            return false;
        }
        if *count == 1 {
            let older = self.older.remove(target).unwrap_or_default();
            let replaced = replace(older, journal, place, file);
            if let Err(error) = replaced {
                let target = &file.pending.target;
                log::warn!(path = target; "older versions of {target} are kept: {error}");
            }
            return false;
        }
        let older = journal.waiting_spool(file).and_then(|record| {
            let length = record.file.metadata()?.len();
            Ok(OlderVersion {
                mount: journal.mount(),
                contents: UnprovenUpload::of(&record.file, length)?,
                pending: file.pending.clone(),
                record,
            })
        });
        match older {
            Ok(older) => self.older.entry(target.clone()).or_default().push(older),
            Err(error) => log::warn!(path = target; "an older version of {target}: {error}"),
        }
        *count -= 1;
        true
    }

    /// Removes what the persistent cache has of `target`.
    pub(super) fn forget_cached(&self, target: &RemotePath) {
        if let Some(disk) = &self.disk {
            disk.forget(target);
        }
    }

    /// Whose the server's file at `target` is, apart from what it was when the file was closed.
    pub(super) fn claim(&self, target: &RemotePath) -> OwnClaim {
        // A file that appeared since then belongs to the same mount: it was closed, written and
        // closed again. Once programs see the mount, they may have changed it since.
        match (self.in_place.contains(target), self.is_shown) {
            (_, false) if self.stored.contains(target) => OwnClaim::Any,
            (false, _) => OwnClaim::None,
            (true, false) => OwnClaim::Any,
            (true, true) => OwnClaim::Beginning,
        }
    }
}

/// Returns the files of which several whole versions are `left`, and the last one is known.
fn replaced(left: &[AbandonedJournal], claims: &Claims) -> BTreeSet<RemotePath> {
    let is_several = |target: &RemotePath| {
        let is_several = claims.versions.get(target).is_some_and(|count| *count > 1);
        is_several && !claims.in_place.contains(target)
    };
    let mut replaced = claims.versions.keys().cloned().collect::<BTreeSet<_>>();
    replaced.retain(is_several);
    for journal in left {
        for file in journal.waiting() {
            if file.pending.appended_from.is_some() || !journal.is_ordered() {
                replaced.remove(&file.pending.target);
            }
        }
    }
    replaced
}

/// Ends the `older` versions of the last one, `file`, in `journal`. Those that another mount closed
/// at the same time are kept in `place`.
///
/// # Errors
/// The journal cannot be written. All versions stay in it.
fn replace(
    older: Vec<OlderVersion>,
    journal: &Journal,
    place: &StateDir,
    file: &mut WaitingFile,
) -> io::Result<()> {
    let known = file.pending.unproven.clone();
    for version in &older {
        let contents = version.contents.clone();
        contents.add_to(&mut file.pending.unproven);
    }
    journal.waiting_spool(file)?.persist(&file.pending)?;
    let mounts = older.iter().map(|version| version.mount);
    let mounts: Vec<_> = mounts.chain([journal.mount()]).collect();
    for (at, version) in older.into_iter().enumerate() {
        let mut later = mounts.iter().skip(at + 1);
        // A mount that takes over what another one left knows its contents.
        let is_known =
            later.any(|mount| *mount == version.mount) || known.contains(&version.contents);
        if is_known {
            version.record.done();
            continue;
        }
        let path = &version.pending.target;
        let problem = "another mount closed it, too";
        let kept = conflict::keep(&version.record, place, &version.pending, &problem);
        let words = kept.unwrap_or_else(|words| words);
        log::warn!(path; "{path}, closed before ftpfs was killed, {words}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_is_ours_until_programs_see_the_mount() {
        let target = RemotePath::new(b"/f").unwrap();
        let mut claims = Claims::default();
        assert_eq!(claims.claim(&target), OwnClaim::None);
        claims.stored.insert(target.clone());
        assert_eq!(claims.claim(&target), OwnClaim::Any);
        claims.end_pass();
        claims.stored.insert(target.clone());
        assert_eq!(claims.claim(&target), OwnClaim::None);
        claims.in_place.insert(target.clone());
        assert_eq!(claims.claim(&target), OwnClaim::Beginning);
    }
}
