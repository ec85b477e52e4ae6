//! The whole of a remote file into a spool, before a program changes it.

use std::sync::Arc;

use crate::cancel::Cancel;
use crate::disk_cache::CachedFile;
use crate::ftp::Version;
use crate::remote::{self, ErrorKind};
use crate::vfs::local::error::SpoolError;
use crate::vfs::local::spool::Spool;
use crate::vfs::read::{DownloadStep, PinnedVersion, RangeSource, ResumableDownload, Revalidate};

/// Size of the buffer through which a whole file comes.
const FILL_BUFFER: usize = 512 << 10;

/// How often a file that changes while it comes is begun.
const FILL_TRIES: u32 = 3;

/// Why a spool could not be filled from the server.
#[derive(Debug, thiserror::Error)]
pub(in crate::vfs) enum FillError {
    /// The local side failed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The server's side failed.
    #[error(transparent)]
    Remote(#[from] remote::Error),
}

/// Downloads the whole of `source` to the start of `spool`, and returns its size. Fewer bytes than
/// the size in `version` are an error; what the server has beyond it is taken as well. A file that
/// changes meanwhile is downloaded again.
///
/// # Errors
/// Which side failed, and why.
pub(in crate::vfs) fn fill(
    spool: &Spool,
    source: &Arc<dyn RangeSource>,
    mut version: Version,
    cancel: &Cancel,
) -> Result<u64, FillError> {
    let mut tries = 1;
    loop {
        match fill_with(spool, source, version, cancel) {
            Err(FillError::Remote(error))
                if error.kind == ErrorKind::Changed && tries < FILL_TRIES =>
            {
                log::debug!("{error}; reading it anew");
                tries += 1;
                version = source.version(cancel)?;
                spool.set_len(0)?;
            }
            outcome => return outcome,
        }
    }
}

/// Downloads the bytes of `source` before `end`, of the version that is `expected` before and
/// afterwards, to the start of `spool`.
///
/// # Errors
/// Which side failed, and why.
pub(in crate::vfs) fn fill_beginning(
    spool: &Spool,
    source: &Arc<dyn RangeSource>,
    expected: &Arc<PinnedVersion>,
    end: u64,
    cancel: &Cancel,
) -> Result<(), FillError> {
    let mut buffer = vec![0; FILL_BUFFER];
    let pinned = Arc::clone(expected);
    let mut resuming =
        ResumableDownload::new(Arc::clone(source), 0, pinned, Revalidate::Yes, cancel);
    let mut at = 0;
    while at < end {
        let wanted = usize::try_from(end - at).map_or(FILL_BUFFER, |left| left.min(FILL_BUFFER));
        match resuming.step(buffer.get_mut(..wanted).unwrap_or_default())? {
            DownloadStep::Bytes(count) => {
                spool.write_at(at, buffer.get(..count).unwrap_or_default())?;
                at += count as u64;
            }
            DownloadStep::Again => {}
            DownloadStep::End => break,
        }
    }
    // A transfer that ends by itself needs no abort.
    while at == end && expected.size() == Some(end) {
        match resuming.step(buffer.get_mut(..1).unwrap_or_default()) {
            Ok(DownloadStep::Again) => {}
            Ok(DownloadStep::Bytes(_) | DownloadStep::End) | Err(_) => break,
        }
    }
    drop(resuming);
    expected.confirm(&**source, cancel)?;
    if at < end {
        return Err(expected.changed(&**source).into());
    }
    Ok(())
}

/// Copies all of `cached` to the start of `spool`, and returns its size. Returns `None` if the
/// cache does not have all of it.
///
/// # Errors
/// Those of the spool.
pub(in crate::vfs) fn fill_from_cache(
    spool: &Spool,
    cached: &CachedFile,
) -> Result<Option<u64>, SpoolError> {
    let size = cached.size();
    if !cached.is_whole() {
        return Ok(None);
    }
    let mut buffer = vec![0; FILL_BUFFER];
    let mut offset = 0;
    while offset < size {
        let length = (size - offset).min(FILL_BUFFER as u64);
        let some = buffer.get_mut(..length as usize).unwrap_or_default();
        if cached.read(offset, some).is_err() {
            spool.set_len(0)?;
            return Ok(None);
        }
        spool.write_at(offset, some)?;
        offset += length;
    }
    Ok(Some(size))
}

/// Downloads one version, `version`, of `source`.
fn fill_with(
    spool: &Spool,
    source: &Arc<dyn RangeSource>,
    version: Version,
    cancel: &Cancel,
) -> Result<u64, FillError> {
    let mut buffer = vec![0; FILL_BUFFER];
    let expected = Arc::new(PinnedVersion::new(version));
    let mut resuming =
        ResumableDownload::new(Arc::clone(source), 0, expected, Revalidate::No, cancel);
    let mut filled = 0;
    loop {
        let step = match buffer.get_mut(filled..) {
            Some(rest) if !rest.is_empty() => resuming.step(rest)?,
            _ => DownloadStep::Bytes(0),
        };
        match step {
            DownloadStep::Bytes(count) => filled += count,
            DownloadStep::Again => continue,
            DownloadStep::End => {}
        }
        if filled == buffer.len() || step == DownloadStep::End {
            let start = resuming.position() - filled as u64;
            spool.write_at(start, buffer.get(..filled).unwrap_or_default())?;
            filled = 0;
        }
        if step == DownloadStep::End {
            return Ok(resuming.position());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::RemotePath;
    use crate::journal::Journal;
    use crate::vfs::local::spool_dir::SpoolDir;
    use crate::vfs::read::fake::{FakeFile, FakeSource, Plan, sample};

    fn spools(limit: Option<u64>) -> SpoolDir {
        SpoolDir::new(Journal::disabled(None), limit)
    }

    fn sized(size: u64) -> Version {
        Version {
            size: Some(size),
            ..Version::default()
        }
    }

    fn spool() -> Spool {
        spools(None).create(&RemotePath::root()).unwrap()
    }

    #[test]
    fn a_whole_file_comes_over_a_network_that_breaks() {
        let plans = [
            Plan::Break(700 << 10, ErrorKind::ConnectionLost),
            Plan::End(1 << 20),
        ];
        let file = FakeFile::new(sample(3 << 20), &plans);
        let spool = spool();
        let source: Arc<dyn RangeSource> = Arc::new(FakeSource(Arc::clone(&file)));
        assert_eq!(
            fill(&spool, &source, sized(3 << 20), &Cancel::never()).unwrap(),
            3 << 20
        );
        assert!(spool.read_at(0, 4 << 20).unwrap() == file.bytes());
    }

    #[test]
    fn a_file_that_grew_is_taken_whole_and_one_that_shrank_is_an_error() {
        let file = FakeFile::new(sample(1000), &[]);
        let spool = spool();
        let source: Arc<dyn RangeSource> = Arc::new(FakeSource(Arc::clone(&file)));
        assert_eq!(
            fill(&spool, &source, sized(10), &Cancel::never()).unwrap(),
            1000
        );
        assert_eq!(
            fill(&spool, &source, Version::default(), &Cancel::never()).unwrap(),
            1000
        );
        let shrunk = fill(&spool, &source, sized(2000), &Cancel::never());
        let kind = ErrorKind::Truncated;
        assert!(matches!(shrunk, Err(FillError::Remote(error)) if error.kind == kind));
    }

    #[test]
    fn a_file_too_large_for_the_spool_is_told() {
        let file = FakeFile::new(sample(2 << 20), &[]);
        let spool = spools(Some(1 << 20)).create(&RemotePath::root()).unwrap();
        let source: Arc<dyn RangeSource> = Arc::new(FakeSource(Arc::clone(&file)));
        let full = fill(&spool, &source, Version::default(), &Cancel::never());
        assert!(matches!(full, Err(FillError::Spool(SpoolError::NoSpace))));
        file.wait_for_live(0);
    }
}
