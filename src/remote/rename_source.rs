//! RNFR as a question (RFC 959 §4.1.3): servers take a path for the source of a rename only where
//! something is there, directories that may not be entered and special files included, of which
//! CWD, SIZE and MDTM say nothing.
//!
//! Nothing is renamed. A session that waits for RNTO is closed: a later RNFR and RNTO in one write,
//! the first of them refused, could rename what this one named.

use super::error::{is_unsupported, meaning, refusal};
use super::listing_check::NOWHERE;
use super::retry::{Exchange, is_lost};
use super::{ErrorKind, Remote};
use crate::ftp::{Capability, Finding, RemotePath};
use crate::pool;

/// How many directories RNFR may refuse before it is given up as a witness.
const MAX_REFUSED: u8 = 3;

/// What RNFR says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RenameSource {
    /// Something is there.
    There,
    /// Nothing is there.
    Absent,
    /// This server's answer proves nothing.
    Unknown,
}

/// Asks by RNFR whether something is at `path`, in a directory that is there.
pub(super) fn ask(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
) -> Result<RenameSource, pool::Error> {
    let profile = remote.profile();
    if !profile.has(Capability::RnfrChecks) {
        return Ok(RenameSource::Unknown);
    }
    match exchange.run_idempotent(|session| session.may_rename(path)) {
        Ok(()) if is_witness(remote, exchange, path) => Ok(RenameSource::There),
        Ok(()) => Ok(RenameSource::Unknown),
        Err(fault) if refusal(&fault).is_none() || is_lost(&fault) => Err(fault),
        Err(fault) if is_unsupported(&fault) => {
            profile.fails(Capability::RnfrChecks, &fault);
            Ok(RenameSource::Unknown)
        }
        Err(fault) => Ok(match meaning(&fault, path) {
            Some(ErrorKind::NotFound) => RenameSource::Absent,
            None if is_witness(remote, exchange, path) => RenameSource::Absent,
            _ => RenameSource::Unknown,
        }),
    }
}

/// Whether RNFR tells what is there from what is not; asked once, by the directory of `path` and by
/// a name that nothing has.
fn is_witness(remote: &Remote, exchange: &mut Exchange<'_>, path: &RemotePath) -> bool {
    let profile = remote.profile();
    match profile.finding(Capability::RnfrChecks) {
        Finding::Works => return true,
        Finding::Fails => return false,
        Finding::Unknown | Finding::Announced | Finding::NotAnnounced => {}
    }
    let Some(parent) = path.parent() else {
        return false;
    };
    let Ok(nowhere) = parent.join(NOWHERE) else {
        return false;
    };
    match exchange.run_idempotent(|session| session.may_rename(&nowhere)) {
        Ok(()) => {
            let why = "it takes a name that nothing has";
            profile.fails(Capability::RnfrChecks, &why);
            return false;
        }
        Err(fault) if refusal(&fault).is_none() || is_lost(&fault) => return false,
        Err(fault) if meaning(&fault, &nowhere) == Some(ErrorKind::PermissionDenied) => {
            profile.fails(Capability::RnfrChecks, &fault);
            return false;
        }
        Err(_) => {}
    }
    match exchange.run_idempotent(|session| session.may_rename(&parent)) {
        Ok(()) => {
            profile.works(Capability::RnfrChecks);
            true
        }
        Err(fault) => {
            if refusal(&fault).is_some() && !is_lost(&fault) {
                profile.doubt(Capability::RnfrChecks, MAX_REFUSED, &fault);
            }
            false
        }
    }
}
