//! What reading needs of a file on the server.

use std::ops::Range;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::ftp::{RemotePath, Version};
use crate::remote::Error;

/// A file on the server that transfers can be begun on.
pub(crate) trait RangeSource: Send + Sync {
    /// Begins a transfer at `offset`, or before it where the server cannot: gives where it begins.
    fn open_at(&self, offset: u64, cancel: &Cancel)
    -> Result<(Box<dyn RangeDownload>, u64), Error>;

    /// What the server says of the file now.
    fn version(&self, cancel: &Cancel) -> Result<Version, Error>;

    /// The size in bytes by the server's most exact answer (SIZE), where it gives one.
    fn size(&self, cancel: &Cancel) -> Result<Option<u64>, Error> {
        self.version(cancel).map(|version| version.size)
    }

    /// What the file is called now, for messages.
    fn path(&self) -> RemotePath;

    /// A program begins to read the file from its start. Takes the bytes of all of it, where they
    /// were fetched ahead and are of `version`; waits for them where they are under way.
    fn prefetched(&self, _version: &Version) -> Option<Vec<u8>> {
        None
    }

    /// Most transfers in the background, beside the one that a reader waits for.
    fn most_beside(&self) -> usize {
        0
    }

    /// Makes the connections for them in the background, where there are too few yet.
    fn prepare_beside(&self) {}

    /// Begins a transfer over a spare connection, where there is one within `patience`, of the
    /// bytes that `choose` returns then: none where it returns none. It may go on behind them.
    ///
    /// # Errors
    /// The transfer's; [`Changed`](crate::remote::ErrorKind::Changed) where the file is not
    /// `version` any more.
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

/// A transfer under way. Dropping it ends it, which may take a moment.
pub(crate) trait RangeDownload: Send {
    /// Some bytes into `buffer`; 0 when the server has confirmed the end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error>;

    /// How long a packet takes to the server and back, where that is known.
    fn round_trip(&self) -> Option<Duration> {
        None
    }
}
