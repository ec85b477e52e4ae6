//! Changes to one path: creating and removing directories, deleting files, setting times and modes.

use super::absence::lookup_reliably;
use super::error::{ErrorContext, Operation, is_unsupported, refusal};
use super::fallbacks::{Fallback, GroupWay, ModeWay, SpaceWay, TimeWay};
use super::name_lookup::Lookup;
use super::retry::{ChangeOutcome, Exchange};
use super::stat::lookup;
use super::temporary_name::is_temporary;
use super::{Error, ErrorKind, Remote, Space, listing};
use crate::ftp::{self, Capability, Entry, Kind, QuotaUsage, RemotePath, Session};
use crate::pool;

/// Number of files for which a server refuses to set an attribute after which it counts as never
/// setting it.
const MAX_REFUSALS: u8 = 5;

/// See [`Remote::make_directory`].
pub(super) fn make_directory(remote: &Remote, path: &RemotePath) -> Result<(), Error> {
    let context = ErrorContext::new(Operation::MakeDirectory, path);
    let mut exchange = remote.begin(&context)?;
    remote.confirm_name(&mut exchange, &context, false)?;
    let made = exchange.run_verified(
        |session| session.make_directory(path),
        |exchange| match lookup(remote, exchange, path) {
            Ok(Lookup::Found(entry)) if entry.kind == Kind::Directory => ChangeOutcome::Done,
            Ok(Lookup::Absent) => ChangeOutcome::NotDone,
            Ok(Lookup::Found(_) | Lookup::NoParent(_)) | Err(_) => ChangeOutcome::Unknown,
        },
    );
    made.map_err(|fault| remote.diagnose(&mut exchange, &context, &fault))
}

/// See [`Remote::remove_directory`]. Unfinished uploads are not shown, so a directory that contains
/// nothing else is empty to its user. Those of this mount are deleted with it; those of other
/// mounts may still be in progress.
pub(super) fn remove_directory(remote: &Remote, path: &RemotePath) -> Result<(), Error> {
    let context = ErrorContext::new(Operation::RemoveDirectory, path);
    let mut exchange = remote.exchange();
    let Err(fault) = remove(remote, &mut exchange, path, Session::remove_directory) else {
        return Ok(());
    };
    let mut error = remote.diagnose(&mut exchange, &context, &fault);
    if may_mean_not_empty(error.kind) && remote.is_filled(&mut exchange, path) {
        error.kind = ErrorKind::NotEmpty;
    }
    if error.kind == ErrorKind::NotEmpty {
        remote.resolve_leftovers(&mut exchange, path);
    }
    if error.kind != ErrorKind::NotEmpty || !clear_leftovers(remote, &mut exchange, path) {
        return Err(error);
    }
    remove(remote, &mut exchange, path, Session::remove_directory)
        .map_err(|fault| remote.diagnose(&mut exchange, &context, &fault))
}

/// Whether servers use such a reply when they refuse to remove a directory that is not empty.
fn may_mean_not_empty(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::PermissionDenied
            | ErrorKind::AlreadyExists
            | ErrorKind::Busy
            | ErrorKind::InvalidName
            | ErrorKind::TryLater
            | ErrorKind::Other
    )
}

/// Deletes the contents of `directory` if they are all unfinished uploads of this mount. Returns
/// whether the directory is empty now.
fn clear_leftovers(remote: &Remote, exchange: &mut Exchange<'_>, directory: &RemotePath) -> bool {
    let entries = match listing::list_all(remote, exchange, directory) {
        Ok(listing) if listing.completeness.answers_for(b".") => listing.entries,
        Ok(_) | Err(_) => return false,
    };
    let others = |entry: &&Entry| !remote.names().is_ours(&entry.name);
    if let Some(other) = entries.iter().find(others) {
        if entries.iter().all(|entry| is_temporary(&entry.name)) {
            let name = String::from_utf8_lossy(&other.name);
            log::warn!(
                path = directory;
                "{directory} holds an unfinished upload of another mount: {name}"
            );
        }
        return false;
    }
    if entries.is_empty() {
        return false;
    }
    log::warn!(
        path = directory;
        "removing {} unfinished uploads with {directory}",
        entries.len()
    );
    entries.iter().all(|entry| {
        directory
            .join(&entry.name)
            .is_ok_and(|path| remove(remote, exchange, &path, Session::delete).is_ok())
    })
}

