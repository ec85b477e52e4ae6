//! Checks of listings that may not belong to the directory: an empty one, one with only the
//! directory's own name, one that equals another directory's, and a refusal.
//!
//! Each check asks in another form and records the result in the profile. A form that has listed
//! entries is trusted from then on, so a correct server is checked once. CWD shows whether a
//! directory exists and can be entered (RFC 959 §4.1.1).

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::cwd_witness::{enter, is_cwd_a_witness};
use super::error::{ErrorContext, Operation, meaning, refusal};
use super::name_lookup::{Lookup, lookup_by_name};
use super::received::{Received, fetch, fetch_as, too_large};
use super::retry::Exchange;
use super::{Error, ErrorKind, Remote, reply_text};
use crate::ftp::{Capability, Completeness, Entry, Finding, Kind, ListForm, ListWith, RemotePath};
use crate::pool;

/// Maximum number of NLST names whose kinds are requested one by one.
const MAX_BARE_NAMES: usize = 1_000;
/// Number of names that begin with a dot that are requested one by one before a listing is used to
/// find out whether it shows them.
const MAX_DOT_NAMES: u32 = 2;
/// The pauses before a listing is requested again because the server may have missed a file that
/// disappeared.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(30),
    Duration::from_millis(100),
    Duration::from_millis(300),
];
/// Maximum number of refusals whose text is remembered.
const MAX_WORDS: usize = 16;

/// Returns the part of `received`, a reply to `with`, that belongs to `directory`.
pub(super) fn judge(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    directory: &RemotePath,
    with: ListWith,
    received: Received,
) -> Result<Received, Error> {
    if received.completeness == Completeness::Unlistable {
        enter(exchange, directory)
            .map_err(|fault| diagnose(remote, exchange, directory, &fault))?;
        return Ok(received);
    }
    if received.is_empty {
        return judge_empty(remote, exchange, directory, with);
    }
    remote
        .listing_checks()
        .record_itself(with, asks_for_all(remote, with), &received);
    if with == ListWith::Mlsd && !received.entries.is_empty() {
        remote.profile().works(Capability::Mlsd);
    }
    if names_only(&received, directory) {
        return judge_single(remote, exchange, directory, received);
    }
    check_path(remote, exchange, directory, with, received)
}

/// Returns the listing that a refusal of `with` stands for. Some servers refuse to list an empty
/// directory (`550 No files found`); others refuse to list a directory that can be entered.
pub(super) fn judge_refusal(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    directory: &RemotePath,
    with: ListWith,
    fault: &pool::Error,
) -> Result<Received, Error> {
    let Some(reply) = refusal(fault) else {
        return Err(diagnose(remote, exchange, directory, fault));
    };
    let about_file = matches!(reply.code().0, 450 | 451 | 501 | 550 | 553);
    if !about_file || enter(exchange, directory).is_err() || !is_cwd_a_witness(remote, exchange) {
        return Err(diagnose(remote, exchange, directory, fault));
    }
    let says_empty = |fault: &pool::Error| {
        refusal(fault).is_some_and(|reply| reply_text::say_empty(reply.lines(), directory))
    };
    if says_empty(fault) {
        return Ok(Received::nothing(Completeness::Complete));
    }
    match meaning(fault, directory) {
        Some(ErrorKind::PermissionDenied) => {
            return Ok(Received::nothing(Completeness::Unlistable));
        }
        Some(ErrorKind::NotFound) => {
            if let Some(received) = list_again(remote, exchange, directory, with)? {
                return judge(remote, exchange, directory, with, received);
            }
        }
        Some(_) | None => {}
    }
    let inside = ListForm {
        with,
        all: false,
        inside: true,
    };
    let completeness = match fetch_as(remote, exchange, inside, directory) {
        Ok(None) => return Err(too_large(remote, directory)),
        Ok(Some(received)) if received.completeness == Completeness::Unlistable => {
            return Ok(received);
        }
        Ok(Some(received)) if received.is_empty => {
            let (with, all) = (inside.with, inside.all);
            if remote.listing_checks().names_itself(with, all) == Some(true) {
                Completeness::Unlistable
            } else {
                Completeness::Complete
            }
        }
        Ok(Some(received)) => {
            let why = "it refused to list the path but listed the directory after CWD";
            remote.profile().fails(Capability::PathArgument, &why);
            return Ok(without_hidden(inside, received));
        }
        Err(inner) if refusal(&inner).is_none() => {
            return Err(diagnose(remote, exchange, directory, &inner));
        }
        Err(inner) if says_empty(&inner) => Completeness::Complete,
        Err(_) => Completeness::Unlistable,
    };
    Ok(Received::nothing(completeness))
}

