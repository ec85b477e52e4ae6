//! Recovery after a mount was killed. Its temporary names are cleaned up, files that a program had
//! closed or synced wait for their upload like those of this mount, and files that were still being
//! written are reported.
//!
//! Nothing here waits for the server before the mount is there. Waiting files are shown with their
//! waiting contents, and the writeback queue uploads them. A few are uploaded by a thread of their
//! own, before which the server's contents are shown: those outside of the mounted directory, those
//! that were being overwritten in place, and those of which there are several versions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use super::conflict::{self, Problem, UploadVerdict};
use crate::ftp::{RemotePath, Version};
use crate::guarded;
use crate::journal::{AbandonedJournal, Journal, Pending, StateDir, WaitingFile};
use crate::remote::{self, Attempts, CommitOptions, ErrorKind, Remote};
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;

/// What a killed mount left, as far as it is not shown.
struct Remains {
    journal: Journal,
    parts: Vec<RemotePath>,
    asides: Vec<(RemotePath, RemotePath, Option<Version>)>,
    /// Files that were being overwritten in place.
    in_place: BTreeSet<RemotePath>,
    waiting: Vec<WaitingFile>,
}

/// Takes over what earlier mounts of the same server and login left at `place`. Contacts the server
/// only in the background. Everything is logged.
pub(crate) fn recover(vfs: &Arc<Vfs>, place: &StateDir) {
    let left = match AbandonedJournal::claim_all(place) {
        Ok(left) => left,
        Err(error) => return log::warn!("{error}"),
    };
    if left.is_empty() {
        return;
    }
    let remains: Vec<_> = left
        .into_iter()
        .map(|left| take_over(vfs, place, left))
        .collect();
    if !vfs.options.writeback && !vfs.writeback.files().is_empty() {
        vfs.writeback.start(vfs);
    }
    let (remote, place) = (vfs.remote.clone(), place.clone());
    let work = move || {
        let remote = remote.uncancelled();
        remote.clear_due_orphans(Instant::now());
        for remains in remains {
            remains.clean_up(&remote, &place);
        }
    };
    if let Err(error) = guarded::spawn("recovery", work) {
        log::warn!("what a killed ftpfs left is not cleaned up: cannot start a thread: {error}");
    }
}

/// Logs what waits at `place`, for a read-only mount. Changes nothing.
pub(crate) fn report(place: &StateDir) {
    let left = AbandonedJournal::claim_all(place).unwrap_or_default();
    let waiting: Vec<_> = left.iter().flat_map(AbandonedJournal::waiting).collect();
    if let Some(first) = waiting.first() {
        log::warn!(
            "{} files that a killed ftpfs left are not on the server, such as {}; mount without ro to store them",
            waiting.len(),
            first.pending.target
        );
    }
}

/// Shows the waiting files of `left` that can be shown, and puts them into the writeback queue.
fn take_over(vfs: &Arc<Vfs>, place: &StateDir, mut left: AbandonedJournal) -> Remains {
    for path in left.unfinished() {
        log::warn!(
            "ftpfs was killed while {path} was being written, neither closed nor synced; the server keeps its old contents"
        );
    }
    let remote = vfs.remote.uncancelled();
    let (mut parts, mut asides) = (left.parts(), left.asides());
    parts.retain(|path| {
        let is_adopted = remote.adopt_part(path);
        if is_adopted {
            left.clear(path);
        }
        !is_adopted
    });
    asides.retain(|(aside, target, successor)| {
        let is_adopted = remote.adopt_aside(aside, target, *successor);
        if is_adopted {
            left.clear(aside);
        }
        !is_adopted
    });
    let in_place: BTreeSet<_> = left.in_place().into_iter().collect();
    let mut waiting = left.waiting();
    let mut versions: BTreeMap<RemotePath, usize> = BTreeMap::new();
    for file in &waiting {
        *versions.entry(file.pending.target.clone()).or_default() += 1;
    }
    let root = vfs.inodes.root();
    let journal = left.into_journal();
    vfs.services.spools.take_over(journal.clone());
    waiting.retain(|file| {
        let target = &file.pending.target;
        let can_be_shown = versions.get(target) == Some(&1)
            && !in_place.contains(target)
            && root
                .as_ref()
                .and_then(|root| target.below(root))
                .is_some_and(|rest| !rest.is_empty());
        !(can_be_shown && show(vfs, place, &journal, file))
    });
    Remains {
        journal,
        parts,
        asides,
        in_place,
        waiting,
    }
}

