//! Listings by `STAT path` (RFC 959 §4.1.3): one round trip on the control connection, without a
//! data connection, and several in one write.
//!
//! STAT replaces only LIST, because MLSD's times are precise to the second and STAT prints the same
//! as LIST. Servers interpret the path of STAT differently. Its listings are trusted on servers
//! known for it, and on others after one of them equalled that of LIST; and each one only if it
//! contains a line for the directory itself, because vsftpd replies 213 without lines for a path
//! that does not exist and others omit names with a dot.

use super::Remote;
use super::retry::Exchange;
use crate::ftp::{Capability, Completeness, Entry, Error, Finding, RemotePath, StatListing};

/// Maximum number of entries of a listing that is requested twice for comparison.
const MAX_COMPARED: usize = 2_000;
/// Number of differing listings, which a change in between may explain, after which STAT is no
/// longer tried.
const MAX_DIFFERENT: u8 = 3;
/// Whether directories are listed by STAT.
pub(super) fn is_believed(remote: &Remote) -> bool {
    let profile = remote.profile();
    !profile.has(Capability::Mlsd)
        && profile.has(Capability::StatListing)
        && profile.has(Capability::PathArgument)
}

/// The result of listing a directory by STAT.
pub(super) enum StatAnswer {
    /// Its complete listing.
    Believed(Vec<Entry>),
    /// A listing that exceeds the memory limit.
    TooLarge,
    /// No listing that can be trusted.
    None,
}

/// Lists `directory` by STAT.
pub(super) fn list(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    directory: &RemotePath,
) -> StatAnswer {
    if !is_believed(remote) || !is_literal(directory) {
        return StatAnswer::None;
    }
    let listed = exchange.run_idempotent(|session| {
        let mut answer = StatAnswer::None;
        session.stat_batch(std::slice::from_ref(directory), &mut |_, listing| {
            answer = match listing {
                Err(Error::ListingTooLarge(_)) => StatAnswer::TooLarge,
                listing => believed(listing).map_or(StatAnswer::None, StatAnswer::Believed),
            };
        })?;
        if let StatAnswer::Believed(entries) = &mut answer {
            remote.zone().to_utc(session, directory, entries);
        }
        Ok(answer)
    });
    listed.unwrap_or(StatAnswer::None)
}

/// Compares STAT with `entries`, just listed by LIST.
pub(super) fn compare(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    directory: &RemotePath,
    entries: &[Entry],
) {
    let profile = remote.profile();
    let is_open = !matches!(
        profile.finding(Capability::StatListing),
        Finding::Works | Finding::Fails
    );
    let is_fit = (1..=MAX_COMPARED).contains(&entries.len()) && is_literal(directory);
    if remote.profile().has(Capability::Mlsd) || !is_open || !is_fit {
        return;
    }
    let mut same = false;
    let asked = exchange.run_idempotent(|session| {
        session.stat_batch(std::slice::from_ref(directory), &mut |_, listing| {
            same = believed(listing).is_some_and(|listed| are_same(&listed, entries));
        })
    });
    match asked {
        Ok(()) if same => profile.works(Capability::StatListing),
        Ok(()) => {
            profile.doubt(
                Capability::StatListing,
                MAX_DIFFERENT,
                &"its listing differs from LIST",
            );
        }
        Err(fault) => {
            profile.fails(Capability::StatListing, &fault);
        }
    }
}

/// Returns the entries if the listing is that of a complete directory.
pub(super) fn believed(listing: Result<StatListing, Error>) -> Option<Vec<Entry>> {
    listing
        .ok()
        .filter(|listing| {
            let outcome = &listing.outcome;
            outcome.names_itself && outcome.completeness() == Completeness::Complete
        })
        .map(|listing| listing.entries)
}

/// Whether every server takes the path literally, not for a pattern or for several paths.
pub(super) fn is_literal(path: &RemotePath) -> bool {
    let is_special =
        |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b']' | b'{' | b'}' | b'~' | b'\\');
    let bytes = path.as_bytes();
    // In `/a -b`, vsftpd and others look for options after the blank.
    !bytes.iter().any(is_special) && !bytes.windows(2).any(|two| two == b" -")
}

fn are_same(one: &[Entry], other: &[Entry]) -> bool {
    let sorted = |entries: &[Entry]| {
        let mut shown: Vec<_> = entries
            .iter()
            .map(|it| {
                let tells = (it.size.is_some(), it.modified.is_some());
                (it.name.clone(), it.kind as u8, it.target.clone(), tells)
            })
            .collect();
        shown.sort();
        shown
    };
    sorted(one) == sorted(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::Kind;

    #[test]
    fn listings_are_the_same_whatever_their_order_and_not_with_another_name_or_kind() {
        let [a, b] = ["a", "b"].map(|name| Entry::new(name, Kind::File));
        assert!(are_same(&[a.clone(), b.clone()], &[b.clone(), a.clone()]));
        assert!(!are_same(&[a.clone(), b.clone()], std::slice::from_ref(&a)));
        assert!(!are_same(&[b], &[Entry::new("b", Kind::Directory)]));
        assert!(!are_same(&[a], &[]));
    }

    #[test]
    fn patterns_are_no_paths() {
        for (path, literal) in [
            ("/a b/.c", true),
            ("/-a", true),
            ("/a -b", false),
            ("/a*", false),
            ("/[a]", false),
        ] {
            assert_eq!(
                is_literal(&RemotePath::new(path.as_bytes()).unwrap()),
                literal
            );
        }
    }
}
