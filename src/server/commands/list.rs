//! LIST, NLST, STAT (RFC 959), MLSD, MLST (RFC 3659 §7).
//!
//! Names are taken literally; there are no wildcards.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::server::command_line::with_telnet;
use crate::server::facts::Role;
use crate::server::long_listing;
use crate::server::place::{Entry, is_directory};
use crate::server::reply::{Answer, Reply, Stop};
use crate::server::session::{RestartMarker, Session};
use crate::server::transfer::{Broken, Transfer, outcome};
use crate::server::tree::LastLink;

/// Listing lines are sent in batches of this many bytes.
const BATCH_BYTES: usize = 64 << 10;

type Lines = Box<dyn Iterator<Item = io::Result<Vec<u8>>>>;

/// Lists a directory or a single file in the format of `ls -l`. Ignores options before the path and
/// always shows all names.
pub(super) fn list(session: &mut Session, argument: &[u8]) -> Answer {
    let lines = long_lines(session, without_options(argument))?;
    send_listing(session, lines)
}

/// Lists bare names. A path in the argument is prepended, so that the names are paths.
pub(super) fn nlst(session: &mut Session, argument: &[u8]) -> Answer {
    let argument = without_options(argument).to_vec();
    let listed = listed(session, &argument)?;
    let mut prefix = if listed.is_directory {
        argument
    } else {
        Vec::new()
    };
    if !prefix.is_empty() && !prefix.ends_with(b"/") {
        prefix.push(b'/');
    }
    let lines = listed.entries.map(move |entry| {
        let name = entry?.name;
        Ok([prefix.as_slice(), &name, b"\r\n"].concat())
    });
    send_listing(session, Box::new(lines))
}

/// Lists the facts of a directory's entries, of the directory and of its parent.
pub(super) fn mlsd(session: &mut Session, argument: &[u8]) -> Answer {
    let path = session.path(argument)?;
    let place = session.place(argument, LastLink::Followed)?;
    let entries = place.entries()?;
    let own = place.entry(b".")?;
    let removable = session.identity.may_change(&own.stat);
    let mut named = vec![(Role::Current, Ok(own))];
    if !path.is_root() {
        let parent = session
            .serving
            .tree
            .find(&path.parent(), LastLink::Followed)?;
        named.push((Role::Parent, parent.entry(b"..")));
    }
    let (facts, identity) = (session.facts.clone(), session.identity.clone());
    let skew = session.skew();
    let members = entries.map(move |entry| (Role::Member { removable }, entry));
    let lines = named.into_iter().chain(members).map(move |(role, entry)| {
        let mut line = facts.line(&skewed(entry?, skew), role, &identity);
        line.extend_from_slice(b"\r\n");
        Ok(line)
    });
    send_listing(session, Box::new(lines))
}

/// Shows the facts of one path, not following a symlink.
pub(super) fn mlst(session: &mut Session, argument: &[u8]) -> Answer {
    let path = session.path(argument)?;
    let place = session.place(argument, LastLink::Kept)?;
    let entry = skewed(place.entry(&path.to_bytes())?, session.skew());
    let removable = !path.is_root() && session.identity.may_change(&place.stat_directory()?);
    let role = if path.is_root() {
        Role::Current
    } else {
        Role::Member { removable }
    };
    let line = session.facts.line(&entry, role, &session.identity);
    Ok(Reply::of_lines(250, "Facts:", vec![line], "End"))
}

/// Shows the state of the session, or with an argument the output of LIST on the control
/// connection, preceded by the directory itself.
pub(super) fn stat(session: &mut Session, argument: &[u8]) -> Answer {
    if argument.is_empty() {
        return Ok(status(session));
    }
    let argument = without_options(argument);
    let lines = long_lines(session, argument)?;
    let mut batch = b"213-Listing:\r\n".to_vec();
    for line in own_lines(session, argument)?
        .into_iter()
        .map(Ok)
        .chain(lines)
    {
        batch.extend(with_telnet(&line?));
        if batch.len() >= BATCH_BYTES {
            session.control.send(&batch)?;
            batch.clear();
        }
    }
    session.control.send(&batch)?;
    Ok(Reply::new(213, "End"))
}

