//! Lookups of names that listings may omit. Many servers never list names that begin with a dot.

use super::name_lookup::{Lookup, lookup_by_name};
use super::retry::Exchange;
use super::stat::lookup;
use super::{Error, Remote};
use crate::ftp::RemotePath;

/// Looks up `path` reliably. For a name that begins with a dot, a listing without it proves
/// nothing, so the server is asked about the name itself (CWD, SIZE, MDTM).
///
/// # Errors
/// The server's replies neither show the name nor rule it out.
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
