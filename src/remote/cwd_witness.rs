//! CWD as a witness: it shows whether a directory exists and can be entered (RFC 959 §4.1.1).

use super::Remote;
use super::error::refusal;
use super::retry::Exchange;
use crate::ftp::{Capability, Finding, RemotePath};
use crate::pool;

/// A name that no file has.
pub(super) const NOWHERE: &[u8] = b"ftpfs-no-such-directory-7d1f0c52";

/// Enters `directory`. A login starts in the root or below it, so the root exists.
pub(super) fn enter(
    exchange: &mut Exchange<'_>,
    directory: &RemotePath,
) -> Result<(), pool::Error> {
    if directory.is_root() {
        return Ok(());
    }
    exchange.run_idempotent(|session| session.change_directory(directory))
}

/// Whether CWD succeeds only for directories that exist. Checked once, with a name that no file
/// has.
pub(super) fn is_cwd_a_witness(remote: &Remote, exchange: &mut Exchange<'_>) -> bool {
    let profile = remote.profile();
    match profile.finding(Capability::CwdChecks) {
        Finding::Works => return true,
        Finding::Fails => return false,
        Finding::Unknown | Finding::Announced | Finding::NotAnnounced => {}
    }
    let Ok(nowhere) = RemotePath::root().join(NOWHERE) else {
        return false;
    };
    match enter(exchange, &nowhere) {
        Ok(()) => {
            profile.fails(
                Capability::CwdChecks,
                &"it entered a directory that does not exist",
            );
            false
        }
        Err(fault) if refusal(&fault).is_some() => {
            profile.works(Capability::CwdChecks);
            true
        }
        Err(_) => false,
    }
}
