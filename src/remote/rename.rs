//! RNFR and RNTO (RFC 959 §4.1.3), with replacement of an existing target. Unix servers replace the
//! target; others (IIS, several NAS devices) refuse, and the target is moved aside first. For a
//! moment, neither file has the name then.
//!
//! Some servers refuse RNTO and rename anyway, even a moment later. A refusal counts only after a
//! lookup of both names.

use std::thread;
use std::time::Duration;

use super::absence::lookup_reliably;
use super::error::{ErrorContext, Operation, is_passing, meaning, refusal};
use super::name_lookup::Lookup;
use super::retry::{ChangeOutcome, Exchange};
use super::stat::lookup;
use super::transience::is_lost;
use super::{Atomic, Error, ErrorKind, Remote, reply_text};
use crate::ftp::{self, Capability, Cause, Entry, Finding, Kind, RemotePath, Setting, Version};
use crate::pool;

/// Pauses between lookups after a refused rename. prim-ftpd takes a second.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(700),
    Duration::from_millis(1200),
];

/// See [`Remote::rename`].
pub(super) fn rename(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    from: &RemotePath,
    to: &RemotePath,
) -> Result<(), Error> {
    set_and_rename(remote, exchange, &[], from, to, &[]).map(drop)
}

/// Like [`rename`], and applies `settings` to the file in the same write. Returns the settings that
/// are known to have succeeded. `versions` are the versions that the file may have afterwards, as
/// far as they are known: if the reply is lost, any other file at `to` is not it.
pub(super) fn set_and_rename(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    settings: &[Setting],
    from: &RemotePath,
    to: &RemotePath,
    versions: &[Version],
) -> Result<Vec<Setting>, Error> {
    remote.check_name(&ErrorContext::new(Operation::Rename, from))?;
    remote.confirm_name(exchange, &ErrorContext::new(Operation::Rename, to), false)?;
    for path in [from, to] {
        remote.resolve_leftovers(exchange, path);
    }
    let fault = match move_path(remote, exchange, settings, from, to, versions) {
        Ok(made) => return Ok(made),
        Err(fault) => fault,
    };
    let (error, replaceable) = judge(remote, exchange, from, to, &fault);
    if replaceable.is_some() && remote.atomic() == Atomic::Require {
        let reason = "the server does not rename onto an existing file, and atomic=require rules out other methods";
        return Err(ErrorContext::new(Operation::Rename, to).error(ErrorKind::Unsupported, reason));
    }
    if let Some(version) = replaceable {
        return replace(remote, exchange, from, to, version)
            .map(|()| Vec::new())
            .map_err(|fault| {
                remote.diagnose(exchange, &ErrorContext::new(Operation::Rename, to), &fault)
            });
    }
    Err(error)
}

/// The result of moving a file aside.
pub(super) enum Moved {
    Done,
    /// The file still has its name.
    Refused(pool::Error),
    /// The file may have either name.
    Unknown(pool::Error),
}

/// Moves the file at `from` to the unused temporary name `aside`.
pub(super) fn move_aside(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    from: &RemotePath,
    aside: &RemotePath,
) -> Moved {
    match move_path(remote, exchange, &[], from, aside, &[]) {
        Ok(_) => Moved::Done,
        // A server may perform a rename that it refuses, but not before it received the new name.
        Err(fault) if is_lost(&fault) || is_about_target(&fault) => Moved::Unknown(fault),
        Err(fault) => Moved::Refused(fault),
    }
}

/// Sends both commands after `settings` of `from`, and returns the settings that succeeded. If the
/// connection was lost, a lookup of both names shows the result. A file at `to` that matches none
/// of `versions` is another one. If `versions` is empty, `to` is a name of ftpfs, or nothing is
/// known of the file.
pub(super) fn move_path(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    settings: &[Setting],
    from: &RemotePath,
    to: &RemotePath,
    versions: &[Version],
) -> Result<Vec<Setting>, pool::Error> {
    let mut made = Vec::new();
    let moved = exchange.run_verified(
        |session| {
            made.clear();
            let answers = session.set_and_rename(settings, from, to)?;
            for (setting, answer) in settings.iter().zip(answers) {
                match answer {
                    Ok(()) => made.push(*setting),
                    Err(refused) => log::debug!("{from}: {refused}"),
                }
            }
            Ok(())
        },
        |exchange| match lookup_reliably(remote, exchange, from) {
            Ok(Lookup::Found(_)) => ChangeOutcome::NotDone,
            Ok(Lookup::Absent | Lookup::NoParent(_)) => match lookup_reliably(remote, exchange, to)
            {
                Ok(Lookup::Found(found)) if may_be(&found, versions) => ChangeOutcome::Done,
                Ok(Lookup::Found(found)) => {
                    log::warn!(
                        path = from;
                        "{from} no longer exists, and {to} is another file: {found:?}"
                    );
                    ChangeOutcome::Unknown
                }
                Ok(Lookup::Absent | Lookup::NoParent(_)) | Err(_) => ChangeOutcome::Unknown,
            },
            // A server that neither shows the name nor rules it out may still rename it.
            Err(error) if !error.kind.is_unanswered() => {
                if has_become(remote, exchange, from, to, versions) {
                    ChangeOutcome::Done
                } else {
                    ChangeOutcome::Unknown
                }
            }
            Err(_) => ChangeOutcome::Unknown,
        },
    );
    match moved {
        Ok(()) => Ok(made),
        Err(fault) if was_moved_after_all(remote, exchange, (from, to, versions), &fault) => {
            made.clear();
            Ok(made)
        }
        Err(fault) => Err(fault),
    }
}

