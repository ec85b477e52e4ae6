//! One listing as the server sends it, in one form.

use std::ops::ControlFlow;

use super::error::{ErrorContext, Operation};
use super::retry::Exchange;
use super::{Error, ErrorKind, Remote};
use crate::ftp::{
    self, Capability, Completeness, Entry, Kind, ListForm, ListWith, ListingOutcome, Perm,
    RemotePath, ServerProfile, UnusedLine,
};
use crate::pool;

/// The server's answer to one listing command.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) entries: Vec<Entry>,
    pub(super) completeness: Completeness,
    /// Whether nothing shows that the server read a directory.
    pub(super) is_empty: bool,
    /// Whether it contains a line for the directory itself.
    pub(super) names_itself: bool,
    /// The `perm` fact of the directory itself.
    pub(super) perm: Option<Perm>,
    /// Number of lines that could not be parsed, and the first one.
    pub(super) unused: (u64, Option<UnusedLine>),
}

impl Received {
    fn new(entries: Vec<Entry>, outcome: &ListingOutcome) -> Self {
        Self {
            entries,
            completeness: outcome.completeness(),
            is_empty: outcome.is_empty(),
            names_itself: outcome.names_itself,
            perm: outcome.perm,
            unused: (outcome.unreadable + outcome.dropped, outcome.sample.clone()),
        }
    }

    /// Creates a result without entries.
    pub(super) fn nothing(completeness: Completeness) -> Self {
        Self {
            completeness,
            is_empty: true,
            ..Self::from(Vec::new())
        }
    }
}

impl From<Vec<Entry>> for Received {
    /// Creates the result of a complete listing.
    fn from(entries: Vec<Entry>) -> Self {
        Self {
            entries,
            completeness: Completeness::Complete,
            is_empty: false,
            names_itself: true,
            perm: None,
            unused: (0, None),
        }
    }
}

/// Requests one listing and converts its times to UTC. Returns `None` if it exceeds the memory
/// limit.
pub(super) fn fetch(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    with: ListWith,
    directory: &RemotePath,
) -> Result<Option<Received>, pool::Error> {
    exchange.run_idempotent(|session| {
        receive_by(remote, session, directory, |session, sink| {
            session.list(with, directory, sink)
        })
    })
}

/// Like [`fetch`], in exactly this form.
pub(super) fn fetch_as(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    form: ListForm,
    directory: &RemotePath,
) -> Result<Option<Received>, pool::Error> {
    exchange.run_idempotent(|session| {
        receive_by(remote, session, directory, |session, sink| {
            session.list_as(form, directory, sink)
        })
    })
}

fn receive_by(
    remote: &Remote,
    session: &mut ftp::Session,
    directory: &RemotePath,
    list: impl FnOnce(
        &mut ftp::Session,
        &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<ListingOutcome, ftp::Error>,
) -> Result<Option<Received>, ftp::Error> {
    let mut entries = Vec::new();
    let listed = list(session, &mut |mut entry| {
        // Nothing here uses them, and the server determines their length.
        (entry.owner, entry.group) = (None, None);
        record_mode_support(remote.profile(), &entry);
        entries.push(entry);
        ControlFlow::Continue(())
    });
    let outcome = match listed {
        Err(ftp::Error::ListingTooLarge(_)) => return Ok(None),
        listed => listed?,
    };
    remote.zone().to_utc(session, directory, &mut entries);
    // The entries count until they are ready for the cache, which has its own limit.
    Ok(Some(Received::new(entries, &outcome)))
}

/// Records what `entry` shows about the server's modes.
pub(super) fn record_mode_support(profile: &ServerProfile, entry: &Entry) {
    // Where reading without entering is shown, the modes may mean something else (`drwxr--r--`).
    let is_unix = |mode: u32| mode & 0o111 != 0 && (mode & 0o444) >> 2 & !mode == 0;
    if entry.kind == Kind::Directory && entry.mode.is_some_and(is_unix) {
        profile.works(Capability::DirectoryModes);
    }
}

/// Returns the entries that LIST shows in `directory`, for facts that MLSD does not report (a
/// link's target).
pub(super) fn list_lines(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    directory: &RemotePath,
) -> Result<Vec<Entry>, Error> {
    match fetch(remote, exchange, ListWith::List, directory) {
        Ok(Some(received)) => Ok(received.entries),
        Ok(None) => Err(too_large(remote, directory)),
        Err(fault) => {
            let context = ErrorContext::new(Operation::List, directory);
            Err(remote.diagnose(exchange, &context, &fault))
        }
    }
}

pub(super) fn too_large(remote: &Remote, directory: &RemotePath) -> Error {
    let mebibytes = remote.listings().limit() >> 20;
    ErrorContext::new(Operation::List, directory).error(
        ErrorKind::Protocol,
        &format!(
            "listings in progress take more than {mebibytes} MiB of memory; see -o cache_size"
        ),
    )
}
