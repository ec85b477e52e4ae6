//! The entry at one path: from MLST (RFC 3659 §7), otherwise from the listing of its parent. If
//! that neither shows the name nor rules it out, the server is asked about this name with CWD,
//! SIZE, MDTM, NLST, LIST and RNFR.
//!
//! Every decision that a name is free rests on [`lookup`]: [`Lookup::Absent`] means that a trusted
//! reply rules the name out, and an error means that none does.

use super::error::{
    ErrorContext, Operation, is_unsupported, meaning, refusal, reply_meaning, unless_refused,
};
use super::links::apply_policy;
use super::listing::{Received, fetch_as, list_all, list_lines, record_mode_support};
use super::listing_check::is_cwd_a_witness;
use super::rename_source::{self, RenameSource};
use super::retry::Exchange;
use super::transience::is_lost;
use super::{Error, ErrorKind, Remote, listed_size, reply_text};
use crate::ftp::{
    self, Capability, Completeness, Entry, Kind, ListForm, ListWith, Modified, Precision,
    RemotePath, Reply, Session,
};
use crate::pool;

/// Number of MLST replies without facts after which MLST is no longer used.
const MAX_EMPTY_FACTS: u8 = 3;

/// The result of a lookup.
#[derive(Debug)]
pub(super) enum Lookup {
    /// This entry exists.
    Found(Entry),
    /// Nothing exists there, but its directory does.
    Absent,
    /// Nothing exists there, and its parent is no directory or does not exist either.
    NoParent(ErrorKind),
}

/// See [`Remote::stat`].
pub(super) fn stat(remote: &Remote, path: &RemotePath) -> Result<Entry, Error> {
    let context = ErrorContext::new(Operation::Stat, path);
    match lookup_as_shown(remote, &mut remote.exchange(), path)? {
        Lookup::Found(entry) => Ok(entry),
        Lookup::Absent => Err(context.error(ErrorKind::NotFound, &"the server does not list it")),
        Lookup::NoParent(kind) => Err(context.error(kind, &"its directory does not exist")),
    }
}

/// Looks up `path` and applies the link policy.
pub(super) fn lookup_as_shown(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
) -> Result<Lookup, Error> {
    match (lookup(remote, exchange, path)?, path.parent()) {
        (Lookup::Found(entry), Some(parent)) => apply_policy(remote, exchange, &parent, entry)
            .map(|shown| shown.map_or(Lookup::Absent, Lookup::Found))
            .map_err(|fault| {
                remote.diagnose(exchange, &ErrorContext::new(Operation::Stat, path), &fault)
            }),
        (found, _) => Ok(found),
    }
}

/// Looks up `path`.
pub(super) fn lookup(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
) -> Result<Lookup, Error> {
    let mut found = lookup_by_facts(remote, exchange, path)?;
    if let Lookup::Found(entry) = &mut found {
        listed_size::correct(remote, exchange, path, entry)?;
    }
    Ok(found)
}

fn lookup_by_facts(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
) -> Result<Lookup, Error> {
    let answer = ask_facts(remote, exchange, path)?;
    match answer {
        MlstAnswer::Found(entry) if may_be_a_link(&entry) => {
            lookup_in_listing(remote, exchange, path, entry)
        }
        MlstAnswer::Found(entry) => Ok(Lookup::Found(entry)),
        MlstAnswer::Absent => Ok(Lookup::Absent),
        MlstAnswer::NoParent(kind) => Ok(Lookup::NoParent(kind)),
        MlstAnswer::Silent => lookup_in_parent(remote, exchange, path),
        MlstAnswer::Empty => match lookup_in_parent(remote, exchange, path)? {
            Lookup::Absent => lookup_by_name(remote, exchange, path),
            seen => Ok(seen),
        },
        MlstAnswer::Unexplained(words) => {
            let lookup = lookup_in_parent(remote, exchange, path)?;
            record_words(remote, words, &lookup);
            Ok(lookup)
        }
        MlstAnswer::Denied => {
            let lookup = lookup_in_parent(remote, exchange, path)?;
            if matches!(lookup, Lookup::Found(_)) && path.parent().is_some() {
                let why = "it reports a listed name as missing";
                remote.profile().fails(Capability::Mlst, &why);
            }
            Ok(lookup)
        }
    }
}