/// Lists `directory` again, which exists although the server reports that something does not.
/// libunftp refuses the whole listing if one of the files disappears while it lists them. Returns
/// `None` if it refuses every time.
fn list_again(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    directory: &RemotePath,
    with: ListWith,
) -> Result<Option<Received>, Error> {
    for pause in PAUSES {
        thread::sleep(pause);
        match fetch(remote, exchange, with, directory) {
            Ok(Some(received)) => return Ok(Some(received)),
            Ok(None) => return Err(too_large(remote, directory)),
            Err(fault) if refusal(&fault).is_some() => {}
            Err(fault) => return Err(diagnose(remote, exchange, directory, &fault)),
        }
    }
    Ok(None)
}

/// Checks an empty listing without a line for the directory itself: the server may not have read
/// any directory.
fn judge_empty(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    directory: &RemotePath,
    with: ListWith,
) -> Result<Received, Error> {
    let profile = remote.profile();
    let is_proven = match with {
        ListWith::Mlsd => profile.is_proven(Capability::Mlsd),
        ListWith::List if profile.has(Capability::ListAll) => {
            profile.is_proven(Capability::ListAll)
        }
        ListWith::List | ListWith::Names | ListWith::Stat => remote.listing_checks().has_listed(),
    };
    if !(with == ListWith::Mlsd && is_proven) {
        enter(exchange, directory)
            .map_err(|fault| diagnose(remote, exchange, directory, &fault))?;
    }
    if omits_itself(remote, exchange, directory, with)? {
        return Ok(Received::nothing(Completeness::Unlistable));
    }
    if is_proven {
        return Ok(Received::nothing(Completeness::Complete));
    }
    for form in other_forms(with, profile.has(Capability::PathArgument)) {
        match fetch_as(remote, exchange, form, directory) {
            Ok(None) => return Err(too_large(remote, directory)),
            Ok(Some(received)) if received.completeness == Completeness::Unlistable => {
                return Ok(received);
            }
            Ok(Some(received)) if received.is_empty => {}
            Ok(Some(received)) if names_only(&received, directory) => {}
            Ok(Some(_)) if form.inside && !is_cwd_a_witness(remote, exchange) => {}
            Ok(Some(received)) => {
                return learn(remote, exchange, directory, (with, form), received);
            }
            Err(fault) if refusal(&fault).is_some() => {}
            Err(fault) => return Err(diagnose(remote, exchange, directory, &fault)),
        }
    }
    Ok(Received::nothing(Completeness::Blank))
}

/// Whether a reply to `with` without any line cannot belong to an empty directory, because listings
/// of this server contain a line for the directory itself. If no listing has shown that yet, the
/// start directory is listed.
fn omits_itself(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    directory: &RemotePath,
    with: ListWith,
) -> Result<bool, Error> {
    let checks = remote.listing_checks();
    let all = asks_for_all(remote, with);
    if let Some(names_itself) = checks.names_itself(with, all) {
        return Ok(names_itself);
    }
    let home = match remote.home() {
        Ok(home) if home != *directory => home,
        _ => return Ok(false),
    };
    match fetch(remote, exchange, with, &home) {
        Ok(Some(received)) if received.is_empty => {}
        Ok(Some(received)) => checks.record_itself(with, all, &received),
        Ok(None) => {}
        Err(fault) if refusal(&fault).is_some() => {}
        Err(fault) => return Err(diagnose(remote, exchange, directory, &fault)),
    }
    Ok(checks.names_itself(with, all) == Some(true))
}

