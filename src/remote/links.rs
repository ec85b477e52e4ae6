//! Policy for the server's symbolic links: show them as links, follow them, or hide them.
//!
//! The server itself follows links: SIZE and CWD on a link apply to its target. A followed link can
//! therefore show files outside the mounted directory, but never files that the login cannot
//! access.

use super::Remote;
use super::error::refusal;
use super::retry::Exchange;
use crate::ftp::{Entry, Kind, Modified, Precision, RemotePath};
use crate::pool;

/// Maximum number of links of one listing that are followed. Each costs one or two round trips.
const MAX_FOLLOWED: usize = 1_000;

/// How symbolic links are presented.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Links {
    /// As links. The layer that shows them keeps their targets inside the mount.
    #[default]
    Show,
    /// As the files and directories that they point to, if the server reports that those exist.
    Follow,
    /// Not at all.
    Hide,
}

/// Applies the link policy to the entries of a directory.
///
/// # Errors
/// The session failed.
pub(super) fn apply_policy_to_all(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    directory: &RemotePath,
    mut entries: Vec<Entry>,
) -> Result<Vec<Entry>, pool::Error> {
    match remote.links() {
        Links::Show => {}
        Links::Hide => entries.retain(|entry| entry.kind != Kind::Symlink),
        Links::Follow => {
            let links = entries
                .iter_mut()
                .filter(|entry| entry.kind == Kind::Symlink);
            for (number, entry) in links.enumerate() {
                if number == MAX_FOLLOWED {
                    log::warn!(
                        path = directory;
                        "{directory} has more than {MAX_FOLLOWED} links; not following the others"
                    );
                    break;
                }
                follow(exchange, directory, entry)?;
            }
        }
    }
    Ok(entries)
}

/// Applies the link policy to one entry of `directory`. Returns `None` if it is hidden.
///
/// # Errors
/// The session failed.
pub(super) fn apply_policy(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    directory: &RemotePath,
    mut entry: Entry,
) -> Result<Option<Entry>, pool::Error> {
    match remote.links() {
        _ if entry.kind != Kind::Symlink => Ok(Some(entry)),
        Links::Show => Ok(Some(entry)),
        Links::Hide => Ok(None),
        Links::Follow => {
            follow(exchange, directory, &mut entry)?;
            Ok(Some(entry))
        }
    }
}

/// Replaces the link `entry` with its target. It stays a link if it points nowhere, or to a
/// directory that contains it, because programs that walk the tree would never finish.
fn follow(
    exchange: &mut Exchange<'_>,
    directory: &RemotePath,
    entry: &mut Entry,
) -> Result<(), pool::Error> {
    let Ok(path) = directory.join(&entry.name) else {
        return Ok(());
    };
    let (size, modified) = exchange.run_idempotent(|session| session.size_and_modified(&path))?;
    if let Ok(size) = size {
        entry.kind = Kind::File;
        entry.size = Some(size);
        entry.modified = modified.ok().map(|seconds| Modified {
            seconds,
            precision: Precision::Second,
            utc: true,
        });
    } else {
        // The working directory is more reliable than the link's text, which may lead through other
        // links.
        let entered = exchange.run_idempotent(|session| {
            session.change_directory(&path)?;
            match session.working_directory() {
                Ok(place) => Ok(Some(place)),
                // If the server does not report its working directory, the target is unknown.
                Err(_) if session.is_usable() => Ok(None),
                Err(fault) => Err(fault),
            }
        });
        let leads_up = |place: &RemotePath| directory.below(place).is_some();
        match entered {
            Ok(None) => return Ok(()),
            Ok(Some(place)) if leads_up(&place) => return Ok(()),
            Ok(Some(_)) => {}
            Err(fault) if refusal(&fault).is_some() => return Ok(()),
            Err(fault) => return Err(fault),
        }
        let target = entry.target.as_deref();
        if target
            .and_then(|target| directory.resolve(target))
            .is_some_and(|place| leads_up(&place))
        {
            return Ok(());
        }
        entry.kind = Kind::Directory;
        entry.size = None;
        entry.modified = None;
    }
    // These were the properties of the link itself.
    (entry.mode, entry.target, entry.unique) = (None, None, None);
    Ok(())
}