/// Returns the lines for a directory and its parent, as at the beginning of `ls -a`.
fn own_lines(session: &Session, argument: &[u8]) -> Result<Vec<Vec<u8>>, Stop> {
    let Ok(place) = session.place(argument, LastLink::Followed) else {
        return Ok(Vec::new());
    };
    if !place.stat().is_ok_and(|stat| is_directory(&stat)) {
        return Ok(Vec::new());
    }
    let above = session.path(argument)?.parent();
    let above = session.serving.tree.find(&above, LastLink::Followed)?;
    let now = now();
    let own = [place.entry(b".")?, above.entry(b"..")?];
    Ok(own.map(|entry| long_listing::line(&entry, now)).into())
}

fn status(session: &Session) -> Reply {
    let directory = [
        b"Working directory: ".as_slice(),
        &session.directory.to_bytes(),
    ]
    .concat();
    let lines = vec![
        format!("Connected from {}", session.peer).into_bytes(),
        directory,
    ];
    Reply::of_lines(211, "ftpfs server:", lines, "End")
}

/// The entries that LIST, NLST and STAT show.
struct Listed {
    is_directory: bool,
    entries: Box<dyn Iterator<Item = io::Result<Entry>>>,
}

/// Returns the entries of a directory, following a symlink, or a single entry for anything else,
/// including a dangling symlink.
fn listed(session: &Session, argument: &[u8]) -> Result<Listed, Stop> {
    if let Ok(place) = session.place(argument, LastLink::Followed)
        && place.stat().is_ok_and(|stat| is_directory(&stat))
    {
        return Ok(Listed {
            is_directory: true,
            entries: Box::new(place.entries()?),
        });
    }
    let entry = session.place(argument, LastLink::Kept)?.entry(argument)?;
    Ok(Listed {
        is_directory: false,
        entries: Box::new(std::iter::once(Ok(entry))),
    })
}

/// Returns the time in seconds since the epoch.
fn now() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
}

fn long_lines(session: &Session, argument: &[u8]) -> Result<Lines, Stop> {
    let now = now();
    let entries = listed(session, argument)?.entries;
    let skew = session.skew();
    Ok(Box::new(entries.map(move |entry| {
        Ok(long_listing::line(&skewed(entry?, skew), now))
    })))
}

/// Adds `skew` to a file's size.
fn skewed(mut entry: Entry, skew: i64) -> Entry {
    if !is_directory(&entry.stat) {
        entry.stat.st_size = entry.stat.st_size.saturating_add(skew).max(0);
    }
    entry
}

/// Returns the path after options like `-al`. A path that begins with a dash needs a `./` prefix.
fn without_options(mut argument: &[u8]) -> &[u8] {
    while argument.starts_with(b"-") {
        let blank = argument.iter().position(|&byte| byte == b' ');
        argument = blank
            .and_then(|blank| argument.get(blank + 1..))
            .unwrap_or_default();
    }
    argument
}

fn send_listing(session: &mut Session, lines: Lines) -> Answer {
    session.marker = RestartMarker::default();
    let lines: Lines = if session.lists_forever() {
        Box::new(lines.chain(endless()))
    } else {
        lines
    };
    let mut transfer = session.begin_transfer("Sending the listing")?;
    let sent = send_lines(&mut transfer, lines);
    drop(transfer);
    outcome(sent)
}

/// Generates lines forever, each a valid entry in LIST, MLSD and NLST.
fn endless() -> impl Iterator<Item = io::Result<Vec<u8>>> {
    (0_u64..).map(|number| {
        let facts = "type=file;size=1;";
        Ok(format!("{facts} -rw-r--r-- 1 ftp ftp 1 Jan 1 2020 endless-{number}\r\n").into_bytes())
    })
}

fn send_lines(transfer: &mut Transfer<'_>, lines: Lines) -> Result<(), Broken> {
    let mut batch = Vec::with_capacity(BATCH_BYTES);
    for line in lines {
        batch.extend(line.map_err(Broken::File)?);
        if batch.len() >= BATCH_BYTES {
            transfer.send(&batch)?;
            batch.clear();
        }
    }
    transfer.send(&batch)?;
    transfer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_passed_over_and_blanks_in_the_path_are_not() {
        assert_eq!(without_options(b"-al"), b"");
        assert_eq!(without_options(b"-a -l a b"), b"a b");
        assert_eq!(without_options(b"/-a b"), b"/-a b");
        assert_eq!(without_options(b"-a  b"), b" b");
    }
}
