//! Recovery after a mount was killed. Its temporary names are cleaned up, files that a program had
//! closed or synced wait for their upload like those of this mount, and files that were still being
//! written are reported.
//!
//! Waiting files are shown with their waiting contents, and the writeback queue uploads them. Two
//! kinds are uploaded before the mount is there, as it would show the wrong contents: those that
//! were being overwritten in place, and those of which there are several versions. A thread uploads
//! those outside of the mounted directory. What the server does not answer is tried again whenever
//! it can be reached again.

mod claims;

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::conflict::{self, OwnClaim, Problem, UploadVerdict};
use crate::ftp::{RemotePath, Version};
use crate::guarded;
use crate::journal::{AbandonedJournal, Journal, Pending, StateDir, UnprovenUpload, WaitingFile};
use crate::remote::{
    self, AppendOutcome, AppendRequest, Attempts, CommitOptions, ErrorKind, Remote, RemoteHandle,
};
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::table::ino::Ino;
use crate::vfs::write::names::{ShownFile, ShownFiles};
use claims::Claims;

/// What a killed mount left, as far as it is not shown.
struct Remains {
    journal: Journal,
    parts: Vec<RemotePath>,
    asides: Vec<(RemotePath, RemotePath, Option<Version>)>,
    /// Waiting files that are not shown: those outside of the mounted directory, and those that had
    /// to be stored before they could be shown, when the server could not be reached.
    hidden: Vec<WaitingFile>,
}

/// What is left to do, which is tried again whenever a server that was given up is back.
struct Leftovers {
    place: StateDir,
    /// `None` while a thread works at it.
    work: Mutex<Option<(Vec<Remains>, Claims)>>,
    /// Whether the server came back while a thread worked.
    is_asked_again: AtomicBool,
}

impl Leftovers {
    /// Tries everything that is left.
    fn try_all(&self, remote: &Remote) {
        while self.is_asked_again.swap(false, Ordering::SeqCst) {
            let Some((mut remains, mut claims)) = self.lock().take() else {
                // The thread that works at it looks again, unless it has just ended.
                self.is_asked_again.store(true, Ordering::SeqCst);
                if self.lock().is_none() {
                    return;
                }
                continue;
            };
            remains.retain_mut(|remains| !remains.clean_up(remote, &self.place, &mut claims));
            claims.end_pass();
            *self.lock() = Some((remains, claims));
        }
    }

