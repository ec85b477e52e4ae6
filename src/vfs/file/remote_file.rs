//! The services that an open file uses: the source of its bytes and the target of its uploads.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use super::OpenFile;
use super::kept::KeptUploads;
use super::recent::RecentUploads;
use crate::cache::Attributes;
use crate::cancel::Cancel;
use crate::disk_cache::{DiskCache, OnKept};
use crate::ftp::{RemotePath, Version};
use crate::remote::{
    self, CommitOptions, ErrorKind, RemoteDownload, RemoteHandle, RemoteUpload, RetryMode,
    StoredFacts,
};
use crate::sys::BootClock;
use crate::vfs::local::spool::Spool;
use crate::vfs::local::spool_dir::SpoolDir;
use crate::vfs::prefetch::Prefetcher;
use crate::vfs::read::parallel::ParallelReads;
use crate::vfs::read::{
    Bytes, DownloadStep, PinnedVersion, RangeDownload, RangeSource, ReadOptions, Reader,
    ResumableDownload, Revalidate,
};
use crate::vfs::table::ino::Ino;
use crate::vfs::table::inode::{Inodes, MOST_QUESTIONS};
use crate::vfs::transfers::{Direction, Extent, TransferGuard, Transfers};
use crate::vfs::write::names::{Names, StoreTurn};
use crate::vfs::write::uploader::{Priority, UploadStream, UploadTarget, Uploader};

/// The server, the names, and the spool directory.
#[derive(Debug)]
pub(in crate::vfs) struct FileServices {
    pub(in crate::vfs) remote: RemoteHandle,
    pub(in crate::vfs) inodes: Arc<Inodes>,
    pub(in crate::vfs) prefetcher: Prefetcher,
    pub(in crate::vfs) spools: SpoolDir,
    pub(in crate::vfs) read: ReadOptions,
    pub(in crate::vfs) transfers: Transfers,
    pub(in crate::vfs) parallel: ParallelReads,
    /// Measures the age of what is known.
    pub(in crate::vfs) clock: BootClock,
    /// What was read, for the next mount.
    pub(in crate::vfs) disk: Option<Arc<DiskCache>>,
    /// The changes of names that the server does not have yet.
    pub(in crate::vfs) names: Arc<Names>,
    /// What was uploaded and waits to be copied there.
    pub(in crate::vfs) kept_uploads: Arc<KeptUploads>,
    /// What was uploaded a moment ago, with `-o writeback`.
    pub(in crate::vfs) recent: Option<Arc<RecentUploads>>,
    /// Whether the server does not let a file be read while it is uploaded.
    pub(in crate::vfs) locks_uploads: AtomicBool,
}

impl FileServices {
    /// Creates a reader of `ino`, which follows renames.
    pub(in crate::vfs) fn reader(&self, ino: Ino, version: Version) -> Reader {
        let expected = Arc::new(PinnedVersion::new(version));
        Reader::new(
            self.remote_file(ino),
            expected,
            self.read,
            self.parallel.clone(),
            self.disk.clone(),
        )
    }

    /// Returns the source of the whole file `ino`.
    pub(in crate::vfs) fn source(&self, ino: Ino) -> Arc<dyn RangeSource> {
        self.remote_file(ino)
    }

    /// Returns the source of the whole file at `path`, which no program has open.
    pub(in crate::vfs) fn source_at(&self, path: RemotePath) -> Arc<dyn RangeSource> {
        Arc::new(FixedFile {
            remote: self.remote.clone(),
            transfers: self.transfers.clone(),
            path,
        })
    }

    /// Returns an uploader of `spool` to the path of `ino`.
    pub(in crate::vfs) fn store(&self, ino: Ino, spool: &Arc<Spool>) -> Uploader {
        Uploader::new(self.remote_file(ino), Arc::clone(spool))
    }