fn count_dot_name(remote: &Remote, path: &RemotePath) {
    if path.name().starts_with(b".") {
        remote.listing_checks().count_dot_name();
    }
}

/// Records what a refusal of MLST with this text meant.
fn record_words(remote: &Remote, words: String, lookup: &Lookup) {
    match lookup {
        Lookup::Absent => remote.listing_checks().record_absence(words),
        Lookup::Found(_) => remote.listing_checks().record_presence(words),
        Lookup::NoParent(_) => {}
    }
}

/// See [`Remote::stat_unlisted`].
pub(super) fn stat_unlisted(remote: &Remote, path: &RemotePath) -> Result<Entry, Error> {
    let context = ErrorContext::new(Operation::Stat, path);
    let mut exchange = remote.exchange();
    count_dot_name(remote, path);
    let lookup = match ask_facts(remote, &mut exchange, path)? {
        MlstAnswer::Found(entry) => Lookup::Found(entry),
        MlstAnswer::Absent => Lookup::Absent,
        MlstAnswer::NoParent(kind) => Lookup::NoParent(kind),
        MlstAnswer::Silent | MlstAnswer::Empty | MlstAnswer::Denied => {
            lookup_by_name(remote, &mut exchange, path)?
        }
        MlstAnswer::Unexplained(words) => {
            let lookup = lookup_by_name(remote, &mut exchange, path)?;
            record_words(remote, words, &lookup);
            lookup
        }
    };
    match lookup {
        Lookup::Found(mut entry) => {
            listed_size::correct(remote, &mut exchange, path, &mut entry)?;
            Ok(entry)
        }
        Lookup::Absent => {
            Err(context.error(ErrorKind::NotFound, &"the server reports no such file"))
        }
        Lookup::NoParent(kind) => Err(context.error(kind, &"its directory does not exist")),
    }
}

/// The reply to MLST for a path.
enum MlstAnswer {
    Found(Entry),
    Absent,
    NoParent(ErrorKind),
    /// Refused by a server whose MLST has not succeeded yet.
    Denied,
    /// Refused by a server whose MLST has succeeded before, with this text, which gives no known
    /// reason.
    Unexplained(String),
    /// A success without facts: ProFTPD's reply for a name that `HideFiles` omits from listings.
    Empty,
    /// The server does not support MLST.
    Silent,
}

fn ask_facts(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
) -> Result<MlstAnswer, Error> {
    let profile = remote.profile();
    if !profile.has(Capability::Mlst) {
        return Ok(MlstAnswer::Silent);
    }
    let fault = match exchange.run_idempotent(|session| session.mlst(path)) {
        Ok(entry) => {
            profile.works(Capability::Mlst);
            record_mode_support(profile, &entry);
            return Ok(MlstAnswer::Found(named(entry, path)));
        }
        Err(fault) => fault,
    };
    if is_unsupported(&fault) {
        profile.fails(Capability::Mlst, &fault);
        return Ok(MlstAnswer::Silent);
    }
    if is_without_facts(&fault) {
        if !profile.is_proven(Capability::Mlst) {
            profile.doubt(Capability::Mlst, MAX_EMPTY_FACTS, &fault);
        }
        return Ok(MlstAnswer::Empty);
    }
    let is_proven = profile.is_proven(Capability::Mlst);
    Ok(match meaning(&fault, path) {
        Some(ErrorKind::NotFound) if is_proven => MlstAnswer::Absent,
        // "Failed" may stand for a missing name or for a temporary problem.
        None if is_proven => {
            let words = refusal(&fault).map(|reply| reply_text::sense(reply.lines(), path));
            let words = words.unwrap_or_default();
            if remote.listing_checks().mean_absence(&words) {
                MlstAnswer::Absent
            } else {
                MlstAnswer::Unexplained(words)
            }
        }
        // Apache FtpServer replies 501 for a missing name.
        None | Some(ErrorKind::NotFound | ErrorKind::InvalidName) => MlstAnswer::Denied,
        Some(kind @ ErrorKind::NotDirectory) => MlstAnswer::NoParent(kind),
        Some(kind) => return Err(ErrorContext::new(Operation::Stat, path).error(kind, &fault)),
    })
}