/// Whether the usual request for `with` includes `-a`.
fn asks_for_all(remote: &Remote, with: ListWith) -> bool {
    match with {
        ListWith::Mlsd => remote.profile().has(Capability::MlsdAll),
        ListWith::List => remote.profile().has(Capability::ListAll),
        ListWith::Names | ListWith::Stat => false,
    }
}

/// Returns the forms that check an empty reply to `with`.
fn other_forms(with: ListWith, takes_path: bool) -> impl Iterator<Item = ListForm> {
    let form = |with, inside| ListForm {
        with,
        all: false,
        inside,
    };
    [
        (takes_path || with == ListWith::Mlsd).then(|| form(ListWith::List, !takes_path)),
        takes_path.then(|| form(with, true)),
        (!takes_path && with != ListWith::Mlsd).then(|| form(with, true)),
        Some(form(ListWith::Names, !takes_path)),
    ]
    .into_iter()
    .flatten()
}

/// Records that `form` showed entries that the usual reply to `with` omitted.
fn learn(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    directory: &RemotePath,
    (with, form): (ListWith, ListForm),
    received: Received,
) -> Result<Received, Error> {
    let profile = remote.profile();
    match form.with {
        ListWith::Names => return kinds_of_names(remote, exchange, directory, received),
        ListWith::List if with == ListWith::Mlsd => {
            profile.fails(Capability::Mlsd, &"it lists nothing where LIST does");
        }
        ListWith::List if !form.inside => {
            remote.listing_checks().listed();
            profile.fails(Capability::ListAll, &"only LIST without it lists anything");
        }
        ListWith::List | ListWith::Mlsd | ListWith::Stat => {
            let why = "it lists nothing for a path, but entries after CWD";
            profile.fails(Capability::PathArgument, &why);
        }
    }
    Ok(without_hidden(form, received))
}

/// Downgrades a LIST without `-a`, which omits names that begin with a dot unless it shows one.
pub(super) fn without_hidden(form: ListForm, mut received: Received) -> Received {
    let shows_hidden = || {
        let mut names = received.entries.iter().map(|entry| &entry.name);
        received.names_itself || names.any(|name| name.starts_with(b"."))
    };
    if form.with != ListWith::Mlsd
        && !form.all
        && received.completeness == Completeness::Complete
        && !shows_hidden()
    {
        received.completeness = Completeness::Visible;
    }
    received
}

/// Requests the kind of each name that NLST showed.
fn kinds_of_names(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    directory: &RemotePath,
    mut received: Received,
) -> Result<Received, Error> {
    log::warn!(
        path = directory;
        "{directory}: only NLST shows its names; requesting the kind of each one"
    );
    received.entries.truncate(MAX_BARE_NAMES);
    for entry in &mut received.entries {
        let Ok(path) = directory.join(&entry.name) else {
            continue;
        };
        if let Lookup::Found(found) = lookup_by_name(remote, exchange, &path)? {
            *entry = found;
        }
    }
    // NLST omits names that begin with a dot.
    received.completeness = Completeness::Incomplete;
    Ok(received)
}

/// Checks a listing with a single line that has the directory's own name. LIST and STAT accept a
/// file, too, and vsftpd replies like this for a directory that it cannot read. A directory never
/// contains itself.
fn judge_single(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    directory: &RemotePath,
    received: Received,
) -> Result<Received, Error> {
    if directory.is_root() {
        return Ok(received);
    }
    enter(exchange, directory).map_err(|fault| diagnose(remote, exchange, directory, &fault))?;
    let is_itself = match received.entries.as_slice() {
        [only] if only.kind == Kind::Directory => match directory.join(&only.name) {
            Ok(inner) => enter(exchange, &inner).is_err() || !is_cwd_a_witness(remote, exchange),
            Err(_) => true,
        },
        [] => true,
        _ => false,
    };
    if is_itself {
        return Ok(Received::nothing(Completeness::Unlistable));
    }
    Ok(received)
}

