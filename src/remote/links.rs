//! What becomes of the server's symbolic links: shown as links, followed to what they lead to, or
//! hidden.
//!
//! Following is the server's own doing: SIZE and CWD on a link answer for its target. So a followed
//! link may show what lies outside the mounted directory, though never what the login may not
//! reach.

use super::Remote;
use super::error::refusal;
use super::retry::Exchange;
use crate::ftp::{Entry, Kind, Modified, Precision, RemotePath};
use crate::pool;

/// Most links of one listing that are followed: each costs a round trip or two.
const MAX_FOLLOWED: usize = 1_000;

/// How symbolic links are treated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Links {
    /// As links; where they lead is kept inside the mount by whoever shows it.
    #[default]
    Show,
    /// As the files and directories they lead to, where the server says that there is one.
    Follow,
    /// Not at all.
    Hide,
}

/// A directory's entries as they are shown.
///
/// # Errors
/// The session broke.
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
                        "{directory} has more than {MAX_FOLLOWED} links: the others are not followed"
                    );
                    break;
                }
                follow(exchange, directory, entry)?;
            }
        }
    }
    Ok(entries)
}

/// One entry of `directory` as it is shown; none where it is hidden.
///
/// # Errors
/// The session broke.
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

/// Makes the link `entry` what it leads to; it stays a link where it leads nowhere, or back to a
/// directory it is in: programs that walk a tree would never come to its end.
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
        // What it is there tells more than the link's words, which may lead by way of other links.
        let entered = exchange.run_idempotent(|session| {
            session.change_directory(&path)?;
            match session.working_directory() {
                Ok(place) => Ok(Some(place)),
                // A server that does not say where it is leads nowhere.
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
    // Those were the link's own.
    (entry.mode, entry.target, entry.unique) = (None, None, None);
    Ok(())
}