    /// Downloads the file `path` into the persistent cache. `count` is called with the number of
    /// bytes that arrived, and ends the download if it returns true.
    ///
    /// # Errors
    /// The error of the transfer; `Interrupted` if it was ended.
    pub(in crate::vfs) fn keep(
        &self,
        path: &RemotePath,
        attributes: &Attributes,
        cancel: &Cancel,
        count: &mut dyn FnMut(u64) -> bool,
    ) -> Result<KeepOutcome, remote::Error> {
        let version = Version::from(attributes);
        let began = SystemTime::now();
        let fill = self.disk.as_ref().and_then(|disk| {
            let nobody: OnKept = Arc::new(|_, _| ());
            disk.fill(path, &version, began, nobody)
        });
        let Some(fill) = fill else {
            return Ok(KeepOutcome::Unsettled);
        };
        let source = self.source_at(path.clone());
        let expected = Arc::new(PinnedVersion::new(version));
        // The listing may be old.
        let trust = Revalidate::Yes;
        let mut download = ResumableDownload::new(source, 0, expected, trust, cancel);
        loop {
            let mut buffer = vec![0; KEPT_AT_A_TIME];
            match download.step(&mut buffer)? {
                DownloadStep::Bytes(length) => {
                    buffer.truncate(length);
                    let start = download.position() - length as u64;
                    fill.offer(start, Bytes::from(buffer), DISK_PATIENCE);
                    if count(length as u64) {
                        return Err(remote::Error {
                            kind: ErrorKind::Interrupted,
                            operation: "read",
                            path: path.clone(),
                            reason: "it was interrupted".to_owned(),
                            reply: None,
                        });
                    }
                }
                DownloadStep::Again => {}
                DownloadStep::End => {
                    fill.confirm();
                    return Ok(KeepOutcome::Kept);
                }
            }
        }
    }

    fn remote_file(&self, ino: Ino) -> Arc<RemoteFile> {
        Arc::new(RemoteFile {
            remote: self.remote.clone(),
            inodes: Arc::clone(&self.inodes),
            prefetcher: self.prefetcher.clone(),
            transfers: self.transfers.clone(),
            sends_copies: self.spools.is_limited(),
            names: Arc::clone(&self.names),
            recent: self.recent.clone(),
            ino,
        })
    }
}

/// What became of a file that was downloaded into the persistent cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum KeepOutcome {
    Kept,
    /// Its version could not be recognised later.
    Unsettled,
}

/// Size in bytes of the pieces in which a file is downloaded into the persistent cache.
const KEPT_AT_A_TIME: usize = 256 << 10;
/// How long such a download waits for the local disk.
const DISK_PATIENCE: Duration = Duration::from_secs(10);

/// An inode's file on the server, at its path at the time of each request.
struct RemoteFile {
    remote: RemoteHandle,
    inodes: Arc<Inodes>,
    prefetcher: Prefetcher,
    transfers: Transfers,
    /// Whether the spools may run out of room, so that uploads should send copies of pages.
    sends_copies: bool,
    names: Arc<Names>,
    recent: Option<Arc<RecentUploads>>,
    ino: Ino,
}

/// A file on the server that keeps its path.
struct FixedFile {
    remote: RemoteHandle,
    transfers: Transfers,
    path: RemotePath,
}

impl RangeSource for FixedFile {
    fn retry_mode(&self) -> RetryMode {
        self.remote.retry_mode()
    }

    fn path(&self) -> RemotePath {
        self.path.clone()
    }

    fn open_at(
        &self,
        offset: u64,
        cancel: &Cancel,
    ) -> Result<(Box<dyn RangeDownload>, u64), remote::Error> {
        let transfer = self.remote.with(cancel).open_at(&self.path, offset)?;
        let start = transfer.start();
        let ticket = self
            .transfers
            .begin(self.path.clone(), Direction::Download, Extent::Bytes(0));
        Ok((Box::new(Metered { transfer, ticket }), start))
    }

    fn version(&self, cancel: &Cancel) -> Result<Version, remote::Error> {
        self.remote.with(cancel).version(&self.path)
    }
}

/// A transfer whose bytes are counted.
struct Metered<T> {
    transfer: T,
    ticket: TransferGuard,
}

impl RemoteFile {
    fn path_for(&self, operation: &'static str) -> Result<RemotePath, remote::Error> {
        self.inodes.path(self.ino).map_err(|_| remote::Error {
            kind: ErrorKind::NotFound,
            operation,
            path: RemotePath::root(),
            reason: "the file was removed".to_owned(),
            reply: None,
        })
    }

