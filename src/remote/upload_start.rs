//! The start of an upload: STOR under the first name that the server accepts.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::time::Instant;

use super::error::{ErrorContext, Operation, is_passing, meaning, refusal};
use super::name_lookup::Lookup;
use super::retry::Exchange;
use super::stat::lookup;
use super::steps::{MAX_PASSING, UploadName};
use super::temporary::Temporary;
use super::upload::UploadPlace;
use super::{Atomic, Error, ErrorKind, Remote, RemoteUpload};
use crate::ftp::{self, Capability, Failed, RemotePath, Session, Transience};
use crate::pool::{self, Purpose};

/// A small file whose bytes are all available when its upload starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole<'a> {
    pub(super) file: &'a File,
    /// Number of bytes to upload.
    pub(super) length: u64,
    /// Whether to ask for the facts of the stored file first.
    pub(super) look: bool,
}

/// Why an upload did not start, and which name to try next.
struct NotBegun {
    error: Error,
    next: Option<UploadName>,
    /// Whether the refusal may be temporary instead of about the name.
    may_pass: bool,
}

/// See [`Remote::upload`].
pub(super) fn upload(
    remote: &Remote,
    path: &RemotePath,
    whole: Option<Whole<'_>>,
) -> Result<RemoteUpload, Error> {
    let context = ErrorContext::new(Operation::Store, path);
    if path.is_root() {
        return Err(context.error(ErrorKind::IsDirectory, &"the root is a directory"));
    }
    let mut exchange = remote.exchange();
    let first = match remote.atomic() {
        Atomic::Never => UploadName::Final,
        Atomic::Auto | Atomic::Require => {
            remote.steps().first(remote.profile(), path, Instant::now())
        }
    };
    // The temporary name, which is looked up in the listing, shows that the server preserves a
    // plain name of its length.
    remote.confirm_name(&mut exchange, &context, first != UploadName::Final)?;
    let (mut name, mut is_certain) = (first, true);
    loop {
        let begun = if name.is_allowed(remote.atomic()) {
            begin(remote, &mut exchange, &context, name, whole)
        } else {
            let reason =
                "the server accepts no temporary names, and atomic=require rules out other methods";
            return Err(context.error(ErrorKind::Unsupported, reason));
        };
        match begun {
            Ok(upload) => {
                let profile = remote.profile();
                if name != first && is_certain {
                    remote.steps().skip_to(profile, path, name, Instant::now());
                } else if (first, name) == (UploadName::Hidden, UploadName::Visible)
                    && !profile.is_proven(Capability::HiddenNames)
                {
                    let why = "it refused them with temporary errors where other names worked";
                    profile.doubt(Capability::HiddenNames, MAX_PASSING, &why);
                }
                return Ok(upload);
            }
            Err(NotBegun {
                error,
                next,
                may_pass,
            }) => {
                is_certain &= !may_pass;
                let mut is_worth_it = |next: &UploadName| {
                    // A refusal that may be temporary is no reason to overwrite a file in place.
                    next.is_allowed(remote.atomic())
                        && (is_certain
                            || *next != UploadName::Final
                            || matches!(lookup(remote, &mut exchange, path), Ok(Lookup::Absent)))
                };
                let Some(next) = next.filter(|next| is_worth_it(next)) else {
                    return Err(error);
                };
                log::info!(path = error.path, reply = error.reply; "{error}; trying another name");
                name = next;
            }
        }
    }
}

/// Starts an upload that has this name until it is complete.
fn begin(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    context: &ErrorContext<'_>,
    name: UploadName,
    whole: Option<Whole<'_>>,
) -> Result<RemoteUpload, NotBegun> {
    let refused = |error| NotBegun {
        error,
        next: None,
        may_pass: false,
    };
    let is_hidden = match name {
        UploadName::Final => {
            // What has begun to overwrite the file is not cut.
            let session = exchange.ensure_session(Purpose::Transfer);
            session.map_err(|fault| refused(remote.diagnose(exchange, context, &fault)))?;
            exchange.make_uninterruptible();
            return direct(remote, exchange, context, whole).map_err(refused);
        }
        UploadName::Hidden => true,
        UploadName::Visible => false,
    };
    let is_root = || refused(context.error(ErrorKind::IsDirectory, &"the root is a directory"));
    let first = remote
        .new_part(context.path, is_hidden)
        .ok_or_else(is_root)?;
    let names = RefCell::new(vec![first]);
    let (asked, is_lost) = (Cell::new(0), Cell::new(false));
    // Those about the last name.
    let commands = Cell::new(0);
    let begin = |session: Session| {
        asked.set(asked.get() + 1);
        commands.set(1);
        let mut names = names.borrow_mut();
        // A server that was stopped may still carry out a STOR whose connection was lost, and would
        // cut the file that another attempt has stored under the same name.
        if asked.get() > 1 {
            names.extend(remote.new_part(context.path, is_hidden));
        }
        let path = names.last().map_or(context.path, Temporary::path);
        let started = create(remote, session, path, whole, &commands);
        // The fault below may be that of a session that could not be made after this one was lost.
        let transience = started.as_ref().err().map(|it| it.error.transience());
        is_lost.set(transience.is_some_and(Transience::leaves_result_unknown));
        started
    };
    let outcome = exchange.start_transfer(begin);
    let mut names = names.into_inner();
    let mut temporary = names.pop().ok_or_else(is_root)?;
    for mut lost in names {
        lost.may_appear_late();
        lost.mark_gone();
    }
    if is_lost.get() {
        temporary.may_appear_late();
    }
    let fault = match outcome {
        Ok(started) => {
            let place = UploadPlace::Temporary(temporary);
            return Ok(RemoteUpload::new(
                remote,
                context.path,
                name,
                place,
                started,
            ));
        }
        Err(fault) => fault,
    };
    let next = name_after(remote, name, &fault, temporary.path());
    let may_pass = is_passing(&fault, temporary.path());
    if has_made_nothing(&fault, commands.get()) {
        temporary.mark_gone();
    } else {
        temporary.delete(exchange);
    }
    let error = remote.diagnose(exchange, context, &fault);
    Err(NotBegun {
        error,
        next,
        may_pass,
    })
}

