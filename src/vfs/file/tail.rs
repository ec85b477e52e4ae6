//! The bookkeeping of a file of which the server has the beginning.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Spooled, State};
use crate::cancel::Blocking;
use crate::ftp::Version;
use crate::remote::ErrorKind;
use crate::vfs::errno::Errno;
use crate::vfs::read::{Bytes, Reader};
use crate::vfs::write::state::LocalCopy;

/// The end of a file: the server has what is before it.
#[derive(Debug)]
pub(super) struct AppendedTail {
    beginning: Mutex<Beginning>,
    /// Offset before which nothing may be changed any more, because an upload has read it.
    fixed: AtomicU64,
    /// Whether the server may have some of the appended bytes.
    is_started: AtomicBool,
    /// Mode of the server's file, which appending does not change.
    mode: Option<u32>,
}

/// What the server has.
#[derive(Debug, Clone)]
struct Beginning {
    reader: Arc<Reader>,
    version: Version,
    /// Offset of the first byte that it does not have.
    end: u64,
}

impl AppendedTail {
    /// Creates the tail of a file of which the server has `version`, which `reader` reads.
    pub(super) fn new(
        reader: Arc<Reader>,
        version: Version,
        end: u64,
        mode: Option<u32>,
    ) -> Arc<Self> {
        let beginning = Beginning {
            reader,
            version,
            end,
        };
        Arc::new(Self {
            beginning: Mutex::new(beginning),
            fixed: AtomicU64::new(end),
            is_started: AtomicBool::new(false),
            mode,
        })
    }

    /// Returns the tail of a copy that continues this one, of which nothing before `fixed` may be
    /// changed.
    pub(super) fn continued(&self, fixed: u64) -> Arc<Self> {
        Arc::new(Self {
            beginning: Mutex::new(self.lock().clone()),
            fixed: AtomicU64::new(fixed),
            is_started: AtomicBool::new(self.is_started()),
            mode: self.mode,
        })
    }

    /// Returns the reader of what the server has.
    pub(super) fn reader(&self) -> Arc<Reader> {
        Arc::clone(&self.lock().reader)
    }

    /// Returns the version that the server has.
    pub(super) fn version(&self) -> Version {
        self.lock().version
    }

    /// Returns the offset of the first byte that the server does not have.
    pub(super) fn end(&self) -> u64 {
        self.lock().end
    }

    /// Returns the offset before which nothing may be changed.
    pub(super) fn fixed(&self) -> u64 {
        self.fixed.load(Ordering::Acquire)
    }

    /// Returns the mode to set, if `mode` is another one than the file has.
    pub(super) fn changed_mode(&self, mode: Option<u32>) -> Option<u32> {
        mode.filter(|_| mode != self.mode)
    }

    /// Returns the mode of the server's file.
    pub(super) fn mode(&self) -> Option<u32> {
        self.mode
    }

    /// Whether the server may have some of the appended bytes.
    pub(super) fn is_started(&self) -> bool {
        self.is_started.load(Ordering::Acquire)
    }

    /// Records that the server may have the bytes before `end` at any time from now on. Nothing
    /// before it may be changed.
    pub(super) fn start(&self, end: u64) {
        self.fixed.fetch_max(end, Ordering::AcqRel);
        self.is_started.store(true, Ordering::Release);
        self.lock().reader.may_become(end);
    }

    /// Records that an earlier mount may have stored some of the bytes before `end`.
    pub(super) fn was_left(self: Arc<Self>, end: u64) -> Arc<Self> {
        self.start(end);
        self
    }

    /// Records that the server has the bytes before `end`, in `version`, which `reader` reads.
    pub(super) fn advance(&self, version: Version, end: u64, reader: &Arc<Reader>) {
        let before = {
            let mut beginning = self.lock();
            let now = Beginning {
                reader: Arc::clone(reader),
                version,
                end,
            };
            std::mem::replace(&mut *beginning, now)
        };
        self.is_started.store(false, Ordering::Release);
        self.fixed.fetch_max(end, Ordering::AcqRel);
        drop(before);
    }

    fn lock(&self) -> MutexGuard<'_, Beginning> {
        self.beginning
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the tails of all copies.
    pub(super) fn tails(&self) -> Vec<Arc<AppendedTail>> {
        let sealed = self.contents.sealed().map(|sealed| &sealed.copy);
        let copies = self.contents.local().into_iter().chain(sealed);
        copies.filter_map(|copy| copy.tail.clone()).collect()
    }

    /// Records that the server has `spooled`, in `base`, on which copies that continue it are based
    /// from now on.
    pub(super) fn advance_tails(&self, spooled: &Spooled, base: Version, reader: &Arc<Reader>) {
        let sealed = self.contents.sealed().map(|sealed| &sealed.copy);
        let copies = self.contents.local().into_iter().chain(sealed);
        for copy in copies.filter(|copy| !copy.is_same(spooled)) {
            if let Some(tail) = &copy.tail {
                tail.advance(base, spooled.spool.len(), reader);
            }
        }
    }
}

impl Spooled {
    /// Reads from the server what is before the spool, and the rest from there.
    pub(super) fn read_around(
        &self,
        tail: &AppendedTail,
        offset: u64,
        length: usize,
        may: Blocking<'_>,
    ) -> Result<Bytes, Errno> {
        let start = self.spool.start();
        let Some(before) = start.checked_sub(offset).filter(|before| *before > 0) else {
            return Ok(self.spool.read_at(offset, length)?.into());
        };
        let wanted = usize::try_from(before).map_or(length, |before| length.min(before));
        let bytes = loop {
            let reader = tail.reader();
            let read = match reader.available(offset, wanted) {
                Some(bytes) => Ok(bytes),
                None => reader.read(offset, wanted, may.cancel()?),
            };
            match read {
                Ok(bytes) => break bytes,
                // What was appended in the meantime has made another version.
                Err(error)
                    if error.kind == ErrorKind::Changed
                        && !Arc::ptr_eq(&reader, &tail.reader()) => {}
                Err(error) => return Err(error.into()),
            }
        };
        if bytes.len() < wanted {
            if may.cancel()?.is_cancelled() {
                return Ok(Bytes::default());
            }
            log::warn!("the server's file ends before what is appended to it");
            return Err(Errno::IO);
        }
        if wanted == length {
            return Ok(bytes);
        }
        let mut all = bytes.to_vec();
        all.extend(self.spool.read_at(start, length - wanted)?);
        Ok(all.into())
    }

    /// Whether the spool has only the end of the contents.
    pub(super) fn is_end(&self) -> bool {
        self.spool.start() > 0
    }
}