    /// Returns what `ask` says about the file at its path. Asks again if programs on this mount
    /// renamed the file meanwhile.
    ///
    /// # Errors
    /// Those of `ask`; `Interrupted` if `cancel` is cancelled while the file is renamed, `TryLater`
    /// if it is renamed again and again.
    fn ask<T>(
        &self,
        operation: &'static str,
        cancel: &Cancel,
        mut ask: impl FnMut(RemotePath) -> Result<T, remote::Error>,
    ) -> Result<T, remote::Error> {
        for _ in 0..MOST_QUESTIONS {
            let path = self.path_for(operation)?;
            let answer = ask(path.clone());
            if !self.inodes.may_have_been_renamed(self.ino, &path) {
                return answer;
            }
            // The rename may wait for the connection.
            drop(answer);
            self.inodes.wait_for_renames(&path, cancel);
            if cancel.is_cancelled() {
                break;
            }
        }
        let kind = if cancel.is_cancelled() {
            ErrorKind::Interrupted
        } else {
            ErrorKind::TryLater
        };
        Err(remote::Error {
            kind,
            ..self.renamed(operation)
        })
    }

    /// The error of an answer that may be about another file.
    fn renamed(&self, operation: &'static str) -> remote::Error {
        remote::Error {
            kind: ErrorKind::Changed,
            operation,
            path: self.path(),
            reason: "it was renamed meanwhile".to_owned(),
            reply: None,
        }
    }
}

impl RangeSource for RemoteFile {
    fn retry_mode(&self) -> RetryMode {
        self.remote.retry_mode()
    }

    fn path(&self) -> RemotePath {
        self.inodes
            .path(self.ino)
            .unwrap_or_else(|_| RemotePath::root())
    }

    fn open_at(
        &self,
        offset: u64,
        cancel: &Cancel,
    ) -> Result<(Box<dyn RangeDownload>, u64), remote::Error> {
        self.ask("read", cancel, |path| {
            let transfer = self.remote.with(cancel).open_at(&path, offset)?;
            let start = transfer.start();
            let extent = Extent::ToEnd(self.ino, start);
            let ticket = self.transfers.begin(path, Direction::Download, extent);
            Ok((Box::new(Metered { transfer, ticket }) as _, start))
        })
    }

    fn version(&self, cancel: &Cancel) -> Result<Version, remote::Error> {
        self.ask("look up", cancel, |path| {
            self.remote.with(cancel).version(&path)
        })
    }

    fn size(&self, cancel: &Cancel) -> Result<Option<u64>, remote::Error> {
        self.ask("look up", cancel, |path| {
            self.remote.with(cancel).size(&path)
        })
    }

    fn prefetched(&self, version: &Version) -> Option<Vec<u8>> {
        let recent = self.recent.as_ref();
        if let Some(bytes) = recent.and_then(|recent| recent.find(self.ino, version)) {
            return Some(bytes);
        }
        let path = self.path_for("read").ok()?;
        self.prefetcher.begin_file(&path, version)
    }

    fn begin_cached(&self, version: &Version) {
        if let Ok(path) = self.path_for("read") {
            self.prefetcher.begin_cached_file(&path, version);
        }
    }

    fn most_beside(&self) -> usize {
        // One connection is for the reader, and one for the next operation.
        self.remote.pool_stats().limit.saturating_sub(2)
    }

    fn prepare_beside(&self) {
        self.remote.expect_all();
    }

    fn open_beside(
        &self,
        patience: Duration,
        version: &Version,
        choose: &mut dyn FnMut() -> Option<Range<u64>>,
    ) -> Option<Result<Box<dyn RangeDownload>, remote::Error>> {
        let spare = self.remote.uncancelled().spare(patience)?;
        let range = choose()?;
        let opened = self.path_for("read").and_then(|path| {
            let transfer = spare.open_within(&path, version, &range)?;
            if self.inodes.may_have_been_renamed(self.ino, &path) {
                return Err(self.renamed("read"));
            }
            let extent = Extent::Bytes(range.end.saturating_sub(range.start));
            let ticket = self.transfers.begin(path, Direction::Download, extent);
            Ok(Box::new(Metered { transfer, ticket }) as _)
        });
        Some(opened)
    }