/// Returns the name to try after STOR of a temporary name failed with `fault`.
fn name_after(
    remote: &Remote,
    name: UploadName,
    fault: &pool::Error,
    path: &RemotePath,
) -> Option<UploadName> {
    if !may_be_about_the_name(fault, path) {
        return None;
    }
    // ProFTPD reports "no such file" for a hidden name that it does not accept. For any other name
    // that means that the directory does not exist.
    let is_absent = meaning(fault, path) == Some(ErrorKind::NotFound);
    match name {
        UploadName::Hidden if is_absent => Some(UploadName::Visible),
        UploadName::Hidden if remote.profile().is_proven(Capability::HiddenNames) => {
            Some(UploadName::Final)
        }
        UploadName::Hidden => Some(UploadName::Visible),
        UploadName::Visible if is_absent => None,
        UploadName::Visible => Some(UploadName::Final),
        UploadName::Final => None,
    }
}

/// Starts to store a file of a name that no file has. After vsftpd has acknowledged a large file,
/// its session waits for the disk (0.3 s for 512 MiB) if STOR created the file on ext4, but not if
/// APPE did.
fn create(
    remote: &Remote,
    session: Session,
    path: &RemotePath,
    whole: Option<Whole<'_>>,
    commands: &Cell<u32>,
) -> Result<ftp::Upload, Box<Failed>> {
    let profile = remote.profile();
    if whole.is_some() || !profile.has(Capability::StoreTruncates) {
        return store(session, path, whole);
    }
    let refused = match session.append(path) {
        Ok(upload) => return Ok(upload),
        Err(failed) if failed.error.reply().is_none() => return Err(failed),
        Err(failed) => *failed,
    };
    let Some(session) = refused.session else {
        return Err(Box::new(refused));
    };
    commands.set(commands.get() + 1);
    let stored = store(session, path, whole)?;
    let for_good = |reply: &ftp::Reply| reply.code().0 >= 500;
    if refused.error.reply().is_some_and(for_good) {
        profile.fails(Capability::StoreTruncates, &refused.error);
    }
    Ok(stored)
}

/// Sends STOR, together with all the data if it is available.
fn store(
    session: Session,
    path: &RemotePath,
    whole: Option<Whole<'_>>,
) -> Result<ftp::Upload, Box<Failed>> {
    match whole {
        Some(whole) => session.store_whole(path, whole.file, whole.length, whole.look),
        None => session.store(path, 0),
    }
}

/// Whether no file exists after `tries` attempts of STOR, the last of which failed with `fault`.
/// After a lost connection that is unknown, and vsftpd creates the file before it replies 425.
fn has_made_nothing(fault: &pool::Error, tries: u32) -> bool {
    let for_good = refusal(fault).is_some_and(|reply| reply.code().0 >= 500);
    tries == 0 || (tries == 1 && for_good)
}

/// Starts an upload directly to its final name. The journal records it before the server learns of
/// it.
fn direct(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    context: &ErrorContext<'_>,
    whole: Option<Whole<'_>>,
) -> Result<RemoteUpload, Error> {
    let path = context.path;
    remote.resolve_leftovers(exchange, path);
    let is_new = remote.atomic() != Atomic::Never
        && matches!(lookup(remote, exchange, path), Ok(Lookup::Absent));
    let in_place = remote.overwrite(path);
    let tries = Cell::new(0);
    let begin = |session: Session| {
        tries.set(tries.get() + 1);
        store(session, path, whole)
    };
    match exchange.start_transfer(begin) {
        Ok(started) => {
            let is_first = remote.atomic() != Atomic::Never && !is_new;
            if is_first && remote.inner.warned_of_overwriting.first() {
                log::warn!(
                    path;
                    "the server takes no temporary name beside {path}: it is overwritten in place, and an upload that \
                     fails leaves it cut short"
                );
            }
            let place = UploadPlace::Direct { in_place, is_new };
            Ok(RemoteUpload::new(
                remote,
                path,
                UploadName::Final,
                place,
                started,
            ))
        }
        Err(fault) => {
            if has_made_nothing(&fault, tries.get()) {
                in_place.finished();
            }
            Err(remote.diagnose(exchange, context, &fault))
        }
    }
}

/// Whether another name may be accepted after STOR of this one was refused. Names that begin with a
/// dot can be forbidden, and files can be writable in a directory that is not.
fn may_be_about_the_name(fault: &pool::Error, path: &RemotePath) -> bool {
    let may_be = |code| matches!(code, 450 | 451 | 500 | 501 | 504 | 540..=559) && code != 552;
    if !refusal(fault).is_some_and(|reply| may_be(reply.code().0)) {
        return false;
    }
    !matches!(
        meaning(fault, path),
        Some(ErrorKind::NoSpace | ErrorKind::QuotaExceeded | ErrorKind::NotDirectory)
    )
}