/// Shows a waiting file and puts it into the writeback queue. Returns whether that worked.
fn show(vfs: &Arc<Vfs>, place: &StateDir, journal: &Journal, file: &WaitingFile) -> bool {
    let target = &file.pending.target;
    let spool = vfs.services.spools.left(journal, file);
    let adopted = spool
        .map_err(Errno::from)
        .and_then(|spool| vfs.adopt(spool, &file.pending, place));
    match adopted {
        Ok(()) => log::info!("{target}, closed before ftpfs was killed, is being stored"),
        Err(errno) => log::warn!("{target}, closed before ftpfs was killed: {errno:?}"),
    }
    adopted.is_ok()
}

impl Remains {
    /// Cleans up the temporary names, and uploads the waiting files. What fails is left for the
    /// next mount.
    fn clean_up(self, remote: &Remote, place: &StateDir) {
        self.clear_names(remote);
        let mut stored = BTreeSet::new();
        for waiting in &self.waiting {
            let target = &waiting.pending.target;
            // A file that appeared since then belongs to the same mount: it was closed, written and
            // closed again.
            let is_ours = stored.contains(target) || self.in_place.contains(target);
            match self.store(remote, place, waiting, is_ours) {
                Ok(()) => {
                    log::warn!("{target}, closed before ftpfs was killed, is stored now");
                    stored.insert(target.clone());
                }
                Err(problem) => log::warn!("{target}, closed before ftpfs was killed, {problem}"),
            }
        }
        for path in &self.in_place {
            if !self.waiting.iter().any(|it| it.pending.target == *path) {
                log::warn!(
                    "{path} was being overwritten in place when ftpfs was killed; it may be incomplete"
                );
                self.journal.clear(path);
            }
        }
    }

    fn clear_names(&self, remote: &Remote) {
        for path in &self.parts {
            match remote.delete_part(path) {
                Ok(()) => self.journal.clear(path),
                Err(fault) => log::warn!("cannot delete the unfinished upload {path}: {fault}"),
            }
        }
        for (aside, target, successor) in &self.asides {
            match remote.resolve_aside(aside, target, *successor) {
                Ok(()) => self.journal.clear(aside),
                Err(fault) => {
                    log::warn!("{aside} may be the previous version of {target}: {fault}");
                }
            }
        }
    }

    /// Stores a waiting file. Returns what to say if it is not stored.
    fn store(
        &self,
        remote: &Remote,
        place: &StateDir,
        waiting: &WaitingFile,
        is_ours: bool,
    ) -> Result<(), String> {
        let record = self.journal.waiting_spool(waiting);
        let record = record.map_err(|error| format!("cannot be read: {error}"))?;
        match finish(remote, &waiting.pending, &record.file, is_ours) {
            Ok(()) => {
                record.done();
                Ok(())
            }
            Err(Problem::Remote(error)) if error.kind.transience().may_pass() => {
                Err(format!("waits for the next mount: {error}"))
            }
            Err(problem) => Err(conflict::keep(
                &record,
                place,
                &waiting.pending.target,
                &problem,
            )),
        }
    }
}

/// Makes sure that the server has the file. Its current file of that name may be replaced if it
/// `is_ours`.
fn finish(remote: &Remote, pending: &Pending, file: &File, is_ours: bool) -> Result<(), Problem> {
    let Pending { target, commit, .. } = pending;
    match conflict::judge(remote, pending, file, is_ours)? {
        UploadVerdict::Stored(_) => return Ok(()),
        UploadVerdict::Upload => {}
    }
    let commit = CommitOptions {
        size: file.metadata().map_err(Problem::Spool)?.len(),
        ..commit.clone()
    };
    let mut attempts = Attempts::default();
    loop {
        match upload(remote, target, file, &commit) {
            Err(error)
                if error.kind == ErrorKind::OtherWay && attempts.again(error.kind.transience()) => {
            }
            stored => return Ok(stored?),
        }
    }
}

fn upload(
    remote: &Remote,
    target: &RemotePath,
    file: &File,
    commit: &CommitOptions,
) -> Result<(), remote::Error> {
    let mut upload = remote.upload(target)?;
    upload.send(file, commit.size)?;
    upload.arrive(Some(file))?;
    upload.commit(target, commit).map(drop)
}
