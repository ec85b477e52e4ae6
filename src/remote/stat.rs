//! The entry at one path: from MLST (RFC 3659 §7), otherwise from the listing of its parent. If
//! that neither shows the name nor rules it out, the server is asked about this name
//! (`name_lookup.rs`).
//!
//! A caller that keeps listings makes that of the parent itself ([`Remote::stat_alone`]).
//!
//! Every decision that a name is free rests on [`lookup`]: [`Lookup::Absent`] means that a trusted
//! reply rules the name out, and an error means that none does.

use super::error::{ErrorContext, Operation, is_unsupported, meaning, refusal};
use super::links::apply_policy;
use super::listing::list_all;
use super::name_lookup::{Lookup, ask_by_name, find, lookup_by_name};
use super::received::{list_lines, record_mode_support};
use super::retry::Exchange;
use super::{Error, ErrorKind, Remote, listed_size, named_as, reply_text};
use crate::ftp::{self, Capability, Completeness, Entry, Kind, RemotePath};
use crate::pool;

/// Number of MLST replies without facts after which MLST is no longer used.
const MAX_EMPTY_FACTS: u8 = 3;

/// What the server says of one name, apart from listings.
#[derive(Debug)]
pub(crate) enum StatAlone {
    Found(Entry),
    /// It refuses without a reason that is known to mean that nothing exists there: only the
    /// listing of the directory shows that.
    Unexplained(UnexplainedRefusal),
}

/// A refusal of MLST, to be [explained](Remote::explain_refusal) by the listing.
#[derive(Debug)]
pub(crate) struct UnexplainedRefusal {
    /// Its words; `None` if MLST has not succeeded yet.
    words: Option<String>,
}

impl Remote {
    /// Like [`Remote::stat`], for a caller that keeps listings: does not list the parent of a name
    /// that MLST refuses.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if nothing exists there.
    pub(crate) fn stat_alone(&self, path: &RemotePath) -> Result<StatAlone, Error> {
        self.ask_wherever(path, |at| {
            let mut exchange = self.exchange();
            let words = match ask_facts(self, &mut exchange, at)? {
                MlstAnswer::Unexplained(words) => Some(words),
                MlstAnswer::Denied if at.parent().is_some() => None,
                answer => {
                    let lookup = resolve(self, &mut exchange, at, answer)?;
                    let lookup = as_shown(self, &mut exchange, at, lookup)?;
                    return found(at, lookup)
                        .map(|entry| StatAlone::Found(named_as(path, at, entry)));
                }
            };
            Ok(StatAlone::Unexplained(UnexplainedRefusal { words }))
        })
    }

    /// Records whether the name in `directory` that the server refused `is_listed`.
    pub(crate) fn explain_refusal(
        &self,
        directory: &RemotePath,
        refusal: UnexplainedRefusal,
        is_listed: bool,
    ) {
        if self.has_asides_in(std::slice::from_ref(directory)) {
            // They are listed under the names that they had.
            return;
        }
        match refusal.words {
            Some(words) if is_listed => self.listing_checks().record_presence(words),
            Some(words) => self.listing_checks().record_absence(words),
            None if is_listed => reports_listed_name(self),
            None => {}
        }
    }
}

/// See [`Remote::stat`].
pub(super) fn stat(remote: &Remote, path: &RemotePath) -> Result<Entry, Error> {
    found(path, lookup_as_shown(remote, &mut remote.exchange(), path)?)
}

fn found(path: &RemotePath, lookup: Lookup) -> Result<Entry, Error> {
    let context = ErrorContext::new(Operation::Stat, path);
    match lookup {
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
    let lookup = lookup(remote, exchange, path)?;
    as_shown(remote, exchange, path, lookup)
}

/// Applies the link policy.
fn as_shown(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
    lookup: Lookup,
) -> Result<Lookup, Error> {
    match (lookup, path.parent()) {
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
    let answer = ask_facts(remote, exchange, path)?;
    resolve(remote, exchange, path, answer)
}

/// Looks up `path`, of which MLST says this.
fn resolve(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
    answer: MlstAnswer,
) -> Result<Lookup, Error> {
    let mut found = lookup_by_facts(remote, exchange, path, answer)?;
    if let Lookup::Found(entry) = &mut found {
        listed_size::correct(remote, exchange, path, entry)?;
    }
    Ok(found)
}

fn lookup_by_facts(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
    answer: MlstAnswer,
) -> Result<Lookup, Error> {
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
                reports_listed_name(remote);
            }
            Ok(lookup)
        }
    }
}

/// Records that MLST refused a name that the server lists.
fn reports_listed_name(remote: &Remote) {
    let why = "it reports a listed name as missing";
    remote.profile().fails(Capability::Mlst, &why);
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

/// Replaces the name in an MLST reply, which can be a name or the whole path (RFC 3659 §7.2).
fn named(mut entry: Entry, path: &RemotePath) -> Entry {
    entry.name = path.name().to_vec();
    entry
}