/// Whether `from` became `to` although the server refused RNTO. The wait depends on whether this
/// server has performed renames that it refused, or is known to mean its refusals.
fn was_moved_after_all(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    (from, to, versions): (&RemotePath, &RemotePath, &[Version]),
    fault: &pool::Error,
) -> bool {
    let profile = remote.profile();
    let lies = profile.finding(Capability::RenameRefusals) == Finding::Fails;
    if !is_about_target(fault) || (!lies && is_final(fault, to)) {
        return false;
    }
    let pauses: &[Duration] = if profile.is_proven(Capability::RenameRefusals) {
        &[]
    } else {
        &PAUSES
    };
    let mut pauses = pauses.iter();
    loop {
        match lookup(remote, exchange, from) {
            Ok(Lookup::Found(_)) => {}
            Ok(Lookup::Absent | Lookup::NoParent(_)) => {
                let is_there = has_become(remote, exchange, from, to, versions);
                if is_there {
                    profile.fails(Capability::RenameRefusals, fault);
                    log::info!(
                        path = from, reply = fault.quoted_reply();
                        "the server renamed {from} to {to} although it replied: {fault}"
                    );
                }
                return is_there;
            }
            Err(_) => return false,
        }
        let Some(pause) = pauses.next() else {
            break;
        };
        thread::sleep(*pause);
    }
    if !lies {
        profile.works(Capability::RenameRefusals);
    }
    false
}

/// Whether `from`, which no lookup finds, has become `to`. A file at `to` proves nothing, because
/// it may be the old one; nor does a listing without `from`, which the server may hide. The rename
/// is therefore requested once more: RNFR, which the server had accepted, finds whatever is left at
/// `from`.
fn has_become(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    from: &RemotePath,
    to: &RemotePath,
    versions: &[Version],
) -> bool {
    match exchange.run_idempotent(|session| session.set_and_rename(&[], from, to)) {
        Ok(_) => true,
        Err(fault) => {
            let says_gone = meaning(&fault, from) == Some(ErrorKind::NotFound);
            (is_gone(&fault, from) || (is_about_target(&fault) && says_gone))
                && matches!(
                    lookup_reliably(remote, exchange, to),
                    Ok(Lookup::Found(found)) if may_be(&found, versions)
                )
        }
    }
}

/// Whether `found` may be a file of one of these versions, as far as the server reports them.
fn may_be(found: &Entry, versions: &[Version]) -> bool {
    let found_version = Version::from(found);
    let is_one = || {
        versions
            .iter()
            .any(|version| version.agrees(&found_version))
    };
    versions.is_empty() || (found.kind != Kind::Directory && is_one())
}

/// Whether the refusal of RNFR means that nothing exists at `from`, which no lookup finds either.
fn is_gone(fault: &pool::Error, from: &RemotePath) -> bool {
    is_about(fault, "RNFR")
        && refusal(fault).is_some_and(|reply| reply.code().0 >= 500)
        && matches!(meaning(fault, from), None | Some(ErrorKind::NotFound))
}

/// Moves the file at `to` aside, moves `from`, of this version, into its place, and only then
/// deletes the old file. The old file stays complete whatever fails.
fn replace(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    from: &RemotePath,
    to: &RemotePath,
    version: Version,
) -> Result<(), pool::Error> {
    let Some(aside) = remote.new_aside(to, Some(version)) else {
        return Ok(());
    };
    let mut moved = move_path(remote, exchange, &[], to, aside.path(), &[]).map(drop);
    if moved.is_ok() {
        let why = "replacing a file takes several steps, and for a moment neither has its name";
        if remote
            .profile()
            .fails(Capability::RenameReplaces, &"it refused to replace a file")
        {
            log::warn!(path = to; "the server does not rename onto an existing file: {why}");
        }
        moved = move_path(remote, exchange, &[], from, to, &[version]).map(drop);
    }
    match moved {
        Ok(()) => aside.delete(exchange),
        // A server may perform a rename that it refuses, so both names are looked up.
        Err(ref fault) => aside.put_back(exchange, is_lost(fault) || is_about_target(fault)),
    }
    moved
}

