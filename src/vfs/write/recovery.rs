//! Recovery after a mount was killed. Its temporary names are cleaned up, files that a program had
//! closed or synced wait for their upload like those of this mount, and files that were still being
//! written are reported.
//!
//! Waiting files are shown with their waiting contents, and the writeback queue uploads them. Two
//! kinds are uploaded before the mount is there, as it would show the wrong contents: those that
//! were being overwritten in place, and those of which there are several versions. A thread uploads
//! those outside of the mounted directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use super::conflict::{self, Problem, UploadVerdict};
use crate::ftp::{RemotePath, Version};
use crate::guarded;
use crate::journal::{AbandonedJournal, Journal, Pending, StateDir, WaitingFile};
use crate::remote::{
    self, AppendOutcome, AppendRequest, Attempts, CommitOptions, ErrorKind, Remote,
};
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::table::ino::Ino;

/// What a killed mount left, as far as it is not shown.
struct Remains {
    journal: Journal,
    parts: Vec<RemotePath>,
    asides: Vec<(RemotePath, RemotePath, Option<Version>)>,
    /// Waiting files outside of the mounted directory.
    outside: Vec<WaitingFile>,
}

/// What all killed mounts say about a file.
#[derive(Default)]
struct Claims {
    /// Number of versions that wait for each path.
    versions: BTreeMap<RemotePath, usize>,
    /// Files that were being overwritten in place.
    in_place: BTreeSet<RemotePath>,
    /// Files that were stored here.
    stored: BTreeSet<RemotePath>,
}

/// Takes over what earlier mounts of the same server and login left at `place`. Waits for the
/// server only for files that cannot be shown before they are stored. Everything is logged.
pub(crate) fn recover(vfs: &Arc<Vfs>, place: &StateDir) {
    let left = match AbandonedJournal::claim_all(place) {
        Ok(left) => left,
        Err(error) => return log::warn!("{error}"),
    };
    if left.is_empty() {
        return;
    }
    let mut claims = Claims::default();
    for left in &left {
        for file in left.waiting() {
            *claims.versions.entry(file.pending.target).or_default() += 1;
        }
        claims.in_place.extend(left.in_place());
    }
    let remains: Vec<_> = left
        .into_iter()
        .map(|left| take_over(vfs, place, left, &mut claims))
        .collect();
    if !vfs.options.writeback && !vfs.writeback.files().is_empty() {
        vfs.writeback.start(vfs);
    }
    if !vfs.names.is_empty() {
        vfs.names.start(vfs);
    }
    let (remote, place) = (vfs.remote.clone(), place.clone());
    let work = move || {
        let remote = remote.uncancelled();
        remote.clear_due_orphans(Instant::now());
        for remains in remains {
            remains.clean_up(&remote, &place, &mut claims);
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
            path = first.pending.target;
            "{} files that a killed ftpfs left are not on the server, such as {}; mount without ro to store them",
            waiting.len(),
            first.pending.target
        );
    }
}

