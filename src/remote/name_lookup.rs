//! The lookup of one name that no listing shows: with CWD, SIZE, MDTM, NLST, LIST and RNFR.

use super::cwd_witness::is_cwd_a_witness;
use super::error::{ErrorContext, Operation, meaning, refusal, reply_meaning, unless_refused};
use super::received::{Received, fetch_as};
use super::rename_source::{self, RenameSource};
use super::retry::Exchange;
use super::transience::is_lost;
use super::{Error, ErrorKind, Remote};
use crate::ftp::{
    self, Capability, Entry, Kind, ListForm, ListWith, Modified, Precision, RemotePath, Reply,
    Session,
};
use crate::pool;

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
pub(super) fn ask_by_name(
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
    let (size, time) = match (profile.has(Capability::Size), profile.has(Capability::Mdtm)) {
        (true, true) => {
            let (size, time) = session.size_and_modified(path)?;
            (Some(size), Some(time))
        }
        (true, false) => (Some(session.size(path)), None),
        (false, true) => (None, Some(session.modified(path))),
        (false, false) => (None, None),
    };
    if let Some(size) = size {
        let size = note(Capability::Size, size.map(i128::from))?;
        entry.size = size.and_then(|size| u64::try_from(size).ok());
    }
    if let Some(time) = time {
        let time = note(Capability::Mdtm, time.map(i128::from))?;
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

/// Returns the entry of this name.
pub(super) fn find(entries: Vec<Entry>, path: &RemotePath) -> Option<Entry> {
    entries.into_iter().find(|entry| entry.name == path.name())
}