/// Gives the file that was moved aside its name back, which no other file has taken.
pub(super) fn put_back(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    aside: &RemotePath,
    to: &RemotePath,
) -> Result<(), Error> {
    move_path(remote, exchange, &[], aside, to, &[])
        .map(drop)
        .map_err(|fault| {
            remote.diagnose(
                exchange,
                &ErrorContext::new(Operation::Rename, aside),
                &fault,
            )
        })
}

/// Like [`put_back`], for a file that no lookup finds and that may not exist. Returns whether it
/// existed.
pub(super) fn put_back_if_there(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    aside: &RemotePath,
    to: &RemotePath,
) -> Result<bool, Error> {
    match move_path(remote, exchange, &[], aside, to, &[]) {
        Ok(_) => Ok(true),
        Err(fault) if is_gone(&fault, aside) => Ok(false),
        Err(fault) => Err(remote.diagnose(
            exchange,
            &ErrorContext::new(Operation::Rename, aside),
            &fault,
        )),
    }
}

/// Whether the server accepted the source and refused the target.
fn is_about_target(fault: &pool::Error) -> bool {
    is_about(fault, "RNTO")
}

/// Whether the server refused this command.
fn is_about(fault: &pool::Error, verb: &str) -> bool {
    match fault {
        pool::Error::Session(error) => {
            matches!(**error, ftp::Error::Refused { command, .. } if command == verb)
        }
        pool::Error::Unavailable(_)
        | pool::Error::Offline(_)
        | pool::Error::Exhausted(_)
        | pool::Error::Closed
        | pool::Error::Cancelled => false,
    }
}

/// Returns why `from` could not become `to`, and the version of `from` if only a file at `to`
/// prevents it. A refusal with any text may mean that, so both are looked up.
fn judge(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    from: &RemotePath,
    to: &RemotePath,
    fault: &pool::Error,
) -> (Error, Option<Version>) {
    if !is_about_target(fault) {
        let context = ErrorContext::new(Operation::Rename, from);
        let mut error = remote.diagnose(exchange, &context, fault);
        if is_passing(fault, from) {
            error.kind = ErrorKind::Busy;
        }
        return (error, None);
    }
    let said = meaning(fault, to);
    let mut version = None;
    let kind = match said {
        Some(reported) if is_final(fault, to) => reported,
        _ => match (
            lookup_reliably(remote, exchange, from),
            lookup_reliably(remote, exchange, to),
        ) {
            (Ok(Lookup::Found(source)), Ok(Lookup::Found(target))) => {
                version = Some(Version::from(&source));
                in_the_way(remote, exchange, &source, &target, to)
            }
            (_, Ok(Lookup::NoParent(kind))) => kind,
            _ if is_passing(fault, to) => ErrorKind::Busy,
            _ => said.unwrap_or(ErrorKind::PermissionDenied),
        },
    };
    let error = ErrorContext::new(Operation::Rename, to).error(kind, fault);
    (error, version.filter(|_| kind == ErrorKind::AlreadyExists))
}

/// Whether the text of the reply makes a lookup unnecessary.
fn is_final(fault: &pool::Error, to: &RemotePath) -> bool {
    match meaning(fault, to) {
        Some(
            ErrorKind::NotEmpty
            | ErrorKind::NoSpace
            | ErrorKind::QuotaExceeded
            | ErrorKind::NameTooLong
            | ErrorKind::InvalidName
            | ErrorKind::Unsupported,
        ) => true,
        // A bare 450 may be about an existing target.
        Some(ErrorKind::Busy) => refusal(fault)
            .is_some_and(|reply| reply_text::reason(reply.lines(), to) == Some(ErrorKind::Busy)),
        _ => false,
    }
}

/// Returns the error for an existing `target` where `source` should be (rename(2)).
fn in_the_way(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    source: &Entry,
    target: &Entry,
    to: &RemotePath,
) -> ErrorKind {
    let is_directory = |entry: &Entry| entry.kind == Kind::Directory;
    match (is_directory(source), is_directory(target)) {
        (false, false) => ErrorKind::AlreadyExists,
        (false, true) => ErrorKind::IsDirectory,
        (true, false) => ErrorKind::NotDirectory,
        (true, true) if remote.is_filled(exchange, to) => ErrorKind::NotEmpty,
        (true, true) => ErrorKind::PermissionDenied,
    }
}
