//! Invalidation of cached entries after a failed change: a server may have performed a change that
//! it refused, or whose reply was lost.

use crate::ftp::RemotePath;
use crate::remote::ErrorKind;

use crate::vfs::Vfs;

impl Vfs {
    /// Invalidates `name` in `directory` after a change failed with `reason`, unless the reason
    /// proves that nothing was changed.
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

    /// Invalidates `name` in `directory`, because the server may have another file there.
    pub(in crate::vfs) fn invalidate(&self, directory: &RemotePath, name: &[u8]) {
        self.cache.invalidate(directory, name);
        self.prefetcher.forget(directory);
    }
}

/// Whether the reason proves that nothing was changed, because servers check it first.
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
        | ErrorKind::LoginRefused
        | ErrorKind::Offline
        | ErrorKind::Interrupted => true,
        ErrorKind::NoSpace
        | ErrorKind::QuotaExceeded
        | ErrorKind::FileTooLarge
        | ErrorKind::Busy
        | ErrorKind::TimedOut
        | ErrorKind::Unreachable
        | ErrorKind::ConnectionRefused
        | ErrorKind::NoConnection
        | ErrorKind::NotSecure
        | ErrorKind::ConnectionLost
        | ErrorKind::Changed
        | ErrorKind::Protocol
        | ErrorKind::Truncated
        | ErrorKind::OtherWay
        | ErrorKind::Local
        | ErrorKind::TryLater
        | ErrorKind::Other => false,
    }
}