    fn is_needed_elsewhere(&self) -> bool {
        self.remote.wait_until_contended(Duration::ZERO)
    }
}

impl RangeDownload for Metered<RemoteDownload> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, remote::Error> {
        let count = self.transfer.read(buffer)?;
        self.ticket.moved(count as u64);
        Ok(count)
    }

    fn round_trip(&self) -> Option<Duration> {
        self.transfer.round_trip()
    }
}

impl UploadTarget for RemoteFile {
    fn retry_mode(&self) -> RetryMode {
        self.remote.retry_mode()
    }

    fn commit(
        &self,
        upload: Box<dyn UploadStream>,
        target: &RemotePath,
        commit: &CommitOptions,
        priority: Priority,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Option<StoredFacts>, remote::Error> {
        if self.names.is_empty() {
            return upload.commit(target, commit).map(Some);
        }
        let Some(upload) = upload.into_remote() else {
            return Ok(None);
        };
        let checked = upload.check(target, commit)?;
        let turn = StoreTurn {
            ino: self.ino,
            path: target,
            is_urgent: priority == Priority::Foreground,
            is_over,
        };
        self.names
            .place_in_turn(&self.remote.uncancelled(), checked, &turn)
    }

    fn may_begin_early(&self) -> bool {
        if !self.names.is_on() {
            return true;
        }
        let Ok(path) = self.path_for("store") else {
            return true;
        };
        if !self.remote.uploads_in_place(&path) {
            return true;
        }
        // Nothing is sent for a file that is not in use any more.
        let may_replace = |file: Arc<OpenFile>| !file.is_compared_first() && !file.is_unlinked();
        self.names.places(&path, true).0.is_empty()
            && self.inodes.open_file(self.ino).is_some_and(may_replace)
    }

    fn begin(&self, interrupt: &Cancel) -> Result<Box<dyn UploadStream>, remote::Error> {
        let path = self.path_for("store")?;
        let mut transfer = self.remote.interruptible(interrupt).upload(&path)?;
        if self.sends_copies {
            transfer.send_copies();
        }
        let extent = Extent::ToEnd(self.ino, 0);
        let ticket = self.transfers.begin(path, Direction::Upload, extent);
        Ok(Box::new(Metered { transfer, ticket }))
    }

    fn begin_whole(
        &self,
        file: &File,
        length: u64,
        interrupt: &Cancel,
    ) -> Result<Box<dyn UploadStream>, remote::Error> {
        let path = self.path_for("store")?;
        let remote = self.remote.interruptible(interrupt);
        let transfer = remote.upload_whole(&path, file, length)?;
        let extent = Extent::Bytes(length);
        let mut ticket = self.transfers.begin(path, Direction::Upload, extent);
        ticket.moved(transfer.sent());
        Ok(Box::new(Metered { transfer, ticket }))
    }
}

impl UploadStream for Metered<RemoteUpload> {
    fn send(&mut self, file: &File, length: u64) -> Result<(), remote::Error> {
        self.transfer.send(file, length)?;
        self.ticket.moved(length);
        Ok(())
    }

    fn sent(&self) -> u64 {
        self.transfer.sent()
    }

    fn keep_from(&mut self, file: &File, offset: u64) -> Result<Option<u64>, remote::Error> {
        self.transfer.keep_from(file, offset)
    }

    fn temporary_path(&self) -> RemotePath {
        self.transfer.temporary_path().clone()
    }

    fn arrive(&mut self, file: Option<&File>) -> Result<(), remote::Error> {
        self.transfer.arrive(file)
    }

    fn into_remote(self: Box<Self>) -> Option<RemoteUpload> {
        Some(self.transfer)
    }

    fn commit(
        self: Box<Self>,
        target: &RemotePath,
        commit: &CommitOptions,
    ) -> Result<StoredFacts, remote::Error> {
        self.transfer.commit(target, commit)
    }
}