/// Whether the MLST reply contains no facts about what exists.
fn is_without_facts(fault: &pool::Error) -> bool {
    let pool::Error::Session(error) = fault else {
        return false;
    };
    matches!(**error, ftp::Error::Malformed { .. })
}

/// ProFTPD reports the kind of a link's target, but the mode and size of the link itself, which
/// would truncate the target to the length of its path. Every link has mode 0777, and no target
/// path is longer than `PATH_MAX`.
fn may_be_a_link(reported: &Entry) -> bool {
    const PATH_MAX: u64 = 4096;
    reported.kind != Kind::Symlink
        && reported.mode == Some(0o777)
        && reported.size.is_none_or(|size| size < PATH_MAX)
}

/// Looks the name up in its parent's listing, which shows a link as a link. Returns what MLST
/// reported if it is not listed.
fn lookup_in_listing(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
    reported: Entry,
) -> Result<Lookup, Error> {
    if path.parent().is_none() {
        return Ok(Lookup::Found(reported));
    }
    match lookup_in_parent(remote, exchange, path)? {
        found @ Lookup::Found(_) => Ok(found),
        Lookup::Absent | Lookup::NoParent(_) => Ok(Lookup::Found(reported)),
    }
}

fn lookup_in_parent(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
) -> Result<Lookup, Error> {
    let Some(parent) = path.parent() else {
        list_all(remote, exchange, path)?;
        return Ok(Lookup::Found(Entry::new(b"", Kind::Directory)));
    };
    match list_all(remote, exchange, &parent) {
        Ok(listing) => match find(listing.entries, path) {
            Some(entry) => Ok(Lookup::Found(entry)),
            None if listing.completeness.answers_for(path.name()) => Ok(Lookup::Absent),
            None if listing.completeness == Completeness::Blank => {
                // If nothing contradicts it, the directory is empty.
                Ok(ask_by_name(remote, exchange, path)?.unwrap_or(Lookup::Absent))
            }
            None => {
                count_dot_name(remote, path);
                lookup_by_name(remote, exchange, path)
            }
        },
        Err(error) => match error.kind {
            ErrorKind::NotFound | ErrorKind::NotDirectory => Ok(Lookup::NoParent(error.kind)),
            _ => Err(error),
        },
    }
}

/// Looks up `path` by the server's replies about this one name: a directory can be entered, a file
/// has a size or a time, and anything that exists can be the source of a rename. The name is ruled
/// out if the server reports that no such file exists, or refuses all of these without a reason
/// although it has reported sizes or times before.
pub(super) fn lookup_by_name(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
) -> Result<Lookup, Error> {
    ask_by_name(remote, exchange, path)?.ok_or_else(|| {
        ErrorContext::new(Operation::Stat, path).error(
            ErrorKind::Other,
            &"the server's replies neither show it nor rule it out",
        )
    })
}

