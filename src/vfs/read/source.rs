//! The interface that reading needs to a file on the server.

use std::ops::Range;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::ftp::{RemotePath, Version};
use crate::remote::{Error, RetryMode};

/// A file on the server that can be downloaded from an offset.
pub(crate) trait RangeSource: Send + Sync {
    /// Starts a transfer at `offset`, or before it if the server cannot start there. Returns the
    /// transfer and the offset where it starts.
    fn open_at(&self, offset: u64, cancel: &Cancel)
    -> Result<(Box<dyn RangeDownload>, u64), Error>;

    /// Returns the version that the server reports now.
    fn version(&self, cancel: &Cancel) -> Result<Version, Error>;

    /// Returns the size in bytes from the server's most exact answer (SIZE), or `None` if the
    /// server does not report one.
    fn size(&self, cancel: &Cancel) -> Result<Option<u64>, Error> {
        self.version(cancel).map(|version| version.size)
    }

    /// Returns the current path of the file, for messages.
    fn path(&self) -> RemotePath;

    /// Returns how long transfers wait for a server that is away.
    fn retry_mode(&self) -> RetryMode {
        RetryMode::Soft
    }

    /// Takes the bytes of the whole file, for a program that starts to read it from the beginning.
    /// Waits for them if they are being fetched. Returns `None` unless they were fetched ahead and
    /// are of `version`.
    fn prefetched(&self, _version: &Version) -> Option<Vec<u8>> {
        None
    }

    /// Records that a program starts to read the file, which is of `version`, from the persistent
    /// cache.
    fn begin_cached(&self, _version: &Version) {}

    /// Returns the maximum number of background transfers in addition to the one that a reader
    /// waits for.
    fn most_beside(&self) -> usize {
        0
    }

    /// Opens connections for the background transfers, in the background, if there are too few.
    fn prepare_beside(&self) {}

    /// Starts a transfer over a spare connection, if one is free within `patience`, of the bytes
    /// that `choose` then returns. Starts none if `choose` returns `None`. The transfer may
    /// continue after the chosen bytes.
    ///
    /// # Errors
    /// The error of the transfer; [`Changed`](crate::remote::ErrorKind::Changed) if the file no
    /// longer has `version`.
    fn open_beside(
        &self,
        _patience: Duration,
        _version: &Version,
        _choose: &mut dyn FnMut() -> Option<Range<u64>>,
    ) -> Option<Result<Box<dyn RangeDownload>, Error>> {
        None
    }

    /// Whether an operation waits for a connection.
    fn is_needed_elsewhere(&self) -> bool {
        false
    }
}

/// A running transfer. Dropping it ends it, which may take a moment.
pub(crate) trait RangeDownload: Send {
    /// Reads bytes into `buffer` and returns their number, or 0 once the server has confirmed the
    /// end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error>;

    /// Returns the round-trip time to the server, if known.
    fn round_trip(&self) -> Option<Duration> {
        None
    }
}
