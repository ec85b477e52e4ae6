//! A directory's listing and how far it can be trusted.
//!
//! Uses MLSD if the server has it, otherwise STAT if that is as good as LIST, otherwise LIST. A
//! result is accepted if it shows that the server read this directory. A result that may belong to
//! a file, to nothing, to another directory or to a misread option goes through `listing_check.rs`,
//! which asks in another form and records in the profile what it learned. The listing says whether
//! a name that is not among the entries may still exist ([`Completeness`]); such a name is looked
//! up separately (`stat.rs`).

use super::error::{ErrorContext, Operation, is_unsupported};
use super::links::apply_policy_to_all;
use super::listing_check;
use super::received::{Received, fetch, too_large};
use super::retry::Exchange;
use super::stat_listing::StatAnswer;
use super::temporary_name::is_temporary;
use super::{Error, Remote, listed_size, stat_listing};
use crate::ftp::{
    Capability, Completeness, DirectoryListing, Entry, ListForm, ListWith, RemotePath,
};

/// Returns the listing as users see it.
pub(super) fn list(remote: &Remote, path: &RemotePath) -> Result<DirectoryListing, Error> {
    let mut exchange = if stat_listing::is_believed(remote) {
        remote.exchange()
    } else {
        Exchange::to_list(remote.pool(), remote.cancel.clone())
    };
    list_as_shown(remote, &mut exchange, path)
}

/// Like [`list`], over `exchange`.
pub(super) fn list_as_shown(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
) -> Result<DirectoryListing, Error> {
    let is_in_it = |original: &RemotePath| original.parent().as_ref() == Some(path);
    let asides = remote.restore_asides(exchange, &is_in_it);
    let mut listing = list_all(remote, exchange, path)?;
    for (aside, original) in asides {
        let is_listed = |name: &[u8]| listing.entries.iter().position(|it| it.name == name);
        if let (Some(at), None) = (is_listed(aside.name()), is_listed(original.name()))
            && let Some(entry) = listing.entries.get_mut(at)
        {
            entry.name = original.name().to_vec();
        }
    }
    listing.entries.retain(|entry| !is_temporary(&entry.name));
    listing.entries =
        apply_policy_to_all(remote, exchange, path, listing.entries).map_err(|fault| {
            remote.diagnose(exchange, &ErrorContext::new(Operation::List, path), &fault)
        })?;
    Ok(listing)
}

/// Returns the listing of `directory`, including unfinished uploads.
pub(super) fn list_all(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    directory: &RemotePath,
) -> Result<DirectoryListing, Error> {
    let received = receive(remote, exchange, directory)?;
    remote.incomplete().update(directory, &received);
    let Received {
        entries,
        completeness,
        perm,
        ..
    } = received;
    let listing = DirectoryListing {
        entries,
        completeness,
        perm,
    };
    Ok(judged(remote, listing))
}

/// Returns the listing of a directory whose entries are all of these.
pub(super) fn complete(remote: &Remote, entries: Vec<Entry>) -> DirectoryListing {
    judged(remote, entries.into())
}

/// Removes what the server is known to list wrongly, and says whether names can be missing.
fn judged(remote: &Remote, listing: DirectoryListing) -> DirectoryListing {
    let DirectoryListing {
        mut entries,
        completeness,
        perm,
    } = listing;
    listed_size::forget_wrong(remote.profile(), &mut entries);
    if entries.iter().any(|entry| entry.name.starts_with(b".")) {
        remote.profile().works(Capability::ListsHidden);
    }
    let shows_hidden = remote.profile().is_proven(Capability::ListsHidden);
    DirectoryListing {
        entries,
        completeness: as_shown(completeness, shows_hidden),
        perm,
    }
}

/// Downgrades the completeness for a server that has not yet listed a name that begins with a dot:
/// it may omit all of them.
fn as_shown(completeness: Completeness, shows_hidden: bool) -> Completeness {
    match completeness {
        Completeness::Complete if !shows_hidden => Completeness::Visible,
        completeness => completeness,
    }
}

/// Requests the listing with the best command that the server has, and with the next one if a reply
/// cannot be parsed.
fn receive(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    directory: &RemotePath,
) -> Result<Received, Error> {
    let mut unreadable = None;
    if remote.profile().has(Capability::Mlsd) {
        match fetch(remote, exchange, ListWith::Mlsd, directory) {
            Ok(Some(received)) if received.completeness == Completeness::Unreadable => {
                unreadable = Some(received);
            }
            Ok(Some(received)) => {
                let with = ListWith::Mlsd;
                return listing_check::judge(remote, exchange, directory, with, received);
            }
            Ok(None) => return Err(too_large(remote, directory)),
            Err(fault) if is_unsupported(&fault) => {
                remote.profile().fails(Capability::Mlsd, &fault);
            }
            Err(fault) => {
                let with = ListWith::Mlsd;
                return listing_check::judge_refusal(remote, exchange, directory, with, &fault);
            }
        }
    }
    match stat_listing::list(remote, exchange, directory) {
        StatAnswer::Believed(entries) => return Ok(entries.into()),
        StatAnswer::TooLarge => return Err(too_large(remote, directory)),
        StatAnswer::None => {}
    }
    let with = ListWith::List;
    match fetch(remote, exchange, with, directory) {
        Ok(Some(received)) => {
            let received = listing_check::judge(remote, exchange, directory, with, received)?;
            let form = ListForm {
                with,
                all: remote.profile().has(Capability::ListAll),
                inside: false,
            };
            let received = listing_check::without_hidden(form, received);
            if received.completeness.answers_for(b"name") {
                stat_listing::compare(remote, exchange, directory, &received.entries);
            }
            Ok(received)
        }
        Ok(None) => Err(too_large(remote, directory)),
        Err(fault) => match unreadable {
            Some(unreadable) => Ok(unreadable),
            None => listing_check::judge_refusal(remote, exchange, directory, with, &fault),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_answers_for_dot_names_where_the_server_has_listed_one() {
        let unseen = as_shown(Completeness::Complete, false);
        assert!(!unseen.answers_for(b".a") && unseen.answers_for(b"a"));
        assert!(as_shown(Completeness::Complete, true).answers_for(b".a"));
        let unlistable = as_shown(Completeness::Unlistable, false);
        assert_eq!(unlistable, Completeness::Unlistable);
    }
}