/// Like [`lookup_by_name`]. Returns `None` if the replies neither show the name nor rule it out.
fn ask_by_name(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
) -> Result<Option<Lookup>, Error> {
    let context = ErrorContext::new(Operation::Stat, path);
    let failed = |fault: &pool::Error| {
        context.error(meaning(fault, path).unwrap_or(ErrorKind::Other), fault)
    };
    let entered = exchange.run_idempotent(|session| session.change_directory(path));
    let refused = match entered {
        Ok(()) if is_cwd_a_witness(remote, exchange) => {
            return Ok(Some(Lookup::Found(Entry::new(
                path.name(),
                Kind::Directory,
            ))));
        }
        Ok(()) => None,
        Err(fault) if refusal(&fault).is_none() || is_lost(&fault) => return Err(failed(&fault)),
        Err(fault) => Some(fault),
    };
    let denied = refused
        .as_ref()
        .filter(|fault| meaning(fault, path) == Some(ErrorKind::PermissionDenied));
    let witness = exchange
        .run_idempotent(|session| size_and_time(remote, session, path))
        .map_err(|fault| failed(&fault))?;
    // If CWD reports "not a directory", the name is a file and its directory exists.
    let is_file = refused
        .as_ref()
        .is_some_and(|fault| meaning(fault, path) == Some(ErrorKind::NotDirectory));
    if is_file && !matches!(witness, Witness::File(_) | Witness::Absent) {
        return Ok(Some(Lookup::Found(Entry::new(path.name(), Kind::File))));
    }
    // Only CWD identifies a directory.
    let is_no_directory = refused.is_some() && denied.is_none();
    // A file could not be entered without such an error, and would have a size.
    let kind = if denied.is_some() || matches!(witness, Witness::Refused) {
        Kind::Directory
    } else {
        Kind::File
    };
    match &witness {
        Witness::File(entry) => return Ok(Some(Lookup::Found(entry.clone()))),
        Witness::Absent if is_no_directory => return Ok(Some(Lookup::Absent)),
        Witness::Refused if is_no_directory => {}
        Witness::Absent | Witness::Refused | Witness::Denied(..) | Witness::Silent => {
            if let Some(lookup) = lookup_in_names(remote, exchange, path, kind)? {
                return Ok(Some(lookup));
            }
        }
    }
    match rename_source::ask(remote, exchange, path).map_err(|fault| failed(&fault))? {
        RenameSource::There => {
            if let Some(entry) = list_alone(remote, exchange, path)? {
                return Ok(Some(Lookup::Found(entry)));
            }
            return Ok(Some(Lookup::Found(Entry::new(path.name(), kind))));
        }
        RenameSource::Absent => return Ok(Some(Lookup::Absent)),
        RenameSource::Unknown => {}
    }
    Err(match (denied, witness) {
        // Otherwise nothing could be created in a drop box. No upload replaces a directory.
        (None, Witness::Refused) if is_no_directory => return Ok(Some(Lookup::Absent)),
        (_, Witness::Denied(kind, reply)) => context.error(kind, &reply),
        (Some(fault), _) => context.error(ErrorKind::PermissionDenied, fault),
        (None, _) => return Ok(None),
    })
}

/// What SIZE and MDTM report for a path.
enum Witness {
    File(Entry),
    /// No such file exists.
    Absent,
    /// No reason, from a server that has reported these for other files.
    Refused,
    Denied(ErrorKind, Reply),
    Silent,
}

fn size_and_time(
    remote: &Remote,
    session: &mut Session,
    path: &RemotePath,
) -> Result<Witness, ftp::Error> {
    let profile = remote.profile();
    let mut entry = Entry::new(path.name(), Kind::File);
    let (mut is_there, mut is_absent, mut is_refused, mut denied) = (false, false, false, None);
    let mut note = |capability, answer: Result<i128, ftp::Error>| {
        if let Err(ftp::Error::Refused { reply, .. }) = &answer {
            let said = reply_meaning(reply, path);
            is_absent |= said == Some(ErrorKind::NotFound);
            is_refused |= said.is_none() && profile.is_proven(capability);
            if let Some(kind @ ErrorKind::PermissionDenied) = said {
                denied = Some(Witness::Denied(kind, reply.clone()));
            }
        }
        let answer = unless_refused(answer, profile, capability)?;
        if answer.is_some() {
            profile.works(capability);
            is_there = true;
        }
        Ok::<_, ftp::Error>(answer)
    };
    if profile.has(Capability::Size) {
        let size = note(Capability::Size, session.size(path).map(i128::from))?;
        entry.size = size.and_then(|size| u64::try_from(size).ok());
    }
    if profile.has(Capability::Mdtm) {
        let time = note(Capability::Mdtm, session.modified(path).map(i128::from))?;
        let seconds = time.and_then(|time| i64::try_from(time).ok());
        entry.modified = seconds.map(|seconds| Modified {
            seconds,
            precision: Precision::Second,
            utc: true,
        });
    }
    Ok(match (is_there, denied) {
        (true, _) => Witness::File(entry),
        (false, Some(denied)) => denied,
        (false, None) if is_absent => Witness::Absent,
        (false, None) if is_refused => Witness::Refused,
        (false, None) => Witness::Silent,
    })
}

