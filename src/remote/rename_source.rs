//! RNFR as a query (RFC 959 §4.1.3): servers accept a path as the source of a rename only if
//! something exists there. That includes directories that cannot be entered and special files,
//! about which CWD, SIZE and MDTM report nothing.
//!
//! Nothing is renamed. A session that waits for RNTO is closed, because a later RNFR and RNTO in
//! one write, the first of them refused, could rename the file that this RNFR named.

use super::cwd_witness::NOWHERE;
use super::error::{is_unsupported, meaning, refusal};
use super::retry::Exchange;
use super::transience::is_lost;
use super::{ErrorKind, Remote};
use crate::ftp::{Capability, Finding, RemotePath};
use crate::pool;

/// Number of directories that RNFR may refuse before it is no longer used as a query.
const MAX_REFUSED: u8 = 3;

/// The result of RNFR for a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RenameSource {
    /// Something exists there.
    There,
    /// Nothing exists there.
    Absent,
    /// The reply of this server proves nothing.
    Unknown,
}

/// Asks with RNFR whether something exists at `path`, in a directory that exists.
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

/// Whether RNFR distinguishes existing from missing names. Checked once, with the directory of
/// `path` and a name that no file has.
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
            let why = "it accepts a name that does not exist";
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
