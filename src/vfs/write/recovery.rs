//! Recovery after a mount was killed: its temporary names are cleaned up, files that a program had
//! closed or synced are stored, and files that were still being written are reported.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::ftp::{Entry, Kind, Precision, RemotePath, Version};
use crate::journal::{AbandonedJournal, Pending, StateDir, WaitingFile};
use crate::remote::{self, Attempts, CommitOptions, ErrorKind, Remote};

/// Bytes compared at a time.
const COMPARE: usize = 256 << 10;

/// Why a pending file was not stored.
#[derive(Debug, thiserror::Error)]
enum Problem {
    /// Another client changed the file on the server.
    #[error("{0} was changed on the server in the meantime")]
    Changed(RemotePath),
    /// The server did not accept it.
    #[error(transparent)]
    Remote(#[from] remote::Error),
    /// The spool file cannot be read.
    #[error("the spool file cannot be read: {0}")]
    Spool(#[from] io::Error),
}

/// Recovers what earlier mounts of the same server and login left at `place`. What fails is left
/// for the next mount. Everything is logged.
pub(crate) fn recover(remote: &Remote, place: &StateDir) {
    match AbandonedJournal::claim_all(place) {
        Ok(left) => left
            .into_iter()
            .for_each(|left| recover_page(remote, place, left)),
        Err(error) => log::warn!("{error}"),
    }
}

fn recover_page(remote: &Remote, place: &StateDir, mut left: AbandonedJournal) {
    for path in left.unfinished() {
        log::warn!(
            "ftpfs was killed while {path} was being written, neither closed nor synced; the server keeps its old contents"
        );
    }
    clear_names(remote, &mut left);
    let mut stored = BTreeSet::new();
    for waiting in left.waiting() {
        let target = &waiting.pending.target;
        // A file that appeared since then belongs to the same mount: it was closed, written and
        // closed again.
        let is_ours = stored.contains(target) || left.was_in_place(target);
        match finish(remote, &waiting, is_ours) {
            Ok(()) => {
                log::warn!("{target}, closed before ftpfs was killed, is stored now");
                stored.insert(target.clone());
                left.stored(&waiting);
            }
            Err(Problem::Remote(error)) if error.kind.transience().may_pass() => {
                log::warn!(
                    "{target}, closed before ftpfs was killed, waits for the next mount: {error}"
                );
            }
            Err(problem) => keep(&mut left, place, &waiting, &problem),
        }
    }
    for path in left.in_place() {
        if !left.waiting().iter().any(|it| it.pending.target == path) {
            log::warn!(
                "{path} was being overwritten in place when ftpfs was killed; it may be incomplete"
            );
            left.clear(&path);
        }
    }
    left.finish();
}

/// Cleans up the temporary names. This mount takes over those that the server does not delete.
fn clear_names(remote: &Remote, left: &mut AbandonedJournal) {
    for path in left.parts() {
        match remote.delete_part(&path) {
            Ok(()) => left.clear(&path),
            Err(fault) => {
                log::warn!("cannot delete the unfinished upload {path}: {fault}");
                if remote.adopt_part(&path) {
                    left.clear(&path);
                }
            }
        }
    }
    for (aside, target, successor) in left.asides() {
        match remote.resolve_aside(&aside, &target, successor) {
            Ok(()) => left.clear(&aside),
            Err(fault) => {
                log::warn!("{aside} may be the previous version of {target}: {fault}");
                if remote.adopt_aside(&aside, &target, successor) {
                    left.clear(&aside);
                }
            }
        }
    }
}

/// Makes sure that the server has the file. Its current file of that name may be overwritten if it
/// `is_ours`.
fn finish(remote: &Remote, waiting: &WaitingFile, is_ours: bool) -> Result<(), Problem> {
    let Pending {
        target,
        commit,
        base,
    } = &waiting.pending;
    let file = File::open(&waiting.file)?;
    let size = file.metadata()?.len();
    let found = match remote.stat(target) {
        Ok(entry) => Some(entry),
        Err(error) if error.kind == ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    if let Some(found) = &found
        && found.size == Some(size)
        && is_same(remote, target, &waiting.file)?
    {
        return Ok(());
    }
    if !is_ours && !is_base(remote, target, base.as_ref(), found.as_ref())? {
        return Err(Problem::Changed(target.clone()));
    }
    let commit = CommitOptions {
        size,
        ..commit.clone()
    };
    let mut attempts = Attempts::default();
    loop {
        match upload(remote, target, &file, &commit) {
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

/// Whether the server still has the version that the file was based on. If that is known to the
/// second, the server is asked for the exact time: another change within the minute of a listing
/// would not be visible.
fn is_base(
    remote: &Remote,
    target: &RemotePath,
    base: Option<&Version>,
    found: Option<&Entry>,
) -> Result<bool, remote::Error> {
    let (Some(base), Some(found)) = (base, found) else {
        return Ok(base.is_none() && found.is_none());
    };
    let listed = Version::from(found);
    if found.kind != Kind::File || !base.agrees(&listed) {
        return Ok(false);
    }
    let is_exact = |version: &Version| matches!(version.modified, Some((_, Precision::Second)));
    if is_exact(&listed) || !is_exact(base) {
        return Ok(true);
    }
    Ok(base.agrees(&remote.version(target)?))
}

/// Whether the server's file has the same bytes: it was stored, and ftpfs was killed before it
/// could record that.
fn is_same(remote: &Remote, target: &RemotePath, file: &Path) -> Result<bool, Problem> {
    let mut ours = io::BufReader::with_capacity(COMPARE, File::open(file)?);
    let mut download = remote.open_at(target, 0)?;
    let (mut theirs, mut mine) = (vec![0; COMPARE], vec![0; COMPARE]);
    loop {
        let count = download.read(&mut theirs)?;
        let (Some(theirs), Some(mine)) = (theirs.get(..count), mine.get_mut(..count)) else {
            return Ok(false);
        };
        if count == 0 {
            return Ok(ours.read(&mut [0])? == 0);
        }
        match ours.read_exact(mine) {
            Ok(()) if mine == theirs => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

fn keep(left: &mut AbandonedJournal, place: &StateDir, waiting: &WaitingFile, problem: &Problem) {
    let target = &waiting.pending.target;
    match left.recover(waiting, place) {
        Ok(kept) => log::warn!(
            "{target}, closed before ftpfs was killed, cannot be stored: {problem}; its bytes are in {}",
            kept.display()
        ),
        Err(error) => {
            log::warn!("{target} can neither be stored ({problem}) nor preserved: {error}");
        }
    }
}