/// Whether these lines may describe `path` itself.
fn names_only(received: &Received, path: &RemotePath) -> bool {
    if received.names_itself {
        return false;
    }
    match (received.entries.as_slice(), &received.unused) {
        ([only], (0, _)) => only.name == path.name(),
        ([], (1, Some(line))) => {
            !path.is_root() && line.text.trim_ascii_end().ends_with(path.as_bytes())
        }
        _ => false,
    }
}

/// Checks whether the server lists the requested path instead of its working directory. The only
/// proof is a listing by path, requested in another working directory, that equals the listing
/// after CWD. Otherwise the working directory of a session is unknown, and two directories may
/// differ for any reason.
fn check_path(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    directory: &RemotePath,
    with: ListWith,
    received: Received,
) -> Result<Received, Error> {
    let profile = remote.profile();
    if with == ListWith::List && !profile.has(Capability::ListAll) {
        remote.listing_checks().listed();
    }
    let is_known = matches!(
        profile.finding(Capability::PathArgument),
        Finding::Works | Finding::Fails
    );
    if received.entries.is_empty() || is_known || with.enters(directory) {
        return Ok(received);
    }
    let form = |inside| ListForm {
        with,
        all: asks_for_all(remote, with),
        inside,
    };
    let inner = match fetch_as(remote, exchange, form(true), directory) {
        Ok(Some(inner)) => inner,
        Ok(None) => return Err(too_large(remote, directory)),
        Err(fault) if refusal(&fault).is_some() => return Ok(received),
        Err(fault) => return Err(diagnose(remote, exchange, directory, &fault)),
    };
    if !is_cwd_a_witness(remote, exchange) {
        return Ok(received);
    }
    let Some(parent) = directory.parent() else {
        if names(&inner.entries) != names(&received.entries) {
            profile.fails(
                Capability::PathArgument,
                &"after CWD it lists something else",
            );
        }
        return Ok(inner);
    };
    let by_path = exchange.run_idempotent(|session| {
        session.change_directory(&parent)?;
        let mut names = Vec::new();
        session.list_as(form(false), directory, &mut |entry| {
            names.push(entry.name);
            ControlFlow::Continue(())
        })?;
        names.sort_unstable();
        Ok(names)
    });
    match by_path {
        Ok(by_path) if by_path == names(&inner.entries) => {
            profile.works(Capability::PathArgument);
        }
        Ok(_) => {
            profile.fails(
                Capability::PathArgument,
                &"after CWD it lists something else",
            );
        }
        Err(fault) if refusal(&fault).is_some() => {}
        Err(fault) => return Err(diagnose(remote, exchange, directory, &fault)),
    }
    Ok(inner)
}

fn diagnose(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    directory: &RemotePath,
    fault: &pool::Error,
) -> Error {
    remote.diagnose(
        exchange,
        &ErrorContext::new(Operation::List, directory),
        fault,
    )
}

fn names(entries: &[Entry]) -> Vec<&[u8]> {
    let mut names: Vec<&[u8]> = entries.iter().map(|entry| entry.name.as_slice()).collect();
    names.sort_unstable();
    names
}

/// What the listings of one mount have shown about the server's listing commands.
#[derive(Debug, Default)]
pub(super) struct ListingChecks {
    state: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Whether LIST without options has listed something.
    has_listed: bool,
    /// Whether listings contain a line for the directory itself, by command and by `-a`.
    names_itself: HashMap<(ListWith, bool), bool>,
    /// Number of lookups of names that begin with a dot, made because listings may omit them.
    dot_names: u32,
    /// Texts of MLST refusals without a known reason, for names that did not exist.
    words_of_absence: HashSet<String>,
    /// Texts of MLST refusals for names that existed: these texts prove nothing.
    words_of_presence: HashSet<String>,
}