/// See [`Remote::delete`].
pub(super) fn delete(remote: &Remote, path: &RemotePath) -> Result<(), Error> {
    let context = ErrorContext::new(Operation::Delete, path);
    remote.check_name(&context)?;
    let mut exchange = remote.begin(&context)?;
    remote.resolve_leftovers(&mut exchange, path);
    delete_in(remote, &mut exchange, path)
        .map_err(|fault| remote.diagnose(&mut exchange, &context, &fault))
}

/// Sends DELE, and verifies the result if the connection was lost.
pub(super) fn delete_in(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
) -> Result<(), pool::Error> {
    remove(remote, exchange, path, Session::delete)
}

fn remove(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
    step: fn(&mut Session, &RemotePath) -> Result<(), ftp::Error>,
) -> Result<(), pool::Error> {
    exchange.run_verified(
        |session| step(session, path),
        |exchange| match lookup_reliably(remote, exchange, path) {
            Ok(Lookup::Absent | Lookup::NoParent(_)) => ChangeOutcome::Done,
            Ok(Lookup::Found(_)) => ChangeOutcome::NotDone,
            Err(_) => ChangeOutcome::Unknown,
        },
    )
}

/// The kind of file whose time or mode is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    File,
    Directory,
}

/// See [`Remote::set_modified`] and [`Remote::set_directory_modified`].
pub(super) fn set_modified(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
    seconds: i64,
    owner: Owner,
) -> Result<i64, Error> {
    let context = ErrorContext::new(Operation::SetTime, path);
    let profile = remote.profile();
    if owner == Owner::Directory && !profile.has(Capability::DirectoryTimes) {
        let reason = "the server sets only times of files";
        return Err(context.error(ErrorKind::Unsupported, reason));
    }
    let set = set(
        remote,
        exchange,
        &context,
        owner,
        |session, way: TimeWay| way.set(session, path, seconds),
    );
    match &set {
        Ok(()) if owner == Owner::Directory => profile.works(Capability::DirectoryTimes),
        Err(error)
            if owner == Owner::Directory
                && is_about_the_way(error.kind)
                && !profile.is_proven(Capability::DirectoryTimes) =>
        {
            profile.doubt(Capability::DirectoryTimes, MAX_REFUSALS, error);
        }
        Ok(()) | Err(_) => {}
    }
    set.map(|()| remote.zone().round_trip(seconds))
}

/// See [`Remote::set_mode`] and [`Remote::set_directory_mode`].
pub(super) fn set_mode(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
    mode: u32,
    owner: Owner,
) -> Result<(), Error> {
    let context = ErrorContext::new(Operation::SetMode, path);
    set(
        remote,
        exchange,
        &context,
        owner,
        |session, way: ModeWay| way.set(session, path, mode),
    )
}

/// Tries the remaining fallbacks until the server accepts one. A refusal for a directory proves
/// nothing about files.
fn set<W: Fallback>(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    context: &ErrorContext<'_>,
    owner: Owner,
    mut step: impl FnMut(&mut Session, W) -> Result<(), ftp::Error>,
) -> Result<(), Error> {
    let mut last = None;
    for way in W::candidates(remote.profile()) {
        let capability = way.capability();
        let is_witness = owner == Owner::File && !remote.profile().is_proven(capability);
        let mut answer = exchange.run_idempotent(|session| step(session, way));
        if let Err(fault) = &answer
            && !is_unsupported(fault)
            && !is_misunderstood(fault)
        {
            let error = remote.diagnose(exchange, context, fault);
            if error.kind != ErrorKind::NotFound || !is_there(remote, exchange, context.path) {
                // A command that never worked and is refused for a few files is not tried for
                // further ones.
                if is_about_the_way(error.kind) && is_witness {
                    remote.profile().doubt(capability, MAX_REFUSALS, fault);
                }
                return Err(error);
            }
            // The file may have been renamed to this name a moment ago. A command that does not
            // find it again takes its argument for a query about an odd name, as servers without
            // the two-argument form of MDTM do.
            answer = exchange.run_idempotent(|session| step(session, way));
        }
        let Err(fault) = answer else {
            remote.profile().works(capability);
            return Ok(());
        };
        if refusal(&fault).is_none() {
            return Err(remote.diagnose(exchange, context, &fault));
        }
        let is_unknown = is_unsupported(&fault) && !remote.profile().is_proven(capability);
        if is_unknown || (is_witness && !is_misunderstood(&fault)) {
            remote.profile().fails(capability, &fault);
        }
        last = Some(fault);
    }
    let reason = last.map_or_else(
        || "the server has no command for this".to_owned(),
        |fault| fault.to_string(),
    );
    Err(context.error(ErrorKind::Unsupported, &reason))
}