/// Looks the name up in NLST of the directory, which has no line formats, and in LIST of the path
/// alone. Returns `None` if both are refused. A name that NLST shows is of this `kind`.
fn lookup_in_names(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
    kind: Kind,
) -> Result<Option<Lookup>, Error> {
    let Some(parent) = path.parent() else {
        return Ok(None);
    };
    if let Some(received) = ask_names(remote, exchange, ListWith::Names, path, &parent)?
        && !received.entries.is_empty()
    {
        let shows_hidden = received.names_itself || !path.name().starts_with(b".");
        if let Some(entry) = find(received.entries, path) {
            return Ok(Some(Lookup::Found(Entry { kind, ..entry })));
        }
        if shows_hidden {
            return Ok(Some(Lookup::Absent));
        }
    }
    Ok(list_alone(remote, exchange, path)?.map(Lookup::Found))
}

/// Returns the line that LIST of `path` shows for the path itself.
fn list_alone(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
) -> Result<Option<Entry>, Error> {
    if !remote.profile().has(Capability::PathArgument) {
        return Ok(None);
    }
    let received = ask_names(remote, exchange, ListWith::List, path, path)?;
    Ok(received.and_then(|received| find(received.entries, path)))
}

/// Requests a listing of `directory` without options, to find `path`. Returns `None` if it is
/// refused.
fn ask_names(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    with: ListWith,
    path: &RemotePath,
    directory: &RemotePath,
) -> Result<Option<Received>, Error> {
    let form = ListForm {
        with,
        all: false,
        inside: !remote.profile().has(Capability::PathArgument),
    };
    match fetch_as(remote, exchange, form, directory) {
        Ok(received) => Ok(received),
        Err(fault) if refusal(&fault).is_some() => Ok(None),
        Err(fault) => {
            let kind = meaning(&fault, path).unwrap_or(ErrorKind::Other);
            Err(ErrorContext::new(Operation::Stat, path).error(kind, &fault))
        }
    }
}

/// See [`Remote::read_link`].
pub(super) fn read_link(remote: &Remote, path: &RemotePath) -> Result<Vec<u8>, Error> {
    let context = ErrorContext::new(Operation::ReadLink, path);
    let mut exchange = remote.exchange();
    if remote.profile().has(Capability::Mlst)
        && let Lookup::Found(entry) = lookup(remote, &mut exchange, path)?
        && let Some(target) = entry.target
    {
        return Ok(target);
    }
    let Some(parent) = path.parent() else {
        return Err(context.error(ErrorKind::IsDirectory, &"the root is not a link"));
    };
    let entries = list_lines(remote, &mut exchange, &parent)?;
    match find(entries, path) {
        Some(entry) => entry.target.ok_or_else(|| {
            context.error(
                ErrorKind::Unsupported,
                &"the server does not report its target",
            )
        }),
        None => Err(context.error(ErrorKind::NotFound, &"the server does not list it")),
    }
}

fn find(entries: Vec<Entry>, path: &RemotePath) -> Option<Entry> {
    entries.into_iter().find(|entry| entry.name == path.name())
}

/// Replaces the name in an MLST reply, which can be a name or the whole path (RFC 3659 §7.2).
fn named(mut entry: Entry, path: &RemotePath) -> Entry {
    entry.name = path.name().to_vec();
    entry
}