/// Shows the waiting files of `left` that can be shown, and puts them into the writeback queue.
/// Others in the mounted directory are stored now: their order matters, or the server's file is
/// known to be incomplete.
fn take_over(
    vfs: &Arc<Vfs>,
    place: &StateDir,
    mut left: AbandonedJournal,
    claims: &mut Claims,
) -> Remains {
    for path in left.unfinished() {
        log::warn!(
            path;
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
    let (in_place, waiting, changes) = (left.in_place(), left.waiting(), left.changes());
    let root = vfs.inodes.root();
    let journal = left.into_journal();
    vfs.services.spools.take_over(journal.clone());
    vfs.names.set_loading(!changes.is_empty());
    let mut outside = Vec::new();
    let mut shown = BTreeMap::new();
    for file in waiting {
        let target = &file.pending.target;
        let is_inside = root
            .as_ref()
            .and_then(|root| target.below(root))
            .is_some_and(|rest| !rest.is_empty());
        if !is_inside {
            outside.push(file);
            continue;
        }
        let can_be_shown =
            claims.versions.get(target) == Some(&1) && !claims.in_place.contains(target);
        let ino = if can_be_shown {
            show(vfs, place, &journal, &file)
        } else {
            None
        };
        match ino {
            Some(ino) => {
                shown.insert(file.number, (ino, target.clone()));
            }
            None => store(&journal, &remote, place, &file, claims),
        }
    }
    if let Some(root) = root.filter(|_| !changes.is_empty()) {
        let count = changes.len();
        log::info!("{count} changes of names, made before ftpfs was killed, are being made");
        vfs.names.take_over(&root, &journal, changes, &shown);
    }
    vfs.names.set_loading(false);
    for path in &in_place {
        if claims.versions.contains_key(path) {
            if claims.stored.contains(path) {
                journal.clear(path);
            }
            continue;
        }
        log::warn!(
            path;
            "{path} was being overwritten in place when ftpfs was killed; it may be incomplete"
        );
        journal.clear(path);
    }
    Remains {
        journal,
        parts,
        asides,
        outside,
    }
}

/// Shows a waiting file and puts it into the writeback queue. Returns its inode if that worked.
fn show(vfs: &Arc<Vfs>, place: &StateDir, journal: &Journal, file: &WaitingFile) -> Option<Ino> {
    let target = &file.pending.target;
    let spool = vfs.services.spools.left(journal, file);
    let adopted = spool
        .map_err(Errno::from)
        .and_then(|spool| vfs.adopt(spool, &file.pending, place));
    match adopted {
        Ok(_) => {
            log::info!(path = target; "{target}, closed before ftpfs was killed, is being stored");
        }
        Err(errno) => {
            log::warn!(path = target; "{target}, closed before ftpfs was killed: {errno:?}");
        }
    }
    adopted.ok()
}

impl Remains {
    /// Cleans up the temporary names, and uploads the waiting files. What fails is left for the
    /// next mount.
    fn clean_up(self, remote: &Remote, place: &StateDir, claims: &mut Claims) {
        for path in &self.parts {
            match remote.delete_part(path) {
                Ok(()) => self.journal.clear(path),
                Err(fault) => {
                    log::warn!(
                        path, reply = fault.reply;
                        "cannot delete the unfinished upload {path}: {fault}"
                    );
                }
            }
        }
        for (aside, target, successor) in &self.asides {
            match remote.resolve_aside(aside, target, *successor) {
                Ok(()) => self.journal.clear(aside),
                Err(fault) => {
                    log::warn!(
                        path = aside, reply = fault.reply;
                        "{aside} may be the previous version of {target}: {fault}"
                    );
                }
            }
        }
        for file in &self.outside {
            store(&self.journal, remote, place, file, claims);
            if claims.stored.contains(&file.pending.target) {
                self.journal.clear(&file.pending.target);
            }
        }
    }
}

/// Stores a waiting file, and logs what became of it.
fn store(
    journal: &Journal,
    remote: &Remote,
    place: &StateDir,
    file: &WaitingFile,
    claims: &mut Claims,
) {
    let target = &file.pending.target;
    // A file that appeared since then belongs to the same mount: it was closed, written and closed
    // again.
    let is_ours = claims.stored.contains(target) || claims.in_place.contains(target);
    let mut reply = None;
    let outcome = match journal.waiting_spool(file) {
        Err(error) => Err(format!("cannot be read: {error}")),
        Ok(record) => match finish(remote, &file.pending, &record.file, is_ours) {
            Ok(()) => {
                record.done();
                Ok(())
            }
            Err(Problem::Remote(error)) if error.kind.transience().may_pass() => {
                reply.clone_from(&error.reply);
                Err(format!("waits for the next mount: {error}"))
            }
            Err(problem) => {
                if let Problem::Remote(error) = &problem {
                    reply.clone_from(&error.reply);
                }
                let kept = conflict::keep(&record, place, &file.pending, &problem);
                Err(kept.unwrap_or_else(|words| words))
            }
        },
    };
    match outcome {
        Ok(()) => {
            log::warn!(path = target; "{target}, closed before ftpfs was killed, is stored now");
            claims.stored.insert(target.clone());
        }
        Err(words) => {
            log::warn!(path = target, reply; "{target}, closed before ftpfs was killed, {words}");
        }
    }
}

/// Makes sure that the server has the file. Its current file of that name may be replaced if it
/// `is_ours`.
fn finish(remote: &Remote, pending: &Pending, file: &File, is_ours: bool) -> Result<(), Problem> {
    let Pending { target, commit, .. } = pending;
    if let Some(from) = pending.appended_from {
        return append(remote, pending, file, from);
    }
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

/// Makes sure that the server has what was appended, the bytes of `file` from `from` on.
fn append(remote: &Remote, pending: &Pending, file: &File, from: u64) -> Result<(), Problem> {
    let Pending { target, commit, .. } = pending;
    let end = file.metadata()?.len();
    let request = AppendRequest {
        path: target,
        base: pending.base.unwrap_or_default(),
        file,
        range: from..end.max(from),
        is_repeated: true,
    };
    match remote.append(&request, &|_| true)? {
        AppendOutcome::Appended(_) => {}
        AppendOutcome::Refused(reason) => return Err(Problem::NotAppended(reason)),
        AppendOutcome::Stopped => return Err(Problem::NotAppended("it was stopped".to_owned())),
    }
    if let Some(mode) = commit.mode
        && let Err(error) = remote.set_mode(target, mode)
    {
        remote.warn_unset(&error);
    }
    if let Some(seconds) = commit.modified
        && let Err(error) = remote.set_modified(target, seconds)
    {
        remote.warn_unset(&error);
    }
    Ok(())
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
