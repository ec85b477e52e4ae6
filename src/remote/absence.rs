//! Whether nothing has a name that listings may leave out. Many servers never list names that begin
//! with a dot.

use super::retry::Exchange;
use super::stat::{Lookup, lookup, lookup_by_name};
use super::{Error, Remote};
use crate::ftp::RemotePath;

/// What is at `path`. Of a name that begins with a dot, a listing without it proves nothing: the
/// server answers for the name itself (CWD, SIZE, MDTM).
///
/// # Errors
/// The server's answers neither show the name nor rule it out.
pub(super) fn lookup_reliably(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
) -> Result<Lookup, Error> {
    match lookup(remote, exchange, path)? {
        Lookup::Absent if path.name().starts_with(b".") => lookup_by_name(remote, exchange, path),
        seen => Ok(seen),
    }
}