    fn has_work(&self) -> bool {
        self.lock()
            .as_ref()
            .is_none_or(|(remains, _)| !remains.is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Vec<Remains>, Claims)>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Works at `leftovers` in a thread.
fn try_in_background(leftovers: &Arc<Leftovers>, remote: &RemoteHandle) {
    leftovers.is_asked_again.store(true, Ordering::SeqCst);
    let (leftovers, remote) = (Arc::clone(leftovers), remote.clone());
    let work = move || {
        let remote = remote.uncancelled();
        remote.clear_due_orphans(Instant::now());
        leftovers.try_all(&remote);
    };
    if let Err(error) = guarded::spawn("recovery", work) {
        log::warn!("what a killed ftpfs left is not cleaned up: cannot start a thread: {error}");
    }
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
    let is_ordered = left.iter().any(|left| !left.changes().is_empty());
    vfs.names.set_loading(is_ordered || vfs.options.names);
    let mut claims = Claims::new(vfs.services.disk.clone(), &left, is_ordered);
    let (mut changes, mut shown) = (Vec::new(), ShownFiles::new());
    let mut remains = Vec::with_capacity(left.len());
    for left in left {
        let of_mount = left.changes();
        let left = take_over(vfs, place, left, &mut claims, &mut shown);
        if is_ordered || vfs.options.names {
            vfs.names.share_order(&left.journal);
        }
        let of_mount = of_mount.into_iter();
        changes.extend(of_mount.map(|change| (left.journal.clone(), change)));
        remains.push(left);
    }
    let has_order = is_ordered || vfs.options.names && !shown.is_empty();
    if let Some(root) = vfs.inodes.root().filter(|_| has_order) {
        let count = changes.len();
        if count > 0 {
            log::info!("{count} changes of names, made before ftpfs was killed, are being made");
        }
        vfs.names.take_over(&root, changes, &shown);
    }
    vfs.names.set_loading(false);
    if !vfs.options.writeback && !vfs.writeback.files().is_empty() {
        vfs.writeback.start(vfs);
    }
    if !vfs.names.is_empty() {
        vfs.names.start(vfs);
    }
    claims.end_pass();
    let leftovers = Arc::new(Leftovers {
        place: place.clone(),
        work: Mutex::new(Some((remains, claims))),
        is_asked_again: AtomicBool::new(false),
    });
    try_in_background(&leftovers, &vfs.remote);
    let house = Arc::downgrade(vfs);
    vfs.remote.when_back(move || {
        if leftovers.has_work()
            && let Some(vfs) = house.upgrade()
        {
            try_in_background(&leftovers, &vfs.remote);
        }
    });
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
    shown: &mut ShownFiles,
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
    let (in_place, waiting) = (left.in_place(), left.waiting());
    let root = vfs.inodes.root();
    let journal = left.into_journal();
    vfs.services.spools.take_over(journal.clone());
    let mut hidden = Vec::new();
    for mut file in waiting {
        let target = &file.pending.target;
        let is_inside = root
            .as_ref()
            .and_then(|root| target.below(root))
            .is_some_and(|rest| !rest.is_empty());
        if !is_inside || claims.late.contains(target) {
            hidden.push(file);
            continue;
        }
        if claims.is_replaced(&journal, place, &mut file) {
            continue;
        }
        let target = &file.pending.target;
        let number = file.number;
        let can_be_shown =
            claims.versions.get(target) == Some(&1) && !claims.in_place.contains(target);
        let ino = if can_be_shown {
            show(vfs, place, &journal, &file)
        } else {
            None
        };
        if let Some(ino) = ino {
            let file = ShownFile {
                ino,
                path: target.clone(),
                base: file.pending.base,
                position: shown.len(),
            };
            shown.insert((journal.mount(), number), file);
        } else if !store(&journal, &remote, place, &file, claims) {
            claims.late.insert(target.clone());
            hidden.push(file);
        }
    }
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
        hidden,
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
    /// Cleans up the temporary names, and uploads the waiting files. Returns whether nothing is
    /// left. What is left is tried again when the server is back, or by the next mount.
    fn clean_up(&mut self, remote: &Remote, place: &StateDir, claims: &mut Claims) -> bool {
        let Self {
            journal,
            parts,
            asides,
            hidden,
        } = self;
        parts.retain(|path| match remote.delete_part(path) {
            Ok(()) => {
                journal.clear(path);
                false
            }
            Err(fault) => is_for_later(&fault, || {
                format!("cannot delete the unfinished upload {path}: {fault}")
            }),
        });
        asides.retain(|(aside, target, successor)| {
            match remote.resolve_aside(aside, target, *successor) {
                Ok(()) => {
                    journal.clear(aside);
                    false
                }
                Err(fault) => is_for_later(&fault, || {
                    format!("{aside} may be the previous version of {target}: {fault}")
                }),
            }
        });
        hidden.retain_mut(|file| {
            let target = &file.pending.target;
            if claims.late.contains(target) {
                return true;
            }
            for placed in claims.placed.get(target).into_iter().flatten() {
                placed.clone().add_to(&mut file.pending.unproven);
            }
            let is_settled = store(journal, remote, place, file, claims);
            if !is_settled {
                claims.late.insert(target.clone());
            }
            if claims.stored.contains(target) {
                journal.clear(target);
            }
            !is_settled
        });
        parts.is_empty() && asides.is_empty() && hidden.is_empty()
    }
}

/// Whether what failed with `fault` is tried again when the server is back. Logs it.
fn is_for_later(fault: &remote::Error, words: impl Fn() -> String) -> bool {
    if fault.kind == ErrorKind::Offline {
        log::debug!("{}", words());
        return true;
    }
    log::warn!(path = fault.path, reply = fault.reply; "{}", words());
    false
}

/// Stores a waiting file, and logs what became of it. Returns false if it can be stored later,
/// because the server does not answer now.
fn store(
    journal: &Journal,
    remote: &Remote,
    place: &StateDir,
    file: &WaitingFile,
    claims: &mut Claims,
) -> bool {
    let target = &file.pending.target;
    let claim = claims.claim(target);
    let has_others = claims.versions.get(target).is_some_and(|count| *count > 1);
    let (mut reply, mut is_settled) = (None, true);
    claims.forget_cached(target);
    let outcome = match journal.waiting_spool(file) {
        Err(error) => Err(format!("cannot be read: {error}")),
        Ok(record) => match finish(remote, &file.pending, &record.file, claim) {
            Ok(()) => {
                if has_others
                    && let Ok(metadata) = record.file.metadata()
                    && let Ok(placed) = UnprovenUpload::of(&record.file, metadata.len())
                {
                    placed.add_to(claims.placed.entry(target.clone()).or_default());
                }
                record.done();
                Ok(())
            }
            Err(Problem::Remote(error)) if error.kind.transience().may_pass() => {
                reply.clone_from(&error.reply);
                is_settled = error.kind != ErrorKind::Offline;
                let until = if is_settled {
                    "the next mount"
                } else {
                    "the server"
                };
                Err(format!("waits for {until}: {error}"))
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
            // What transfers of the old contents have added meanwhile.
            claims.forget_cached(target);
            claims.stored.insert(target.clone());
        }
        // It was logged before.
        Err(words) if !is_settled && claims.is_shown => {
            log::debug!("{target}, closed before ftpfs was killed, {words}");
        }
        Err(words) => {
            log::warn!(path = target, reply; "{target}, closed before ftpfs was killed, {words}");
        }
    }
    is_settled
}

/// Makes sure that the server has the file. Its current file of that name may also be replaced if
/// `claim` says so.
fn finish(remote: &Remote, pending: &Pending, file: &File, claim: OwnClaim) -> Result<(), Problem> {
    let Pending { target, commit, .. } = pending;
    if let Some(from) = pending.appended_from {
        return append(remote, pending, file, from);
    }
    match conflict::judge(remote, pending, file, claim)? {
        UploadVerdict::Stored(found) => {
            remote.complete_stored(target, commit, pending.base.as_ref(), &found);
            return Ok(());
        }
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