impl ListingChecks {
    /// Counts a lookup of a name that begins with a dot, made because listings may omit it.
    pub(super) fn count_dot_name(&self) {
        let asked = &mut self.seen().dot_names;
        *asked = asked.saturating_add(1);
    }

    /// Whether there were so many such lookups that inspecting a listing, while a name that begins
    /// with a dot exists, is cheaper. True once.
    pub(super) fn is_dot_listing_due(&self) -> bool {
        let asked = &mut self.seen().dot_names;
        let is_due = (MAX_DOT_NAMES..u32::MAX).contains(asked);
        if is_due {
            *asked = u32::MAX;
        }
        is_due
    }

    /// Records that an MLST refusal with this text was for a name that does not exist.
    pub(super) fn record_absence(&self, words: String) {
        let mut seen = self.seen();
        if seen.words_of_absence.len() < MAX_WORDS && !seen.words_of_presence.contains(&words) {
            seen.words_of_absence.insert(words);
        }
    }

    /// Records that an MLST refusal with this text was for a name that exists.
    pub(super) fn record_presence(&self, words: String) {
        let mut seen = self.seen();
        seen.words_of_absence.remove(&words);
        if seen.words_of_presence.len() < MAX_WORDS {
            seen.words_of_presence.insert(words);
        }
    }

    /// Whether this text was the refusal of a name that did not exist.
    pub(super) fn mean_absence(&self, words: &str) -> bool {
        self.seen().words_of_absence.contains(words)
    }

    /// Records whether a listing with entries contains a line for the directory itself.
    fn record_itself(&self, with: ListWith, all: bool, received: &Received) {
        let names_itself = received.names_itself;
        self.seen()
            .names_itself
            .entry((with, all))
            .and_modify(|always| *always &= names_itself)
            .or_insert(names_itself);
    }

    /// Whether all such listings so far contain a line for the directory itself; `None` before the
    /// first one.
    fn names_itself(&self, with: ListWith, all: bool) -> Option<bool> {
        self.seen().names_itself.get(&(with, all)).copied()
    }

    fn has_listed(&self) -> bool {
        self.seen().has_listed
    }

    fn listed(&self) {
        self.seen().has_listed = true;
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RemotePath {
        RemotePath::new(text.as_bytes()).unwrap()
    }

    fn received(entries: &[(&str, Kind)]) -> Received {
        let entries = entries.iter().map(|(name, kind)| Entry::new(*name, *kind));
        Received {
            names_itself: false,
            ..Received::from(entries.collect::<Vec<_>>())
        }
    }

    #[test]
    fn only_a_single_line_of_the_directorys_own_name_is_doubted() {
        let path = path("/a/b");
        for kind in [Kind::File, Kind::Directory, Kind::Unknown] {
            assert!(names_only(&received(&[("b", kind)]), &path), "{kind:?}");
        }
        assert!(!names_only(&received(&[("c", Kind::File)]), &path));
        let two = received(&[("b", Kind::File), ("c", Kind::File)]);
        assert!(!names_only(&two, &path));
        let itself = Received {
            names_itself: true,
            ..received(&[("b", Kind::Directory)])
        };
        assert!(!names_only(&itself, &path));
    }

    #[test]
    fn listings_that_always_name_the_directory_are_told_from_others() {
        let checks = ListingChecks::default();
        let (with, all) = (ListWith::List, true);
        assert_eq!(checks.names_itself(with, all), None);
        let without = received(&[("a", Kind::File)]);
        let itself = Received {
            names_itself: true,
            ..received(&[("a", Kind::File)])
        };
        checks.record_itself(with, all, &itself);
        assert_eq!(checks.names_itself(with, all), Some(true));
        assert_eq!(checks.names_itself(with, false), None);
        checks.record_itself(with, all, &without);
        checks.record_itself(with, all, &itself);
        assert_eq!(checks.names_itself(with, all), Some(false));
    }
}