/// Whether something exists at `path`.
fn is_there(remote: &Remote, exchange: &mut Exchange<'_>, path: &RemotePath) -> bool {
    matches!(lookup(remote, exchange, path), Ok(Lookup::Found(_)))
}

/// Whether the refusal to set an attribute may come from a server that sets it for no file.
fn is_about_the_way(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::PermissionDenied | ErrorKind::TryLater | ErrorKind::Other
    )
}

/// Whether the server did not understand this argument (501). Another command may work, and this
/// command may work with another path.
fn is_misunderstood(fault: &pool::Error) -> bool {
    refusal(fault).is_some_and(|reply| reply.code().0 == 501)
}

impl Remote {
    /// Sets the group of the file or directory at `path` by its number on the server (SITE CHGRP or
    /// MFF).
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the server accepts neither.
    pub fn set_group(&self, path: &RemotePath, group: u32, is_file: bool) -> Result<(), Error> {
        let owner = if is_file {
            Owner::File
        } else {
            Owner::Directory
        };
        let context = ErrorContext::new(Operation::SetGroup, path);
        set(
            self,
            &mut self.exchange(),
            &context,
            owner,
            |session, way: GroupWay| session.set(path, way.setting(group)),
        )
    }

    /// Makes a symbolic link at `link` to `target`, which is relative to its directory (SITE
    /// SYMLINK). ProFTPD refuses a target that does not exist, and paths with blanks.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the server does not announce the command.
    pub fn make_link(&self, target: &[u8], link: &RemotePath) -> Result<(), Error> {
        make_link(self, target, link)
    }
}

/// See [`Remote::make_link`].
pub(super) fn make_link(remote: &Remote, target: &[u8], link: &RemotePath) -> Result<(), Error> {
    let context = ErrorContext::new(Operation::MakeLink, link);
    let profile = remote.profile();
    let directory = link
        .parent()
        .filter(|_| profile.has(Capability::SiteSymlink));
    let Some(directory) = directory else {
        let reason = "the server has no command for this";
        return Err(context.error(ErrorKind::Unsupported, reason));
    };
    let mut exchange = remote.begin(&context)?;
    remote.confirm_name(&mut exchange, &context, false)?;
    let made = exchange.run_verified(
        |session| {
            session.change_directory(&directory)?;
            session.make_link(target, link)
        },
        |exchange| match lookup(remote, exchange, link) {
            Ok(Lookup::Absent) => ChangeOutcome::NotDone,
            Ok(Lookup::Found(_) | Lookup::NoParent(_)) | Err(_) => ChangeOutcome::Unknown,
        },
    );
    match made {
        Ok(()) => {
            profile.works(Capability::SiteSymlink);
            Ok(())
        }
        Err(fault) => {
            if is_unsupported(&fault) {
                profile.fails(Capability::SiteSymlink, &fault);
            }
            Err(remote.diagnose(&mut exchange, &context, &fault))
        }
    }
}

/// See [`Remote::space`].
pub(super) fn space(remote: &Remote, path: &RemotePath) -> Option<Space> {
    let mut exchange = remote.exchange();
    for way in SpaceWay::candidates(remote.profile()) {
        let of_quota = |quota: QuotaUsage| Space {
            available: quota.limit.saturating_sub(quota.used),
            total: Some(quota.limit),
        };
        let answer = exchange.run_idempotent(|session| match way {
            SpaceWay::Avbl => session.available(path).map(|available| {
                Some(Space {
                    available,
                    total: None,
                })
            }),
            SpaceWay::Xquota => Ok(session.xquota()?.map(of_quota)),
            SpaceWay::SiteQuota => Ok(session.site_quota()?.map(of_quota)),
        });
        match answer {
            Ok(Some(space)) => return Some(space),
            Ok(None) => {}
            Err(fault) => {
                if is_unsupported(&fault) {
                    remote.profile().fails(way.capability(), &fault);
                }
                log::debug!("cannot get the free space at {path}: {fault}");
                // Only after a refusal is another question worth it.
                refusal(&fault)?;
            }
        }
    }
    None
}
