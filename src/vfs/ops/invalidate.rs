//! What becomes of what is known once a change failed: a server may have done what it says it has
//! not, or what nobody heard the end of.

use crate::ftp::RemotePath;
use crate::remote::ErrorKind;

use crate::vfs::Vfs;

impl Vfs {
    /// A change of `name` in `directory` failed for this reason: unless that leaves no doubt, the
    /// server is asked anew.
    pub(in crate::vfs) fn invalidate_after(
        &self,
        directory: &RemotePath,
        name: &[u8],
        reason: ErrorKind,
    ) {
        if !was_plainly_refused(reason) {
            self.invalidate(directory, name);
        }
    }

    /// Whatever is known of `name` in `directory`, the server may have another file there.
    pub(in crate::vfs) fn invalidate(&self, directory: &RemotePath, name: &[u8]) {
        self.cache.invalidate(directory, name);
        self.prefetcher.forget(directory);
    }
}

/// Whether nothing was done, beyond doubt: the reasons that a server gives for what it looked at
/// first.
fn was_plainly_refused(reason: ErrorKind) -> bool {
    match reason {
        ErrorKind::NotFound
        | ErrorKind::AlreadyExists
        | ErrorKind::NotEmpty
        | ErrorKind::IsDirectory
        | ErrorKind::NotDirectory
        | ErrorKind::PermissionDenied
        | ErrorKind::InvalidName
        | ErrorKind::NameTooLong
        | ErrorKind::Unsupported
        | ErrorKind::LoginRefused => true,
        ErrorKind::NoSpace
        | ErrorKind::QuotaExceeded
        | ErrorKind::FileTooLarge
        | ErrorKind::Busy
        | ErrorKind::TimedOut
        | ErrorKind::Unreachable
        | ErrorKind::NotSecure
        | ErrorKind::ConnectionLost
        | ErrorKind::Changed
        | ErrorKind::Protocol
        | ErrorKind::Truncated
        | ErrorKind::OtherWay
        | ErrorKind::Local
        | ErrorKind::Other => false,
    }
}
